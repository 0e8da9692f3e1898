//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails is to stop"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a server in a test ends with its runtime"
)]

mod support;

mod accounts;
mod api;
mod matrix;
mod mistakes;
mod notifications;
mod program;
mod refusals;
mod revocation;
mod sse;
mod walk;
mod websocket;
