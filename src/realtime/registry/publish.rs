//! Publishing: from an event to the outboxes of all who are in its rooms.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Move, Registry, State};
use crate::realtime::channel::Kind;
use crate::realtime::connection::{Connection, ConnectionId, SocketId, Transport};
use crate::realtime::prefetch::prefetch;
use crate::realtime::protocol::Frame;
use crate::realtime::{Channel, Event};

/// So many members ahead of the one that is delivered to are fetched: as long as that takes.
const AHEAD: usize = 4;

impl Registry {
    /// Delivers a volatile event to whoever is there.
    pub fn publish(&self, event: &Event) {
        let now = Instant::now();
        self.deliver(&mut self.state.lock().unwrap(), event, now);
    }

    /// Delivers what one change has put into the log, and follows it: who lost access is out before, and who is new is
    /// in before. The caller calls this in the order of the log.
    pub(crate) fn commit(&self, events: &[Event], moves: &[Move]) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        for change in moves {
            state.before(change);
        }
        for event in events {
            self.deliver(&mut state, event, now);
            if let Some(position) = event.position {
                state.position = position;
            }
        }
        for change in moves {
            state.after(change);
        }
        if !moves.is_empty() {
            self.wake_for(&mut state);
        }
    }

    /// `at` is when it was kept, or said: how long it takes to reach somebody is counted from there.
    fn deliver(&self, state: &mut State, event: &Event, at: Instant) {
        let cursor = event.position.map(|position| self.cursor_at(position));
        // With one channel nobody can be reached twice, and nothing is allocated to find that out.
        let mut reached = (event.channels.len() > 1).then(HashSet::new);
        let except: HashSet<SocketId> = event.except.iter().copied().collect();
        let mut delivered = [0; Transport::ALL.len()];
        for channel in event.channels.iter() {
            let mut frame = None;
            state.for_each_member(channel, |connection| {
                if !takes(connection, event, &except)
                    || !first_time(reached.as_mut(), connection.id)
                {
                    return;
                }
                let frame = frame.get_or_insert_with(|| {
                    let frame = Frame::live(event, channel, cursor, at, &self.scales);
                    if self.limits.keeps_newest(event, channel) {
                        frame.newest_of(event, channel)
                    } else {
                        frame
                    }
                });
                connection.outbox.push(frame.clone());
                delivered[connection.transport.place()] += 1;
            });
        }
        let figures = &mut state.figures;
        for (sum, more) in figures.delivered.iter_mut().zip(delivered) {
            *sum += more;
        }
        match event.position {
            Some(_) => figures.kept += 1,
            None => figures.volatile += 1,
        }
    }
}

/// Whether an event goes into a connection's outbox now. A connection that is not live finds kept ones in the log.
fn takes(connection: &Connection, event: &Event, except: &HashSet<SocketId>) -> bool {
    (event.position.is_none() || connection.is_live())
        && !event.is_by(connection.user_id(), connection.socket)
        && !except.contains(&connection.socket)
}

fn first_time(reached: Option<&mut HashSet<ConnectionId>>, id: ConnectionId) -> bool {
    reached.is_none_or(|reached| reached.insert(id))
}

impl State {
    fn for_each_member(&self, channel: &Channel, mut then: impl FnMut(&Arc<Connection>)) {
        if let Kind::Socket(id) = channel.kind() {
            let holder = SocketId::parse(id).and_then(|socket| self.sockets.get(&socket));
            if let Some(entry) = holder.and_then(|id| self.connections.get(id)) {
                then(&entry.connection);
            }
        } else if let Some(room) = self.rooms.get(channel) {
            let mut ahead = room.members.values().skip(AHEAD);
            for connection in room.members.values() {
                if let Some(next) = ahead.next() {
                    prefetch(&**next);
                }
                then(connection);
            }
        }
    }
}
