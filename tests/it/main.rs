//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails is to stop")]

mod support;

mod churn;
mod crash;
mod durability;
mod full_disk;
mod races;
mod refused;
mod resume;
mod resume_model;
mod retention;
mod slow;
mod walk;
