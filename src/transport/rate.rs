//! How much a connection may send: a bucket that fills by the second.

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

/// Counts messages of one connection.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    filled: Instant,
    over: u32,
}

/// Messages over the rate, one after another, until it is "for long": these many seconds' worth.
const PATIENCE_SECONDS: f64 = 10.0;

impl Rate {
    pub(super) fn new(per_second: usize) -> Self {
        let per_second = f64::from(u32::try_from(per_second).unwrap_or(u32::MAX));
        Self {
            per_second,
            left: per_second,
            filled: Instant::now(),
            over: 0,
        }
    }

    /// Counts one message that came at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        let gained = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        (self.left, self.filled) = ((self.left + gained).min(self.per_second), now);
        if self.left >= 1.0 {
            (self.left, self.over) = (self.left - 1.0, 0);
            return Verdict::Pass;
        }
        self.over += 1;
        if f64::from(self.over) > self.per_second * PATIENCE_SECONDS {
            Verdict::OverForLong
        } else {
            Verdict::Over
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_more_is_over_and_a_second_later_it_passes_again() {
        let mut rate = Rate::new(3);
        let begin = Instant::now();
        assert_eq!(
            [(); 4].map(|()| rate.take(begin)),
            [Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Over]
        );
        let later = begin + Duration::from_secs(2);
        assert_eq!(
            [(); 4].map(|()| rate.take(later)),
            [Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Over]
        );
        for _ in 0..29 {
            assert_eq!(rate.take(later), Verdict::Over);
        }
        assert_eq!(rate.take(later), Verdict::OverForLong);
    }
}
