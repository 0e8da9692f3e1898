//! The bounded queue between a connection's rooms and its transport.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::close::Close;
use super::protocol::{Frame, Newest};
use super::rounds::{Reader, Rounds};

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
    /// Where in `frames` those stand of which only the newest waits. Empty again with each take.
    newest: HashMap<Newest, usize>,
    /// What was pushed since [`Outbox::hold`]: it goes after an answer that is still being made.
    held: Option<VecDeque<Frame>>,
    bytes: usize,
    /// What the transport has taken last, and is still sending.
    taken: usize,
    closed: Option<Close>,
    /// Who sends what waits, where that is not the connection's own task.
    reader: Option<(Arc<Rounds>, Weak<dyn Reader>)>,
}

/// What was found in an outbox by whoever brings room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All that waited, in order; not empty.
    Frames,
    /// The connection ends.
    Closed(Close),
    /// Nothing waits.
    Nothing,
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
        let frame = queue.replace(frame);
        queue.bytes += frame.as_ref().map_or(0, weight);
        if queue.bytes + queue.taken > self.max_bytes && !alone {
            // Nobody will read it any more; the client gets it all again from its cursor.
            queue.forget(Close::SlowConsumer);
            self.filled.notify_one();
            return;
        }
        let Some(frame) = frame else { return };
        if let Some(held) = &mut queue.held {
            held.push_back(frame);
            return;
        }
        queue.frames.push_back(frame);
        if queue.frames.len() == 1 {
            self.ring(&queue);
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
        queue.bytes += weight(&answer);
        queue.frames.push_back(answer);
        // What comes from now on stands behind what was held.
        queue.newest.clear();
        if let Some(held) = queue.held.take() {
            queue.frames.extend(held);
        }
        self.ring(&queue);
    }

    /// From now on somebody is served in rounds. What waits already is for the caller to send.
    pub fn serve_in(&self, rounds: &Arc<Rounds>, reader: Weak<dyn Reader>) {
        self.queue.lock().unwrap().reader = Some((Arc::clone(rounds), reader));
    }

    /// From now on the connection's own task sends what waits.
    pub fn serve_alone(&self) {
        self.queue.lock().unwrap().reader = None;
    }

    /// Tells whoever sends that something waits.
    fn ring(&self, queue: &Queue) {
        match &queue.reader {
            Some((rounds, reader)) => {
                if let Some(reader) = reader.upgrade() {
                    rounds.add(reader);
                }
            }
            None => self.filled.notify_one(),
        }
    }

    /// Has the connection's own task look.
    pub fn stir(&self) {
        self.filled.notify_one();
    }

    /// Waits until the connection's own task is to look.
    pub async fn stirred(&self) {
        self.filled.notified().await;
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

    /// Bytes that wait or are being sent, and whether the connection ends.
    pub(super) fn behind(&self) -> (usize, bool) {
        let queue = self.queue.lock().unwrap();
        (queue.bytes + queue.taken, queue.closed.is_some())
    }

    /// Ends the connection at once: what waits is not sent any more. The first reason stands.
    pub fn cut(&self, close: Close) {
        self.queue.lock().unwrap().forget(close);
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

    /// Takes all that waits; it counts until the next take. Whoever takes has sent what it took before.
    pub fn try_take(&self) -> Option<Waiting> {
        let mut queue = self.queue.lock().unwrap();
        let (mut frames, before) = (VecDeque::new(), queue.bytes);
        match queue.take_into(&mut frames) {
            Taken::Frames => {
                queue.taken = before - queue.bytes;
                Some(Waiting::Frames(frames))
            }
            Taken::Closed(close) => Some(Waiting::Closed(close)),
            Taken::Nothing => None,
        }
    }

    /// Takes all that waits, in exchange for an empty queue. For who can send at once: it counts no more, unless
    /// [said otherwise](Self::sends).
    pub fn take_into(&self, frames: &mut VecDeque<Frame>) -> Taken {
        self.queue.lock().unwrap().take_into(frames)
    }

    /// What was taken could not be sent at once: it counts until the next take.
    pub fn sends<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) {
        self.queue.lock().unwrap().taken = frames.into_iter().map(weight).sum();
    }
}

/// What a frame counts for.
fn weight(frame: &Frame) -> usize {
    frame.json().len() + FRAME_OVERHEAD
}

impl Queue {
    fn take_into(&mut self, frames: &mut VecDeque<Frame>) -> Taken {
        self.taken = 0;
        if self.frames.is_empty() {
            return self.closed.map_or(Taken::Nothing, Taken::Closed);
        }
        self.bytes = self.held.iter().flatten().map(weight).sum();
        if !self.newest.is_empty() {
            self.newest.clear();
        }
        std::mem::swap(&mut self.frames, frames);
        Taken::Frames
    }

    /// Lets go of what waits: the connection ends. The first reason stands.
    fn forget(&mut self, close: Close) {
        *self = Self {
            closed: self.closed.or(Some(close)),
            taken: self.taken,
            reader: self.reader.take(),
            ..Self::default()
        };
    }

