//! Why a connection ends: the close code, the word in `disconnect`, and whether to come back.

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The server shuts down.
    Shutdown,
    /// The server failed; the client may resume.
    Internal,
    /// What the connection may see has changed so much that it has to connect anew.
    Restart,
    /// The client did not read fast enough, its outbox is full.
    SlowConsumer,
    /// The client sent more than its rate for long.
    RateLimited,
    /// The client did not answer pings.
    PingTimeout,
    /// The client broke RFC 6455.
    Protocol,
    /// The client sent a binary message.
    Unsupported,
    /// The client sent text that is no UTF-8.
    InvalidText,
    /// The client sent a message over the limit.
    TooLarge,
    /// The session has ended.
    SessionEnded,
    /// The token has ended.
    TokenEnded,
    /// An administrator ended it.
    Removed,
    /// The socket id was taken up by a newer connection.
    Replaced,
}

impl Close {
    /// All of them, for documentation and tests.
    pub const ALL: [Self; 14] = [
        Self::Shutdown,
        Self::Internal,
        Self::Restart,
        Self::SlowConsumer,
        Self::RateLimited,
        Self::PingTimeout,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidText,
        Self::TooLarge,
        Self::SessionEnded,
        Self::TokenEnded,
        Self::Removed,
        Self::Replaced,
    ];

    /// The WebSocket close code (RFC 6455 section 7.4; 44xx is final, 45xx is not).
    pub fn code(self) -> u16 {
        match self {
            Self::Shutdown => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::InvalidText => 1007,
            Self::TooLarge => 1009,
            Self::Internal => 1011,
            Self::Restart => 1012,
            Self::SlowConsumer | Self::RateLimited => 1013,
            Self::SessionEnded | Self::TokenEnded => 4401,
            Self::Removed => 4403,
            Self::Replaced => 4409,
            Self::PingTimeout => 4508,
        }
    }

    /// The word in `disconnect`, and the reason in the close frame.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Internal => "internal-error",
            Self::Restart => "restart",
            Self::SlowConsumer => "slow-consumer",
            Self::RateLimited => "rate-limited",
            Self::PingTimeout => "ping-timeout",
            Self::Protocol => "protocol-error",
            Self::Unsupported => "unsupported-data",
            Self::InvalidText => "invalid-text",
            Self::TooLarge => "too-large",
            Self::SessionEnded => "session-ended",
            Self::TokenEnded => "token-ended",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        }
    }

    /// What a person reads.
    pub fn message(self) -> &'static str {
        match self {
            Self::Shutdown => "The server shuts down. Come back in a moment, with your cursor.",
            Self::Internal => "The server had a problem. Come back with your cursor.",
            Self::Restart => "Your rights have changed. Come back with your cursor.",
            Self::SlowConsumer => "You did not read fast enough. Come back with your cursor.",
            Self::RateLimited => "You sent too much for too long.",
            Self::PingTimeout => "You did not answer pings.",
            Self::Protocol => "That was not the WebSocket protocol.",
            Self::Unsupported => "Only text messages are understood.",
            Self::InvalidText => "That text was not UTF-8.",
            Self::TooLarge => "That message was over the limit.",
            Self::SessionEnded => "Your session has ended. Log in again.",
            Self::TokenEnded => "Your token has ended. Come back with a new one, and your cursor.",
            Self::Removed => "An administrator has ended this connection.",
            Self::Replaced => "A newer connection has taken up this socket id.",
        }
    }

    /// Whether a client should come back by itself.
    pub fn reconnect(self) -> bool {
        matches!(
            self,
            Self::Shutdown
                | Self::Internal
                | Self::Restart
                | Self::SlowConsumer
                | Self::RateLimited
                | Self::PingTimeout
        )
    }
}
