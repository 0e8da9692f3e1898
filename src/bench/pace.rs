//! The pace: when each message is due, and a thread that says so.

use std::sync::Arc;
use std::thread::park_timeout;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How soon a stop is noticed.
const GLANCE: Duration = Duration::from_millis(100);

/// So many messages in a second.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    per_second: u64,
    first: Instant,
    /// As many permits as messages are due and not taken.
    due: Arc<Semaphore>,
}

impl Pace {
    /// Begins now, and goes on for so many messages. With 0 in a second, each is due as soon as somebody has time.
    ///
    /// On a thread of its own, because the runtime's clock has milliseconds, which would all be counted as latency.
    pub(super) fn start(per_second: u64, most: u64, stop: &CancellationToken) -> Self {
        let (first, due) = (Instant::now(), Arc::new(Semaphore::new(0)));
        let pace = Self {
            per_second,
            first,
            due,
        };
        if per_second > 0 {
            let (pace, stop) = (pace.clone(), stop.clone());
            tokio::task::spawn_blocking(move || pace.run(most, &stop));
        }
        pace
    }

    fn run(&self, most: u64, stop: &CancellationToken) {
        let mut given = 0;
        while given < most && !stop.is_cancelled() {
            let wait = self.at(given).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.due.add_permits(1);
                given += 1;
            } else {
                park_timeout(wait.min(GLANCE));
            }
        }
    }

    /// Waits for a message that is due; false, if there is to be none any more.
    pub(super) async fn turn(&self, stop: &CancellationToken) -> bool {
        if self.per_second == 0 {
            return !stop.is_cancelled();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            permit = self.due.acquire() => permit.map(tokio::sync::SemaphorePermit::forget).is_ok(),
        }
    }

    /// When a message is due, by its number among all.
    pub(super) fn at(&self, index: u64) -> Instant {
        let Some(seconds) = index.checked_div(self.per_second) else {
            return Instant::now();
        };
        let nanos = (index % self.per_second) * 1_000_000_000 / self.per_second;
        self.first + Duration::from_secs(seconds) + Duration::from_nanos(nanos)
    }
}
