//! Transports: how a connection's outbox becomes bytes, and a client's bytes become commands.
//!
//! [`admit`] says whether somebody may join a channel; [`connect`] lets a client in, whichever transport it uses;
//! [`feed`] is what it is to be sent, in order; [`ws`], [`sse`] and [`poll`] send it. [`upgrade`] turns a request into a
//! WebSocket, [`command`] carries out
//! what comes over it, and [`rate`] and [`fragments`] bound how much that is.

mod admit;
mod command;
pub(crate) mod connect;
mod feed;
mod fragments;
pub(crate) mod poll;
mod rate;
pub(crate) mod sse;
pub(crate) mod upgrade;
mod ws;
