//! A connection: one client on one transport. Its socket id outlives reconnects.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::Outbox;
use super::user::{User, UserId};

/// Names one client across reconnects and transports; never a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct SocketId(Uuid);

impl SocketId {
    /// A new one, for a client that brings none.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// Takes one that a client brought: a UUID in its usual form with dashes, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let id = if text.len() == 36 {
            Uuid::try_parse(text).ok()?
        } else {
            return None;
        };
        (!id.is_nil()).then_some(Self(id))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a login without being able to log in: the hash of the session's id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(pub(crate) Arc<str>);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

/// Names a connection within this process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(super) u64);

impl ConnectionId {
    /// Later connections have larger ones.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Milliseconds to wait before coming back: spread over 1 to 5 seconds, and, where more than that come back, so that
    /// about a thousand do in a second, over 30 seconds at most. A restart is no stampede.
    pub fn retry(self, crowd: usize) -> u64 {
        let span = u64::try_from(crowd)
            .unwrap_or(u64::MAX)
            .clamp(4_000, 29_000);
        // Multiplying by an odd constant spreads neighbouring numbers over the whole range (Fibonacci hashing).
        let spread = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        1_000 + ((spread * span) >> 32)
    }
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-sent events.
    Sse,
    /// Long polling: one answer, and it is gone.
    Poll,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Poll];

    /// As it is called in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Poll => "polling",
        }
    }
}

/// One client on one transport.
#[derive(Debug)]
pub struct Connection {
    /// Its name in the registry.
    pub id: ConnectionId,
    /// Its name outside.
    pub socket: SocketId,
    /// Whose it is; a guest's is nobody's.
    pub user: Option<User>,
    /// Which way its bytes go.
    pub transport: Transport,
    /// Since when.
    pub since: OffsetDateTime,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// Whether kept events go into the outbox as they are published. Not while the connection still reads older
    /// ones from the log: those that come meanwhile it will find there. Changed only under the registry's lock.
    pub(super) live: AtomicBool,
}

impl Connection {
    /// The user's id, where it has one.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.as_ref().map(|user| &user.id)
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}
