//! Roomcast: a realtime server with rooms, as a library.
//!
//! Applications change data over HTTP; everyone who should know hears of it at once, over WebSocket, SSE or long
//! polling, and one cursor resumes a client on any of them with nothing lost and nothing twice.
//!
//! Start with [`Roomcast`]: [open](Roomcast::open) it with a [`config::Config`], take its [router](Roomcast::router),
//! give your own routes [its notifications](Roomcast::notifying), and [serve](server::serve) both; at the end
//! [stop](Roomcast::stop) it and [wait](Roomcast::wait). [`notify`] says what a handler does:
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use roomcast::notify::{Notification, Notify, Tx};
//! use roomcast::realtime::Channel;
//! use roomcast::{Roomcast, config::Config, error::Error, server};
//!
//! async fn order(mut tx: Tx, what: String) -> Result<Notify, Error> {
//!     sqlx::query("insert into orders (what) values ($1)").bind(&what).execute(tx.db()).await?;
//!     Ok(Notify::of(Notification::new("new-order", &what).to(Channel::global())))
//! }
//!
//! # async fn run() -> anyhow::Result<()> {
//! let roomcast = Roomcast::open(Config::default()).await?;
//! let routes = roomcast.router().merge(roomcast.notifying(Router::new().route("/orders", post(order))));
//! let listener = server::listen(roomcast.config().listen).await?;
//! server::serve(&roomcast, listener, routes).await;
//! # Ok(()) }
//! ```
//!
//! `examples/embed.rs` is the whole of it; `ARCHITECTURE.md` follows one message from request to browser.

// In reading order.

pub mod app;
pub mod config;
pub mod metrics;
pub mod server;
pub mod telemetry;

pub mod accounts;
pub mod bench;
pub mod dev;
pub mod remote;

mod http;
pub mod notify;
pub mod transport;

mod address;
mod ask;
mod attempts;
pub mod caller;
mod last_seen;
mod limits;
mod origin;
mod password;
mod policy;
pub mod rules;
mod session;
mod timeout;
pub mod token;

pub mod realtime;

pub mod log;
pub mod store;

pub mod error;

// Not in any build but the tests' own and `fuzz/`'s.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use app::Roomcast;
