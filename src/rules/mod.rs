//! The rules: what each kind of channel is for. Who may join, who may publish, what, and how much.
//!
//! Pure lookups: [`file`] reads them from a file, [`endpoint`] is where the application is asked. What they mean for a
//! caller is said by the policy.

mod endpoint;
mod file;

use std::collections::{BTreeMap, BTreeSet};

pub use endpoint::{Endpoint, InvalidEndpoint};

use crate::realtime::{Channel, EventName};

/// Who may join the channels of a kind. Administrators always may, and so may whoever was granted the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// As the server has it: for `document`, `chat` and `group`, and for no other kind.
    BuiltIn,
    /// Nobody else.
    Nobody,
    /// Whoever has a token that names the channel.
    Granted,
    /// Everybody who is logged in.
    Users,
    /// Whom the application lets: it is asked.
    Ask,
}

/// Which clients may publish in the channels of a kind. Administrators always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// None: the application does, over HTTP.
    Nobody,
    /// Those who have joined with the right to. Where the application is asked, those whom it gave `write`.
    Members,
}

/// What clients may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// Kept and volatile events.
    Any,
    /// Only what reaches whoever is there.
    Volatile,
    /// Only what is kept.
    Kept,
}

/// What holds in the channels of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Who may join.
    pub join: Join,
    /// Who may publish.
    pub publish: Publish,
    /// What they may publish.
    pub events: Events,
    /// The largest data of an event that a client publishes, in bytes; no more than a message may have in any case.
    pub max_message_bytes: Option<usize>,
    /// Whether those who may join may page through what was said before. Who resumes hears of it in any case.
    pub history: bool,
}

impl Default for Rule {
    /// For a kind of which nothing is said: tokens let people in, and only the application publishes.
    fn default() -> Self {
        Self {
            join: Join::Granted,
            publish: Publish::Nobody,
            events: Events::Any,
            max_message_bytes: None,
            history: true,
        }
    }
}

impl Rule {
    /// What holds for a built-in kind if nothing else is said. Nothing for a kind of the application's own.
    pub fn built_in(kind: &str) -> Option<Self> {
        let events = match kind {
            "chat" => Events::Volatile,
            "document" | "group" | "global" | "admin" | "user" | "presence" | "socket" => {
                Events::Any
            }
            _ => return None,
        };
        Some(Self {
            join: Join::BuiltIn,
            publish: Publish::Members,
            events,
            ..Self::default()
        })
    }
}

/// The kinds whose rules may be narrowed, though the server has them itself.
const NARROWABLE: [&str; 3] = ["document", "chat", "group"];

/// Why a rule cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Not of the grammar of channels.
    #[error(
        "is not a kind of channel; expected a lower-case word of at most 32 letters, digits and dashes"
    )]
    Kind,
    /// A kind that is what it is.
    #[error(
        "is built in and has no rules of its own; of the built-in kinds document, chat and group can be narrowed"
    )]
    Fixed,
    /// Who may join a built-in kind is for the server to say.
    #[error("cannot be set: who may join is built in for document, chat and group; leave it out")]
    JoinIsBuiltIn,
    /// A kind that the server does not have.
    #[error(
        "is built in for document, chat and group alone; expected nobody, granted, users or ask"
    )]
    JoinIsNotBuiltIn,
    /// There is nobody to ask.
    #[error("is \"ask\", but nothing says whom; expected a section [ask] with url and secret")]
    NobodyToAsk,
    /// What is kept in a chat room is a message, and made over HTTP.
    #[error("cannot be that for chat: clients publish only volatile events there; leave it out")]
    ChatIsVolatile,
    /// Nothing would fit.
    #[error("is not a whole number above 0")]
    NothingFits,
}

impl InvalidRule {
    /// The setting that is wrong; nothing, if it is the kind itself.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Kind | Self::Fixed => None,
            Self::JoinIsBuiltIn | Self::JoinIsNotBuiltIn | Self::NobodyToAsk => Some("join"),
            Self::ChatIsVolatile => Some("events"),
            Self::NothingFits => Some("max_message_bytes"),
        }
    }
}

