//! Metrics: what is counted, under names and with labels that Prometheus recommends. Labels come from closed sets; no
//! channel, user or address is one.
//!
//! What happens is counted here as it happens; [`live`] has what is looked up when somebody asks, and [`process`] what
//! the operating system says of the process. `docs/operations.md` lists them all.

pub(crate) mod latency;
pub(crate) mod live;
mod process;
pub(crate) mod samples;
pub(crate) mod summary;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::realtime::Close;
use crate::realtime::connection::Transport;
use latency::{Counts, Latency};
use live::Live;
pub(crate) use text::CONTENT_TYPE;

/// What one server counts. Two servers in one process count apart.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    refusals: Family<Refused, Counter>,
    opened: Family<Over, Counter>,
    closed: Family<Ended, Counter>,
    overflows: Counter,
    resumes: Family<Resumed, Counter>,
    replayed: Family<Over, Counter>,
    /// In the order of [`Transport::ALL`]: looked up for each write, so nothing is searched.
    delivery: [Latency; Transport::ALL.len()],
    requests: Family<Request, Histogram, Bounds>,
    /// All of them together.
    answered: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: Refusal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Over {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    transport: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resumed {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

/// Why somebody was refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many connections as there may be.
    Connections,
    /// As many connections as the address may have.
    ConnectionsPerIp,
    /// As many connections as the user may have.
    ConnectionsPerUser,
    /// As many connections of TCP as the address may have.
    TcpConnections,
    /// More channels than a connection may have.
    Channels,
    /// A page of an origin that may not use the server.
    Origin,
    /// Nobody is logged in, or the login failed.
    Unauthorized,
    /// The caller may not.
    Forbidden,
    /// Too many failed logins.
    LoginAttempts,
    /// More messages than a connection may send.
    Messages,
    /// More channels joined in a second than a user may.
    Joins,
    /// More logins in a second than an address may try.
    Logins,
    /// More changes in a second, or at once, than a user may make.
    Changes,
    /// More connections opened in a second than an address may.
    Connects,
    /// A body or message over the limit.
    TooLarge,
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode_word(self, encoder)
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode_word(self, encoder)
    }
}

/// `ConnectionsPerIp` as `connections-per-ip`: made of the name, so that there is no second list to forget one in.
fn encode_word(
    name: &impl std::fmt::Debug,
    encoder: &mut LabelValueEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut word = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    EncodeLabelValue::encode(&word, encoder)
}

/// What became of a client that came back with a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It got all that it had missed.
    Recovered,
    /// The log reaches back no longer, or not for this client: it reloads its state.
    Lost,
}

/// Bounds of a histogram, in seconds.
#[derive(Debug, Clone, Copy)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Polls take up to 30 seconds.
const REQUESTS: Bounds = Bounds(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);

impl Metrics {
    /// Nothing has been counted yet.
    pub fn new() -> Self {
        let delivery = Family::default();
        let metrics = Self {
            registry: Registry::default(),
            refusals: Family::default(),
            opened: Family::default(),
            closed: Family::default(),
            overflows: Counter::default(),
            resumes: Family::default(),
            replayed: Family::default(),
            delivery: Transport::ALL
                .map(|transport| delivery.get_or_create_owned(&over(transport))),
            requests: Family::new_with_constructor(REQUESTS),
            answered: AtomicU64::new(0),
        };
        metrics.registered(delivery)
    }

    fn registered(mut self, delivery: Family<Over, Latency>) -> Self {
        let ours = self.registry.sub_registry_with_prefix("roomcast");
        ours.register(
            "refusals",
            "What was refused, by reason",
            self.refusals.clone(),
        );
        ours.register(
            "connections_opened",
            "Client connections that were let in",
            self.opened.clone(),
        );
        ours.register(
            "connections_closed",
            "Client connections that ended, by reason",
            self.closed.clone(),
        );
        ours.register(
            "outbox_overflows",
            "Connections that were closed because too much waited for them",
            self.overflows.clone(),
        );
        ours.register(
            "resumes",
            "Clients that came back with a cursor, by what became of them",
            self.resumes.clone(),
        );
        ours.register(
            "events_replayed",
            "Events sent out of the log to clients that had missed them",
            self.replayed.clone(),
        );
        ours.register(
            "delivery_duration_seconds",
            "Time from an event's commit to its write to a client, of the oldest event of each write",
            delivery,
        );
        self.registry.register(
            "http_request_duration_seconds",
            "Time to the head of the answer, by method, route and status",
            self.requests.clone(),
        );
        // A counter that is not there yet hides its first step from `rate` and `increase`.
        for transport in Transport::ALL.map(over) {
            drop(self.opened.get_or_create(&transport));
            drop(self.replayed.get_or_create(&transport));
            let reason = Close::SlowConsumer.word();
            let Over { transport } = transport;
            drop(self.closed.get_or_create(&Ended { transport, reason }));
        }
        for outcome in [Outcome::Recovered, Outcome::Lost] {
            drop(self.resumes.get_or_create(&Resumed { outcome }));
        }
        self
    }

    /// Counts something that was refused.
    pub fn refuse(&self, reason: Refusal) {
        self.refusals.get_or_create(&Refused { reason }).inc();
    }

    /// Counts a connection that was let in.
    pub(crate) fn opened(&self, transport: Transport) {
        self.opened.get_or_create(&over(transport)).inc();
    }

    /// Counts a connection that has ended: `reason` is the word of a [`Close`], or how it ended without one.
    pub(crate) fn closed(&self, transport: Transport, reason: &'static str) {
        let Over { transport } = over(transport);
        self.closed
            .get_or_create(&Ended { transport, reason })
            .inc();
        if reason == Close::SlowConsumer.word() {
            self.overflows.inc();
        }
    }

    /// Counts a client that came back with a cursor.
    pub(crate) fn resumed(&self, outcome: Outcome) {
        self.resumes.get_or_create(&Resumed { outcome }).inc();
    }

    /// Counts events that were read out of the log for one client.
    pub(crate) fn replayed(&self, transport: Transport, events: usize) {
        let replayed = self.replayed.get_or_create(&over(transport));
        replayed.inc_by(events as u64);
    }

    /// What was told at `told` has been written by `now`.
    pub(crate) fn delivered(&self, transport: Transport, told: Instant, now: Instant) {
        self.delivery[transport.place()].observe(now.saturating_duration_since(told));
    }

    /// How long deliveries have taken, over all transports.
    fn latency(&self) -> Counts {
        let counts = self.delivery.iter().map(Latency::counts);
        counts.fold(Counts::default(), Counts::and)
    }

    /// How many requests have been answered.
    fn requests(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Counts a request that was answered. `route` is the pattern that it matched, never its path.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let request = Request {
            method: known(method),
            route: route.to_owned(),
            status: status.as_u16(),
        };
        let requests = self.requests.get_or_create(&request);
        requests.observe(took.as_secs_f64());
    }

    /// All of it, in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// Never: writing to a string does not fail.
    pub(crate) fn encode(&self, live: &Live) -> Result<String, std::fmt::Error> {
        text::encode([&self.registry, &live.registry(), &process::registry()])
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn over(transport: Transport) -> Over {
    Over {
        transport: transport.word(),
    }
}

/// A method as a label. Anybody may make up others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
