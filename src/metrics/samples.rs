//! Samples: how the server was in each of the last seconds, for charts. Who opens one sees the past at once, and then
//! each new sample as an event.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Metrics;
use super::latency::Counts;
use super::process::Usage;
use crate::realtime::figures::Figures;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::{Channel, Data, Event, EventName, Registry};

/// How often one is taken.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// How many are remembered: ten minutes.
const KEPT: usize = 600;
/// Where each is told. A channel of the kind `server`, which nobody but administrators may join unless rules or a token
/// say so.
const CHANNEL: &str = "server:metrics";

/// How the server was in one second. What is by the second is of the time since the sample before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    #[schema(format = DateTime)]
    time: String,
    /// Cores that were busy with it: 0.5 is half of one. Nothing where the system does not tell.
    #[schema(required)]
    cpu: Option<f64>,
    /// Resident memory. Nothing where the system does not tell.
    #[schema(required)]
    memory_bytes: Option<u64>,
    connections: u64,
    users: u64,
    rooms: u64,
    /// HTTP requests that were answered in a second.
    requests: f64,
    /// Events that were told in a second,
    published: f64,
    /// and how often each second one of them was put into a connection's outbox.
    delivered: f64,
    /// Milliseconds from an event's commit to its write to a client: of half of them at most this,
    #[schema(required)]
    latency_p50: Option<f64>,
    /// and of 99 in a hundred. Nothing, where nothing was delivered.
    #[schema(required)]
    latency_p99: Option<f64>,
}

/// The last ten minutes.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<VecDeque<Sample>>);

/// What a sample is the difference of.
struct Counted {
    at: Instant,
    figures: Figures,
    requests: u64,
    latency: Counts,
    usage: Option<Usage>,
}

impl Samples {
    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<Sample> {
        let samples = self.0.lock().unwrap();
        samples.iter().cloned().collect()
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Takes one each second, and tells whoever listens, until the shutdown begins.
    pub(crate) async fn take(
        &self,
        registry: &Registry,
        metrics: &Metrics,
        stopping: &CancellationToken,
    ) {
        let (Ok(channel), Ok(name)) = (CHANNEL.parse::<Channel>(), "metrics".parse::<EventName>())
        else {
            return;
        };
        let mut clock = interval(PAUSE);
        // After a pause of the whole process the next is a second later, not many at once.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Counted::now(registry, metrics);
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = stopping.cancelled() => return,
            }
            let now = Counted::now(registry, metrics);
            // The first tick comes at once, and has no time behind it.
            if now.at.duration_since(last.at) < PAUSE / 2 {
                continue;
            }
            let time = OffsetDateTime::now_utc();
            let sample = Sample::between(&last, &now, time);
            // To nobody it is not told, so that a server that does nothing counts nothing.
            if registry.has_members(&channel) {
                registry.publish(&Event {
                    channels: [channel.clone()].into(),
                    name: name.clone(),
                    data: Data::from_value(&sample),
                    origin: None,
                    by: None,
                    except: [].into(),
                    time,
                    position: None,
                });
            }
            self.push(sample);
            last = now;
        }
    }
}

impl Counted {
    fn now(registry: &Registry, metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            figures: registry.figures(),
            requests: metrics.requests(),
            latency: metrics.latency(),
            usage: Usage::now(),
        }
    }
}

impl Sample {
    fn between(last: &Counted, now: &Counted, time: OffsetDateTime) -> Self {
        let seconds = now.at.duration_since(last.at).as_secs_f64();
        let per_second =
            |before: u64, now: u64| rounded(now.saturating_sub(before) as f64 / seconds, 10.0);
        let published = |figures: &Figures| figures.kept + figures.volatile;
        let delivered = |figures: &Figures| figures.delivered.iter().sum();
        let cpu = last.usage.as_ref().zip(now.usage.as_ref());
        let cpu = cpu.map(|(before, now)| (now.cpu_seconds - before.cpu_seconds).max(0.0));
        let latency = now.latency.since(last.latency);
        let millis = |part| {
            let seconds = latency.quantile(part)?;
            Some(rounded(seconds * 1_000.0, 1_000.0))
        };
        Self {
            time: timestamp(time),
            cpu: cpu.map(|cpu| rounded(cpu / seconds, 1_000.0)),
            memory_bytes: now.usage.as_ref().map(|usage| usage.resident_bytes),
            connections: now.figures.connections.iter().sum(),
            users: now.figures.users,
            rooms: now.figures.rooms.iter().sum(),
            requests: per_second(last.requests, now.requests),
            published: per_second(published(&last.figures), published(&now.figures)),
            delivered: per_second(delivered(&last.figures), delivered(&now.figures)),
            latency_p50: millis(0.5),
            latency_p99: millis(0.99),
        }
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_ten_minutes() {
        let metrics = Metrics::new();
        let at = Instant::now();
        let counted = |at| Counted {
            at,
            figures: Figures::default(),
            requests: 0,
            latency: metrics.latency(),
            usage: None,
        };
        let samples = Samples::default();
        for second in 0..=KEPT {
            let later = OffsetDateTime::UNIX_EPOCH + PAUSE * u32::try_from(second).unwrap();
            samples.push(Sample::between(&counted(at), &counted(at + PAUSE), later));
        }
        let all = samples.all();
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].time, "1970-01-01T00:00:01.000Z");
        assert_eq!((all[0].cpu, all[0].latency_p99), (None, None));
    }
}
