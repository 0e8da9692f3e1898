//! What came out of a run, as numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::crowd::Account;
use super::figures::{Figures, Here};
use super::limit::{Limit, Seen};
use crate::config::Load;

/// What is heard later than this after the last answer was not keeping up.
const SOON: Duration = Duration::from_secs(1);
/// The part of what was asked for that is held to be all of it: the last messages may be due as the time ends.
const ALL: f64 = 0.99;

/// All that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub(super) connections: usize,
    pub(super) rooms: usize,
    pub(super) transport: &'static str,
    pub(super) kept: bool,
    pub(super) bytes: usize,
    pub(super) connects_per_second: f64,
    /// How many messages were asked for; nothing, if as many as possible.
    pub(super) asked: Option<u64>,
    pub(super) published: u64,
    pub(super) publish_seconds: f64,
    pub(super) published_per_second: f64,
    pub(super) deliveries: u64,
    pub(super) deliveries_per_second: f64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) out_of_order: u64,
    pub(super) closed: u64,
    /// Why, and how many of each.
    pub(super) closed_because: BTreeMap<String, u64>,
    pub(super) latency_ms: Latency,
    pub(super) generator: Option<Usage>,
    pub(super) server: Option<ServerUsage>,
    pub(super) limit: &'static str,
    pub(super) limit_says: String,
    /// Why publishing ended before its time.
    pub(super) failure: Option<String>,
}

/// From when a message was due to when it was heard.
#[derive(Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// What a process took while messages were published and heard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) cores: f64,
}

/// What the server's process took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerUsage {
    #[serde(flatten)]
    pub(super) cpu: Usage,
    pub(super) cpu_micros_per_delivery: Option<f64>,
    /// What memory grew by while they were opened; less than nothing, where it had some to spare.
    pub(super) bytes_per_connection: f64,
}

/// What was noted on the way.
pub(super) struct Noted {
    /// From the first connection to the last.
    pub(super) opening: Duration,
    /// From the first message to the last answer.
    pub(super) publishing: Duration,
    /// From the first message to the last time that one was heard.
    pub(super) hearing: Duration,
    /// From the first message to the last figures.
    pub(super) measured: Duration,
    pub(super) published: u64,
    pub(super) account: Account,
    pub(super) latencies: Histogram<u64>,
    pub(super) failure: Option<String>,
    /// Before and after the messages.
    pub(super) here: Option<(Here, Here)>,
    /// Before the connections, before the messages, and after.
    pub(super) server: Option<[Figures; 3]>,
    pub(super) available: f64,
    pub(super) is_here: bool,
}

impl Report {
    pub(super) fn new(load: &Load, noted: Noted) -> Self {
        let totals = noted.account.totals;
        let (asked, published) = (load.asked(), noted.published);
        let measured = noted.measured.as_secs_f64();
        let usage = |cpu_seconds: f64| Usage {
            cpu_seconds: rounded(cpu_seconds),
            cores: per(cpu_seconds, measured),
        };
        let here = noted.here;
        let generator = here.map(|(before, after)| usage(after.own - before.own));
        let server = noted.server.map(|[first, before, after]| ServerUsage {
            cpu: usage(after.cpu - before.cpu),
            cpu_micros_per_delivery: (totals.heard > 0)
                .then(|| rounded((after.cpu - before.cpu) * 1e6 / totals.heard as f64)),
            bytes_per_connection: rounded((before.memory - first.memory) / load.connections as f64),
        });
        // Whoever ends it early has asked for no more than was due by then.
        let due = asked.map(|asked| {
            let by_then = load.rate as f64 * noted.publishing.as_secs_f64();
            by_then.min(asked as f64)
        });
        let all = due.is_some_and(|due| published as f64 >= ALL * due);
        let limit = Limit::of(&Seen {
            held: all && noted.hearing <= noted.publishing + SOON,
            failed: noted.failure.is_some(),
            own: generator.as_ref().map(|usage| usage.cores),
            server: server.as_ref().map(|server| server.cpu.cores),
            available: noted.available,
            machine: here.map(|(before, after)| after.busy_since(before)),
            is_here: noted.is_here,
        });
        Self {
            connections: load.connections,
            rooms: load.rooms,
            transport: load.transport.word(),
            kept: load.kept,
            bytes: load.bytes,
            connects_per_second: per(load.connections as f64, noted.opening.as_secs_f64()),
            asked,
            published,
            publish_seconds: rounded(noted.publishing.as_secs_f64()),
            published_per_second: per(published as f64, noted.publishing.as_secs_f64()),
            deliveries: totals.heard,
            deliveries_per_second: per(totals.heard as f64, noted.hearing.as_secs_f64()),
            lost: totals.lost,
            repeated: totals.repeated,
            out_of_order: totals.out_of_order,
            closed: noted.account.closed.values().sum(),
            closed_because: noted.account.closed,
            latency_ms: Latency::of(&noted.latencies),
            generator,
            server,
            limit: limit.word(),
            limit_says: limit.to_string(),
            failure: noted.failure,
        }
    }

    /// Whether everything that was published came to everybody, once and in order, and nobody was sent away.
    pub fn is_clean(&self) -> bool {
        let wrong = self.lost + self.repeated + self.out_of_order + self.closed;
        wrong == 0 && self.failure.is_none()
    }

    /// One object of JSON.
    pub fn json(&self) -> String {
        // Numbers and texts alone: there is nothing in it that cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros.max() as f64 / 1e3,
        }
    }
}

fn per(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        rounded(count / seconds)
    } else {
        0.0
    }
}

/// To a thousandth: no more was measured.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
