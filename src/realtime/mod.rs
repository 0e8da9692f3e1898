//! Rooms and what goes through them, in memory: no HTTP, no SQL, no await while state changes.
//!
//! In reading order: a [`Channel`] is an address, an [`Event`] is published to it, the [`Registry`] finds the
//! [`Room`](room::Room)s, and each [`Connection`] has an [`Outbox`] that its transport empties, many of them in [`Rounds`].

pub mod channel;
pub mod close;
pub mod connection;
pub mod cursor;
pub mod data;
pub mod event;
pub mod figures;
pub mod outbox;
pub(crate) mod prefetch;
mod presence;
pub mod protocol;
pub mod registry;
mod room;
pub mod rounds;
mod scales;
pub mod user;

pub use channel::Channel;
pub use close::Close;
pub use connection::{Connection, SocketId};
pub use cursor::Cursor;
pub use data::Data;
pub use event::{Event, EventName, Origin};
pub use outbox::Outbox;
pub use presence::Members;
pub use registry::Registry;
pub use rounds::Rounds;
pub use scales::Scales;
pub use user::{User, UserId};
