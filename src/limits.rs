//! How much one user or address may ask for: by the second, and at once. What is over is refused before it costs
//! anything, and who is not over is not kept waiting by who is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::{Duration, Instant};

use crate::config::Config;
use crate::realtime::UserId;

/// What comes at once, in seconds' worth: a page that joins all its channels is no attack.
const BURST_SECONDS: usize = 10;
/// Changes of one user that are under way or wait at once. Many more would keep everybody else's from their turn.
const CHANGES_AT_ONCE: usize = 256;
/// Connects in a second, where an address may have very few connections.
const MIN_CONNECTS: usize = 50;
/// When so many are remembered, those who have not come for a while are forgotten.
const MAX_REMEMBERED: usize = 100_000;
/// How often it is looked whom to forget.
const SWEEP: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Somebody who is logged in, from wherever.
    User(UserId),
    /// Somebody of whom nothing else is known.
    Address(IpAddr),
}

/// All limits of one server.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Channels joined, of a user.
    pub(crate) joins: PerSecond,
    /// Logins and registrations, of an address.
    pub(crate) logins: PerSecond,
    /// Changes over HTTP, of a user, or of an address without one.
    pub(crate) changes: PerSecond,
    /// The same, under way at once.
    pub(crate) changing: AtOnce,
    /// Sockets and streams that are opened, of an address.
    pub(crate) connects: PerSecond,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let per_address = config.max_connections_per_ip;
        Self {
            joins: PerSecond::new(config.joins_per_second, BURST_SECONDS),
            logins: PerSecond::new(config.logins_per_second, BURST_SECONDS),
            changes: PerSecond::new(config.changes_per_second, BURST_SECONDS),
            changing: AtOnce::new(CHANGES_AT_ONCE),
            // All that an address may have, twice over, and half of them again each second.
            connects: PerSecond::new((per_address / 2).max(MIN_CONNECTS), 4),
        }
    }
}

/// So much in a second, and some seconds' worth at once.
#[derive(Debug)]
pub(crate) struct PerSecond {
    limiter: RateLimiter<Who, HashMapStateStore<Who>, DefaultClock>,
    swept: Mutex<Instant>,
}

impl PerSecond {
    fn new(per_second: usize, burst_seconds: usize) -> Self {
        let number = |number: usize| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
        };
        let quota = Quota::per_second(number(per_second))
            .allow_burst(number(per_second.saturating_mul(burst_seconds)));
        Self {
            limiter: RateLimiter::hashmap(quota),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Counts one. An error says in how many seconds there may be another one.
    pub(crate) fn take(&self, who: &Who) -> Result<(), u64> {
        self.forget();
        self.limiter.check_key(who).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            wait.as_secs() + 1
        })
    }

    fn forget(&self) {
        if self.limiter.len() >= MAX_REMEMBERED {
            let mut swept = self.swept.lock().unwrap();
            if swept.elapsed() < SWEEP {
                return;
            }
            *swept = Instant::now();
            self.limiter.retain_recent();
        }
    }
}

/// So much at once.
#[derive(Debug, Clone)]
pub(crate) struct AtOnce(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    max: usize,
    open: Mutex<HashMap<Who, usize>>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: AtOnce,
    who: Who,
}

impl AtOnce {
    pub(crate) fn new(max: usize) -> Self {
        let open = Mutex::default();
        Self(Arc::new(Counted { max, open }))
    }

    /// One more place; nothing, if all are taken.
    pub(crate) fn take(&self, who: Who) -> Option<Place> {
        let mut open = self.0.open.lock().unwrap();
        let count = open.entry(who.clone()).or_default();
        if *count >= self.0.max {
            return None;
        }
        *count += 1;
        Some(Place {
            of: self.clone(),
            who,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.0.open.lock().unwrap();
        if let Some(count) = open.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Who {
        Who::Address(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn some_seconds_worth_pass_at_once_and_then_no_more() {
        let limit = PerSecond::new(2, 3);
        let passed = (0..10).filter(|_| limit.take(&address(1)).is_ok()).count();
        assert_eq!(passed, 6);
        assert_eq!(limit.take(&address(1)), Err(1));
        assert_eq!(limit.take(&address(2)), Ok(()));
    }

    #[test]
    fn a_place_comes_back_and_who_has_none_is_forgotten() {
        let limit = AtOnce::new(2);
        let places: Vec<_> = (0..5).map(|_| limit.take(address(1))).collect();
        assert_eq!(places.iter().flatten().count(), 2);
        assert!(limit.take(address(2)).is_some());
        drop(places);
        assert!(limit.take(address(1)).is_some());
        assert!(limit.0.open.lock().unwrap().is_empty());
    }
}
