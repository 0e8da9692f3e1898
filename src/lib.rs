//! Roomcast: a realtime server with rooms, as a library.
//!
//! Applications change data over HTTP; everyone who should know hears of it at once, over WebSocket or SSE, and one
//! cursor resumes a client on either with nothing lost and nothing twice. `examples/embed.rs` shows it inside another
//! axum application; `ARCHITECTURE.md` follows one message from request to browser. In reading order:

pub mod config;
pub mod app;
pub mod server;
mod socket;
pub mod telemetry;

pub mod accounts;
pub mod dev;

mod http;
pub mod notify;
mod transport;

pub mod caller;
mod origin;
mod password;
mod policy;
mod session;

pub mod realtime;

pub mod log;
pub mod store;

pub mod error;

pub use app::Roomcast;
