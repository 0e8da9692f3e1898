//! What all connections note together while they run: how many there are, what has come, and how late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Connections share a few histograms, so that they rarely wait for one another and none has one of its own.
const SHARDS: usize = 16;
/// What is later than an hour is an hour late.
const LATEST: u64 = 3_600_000_000;

/// Counts and latencies of a run.
#[derive(Debug)]
pub(super) struct Tally {
    opened: AtomicU64,
    closed: AtomicU64,
    published: AtomicU64,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug)]
struct Shard {
    /// In microseconds.
    latencies: Histogram<u64>,
    /// When the last one came, since the run began.
    last: Duration,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        let shards = (0..SHARDS).map(|_| -> anyhow::Result<_> {
            let (latencies, last) = (histogram()?, Duration::ZERO);
            Ok(Mutex::new(Shard { latencies, last }))
        });
        Ok(Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            published: AtomicU64::new(0),
            shards: shards.collect::<anyhow::Result<_>>()?,
        })
    }

    pub(super) fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// A message has come, to this connection, at this time, that was due at that time.
    pub(super) fn hear(&self, connection: usize, now: Duration, due: Duration) {
        let late = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(LATEST);
        let mut shard = self.shards[connection % SHARDS].lock().unwrap();
        shard.latencies.saturating_record(late);
        shard.last = shard.last.max(now);
    }

    /// How many have come.
    pub(super) fn heard(&self) -> u64 {
        let counts = self.shards.iter();
        counts
            .map(|shard| shard.lock().unwrap().latencies.len())
            .sum()
    }

    /// When the last one came.
    pub(super) fn last(&self) -> Duration {
        let times = self.shards.iter().map(|shard| shard.lock().unwrap().last);
        times.max().unwrap_or_default()
    }

    /// All latencies, in microseconds.
    pub(super) fn latencies(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = histogram()?;
        for shard in &self.shards {
            all.add(&shard.lock().unwrap().latencies)?;
        }
        Ok(all)
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATEST, 3)?)
}
