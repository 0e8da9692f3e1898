//! The server from outside, one module per promise. Real clients, real sockets, port 0, no sleeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails is to stop, and what it started ends with it"
)]

mod support;

mod accounts;
mod admin;
mod api;
mod asking;
mod asyncapi;
mod attacks;
mod bench;
mod chat;
mod churn;
mod config;
mod conformance;
mod cors;
mod crash;
mod crowd;
mod dependencies;
mod description;
mod documents;
mod doors;
mod durability;
mod embed;
mod frames;
mod full_disk;
mod health;
mod history;
mod limits;
mod logs;
mod matrix;
mod mistakes;
mod notifications;
mod observe;
mod page;
mod pages;
mod poll;
mod power;
mod presence;
mod program;
mod protocol;
mod proxies;
mod publish;
mod races;
mod readme;
mod refusals;
mod refused;
mod remote;
mod renewal;
mod replace;
mod restart;
mod resume;
mod resume_model;
mod retention;
mod revocation;
mod rules;
mod schedule;
mod slow;
mod sse;
mod stalled;
mod storm;
mod systemd;
mod tidy;
mod tls;
mod tokens;
#[cfg(feature = "otel")]
mod traces;
mod turns;
mod unfinished;
mod walk;
mod websocket;
