//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails is to stop, and ends with its process"
)]

mod support;

mod churn;
mod crash;
mod durability;
mod embed;
mod full_disk;
mod protocol;
mod races;
mod readme;
mod refused;
mod resume;
mod resume_model;
mod retention;
mod slow;
mod tidy;
mod walk;
