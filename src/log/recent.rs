//! The end of the log, in memory: whoever was gone for a short while is sent what it missed from here. After a break
//! many come back at once, and miss the same: each would ask the database, and each event would be encoded for each.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::TryStreamExt;
use sqlx::SqlitePool;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

use super::read;
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::protocol::Frame;
use crate::realtime::{Channel, Event, Registry};

/// Bytes that the events may have that are held. What is encoded of them is held besides, up to three times as much.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What an event counts for beside its data, and what each of its channels does.
const EVENT_OVERHEAD: usize = 512;
const CHANNEL_OVERHEAD: usize = 128;
/// Events that are looked through for one page.
const WINDOW: usize = 1_024;

/// Who makes pages of them at the same time. However many come back at once, whoever is live is not behind all of them.
const AT_ONCE: usize = 2;

/// The last events of the log.
#[derive(Debug)]
pub(super) struct Recent {
    end: Mutex<End>,
    /// The most events that are held.
    max_events: usize,
    turns: Semaphore,
}

#[derive(Debug)]
struct End {
    /// All that came after this is here.
    after: Position,
    events: VecDeque<Arc<Kept>>,
    bytes: usize,
}

/// An event, as it stands in the log.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) event: Event,
    pub(super) position: Position,
    /// The channels that it is looked up by, as they are stored.
    names: Box<[String]>,
    /// As it goes out, for each of its channels.
    frames: Box<[OnceLock<Frame>]>,
}

impl Kept {
    fn new(event: Event, position: Position, names: Box<[String]>) -> Self {
        let frames = event.channels.iter().map(|_| OnceLock::new()).collect();
        Self {
            event,
            position,
            names,
            frames,
        }
    }

    /// Whether it is found under one of these names.
    pub(super) fn is_in(&self, stored: &HashSet<String>) -> bool {
        self.names.iter().any(|name| stored.contains(name))
    }

    /// The event as the members of one of its channels get it.
    pub(super) fn frame(&self, channel: &Channel, registry: &Registry) -> Frame {
        let made = || {
            Frame::event(
                &self.event,
                channel,
                Some(registry.cursor_at(self.position)),
            )
        };
        let place = self.event.channels.iter().position(|one| one == channel);
        match place.and_then(|place| self.frames.get(place)) {
            Some(frame) => frame.get_or_init(made).clone(),
            None => made(),
        }
    }

    fn weight(&self) -> usize {
        let data = self.event.data.as_str().len();
        data + EVENT_OVERHEAD + self.names.len() * CHANNEL_OVERHEAD
    }
}

