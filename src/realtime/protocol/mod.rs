//! What goes over the wire: [`client`] frames come in, [`server`] frames go out, one JSON object each,
//! which [`stream`] puts into event streams.

pub mod client;
pub mod server;
pub mod stream;

pub use client::{ClientFrame, Command, CommandId, Rejection};
pub use server::Frame;
pub(in crate::realtime) use server::Newest;
pub use stream::Format;

/// Why a command was not carried out. The connection stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Not an object of the protocol.
    InvalidMessage,
    /// Not a channel name.
    InvalidChannel,
    /// Not an event name, or one that clients may not publish.
    InvalidEvent,
    /// No such command.
    UnknownType,
    /// Only for somebody who is logged in, or not with that token.
    Unauthorized,
    /// Not allowed.
    Forbidden,
    /// Publishing needs a join first.
    NotJoined,
    /// The connection is in as many channels as it may be.
    TooManyChannels,
    /// Over a limit in bytes.
    TooLarge,
    /// Over the connection's rate.
    RateLimited,
    /// The server cannot do it now.
    Unavailable,
}

impl ErrorCode {
    /// All of them, for documentation and tests.
    pub const ALL: [Self; 11] = [
        Self::InvalidMessage,
        Self::InvalidChannel,
        Self::InvalidEvent,
        Self::UnknownType,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotJoined,
        Self::TooManyChannels,
        Self::TooLarge,
        Self::RateLimited,
        Self::Unavailable,
    ];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid-message",
            Self::InvalidChannel => "invalid-channel",
            Self::InvalidEvent => "invalid-event",
            Self::UnknownType => "unknown-type",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotJoined => "not-joined",
            Self::TooManyChannels => "too-many-channels",
            Self::TooLarge => "too-large",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
        }
    }
}
