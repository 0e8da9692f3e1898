//! How long deliveries take: a histogram of atomics. Each write to a client counts in it, so nothing is locked.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Bounds in seconds, from what a local network shows to what nobody waits for; the last bucket has no end.
const BOUNDS: [f64; 15] = [
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    f64::MAX,
];

/// How many deliveries took how long. A clone counts in the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latency(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    buckets: [AtomicU64; BOUNDS.len()],
    nanos: AtomicU64,
}

/// What a [`Latency`] had counted at one moment, or between two of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; BOUNDS.len()]);

impl Latency {
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound);
        let at = at.unwrap_or(BOUNDS.len() - 1);
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|at| {
            self.0.buckets[at].load(Ordering::Relaxed)
        }))
    }
}

impl Counts {
    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self(std::array::from_fn(|at| {
            self.0[at].saturating_sub(earlier.0[at])
        }))
    }

    /// The time in seconds within which this part of all was delivered, as exact as the bounds are; nothing, where
    /// nothing was. What took longer than the last bound counts as that.
    pub(crate) fn quantile(self, part: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = (all as f64 * part).max(1.0);
        let mut below = 0.0;
        for (at, count) in self.0.into_iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                let from = if at == 0 { 0.0 } else { BOUNDS[at - 1] };
                let to = BOUNDS[at.min(BOUNDS.len() - 2)];
                return Some(from + (to - from) * ((wanted - below) / count));
            }
            below += count;
        }
        Some(BOUNDS[BOUNDS.len() - 2])
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let counts = self.counts();
        let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().zip(counts.0).collect();
        let seconds = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(seconds, counts.0.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let latency = Latency::default();
        assert_eq!(latency.counts().quantile(0.99), None);
        let before = latency.counts();
        for _ in 0..98 {
            latency.observe(Duration::from_micros(800));
        }
        latency.observe(Duration::from_millis(40));
        latency.observe(Duration::from_secs(60));
        let counts = latency.counts().since(before);
        let median = counts.quantile(0.5).unwrap();
        assert!((0.0005..=0.001).contains(&median), "{median}");
        let high = counts.quantile(0.99).unwrap();
        assert!((0.025..=0.05).contains(&high), "{high}");
        // Beyond the bounds nothing is made up.
        assert_eq!(counts.quantile(1.0), Some(10.0));
        assert_eq!(latency.counts().since(latency.counts()).quantile(0.5), None);
    }
}
