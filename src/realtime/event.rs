//! Events: what is published to channels.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::channel::Channel;
use super::connection::SocketId;
use super::cursor::Position;
use super::data::Data;
use super::user::UserId;

/// Names that the server's own frames use over SSE, or that a browser would mistake for its own.
const RESERVED: [&str; 8] = [
    "welcome",
    "heartbeat",
    "disconnect",
    "ack",
    "error",
    "open",
    "message",
    "gap",
];

/// Events that say what is stored or who is there. A client that could publish them could lie about it.
const SERVER_ONLY: [&str; 14] = [
    "new-record",
    "changed-record",
    "deleted-record",
    "changed-document",
    "chat-message",
    "chat-message-changed",
    "chat-message-deleted",
    "connected-clients",
    "user-joined",
    "user-left",
    "user-updated",
    "presence-count",
    "presence-list",
    "token-expiring",
];

/// The name of an event, for example `changed-document`. At most 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

/// Why a text is no event name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventName {
    /// Not of the grammar.
    #[error(
        "not an event name; expected 1 to 64 characters of A-Z a-z 0-9 . _ : -, beginning with a letter or digit, for example changed-order"
    )]
    Grammar,
    /// One of the protocol's own words.
    #[error("reserved for the server; expected another name, for example changed-order")]
    Reserved,
}

impl EventName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that the server itself says.
    pub(super) fn own(name: &'static str) -> Self {
        Self(name.into())
    }

    /// Whether only the server may publish it.
    pub fn is_server_only(&self) -> bool {
        SERVER_ONLY.contains(&&*self.0)
    }
}

impl FromStr for EventName {
    type Err = InvalidEventName;

    fn from_str(name: &str) -> Result<Self, InvalidEventName> {
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if !first || !rest || name.len() > 64 {
            return Err(InvalidEventName::Grammar);
        }
        if RESERVED.contains(&name) {
            return Err(InvalidEventName::Reserved);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The socket that asked for an event, which is left out of it: live, on replay, and after it has reconnected.
///
/// Both together, so that nobody can hide events from somebody else's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whose socket.
    pub user: UserId,
    /// Which.
    pub socket: SocketId,
}

/// Something published.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where it goes; not empty. A connection gets it once, under the first of these that it is in.
    pub channels: Arc<[Channel]>,
    /// What it is.
    pub name: EventName,
    /// What it says.
    pub data: Data,
    /// Who is left out.
    pub origin: Option<Origin>,
    /// The socket that said it, where one did, whether or not it is left out. Nobody else is told, and the log has it not.
    pub by: Option<SocketId>,
    /// Further sockets that are left out, whoever's they are; only who is trusted with that says so.
    pub except: Arc<[SocketId]>,
    /// When it was published.
    pub time: OffsetDateTime,
    /// Where it stands in the log; a volatile event stands nowhere.
    pub position: Option<Position>,
}

impl Event {
    /// Whether this event is kept from the given connection.
    pub fn leaves_out(&self, user: Option<&UserId>, socket: SocketId) -> bool {
        self.is_by(user, socket) || self.except.contains(&socket)
    }

    /// Whether the given connection asked for this event, and is to be left out for that.
    pub(super) fn is_by(&self, user: Option<&UserId>, socket: SocketId) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|origin| origin.socket == socket && Some(&origin.user) == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_a_stream_are_refused() {
        for name in ["", "-a", ".a", "a b", "a\nb", "a\0", "é", &"a".repeat(65)] {
            assert_eq!(
                name.parse::<EventName>(),
                Err(InvalidEventName::Grammar),
                "{name:?}"
            );
        }
        for name in RESERVED {
            assert_eq!(
                name.parse::<EventName>(),
                Err(InvalidEventName::Reserved),
                "{name:?}"
            );
        }
        for name in [
            "a",
            "changed-document",
            "app:order.paid_2",
            "9",
            &"a".repeat(64),
        ] {
            assert!(name.parse::<EventName>().is_ok(), "{name:?}");
        }
    }
}
