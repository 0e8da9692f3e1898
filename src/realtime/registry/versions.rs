//! Versions of rights: they count moves, because rights that were looked up before one may no longer be so.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::realtime::UserId;

/// Users share counters, so that they take the same room however many there are; who shares one looks rights up again
/// without need now and then.
const COUNTERS: usize = 1_024;

/// How often rights have changed.
#[derive(Debug)]
pub(super) struct Versions {
    of_users: Box<[u64; COUNTERS]>,
    of_all: u64,
    moves: u64,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            of_users: Box::new([0; COUNTERS]),
            of_all: 0,
            moves: 0,
        }
    }
}

impl Versions {
    /// The version of somebody's rights; it never comes again once they have changed.
    pub(super) fn of(&self, user: Option<&UserId>) -> u64 {
        self.of_all + user.map_or(0, |user| self.of_users[counter(user)])
    }

    /// How many moves there have been, whoever's.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// A user's rights have changed; nobody in particular's, everybody's.
    pub(super) fn count(&mut self, user: Option<&UserId>) {
        self.moves += 1;
        match user {
            Some(user) => self.of_users[counter(user)] += 1,
            None => self.of_all += 1,
        }
    }
}

fn counter(user: &UserId) -> usize {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    // Less than the number of counters.
    (hasher.finish() % COUNTERS as u64) as usize
}
