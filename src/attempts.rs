//! Failed logins: counted for each account and address, so that guessing is slow and the owner elsewhere is not locked
//! out; and for each address, so that trying one password on many accounts is slow too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures from one address that are too many, in those that are too many for one account there.
const PER_ADDRESS: usize = 10;
/// Accounts and addresses that are remembered; beyond that the oldest failures are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// Letters of a name that are remembered; no account has a longer one.
const MAX_NAME_CHARS: usize = 64;
/// How often what no longer counts is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Whose failures are counted: those at one account, or at all of them.
type Key = (Option<String>, Option<IpAddr>);

/// The failures of the last 15 minutes.
#[derive(Debug)]
pub(crate) struct Attempts {
    max: usize,
    failed: Mutex<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    failures: HashMap<Key, Failures>,
    swept: Instant,
}

#[derive(Debug)]
struct Failures {
    count: usize,
    until: Instant,
}

impl Attempts {
    /// Allows this many failures of one account from one address.
    pub(crate) fn new(max: usize) -> Self {
        let failed = Remembered {
            failures: HashMap::new(),
            swept: Instant::now(),
        };
        Self {
            max,
            failed: Mutex::new(failed),
        }
    }

    /// Counts a login as failed before its password is looked at, so that a hundred at once are a hundred; refuses
    /// one that is too many. [`Attempts::succeeded`] takes it back.
    pub(crate) fn begin(&self, account: &str, address: Option<IpAddr>) -> Result<(), Error> {
        let now = Instant::now();
        let mut remembered = self.failed.lock().unwrap();
        remembered.make_room(now);
        let failed = &mut remembered.failures;
        let limits = [
            ((Some(key(account)), address), self.max),
            ((None, address), self.max * PER_ADDRESS),
        ];
        for (key, max) in &limits {
            if let Some(failures) = failed
                .get(key)
                .filter(|failures| failures.until > now && failures.count >= *max)
            {
                let retry_after = failures.until.duration_since(now).as_secs() + 1;
                return Err(Error::RateLimited {
                    detail: "Too many failed logins.",
                    retry_after,
                });
            }
        }
        for (key, _) in limits {
            let failures = failed.entry(key).or_insert(Failures {
                count: 0,
                until: now + WINDOW,
            });
            if failures.until <= now {
                *failures = Failures {
                    count: 0,
                    until: now + WINDOW,
                };
            }
            failures.count += 1;
        }
        Ok(())
    }

    /// A login that was begun was none of the failures; the account starts anew there.
    pub(crate) fn succeeded(&self, account: &str, address: Option<IpAddr>) {
        let failed = &mut self.failed.lock().unwrap().failures;
        failed.remove(&(Some(key(account)), address));
        if let Some(failures) = failed.get_mut(&(None, address)) {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

/// An account's name as it is remembered.
fn key(account: &str) -> String {
    account
        .chars()
        .take(MAX_NAME_CHARS)
        .collect::<String>()
        .to_lowercase()
}

impl Remembered {
    fn make_room(&mut self, now: Instant) {
        let full = self.failures.len() >= MAX_REMEMBERED;
        if full || now.duration_since(self.swept) > SWEEP {
            self.swept = now;
            self.failures.retain(|_, failures| failures.until > now);
        }
        if self.failures.len() >= MAX_REMEMBERED {
            let mut ends: Vec<Instant> = self
                .failures
                .values()
                .map(|failures| failures.until)
                .collect();
            let (_, middle, _) = ends.select_nth_unstable(MAX_REMEMBERED / 2);
            let middle = *middle;
            self.failures.retain(|_, failures| failures.until > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_account_is_closed_to_the_address_that_failed_and_to_no_other() {
        let attempts = Attempts::new(3);
        for _ in 0..3 {
            attempts.begin("ada", address(1)).unwrap();
        }
        assert!(matches!(
            attempts.begin("ADA", address(1)),
            Err(Error::RateLimited { .. })
        ));
        assert!(attempts.begin("ada", address(2)).is_ok());
        assert!(attempts.begin("bob", address(1)).is_ok());
    }

    #[test]
    fn a_success_starts_anew() {
        let attempts = Attempts::new(3);
        for _ in 0..100 {
            attempts.begin("ada", address(1)).unwrap();
            attempts.succeeded("ada", address(1));
        }
    }

    #[test]
    fn an_address_that_fails_at_many_accounts_is_refused() {
        let attempts = Attempts::new(3);
        let refused = (0..40)
            .filter(|n| attempts.begin(&format!("u{n}"), address(1)).is_err())
            .count();
        assert_eq!(refused, 10);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::new(1_000_000);
        for n in 0..MAX_REMEMBERED + 10 {
            let _ = attempts.begin(&n.to_string(), None);
        }
        assert!(attempts.failed.lock().unwrap().failures.len() <= MAX_REMEMBERED);
    }
}
