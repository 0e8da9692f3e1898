//! Rounds: who has something to be sent is gathered, and one task goes from one to the next. To wake a task for each of
//! many would cost more than to send.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::protocol::Frame;

/// After so many others have their turn: requests, and whoever is read from.
const SLICE: usize = 32;
/// What is kept of the room for frames from one to the next; more than that only a burst has needed.
const KEPT_FRAMES: usize = 64;

/// Somebody who can be sent to at once, without waiting.
pub trait Reader: Debug + Send + Sync {
    /// Sends what waits. `frames` is empty before and after; it is there so that nobody has to allocate.
    fn serve(&self, frames: &mut VecDeque<Frame>);
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
            for (served, reader) in turn.drain(..).enumerate() {
                reader.serve(&mut frames);
                frames.clear();
                if served % SLICE == SLICE - 1 {
                    frames.shrink_to(KEPT_FRAMES);
                    yield_now().await;
                }
            }
        }
    }
}
