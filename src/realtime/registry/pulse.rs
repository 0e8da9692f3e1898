//! The pulse: what is told a little later and together, so that a storm of changes is a few messages.
//!
//! It beats at most ten times a second, and only while there is something to tell.

use std::time::Duration;

use tokio::time::Instant;

use super::{Registry, State};

/// The least time between two beats.
pub const PULSE: Duration = Duration::from_millis(100);

impl Registry {
    /// Waits until there is something to tell.
    pub async fn stirs(&self) {
        self.wake.notified().await;
    }

    /// One beat: tells what has gathered. True, if more is to come by itself.
    pub fn pulse(&self, now: Instant) -> bool {
        let mut guard = self.state.lock().unwrap();
        let state = &mut *guard;
        let presence = state.tell_presence(now);
        let counts = state.tell_counts(now);
        state.awake = presence || counts;
        state.awake
    }

    /// Wakes the pulse, if something has gathered and it sleeps.
    pub(super) fn wake_for(&self, state: &mut State) {
        if !state.awake && (state.has_counts_to_tell() || state.has_presence_to_tell()) {
            state.awake = true;
            self.wake.notify_one();
        }
    }
}
