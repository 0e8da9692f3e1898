//! The bounded queue between a connection's rooms and its transport.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::close::Close;
use super::protocol::Frame;

/// What each queued frame is counted with beside its bytes: the pointer in the queue and its share of the frame's head.
const FRAME_OVERHEAD: usize = 64;

/// What waits to be sent to one connection, in order. Bounded in bytes: over the bound the connection is closed, and
/// resumes from its cursor. Its lock is taken inside the registry's, never the other way round.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// What was pushed since [`Outbox::hold`]: it goes after an answer that is still being made.
    held: Option<VecDeque<Frame>>,
    bytes: usize,
    closed: Option<Close>,
}

/// What a transport finds in an outbox.
#[derive(Debug)]
pub enum Waiting {
    /// All that waited, in order; not empty.
    Frames(VecDeque<Frame>),
    /// The connection ends.
    Closed(Close),
}

impl Outbox {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            max_bytes,
        }
    }

    /// Queues a frame. Never blocks: over the bound the connection is closed instead.
    pub(crate) fn push(&self, frame: Frame) {
        let mut queue = self.queue.lock().unwrap();
        if queue.closed.is_some() {
            return;
        }
        // A frame that is larger than the bound itself passes where nothing waits: its reader is not slow.
        let alone = queue.bytes == 0;
        queue.bytes += frame.json().len() + FRAME_OVERHEAD;
        if queue.bytes > self.max_bytes && !alone {
            // Nobody will read it any more; the client gets it all again from its cursor.
            *queue = Queue {
                closed: Some(Close::SlowConsumer),
                ..Queue::default()
            };
            self.filled.notify_one();
            return;
        }
        match &mut queue.held {
            Some(held) => held.push_back(frame),
            None => {
                queue.frames.push_back(frame);
                if queue.frames.len() == 1 {
                    self.filled.notify_one();
                }
            }
        }
    }

    /// Keeps back what is pushed from now on, until the answer that belongs before it is there.
    pub(super) fn hold(&self) {
        self.queue.lock().unwrap().held.get_or_insert_default();
    }

    /// Puts the answer in its place, and lets go of what was kept back behind it.
    pub fn release(&self, answer: Frame) {
        let mut queue = self.queue.lock().unwrap();
        if queue.closed.is_some() {
            return;
        }
        // The answer is not counted against the bound: it has bounds of its own, and it is one.
        queue.bytes += answer.json().len() + FRAME_OVERHEAD;
        queue.frames.push_back(answer);
        if let Some(held) = queue.held.take() {
            queue.frames.extend(held);
        }
        self.filled.notify_one();
    }

    /// Ends the connection, once what waits has been sent. The first reason stands.
    pub fn close(&self, close: Close) {
        self.queue.lock().unwrap().closed.get_or_insert(close);
        self.filled.notify_one();
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.queue.lock().unwrap().bytes
    }

    /// Ends the connection at once: what waits is not sent any more. The first reason stands.
    pub fn cut(&self, close: Close) {
        let mut queue = self.queue.lock().unwrap();
        *queue = Queue {
            closed: queue.closed.or(Some(close)),
            ..Queue::default()
        };
        self.filled.notify_one();
    }

    /// Why the connection ends, if it does.
    pub fn closed(&self) -> Option<Close> {
        self.queue.lock().unwrap().closed
    }

    /// Takes all that waits, as soon as something does. For the one task that sends; dropping it loses nothing.
    pub async fn take(&self) -> Waiting {
        loop {
            if let Some(waiting) = self.try_take() {
                return waiting;
            }
            self.filled.notified().await;
        }
    }

    /// Takes all that waits.
    pub fn try_take(&self) -> Option<Waiting> {
        let mut queue = self.queue.lock().unwrap();
        if !queue.frames.is_empty() {
            queue.bytes = queue
                .held
                .iter()
                .flatten()
                .map(|frame| frame.json().len() + FRAME_OVERHEAD)
                .sum();
            return Some(Waiting::Frames(std::mem::take(&mut queue.frames)));
        }
        queue.closed.map(Waiting::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::cursor::{Cursor, Epoch};

    fn frame(position: u64) -> Frame {
        Frame::heartbeat(Cursor {
            epoch: Epoch(1),
            position,
        })
    }

    fn positions(outbox: &Outbox) -> Vec<u64> {
        match outbox.try_take() {
            Some(Waiting::Frames(frames)) => frames
                .iter()
                .filter_map(|f| Some(f.cursor()?.position))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn an_answer_stands_where_the_outbox_was_held() {
        let outbox = Outbox::new(10_000);
        outbox.push(frame(1));
        outbox.hold();
        outbox.push(frame(3));
        assert_eq!(positions(&outbox), [1]);
        outbox.push(frame(4));
        assert!(outbox.try_take().is_none());
        outbox.release(frame(2));
        assert_eq!(positions(&outbox), [2, 3, 4]);
    }

    #[test]
    fn a_full_outbox_closes_and_lets_go_of_its_memory() {
        let outbox = Outbox::new(10_000);
        for position in 0..1_000 {
            outbox.push(frame(position));
        }
        assert!(matches!(
            outbox.try_take(),
            Some(Waiting::Closed(Close::SlowConsumer))
        ));
        outbox.close(Close::Shutdown);
        assert!(matches!(
            outbox.try_take(),
            Some(Waiting::Closed(Close::SlowConsumer))
        ));
    }

    #[test]
    fn what_waits_is_sent_before_a_close_and_lost_with_a_cut() {
        for (cut, sent) in [(false, 1), (true, 0)] {
            let outbox = Outbox::new(10_000);
            outbox.push(frame(1));
            if cut {
                outbox.cut(Close::TokenEnded);
            } else {
                outbox.close(Close::TokenEnded);
            }
            outbox.push(frame(2));
            assert_eq!(positions(&outbox).len(), sent);
            assert!(matches!(
                outbox.try_take(),
                Some(Waiting::Closed(Close::TokenEnded))
            ));
        }
    }

    #[test]
    fn what_was_taken_no_longer_counts() {
        let outbox = Outbox::new(10_000);
        for position in 0..1_000 {
            outbox.push(frame(position));
            assert_eq!(positions(&outbox), [position]);
        }
    }
}