/// The rules of every kind of channel, and where the application is asked. Without any the built-in ones hold.
///
/// ```
/// use roomcast::config::Config;
/// use roomcast::rules::{Endpoint, Join, Publish, Rule, Rules};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::new("https://app.example.org/roomcast/access", "a secret of 24 bytes or more")?;
/// let order = Rule { join: Join::Ask, publish: Publish::Members, ..Rule::default() };
/// let rules = Rules::default().asking(endpoint).with("order", order)?;
/// let config = Config { rules, ..Config::default() };
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    kinds: BTreeMap<String, Rule>,
    newest: BTreeMap<String, BTreeSet<EventName>>,
    endpoint: Option<Endpoint>,
}

impl Rules {
    /// Says where the application is asked. It comes before the kinds that need it.
    #[must_use]
    pub fn asking(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Says what holds for a kind. For `document`, `chat` and `group` begin with [`Rule::built_in`].
    ///
    /// # Errors
    /// When there can be no such rule.
    pub fn with(mut self, kind: &str, rule: Rule) -> Result<Self, InvalidRule> {
        if kind.contains(':') || Channel::of(kind, "1").is_err() && kind != "socket" {
            return Err(InvalidRule::Kind);
        }
        match (Rule::built_in(kind), rule.join) {
            (Some(_), _) if !NARROWABLE.contains(&kind) => return Err(InvalidRule::Fixed),
            (Some(_), Join::BuiltIn) => {}
            (Some(_), _) => return Err(InvalidRule::JoinIsBuiltIn),
            (None, Join::BuiltIn) => return Err(InvalidRule::JoinIsNotBuiltIn),
            (None, Join::Ask) if self.endpoint.is_none() => return Err(InvalidRule::NobodyToAsk),
            (None, _) => {}
        }
        if kind == "chat" && rule.events != Events::Volatile {
            return Err(InvalidRule::ChatIsVolatile);
        }
        if rule.max_message_bytes == Some(0) {
            return Err(InvalidRule::NothingFits);
        }
        self.kinds.insert(kind.to_owned(), rule);
        Ok(self)
    }

    /// Says of which volatile events of a kind only the newest of each sender waits for a slow reader: positions and
    /// pointers, of which nobody wants to see the old ones.
    ///
    /// # Errors
    /// When the kind is none, or has no rules.
    pub fn newest_of(
        mut self,
        kind: &str,
        events: impl IntoIterator<Item = EventName>,
    ) -> Result<Self, InvalidRule> {
        if kind.contains(':') || Channel::of(kind, "1").is_err() {
            return Err(InvalidRule::Kind);
        }
        if Rule::built_in(kind).is_some() && !NARROWABLE.contains(&kind) {
            return Err(InvalidRule::Fixed);
        }
        self.newest
            .insert(kind.to_owned(), events.into_iter().collect());
        Ok(self)
    }

    /// Of which volatile events only the newest waits, by kind.
    pub fn newest(&self) -> &BTreeMap<String, BTreeSet<EventName>> {
        &self.newest
    }

    /// What holds in a channel.
    pub fn of(&self, channel: &Channel) -> Rule {
        let kind = channel.kind().word();
        let built_in = || Rule::built_in(kind).unwrap_or_default();
        self.kinds.get(kind).copied().unwrap_or_else(built_in)
    }

    /// Whether a channel is of a kind of the application's own that the rules name.
    pub fn is_listed(&self, channel: &Channel) -> bool {
        let kind = channel.kind().word();
        Rule::built_in(kind).is_none() && self.kinds.contains_key(kind)
    }

    /// Where the application is asked.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Why a client that is in a channel may not publish this there; `Ok` if it may, as far as the rules go.
    pub(crate) fn check(
        &self,
        channel: &Channel,
        admin: bool,
        volatile: bool,
        bytes: usize,
    ) -> Result<(), Unfit> {
        let rule = self.of(channel);
        if rule.publish == Publish::Nobody && !admin {
            return Err(Unfit::Nobody);
        }
        match rule.events {
            Events::Volatile if !volatile => return Err(Unfit::Kept),
            Events::Kept if volatile => return Err(Unfit::Volatile),
            Events::Any | Events::Volatile | Events::Kept => {}
        }
        match rule.max_message_bytes {
            Some(most) if bytes > most => Err(Unfit::TooLarge { most }),
            _ => Ok(()),
        }
    }
}

/// Why a client's event does not fit its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Clients publish nothing there.
    Nobody,
    /// It would be kept.
    Kept,
    /// It would not be kept.
    Volatile,
    /// Too much data.
    TooLarge {
        /// Bytes.
        most: usize,
    },
}

#[cfg(test)]
mod tests;
