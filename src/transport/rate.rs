//! How much a connection may send: a bucket that fills by the second.

use std::time::Duration;

use tokio::time::Instant;

/// What to do with one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is within the rate.
    Pass,
    /// It is over.
    Over,
    /// It has been over for so long that the connection ends.
    OverForLong,
}

/// How long a connection may be over its rate, now and then or always, until it has been within it for a while.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds' worth of messages over the rate that end it sooner.
const PATIENCE_SECONDS: f64 = 100.0;

/// Counts messages of one connection.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    filled: Instant,
    /// Since when it is over, and by how many messages; forgotten when the bucket has been full again.
    over: Option<(Instant, f64)>,
}

impl Rate {
    pub(super) fn new(per_second: usize) -> Self {
        let per_second = f64::from(u32::try_from(per_second).unwrap_or(u32::MAX));
        Self {
            per_second,
            left: per_second,
            filled: Instant::now(),
            over: None,
        }
    }

    /// Counts one message that came at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        let gained = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        (self.left, self.filled) = ((self.left + gained).min(self.per_second), now);
        if self.left >= self.per_second {
            self.over = None;
        }
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Verdict::Pass;
        }
        let (since, count) = self.over.get_or_insert((now, 0.0));
        *count += 1.0;
        let for_long =
            now.duration_since(*since) > PATIENCE || *count > self.per_second * PATIENCE_SECONDS;
        if for_long {
            Verdict::OverForLong
        } else {
            Verdict::Over
        }
    }

    /// Counts further messages for one that is more work than others. It has passed already; what comes next waits.
    pub(super) fn charge(&mut self, messages: f64) {
        self.left -= messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts<const N: usize>(rate: &mut Rate, at: Instant) -> [Verdict; N] {
        [(); N].map(|()| rate.take(at))
    }

    #[test]
    fn a_burst_passes_more_is_over_and_a_second_later_it_passes_again() {
        let mut rate = Rate::new(3);
        let begin = Instant::now();
        let expected = [Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Over];
        assert_eq!(verdicts(&mut rate, begin), expected);
        assert_eq!(
            verdicts(&mut rate, begin + Duration::from_secs(2)),
            expected
        );
    }

    #[test]
    fn a_little_too_much_all_the_time_is_too_much_for_long() {
        let mut rate = Rate::new(50);
        let begin = Instant::now();
        let sent = |n: u64| begin + Duration::from_millis(16 * n);
        let ended = (0..10_000).find(|n| rate.take(sent(*n)) == Verdict::OverForLong);
        let after = ended.map(|n| sent(n).duration_since(begin).as_secs());
        assert!(
            after.is_some_and(|seconds| (10..20).contains(&seconds)),
            "{after:?}"
        );
    }

    #[test]
    fn who_keeps_to_the_rate_after_a_burst_is_forgiven() {
        let mut rate = Rate::new(10);
        let begin = Instant::now();
        for minute in 0..10 {
            let at = begin + Duration::from_secs(60 * minute);
            for _ in 0..500 {
                assert_ne!(rate.take(at), Verdict::OverForLong);
            }
        }
    }

    #[test]
    fn what_is_more_work_is_paid_for_by_what_comes_next() {
        let now = Instant::now();
        let mut rate = Rate::new(10);
        assert_eq!(rate.take(now), Verdict::Pass);
        rate.charge(19.0);
        assert_eq!(rate.take(now), Verdict::Over);
        let later = now + Duration::from_millis(1_050);
        assert_eq!(rate.take(later), Verdict::Over);
        let later = now + Duration::from_millis(1_150);
        assert_eq!(rate.take(later), Verdict::Pass);
    }

    #[test]
    fn a_flood_ends_soon() {
        let mut rate = Rate::new(3);
        let begin = Instant::now();
        assert!((0..400).any(|_| rate.take(begin) == Verdict::OverForLong));
    }
}
