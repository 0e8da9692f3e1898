//! Rounds: who has something to be sent is gathered, and one task goes from one to the next. To wake a task for each of
//! many would cost more than to send.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::prefetch::prefetch;
use super::protocol::Frame;

/// After so many others have their turn: requests, and whoever is read from.
const SLICE: usize = 32;
/// What is kept of the room for frames from one to the next; more than that only a burst has needed.
const KEPT_FRAMES: usize = 64;

/// Somebody who can be sent to at once, without waiting.
pub trait Reader: Debug + Send + Sync {
    /// Sends what waits. `frames` is empty before and after; it is there so that nobody has to allocate.
    fn serve(&self, frames: &mut VecDeque<Frame>);

    /// Has fetched what it refers to, since it is served next.
    fn approach(&self) {}

    /// Ends: serving it failed in a way that it must not.
    fn fail(&self);
}

/// Those to whom something is to be sent in the next round.
#[derive(Debug, Default)]
pub struct Rounds {
    waiting: Mutex<Vec<Arc<dyn Reader>>>,
    rung: Notify,
}

impl Rounds {
    /// Puts somebody on the list. Each is on it once: who fills an empty outbox rings.
    pub(super) fn add(&self, reader: Arc<dyn Reader>) {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.push(reader);
        if waiting.len() == 1 {
            self.rung.notify_one();
        }
    }

    /// Goes round for ever.
    pub async fn go(&self) {
        let (mut turn, mut frames) = (Vec::new(), VecDeque::new());
        loop {
            std::mem::swap(&mut turn, &mut *self.waiting.lock().unwrap());
            if turn.is_empty() {
                self.rung.notified().await;
                continue;
            }
            let (mut rest, mut served) = (turn.drain(..), 0);
            while let Some(reader) = rest.next() {
                look_ahead(rest.as_slice());
                // Whoever makes it stumble is not to take the others with it.
                let serving = AssertUnwindSafe(|| reader.serve(&mut frames));
                if catch_unwind(serving).is_err() {
                    tracing::error!("sending to a connection failed in a way that it must not");
                    reader.fail();
                }
                frames.clear();
                served += 1;
                if served % SLICE == 0 {
                    frames.shrink_to(KEPT_FRAMES);
                    yield_now().await;
                }
            }
        }
    }
}

/// Has fetched who is served after the next, and what the next refers to. With a thousand, what the kernel does for each
/// has driven out the others.
fn look_ahead(rest: &[Arc<dyn Reader>]) {
    if let Some(next) = rest.first() {
        next.approach();
    }
    if let Some(after) = rest.get(1) {
        prefetch(&**after);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Stumbling {
        served: AtomicUsize,
        failed: AtomicUsize,
        stumbles: bool,
    }

    impl Reader for Stumbling {
        fn serve(&self, _frames: &mut VecDeque<Frame>) {
            self.served.fetch_add(1, Ordering::Relaxed);
            assert!(!self.stumbles, "it stumbles");
        }

        fn fail(&self) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_stumbles_ends_and_those_behind_are_served() {
        let rounds = Rounds::default();
        let stumbles = |stumbles| {
            Arc::new(Stumbling {
                stumbles,
                ..Stumbling::default()
            })
        };
        let all = [stumbles(false), stumbles(true), stumbles(false)];
        for reader in &all {
            rounds.add(Arc::clone(reader) as Arc<dyn Reader>);
        }
        let served = || {
            let served = all.iter().map(|one| one.served.load(Ordering::Relaxed));
            served.sum::<usize>()
        };
        let until_served = async {
            while served() < 3 {
                yield_now().await;
            }
        };
        tokio::select! {
            () = rounds.go() => {}
            () = until_served => {}
        }
        let failed = all.map(|one| one.failed.load(Ordering::Relaxed));
        assert_eq!(failed, [0, 1, 0]);
    }
}
