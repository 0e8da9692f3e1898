//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails is to stop")]
#![expect(clippy::disallowed_methods, reason = "tests have tasks and clocks of their own")]

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