impl Recent {
    fn new(after: Position, max_events: usize) -> Self {
        let end = End {
            after,
            events: VecDeque::new(),
            bytes: 0,
        };
        Self {
            end: Mutex::new(end),
            max_events,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Waits for the turn to make a page, and lets whoever else has something to do go first.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await.ok();
        yield_now().await;
        turn
    }

    /// What a database has of them, for those who come back after a restart. What cannot be read is left there.
    pub(super) async fn load(readers: &SqlitePool, position: Position, max_events: usize) -> Self {
        let recent = Self::new(position, max_events);
        let mut rows = sqlx::query(read::LATEST).fetch(readers);
        while let Ok(Some(row)) = rows.try_next().await {
            let Ok(event) = read::event(&row) else { break };
            // Whose a socket was then is not known any more.
            let is_plain = |channel: &Channel| !matches!(channel.kind(), Kind::Socket(_));
            let (Some(position), true) = (event.position, event.channels.iter().all(is_plain))
            else {
                break;
            };
            let names = event.channels.iter().map(Channel::to_string).collect();
            let kept = Kept::new(event, position, names);
            let mut end = recent.end.lock().unwrap();
            if end.events.len() >= max_events || end.bytes + kept.weight() > MAX_BYTES {
                break;
            }
            end.bytes += kept.weight();
            end.after = position - 1;
            end.events.push_front(Arc::new(kept));
        }
        drop(rows);
        recent
    }

    /// Adds what was kept, before anybody hears of it: who then looks finds it here. `names` are in the order of their
    /// positions, too.
    pub(super) fn push(&self, events: &[Event], names: &[(String, Position)]) {
        let kept = events.iter().filter_map(|event| {
            let position = event.position?;
            let from = names.partition_point(|(_, at)| *at < position);
            let of_it = names[from..].iter().take_while(|(_, at)| *at == position);
            let names = of_it.map(|(name, _)| name.clone()).collect();
            Some(Arc::new(Kept::new(event.clone(), position, names)))
        });
        let kept: Vec<_> = kept.collect();
        let mut end = self.end.lock().unwrap();
        end.bytes += kept.iter().map(|kept| kept.weight()).sum::<usize>();
        end.events.extend(kept);
        while end.events.len() > self.max_events || end.bytes > MAX_BYTES {
            let Some(oldest) = end.events.pop_front() else {
                break;
            };
            end.bytes -= oldest.weight();
            end.after = oldest.position;
        }
    }

    /// The next events after a position, up to another one, whosoever's they are, and how far that is; nothing where
    /// not all of them are here.
    pub(super) fn stretch(
        &self,
        after: Position,
        upto: Position,
    ) -> Option<(Vec<Arc<Kept>>, Position)> {
        let end = self.end.lock().unwrap();
        if after < end.after {
            return None;
        }
        let first = end.events.partition_point(|kept| kept.position <= after);
        let rest = end.events.range(first..);
        let within = rest.take_while(|kept| kept.position <= upto).cloned();
        let events: Vec<_> = within.take(WINDOW).collect();
        let at = match events.last() {
            Some(last) if events.len() == WINDOW => last.position,
            _ => upto,
        };
        Some((events, at))
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::realtime::Data;

    fn event(position: Position, bytes: usize) -> Event {
        Event {
            channels: ["a:b".parse().unwrap()].into(),
            name: "note".parse().unwrap(),
            data: Data::from_value(&"x".repeat(bytes)),
            origin: None,
            except: [].into(),
            by: None,
            time: OffsetDateTime::UNIX_EPOCH,
            position: Some(position),
        }
    }

    fn positions(recent: &Recent, after: Position, upto: Position) -> Option<Vec<Position>> {
        let (events, _) = recent.stretch(after, upto)?;
        Some(events.iter().map(|kept| kept.position).collect())
    }

    #[test]
    fn what_is_here_is_found_and_what_went_before_is_not() {
        let recent = Recent::new(7, 10);
        recent.push(&[event(8, 1), event(10, 1)], &[("a:b".into(), 8)]);
        assert_eq!(positions(&recent, 6, 10), None);
        assert_eq!(positions(&recent, 7, 10), Some(vec![8, 10]));
        assert_eq!(positions(&recent, 7, 9), Some(vec![8]));
        assert_eq!(positions(&recent, 8, 11), Some(vec![10]));
        assert_eq!(positions(&recent, 10, 10), Some(vec![]));
        let (events, at) = recent.stretch(7, 11).unwrap();
        assert_eq!(at, 11);
        assert!(events[0].is_in(&["a:b".to_owned()].into()));
        assert!(!events[1].is_in(&["a:b".to_owned()].into()));
    }

    #[test]
    fn the_oldest_go_first_by_number_and_by_size() {
        let many = Recent::new(0, 4_096);
        for position in 1..=4_106 {
            many.push(&[event(position, 1)], &[]);
        }
        assert_eq!(many.stretch(9, 20).map(|_| ()), None);
        let (events, at) = many.stretch(10, 5_000).unwrap();
        assert_eq!((events.len(), at), (WINDOW, 10 + WINDOW as u64));
        let large = Recent::new(0, 100);
        for position in 1..=6 {
            large.push(&[event(position, MAX_BYTES / 4)], &[]);
        }
        assert_eq!(positions(&large, 2, 6), None);
        assert_eq!(positions(&large, 3, 6), Some(vec![4, 5, 6]));
        large.push(&[event(7, 2 * MAX_BYTES)], &[]);
        assert_eq!(positions(&large, 6, 7), None);
        assert_eq!(positions(&large, 7, 7), Some(vec![]));
    }
}
