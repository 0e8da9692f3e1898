//! Figures: how many there are of what, for whoever watches the server. They are kept where they change: to count a
//! hundred thousand connections anew would keep everybody waiting.

use super::channel::Kind;
use super::connection::Transport;

/// The kinds of rooms that figures tell apart. All of an application's own are `context`: names that an application
/// makes up are no closed set.
pub const KINDS: [&str; 6] = ["global", "admin", "user", "group", "presence", "context"];

/// How many there are of what in one registry, and what it has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections, in the order of [`Transport::ALL`].
    pub connections: [u64; Transport::ALL.len()],
    /// Users who have a connection.
    pub users: u64,
    /// Rooms with somebody in them, in the order of [`KINDS`].
    pub rooms: [u64; KINDS.len()],
    /// Places in them that are taken, in the order of [`KINDS`].
    pub memberships: [u64; KINDS.len()],
    /// Kept events that were told.
    pub kept: u64,
    /// Volatile events that were told.
    pub volatile: u64,
    /// Events put into outboxes as they were told, in the order of [`Transport::ALL`].
    pub delivered: [u64; Transport::ALL.len()],
}

impl Transport {
    /// Its place in [`Transport::ALL`].
    pub fn place(self) -> usize {
        match self {
            Self::WebSocket => 0,
            Self::Sse => 1,
            Self::Poll => 2,
        }
    }
}

impl Kind<'_> {
    /// Its place in [`KINDS`].
    pub(super) fn place(self) -> usize {
        match self {
            Self::Global => 0,
            Self::Admin => 1,
            Self::User(_) => 2,
            Self::Group(_) => 3,
            Self::Presence(_) => 4,
            // Nobody joins a socket's channel.
            Self::Context { .. } | Self::Socket(_) => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::Channel;

    #[test]
    fn every_place_has_its_name() {
        for (place, transport) in Transport::ALL.into_iter().enumerate() {
            assert_eq!(transport.place(), place);
        }
        for (name, expected) in [
            ("global", "global"),
            ("admin", "admin"),
            ("user:7", "user"),
            ("group:7", "group"),
            ("presence:document:7", "presence"),
            ("document:7", "context"),
        ] {
            let channel: Channel = name.parse().unwrap();
            assert_eq!(KINDS[channel.kind().place()], expected);
        }
    }
}