    /// Puts a frame into the place of the one that it is the newest of; gives it back where there is none.
    fn replace(&mut self, frame: Frame) -> Option<Frame> {
        let Some(newest) = frame.newest() else {
            return Some(frame);
        };
        // Behind an answer that is still being made it waits like any other.
        if self.held.is_some() {
            return Some(frame);
        }
        if let Some(waiting) = self
            .newest
            .get(newest)
            .and_then(|place| self.frames.get_mut(*place))
        {
            self.bytes = self.bytes + weight(&frame) - weight(waiting);
            *waiting = frame;
            return None;
        }
        self.newest.insert(newest.clone(), self.frames.len());
        Some(frame)
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

    /// A volatile event of somebody's, of which only the newest is to wait, and how many bytes it says.
    fn pointer(by: u128, at: u64) -> Frame {
        use crate::realtime::{Channel, Data, Event, Scales, SocketId};
        let event = Event {
            channels: [Channel::global()].into(),
            name: "pointer".parse().unwrap(),
            data: Data::from_value(&"x".repeat(usize::try_from(at % 50).unwrap())),
            origin: None,
            by: SocketId::parse(&uuid::Uuid::from_u128(by + 1).to_string()),
            except: [].into(),
            time: time::OffsetDateTime::UNIX_EPOCH
                + time::Duration::seconds(i64::try_from(at).unwrap()),
            position: None,
        };
        let now = tokio::time::Instant::now();
        Frame::live(&event, &Channel::global(), None, now, &Scales::default())
            .newest_of(&event, &Channel::global())
    }

    fn taken(outbox: &Outbox) -> Vec<bytes::Bytes> {
        match outbox.try_take() {
            Some(Waiting::Frames(frames)) => frames.iter().map(|f| f.json().clone()).collect(),
            Some(Waiting::Closed(close)) => panic!("closed: {close:?}"),
            None => Vec::new(),
        }
    }

    #[test]
    fn who_reads_no_pointers_is_not_put_out_and_sees_the_newest_of_each() {
        let outbox = Outbox::new(10_000);
        for at in 0..10_000 {
            outbox.push(pointer(u128::from(at % 3), at));
        }
        let newest = [9_999, 9_997, 9_998].map(|at| pointer(u128::from(at % 3), at).json().clone());
        assert_eq!(taken(&outbox), newest);
        outbox.push(pointer(1, 4));
        assert_eq!(taken(&outbox), [pointer(1, 4).json().clone()]);
    }

    #[test]
    fn what_is_being_sent_still_counts() {
        let outbox = Outbox::new(10_000);
        for position in 0..30 {
            outbox.push(frame(position));
        }
        assert_eq!(positions(&outbox).len(), 30);
        for position in 30..80 {
            outbox.push(frame(position));
        }
        // Together they are too many for somebody who has not read the first.
        assert_eq!(outbox.closed(), Some(Close::SlowConsumer));
    }

    #[test]
    fn what_could_not_be_sent_at_once_counts_until_the_next_take() {
        let outbox = Outbox::new(10_000);
        let mut frames = VecDeque::new();
        for round in 0..2 {
            for position in 0..30 {
                outbox.push(frame(position));
            }
            assert_eq!(outbox.take_into(&mut frames), Taken::Frames);
            if round == 0 {
                outbox.sends(&frames);
                frames.clear();
            }
        }
        assert_eq!(outbox.closed(), None);
        outbox.sends(&frames);
        for position in 0..50 {
            outbox.push(frame(position));
        }
        assert_eq!(outbox.closed(), Some(Close::SlowConsumer));
    }

    proptest::proptest! {
        /// Whatever is pushed and taken: everything comes once and in order, but for what a newer one has replaced.
        #[test]
        fn an_outbox_is_a_list_in_which_newer_ones_take_the_place_of_older_ones(
            steps in proptest::collection::vec((0_u8..5, 0_u64..40), 0..200),
        ) {
            let outbox = Outbox::new(10_000_000);
            let mut model: Vec<(Option<u8>, bytes::Bytes)> = Vec::new();
            for (step, at) in steps {
                match step {
                    0 => {
                        let expected: Vec<_> = model.drain(..).map(|(_, json)| json).collect();
                        proptest::prop_assert_eq!(taken(&outbox), expected);
                    }
                    1 => {
                        let frame = frame(at);
                        model.push((None, frame.json().clone()));
                        outbox.push(frame);
                    }
                    by => {
                        let frame = pointer(u128::from(by), at);
                        let json = frame.json().clone();
                        outbox.push(frame);
                        match model.iter_mut().find(|(of, _)| *of == Some(by)) {
                            Some(older) => older.1 = json,
                            None => model.push((Some(by), json)),
                        }
                    }
                }
                let bytes: usize = model.iter().map(|(_, json)| json.len() + FRAME_OVERHEAD).sum();
                proptest::prop_assert_eq!(outbox.bytes(), bytes);
            }
        }
    }
}
