//! The numbers of messages: which one is next, and which have not been answered yet.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// Gives numbers out. Messages go round the rooms, so all rooms are told the same.
#[derive(Debug)]
pub(super) struct Desk {
    rooms: u64,
    /// None from this number on.
    most: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Sent, and not answered yet.
    waiting: BTreeSet<u64>,
    /// Those whose publishing failed. Each ends the one who sent it, so there are few.
    failed: Vec<u64>,
}

/// A message that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Among all.
    pub(super) index: u64,
    pub(super) room: u64,
    /// Among those of its room.
    pub(super) number: u64,
    /// Those of its room below this have been answered.
    pub(super) settled: u64,
}

impl Desk {
    pub(super) fn new(rooms: usize, most: u64) -> Self {
        let state = Mutex::default();
        Self {
            rooms: rooms as u64,
            most,
            state,
        }
    }

    /// The next one; nothing, if that was the last.
    pub(super) fn take(&self) -> Option<Ticket> {
        let mut state = self.state.lock().unwrap();
        let index = state.next;
        if index >= self.most {
            return None;
        }
        state.next += 1;
        state.waiting.insert(index);
        let first = state.waiting.first().copied().unwrap_or(index);
        let room = index % self.rooms;
        Some(Ticket {
            index,
            room,
            number: index / self.rooms,
            settled: self.of_room(room, first),
        })
    }

    /// Its answer has come.
    pub(super) fn answered(&self, ticket: Ticket) {
        self.state.lock().unwrap().waiting.remove(&ticket.index);
    }

    /// It was refused, or nobody knows.
    pub(super) fn failed(&self, ticket: Ticket) {
        let mut state = self.state.lock().unwrap();
        state.waiting.remove(&ticket.index);
        state.failed.push(ticket.index);
    }

    /// How many were answered well.
    pub(super) fn published(&self) -> u64 {
        let state = self.state.lock().unwrap();
        state.next - state.waiting.len() as u64 - state.failed.len() as u64
    }

    /// What a room was told: how many in all, and which of them failed.
    pub(super) fn told(&self, room: usize) -> (u64, BTreeSet<u64>) {
        let (state, room) = (self.state.lock().unwrap(), room as u64);
        let failed = state.failed.iter();
        let failed = failed.filter(|index| *index % self.rooms == room);
        let failed = failed.map(|index| index / self.rooms).collect();
        (self.of_room(room, state.next), failed)
    }

    /// How many of the first so many are a room's.
    fn of_room(&self, room: u64, first: u64) -> u64 {
        (first + self.rooms - 1 - room) / self.rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_round_and_know_what_was_answered_before_them() {
        let desk = Desk::new(2, 5);
        let tickets: Vec<Ticket> = (0..3).filter_map(|_| desk.take()).collect();
        let seen = |ticket: &Ticket| (ticket.room, ticket.number, ticket.settled);
        assert_eq!(
            tickets.iter().map(seen).collect::<Vec<_>>(),
            [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
        );
        desk.answered(tickets[1]);
        assert_eq!(desk.take().as_ref().map(seen), Some((1, 1, 0)));
        desk.answered(tickets[0]);
        // 0 and 1 are answered, 2 is not.
        assert_eq!(desk.take().as_ref().map(seen), Some((0, 2, 1)));
        assert_eq!(desk.take(), None);
        desk.failed(tickets[2]);
        assert_eq!(desk.told(0), (3, BTreeSet::from([1])));
        assert_eq!(desk.told(1), (2, BTreeSet::new()));
        assert_eq!(desk.published(), 2);
    }
}
