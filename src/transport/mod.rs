//! Transports: how a connection's outbox becomes bytes, and a client's bytes become commands.
//!
//! [`admit`] says whether somebody may join a channel; [`connect`] lets a client in, whichever transport it uses;
//! [`feed`] is what it is to be sent, in order; [`ws`], [`sse`] with [`stream`], and [`poll`] send it, over a [`line`]
//! where they can. [`upgrade`] turns a request into a WebSocket, [`socket`] is its frames, [`ahead`] what is read of
//! them before there is room, [`command`] carries out what comes over it, [`join`] lets it into one more channel,
//! [`renew`] takes a new token, and [`rate`] and [`fragments`] bound how much that is. [`term`] is how long who came
//! with a token may stay. [`shapes`] tells the description what all that looks like.

mod admit;
mod ahead;
mod command;
pub(crate) mod connect;
mod feed;
mod fragments;
mod join;
mod line;
pub(crate) mod poll;
mod rate;
mod renew;
pub(crate) mod shapes;
pub mod socket;
pub(crate) mod sse;
pub(crate) mod stream;
mod term;
pub(crate) mod upgrade;
mod ws;

pub use upgrade::handshake;
