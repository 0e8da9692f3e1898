//! Channel names: parsed once at the edge, a type from there on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::connection::SocketId;
use super::user::UserId;

/// The longest id of a channel, in bytes.
pub const MAX_ID_BYTES: usize = 128;
/// The longest kind of a channel, in bytes.
pub const MAX_KIND_BYTES: usize = 32;

/// An address that events are published to and connections join, for example `document:42`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// What a channel is, by its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Everyone.
    Global,
    /// Administrators.
    Admin,
    /// All connections of one user.
    User(&'a str),
    /// The members of one group.
    Group(&'a str),
    /// Who is in another channel, or in a free-standing room.
    Presence(&'a str),
    /// One connection.
    Socket(&'a str),
    /// A thing of the application: `document:42`.
    Context {
        /// `document`
        kind: &'a str,
        /// `42`
        id: &'a str,
    },
}

impl<'a> Kind<'a> {
    /// The first word of the channel.
    pub fn word(self) -> &'a str {
        match self {
            Self::Global => "global",
            Self::Admin => "admin",
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::Presence(_) => "presence",
            Self::Socket(_) => "socket",
            Self::Context { kind, .. } => kind,
        }
    }
}

/// Why a name is no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a channel name; expected \"global\", \"admin\" or kind:id, where kind is a lower-case word of at most 32 \
     letters, digits and dashes and id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ : -, for example document:42"
)]
pub struct InvalidChannel;

impl Channel {
    /// Everyone.
    pub fn global() -> Self {
        Self(Arc::from("global"))
    }

    /// Administrators.
    pub fn admin() -> Self {
        Self(Arc::from("admin"))
    }

    /// All connections of one user.
    pub fn user(id: &UserId) -> Self {
        Self(format!("user:{id}").into())
    }

    /// One connection.
    pub fn socket(id: SocketId) -> Self {
        Self(format!("socket:{id}").into())
    }

    /// `kind:id`.
    ///
    /// # Errors
    /// When `kind` or `id` is not of the grammar.
    pub fn of(kind: &str, id: &str) -> Result<Self, InvalidChannel> {
        format!("{kind}:{id}").parse()
    }

    /// The members of one group. The id is one of ours, so it always fits.
    pub(crate) fn group(id: &str) -> Self {
        Self(format!("group:{id}").into())
    }

    /// The readers of one document root. The id is one of ours, so it always fits.
    pub(crate) fn document(root: &str) -> Self {
        Self(format!("document:{root}").into())
    }

    /// Who is in one chat room. The id is one of ours, so it always fits.
    pub(crate) fn chat(room: &str) -> Self {
        Self(format!("chat:{room}").into())
    }

    /// The presence of this channel.
    pub fn presence(&self) -> Self {
        Self(format!("presence:{self}").into())
    }

    /// What this channel is.
    pub fn kind(&self) -> Kind<'_> {
        match self.0.split_once(':') {
            None if &*self.0 == "admin" => Kind::Admin,
            None => Kind::Global,
            Some(("user", id)) => Kind::User(id),
            Some(("group", id)) => Kind::Group(id),
            Some(("presence", of)) => Kind::Presence(of),
            Some(("socket", id)) => Kind::Socket(id),
            Some((kind, id)) => Kind::Context { kind, id },
        }
    }

    /// Whether it says who is somewhere.
    pub fn is_presence(&self) -> bool {
        matches!(self.kind(), Kind::Presence(_))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Channel {
    type Err = InvalidChannel;

    /// No trimming, no case folding, no decoding: two names are the same when their bytes are.
    fn from_str(name: &str) -> Result<Self, InvalidChannel> {
        if name == "global" || name == "admin" {
            return Ok(Self(name.into()));
        }
        let (kind, id) = name.split_once(':').ok_or(InvalidChannel)?;
        if !is_kind(kind) || !is_id(id) {
            return Err(InvalidChannel);
        }
        // A colon in the name of a presence room can only mean the channel that it is the presence of.
        if kind == "presence" && id.contains(':') {
            id.parse::<Self>()?;
        }
        if kind == "socket" && SocketId::parse(id).is_none_or(|socket| socket.to_string() != id) {
            return Err(InvalidChannel);
        }
        Ok(Self(name.into()))
    }
}

fn is_kind(kind: &str) -> bool {
    kind.len() <= MAX_KIND_BYTES
        && kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~@:-".contains(&b))
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Channel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_names_are_kept_as_they_are() {
        let longest = format!("{}:{}", "a".repeat(32), "b".repeat(128));
        for name in [
            "global",
            "admin",
            "user:1",
            "document:a:b:c",
            "chat:A.b_c~d@e-f",
            "x-1:0",
            "presence:lobby",
            &longest,
        ] {
            assert_eq!(name.parse::<Channel>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long_kind = format!("{}:1", "a".repeat(33));
        let long_id = format!("a:{}", "b".repeat(129));
        for name in [
            "",
            "globa",
            "lobby",
            "user:",
            ":1",
            "USER:1",
            "1a:1",
            "user:1 ",
            " user:1",
            "user:%31",
            "user:１",
            "usеr:1",
            "user:a/b",
            "user:*",
            "user:\0",
            "user:1\n",
            "a_b:1",
            "presence:Document:1",
            "presence::x",
            "socket:1",
            "socket:00000000-0000-0000-0000-000000000000",
            &long_kind,
            &long_id,
        ] {
            assert_eq!(name.parse::<Channel>(), Err(InvalidChannel), "{name:?}");
        }
    }

    #[test]
    fn the_kind_is_the_first_word() {
        let kind = |name: &str| format!("{:?}", name.parse::<Channel>().unwrap().kind());
        assert_eq!(kind("global"), "Global");
        assert_eq!(kind("user:global"), "User(\"global\")");
        assert_eq!(kind("presence:document:4"), "Presence(\"document:4\")");
        assert_eq!(
            kind("order:4:5"),
            "Context { kind: \"order\", id: \"4:5\" }"
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_changes_a_name(name in ".{0,200}") {
            if let Ok(channel) = name.parse::<Channel>() {
                prop_assert_eq!(channel.as_str(), name);
                channel.kind();
            }
        }
    }
}
