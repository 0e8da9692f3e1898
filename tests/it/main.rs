//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails is to stop, and what it started ends with it"
)]

mod support;

mod accounts;
mod api;
mod attacks;
mod churn;
mod crash;
mod durability;
mod embed;
mod full_disk;
mod matrix;
mod mistakes;
mod notifications;
mod program;
mod protocol;
mod races;
mod readme;
mod refusals;
mod refused;
mod renewal;
mod resume;
mod resume_model;
mod retention;
mod revocation;
mod slow;
mod sse;
mod tidy;
mod tokens;
mod walk;
mod websocket;
