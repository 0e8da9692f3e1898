//! What one connection has heard of its room: each message once, or which ones not.

use std::collections::BTreeSet;

/// How many missing messages are remembered, to tell one that comes late from one that comes twice. As many are on
/// their way at once as may wait for their answer, so more of them than this are lost.
const MAX_MISSING: u64 = 16_384;

/// The account of one connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// All below this have come, or are missing.
    next: u64,
    missing: BTreeSet<u64>,
    /// Missing, and no longer remembered.
    forgotten: u64,
    /// What has come says that all below this were to come before it.
    settled: u64,
    heard: u64,
    repeated: u64,
    out_of_order: u64,
}

/// What came out of one ledger, or of many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    /// Messages that came, each counted once for each connection.
    pub(super) heard: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) out_of_order: u64,
}

impl Ledger {
    /// Notes a message, and says whether it came for the first time.
    pub(super) fn note(&mut self, number: u64, settled: u64) -> bool {
        if number >= self.next {
            self.miss(self.next, number);
            self.next = number + 1;
        } else if !self.missing.remove(&number) {
            self.repeated += 1;
            return false;
        }
        if number < self.settled {
            self.out_of_order += 1;
        }
        self.settled = self.settled.max(settled);
        self.heard += 1;
        true
    }

    fn miss(&mut self, from: u64, to: u64) {
        let first = from.max(to.saturating_sub(MAX_MISSING));
        self.forgotten += first - from;
        self.missing.extend(first..to);
        while self.missing.len() as u64 > MAX_MISSING {
            self.missing.pop_first();
            self.forgotten += 1;
        }
    }

    /// Closes the account: so many were published to the room, except for those whose publishing failed, of which
    /// nobody knows whether they were said.
    pub(super) fn close(&self, published: u64, failed: &BTreeSet<u64>) -> Totals {
        let never = published.saturating_sub(self.next);
        let excused = failed
            .iter()
            .filter(|number| **number >= self.next || self.missing.contains(number));
        let lost = self.forgotten + self.missing.len() as u64 + never;
        Totals {
            heard: self.heard,
            lost: lost.saturating_sub(excused.count() as u64),
            repeated: self.repeated,
            out_of_order: self.out_of_order,
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.heard += other.heard;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(heard: u64, lost: u64, repeated: u64, out_of_order: u64) -> Totals {
        Totals {
            heard,
            lost,
            repeated,
            out_of_order,
        }
    }

    fn after(messages: &[(u64, u64)], published: u64, failed: &[u64]) -> Totals {
        let mut ledger = Ledger::default();
        for (number, settled) in messages {
            ledger.note(*number, *settled);
        }
        ledger.close(published, &failed.iter().copied().collect())
    }

    #[test]
    fn what_was_under_way_together_may_come_in_any_order() {
        let messages = [(1, 0), (0, 0), (3, 1), (2, 1)];
        assert_eq!(after(&messages, 4, &[]), totals(4, 0, 0, 0));
    }

    #[test]
    fn what_was_answered_before_comes_before() {
        assert_eq!(after(&[(1, 1), (0, 0)], 2, &[]), totals(2, 0, 0, 1));
    }

    #[test]
    fn a_hole_is_lost_and_so_is_a_missing_end() {
        assert_eq!(after(&[(0, 0), (2, 0)], 5, &[]), totals(2, 3, 0, 0));
        assert_eq!(after(&[], 2, &[]), totals(0, 2, 0, 0));
    }

    #[test]
    fn the_second_time_is_a_repetition() {
        let messages = [(0, 0), (0, 0), (2, 0), (1, 0), (1, 0)];
        assert_eq!(after(&messages, 3, &[]), totals(3, 0, 2, 0));
    }

    #[test]
    fn of_what_failed_nobody_knows_whether_it_was_said() {
        let messages = [(0, 0), (2, 0), (3, 0)];
        assert_eq!(after(&messages, 6, &[1, 3, 5]), totals(3, 1, 0, 0));
    }

    #[test]
    fn a_great_hole_takes_no_more_memory() {
        let mut ledger = Ledger::default();
        ledger.note(u64::MAX - 1, 0);
        assert_eq!(ledger.missing.len() as u64, MAX_MISSING);
        let lost = ledger.close(u64::MAX, &BTreeSet::new()).lost;
        assert_eq!(lost, u64::MAX - 1);
    }
}
