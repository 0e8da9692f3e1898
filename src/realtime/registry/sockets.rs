//! Who holds a socket id, and who held it a short while ago: the id outlives reconnects, and is no credential.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Registry, State};
use crate::realtime::connection::{Connection, SocketId, Transport};
use crate::realtime::user::UserId;

/// How long an id is its last owner's after the connection has ended: a client is back by then, or reloads.
const MEMORY: Duration = Duration::from_secs(120);

/// Whom `socket:{id}` is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A user, who is there or was so a short while ago.
    User(UserId),
    /// Nobody in particular, who is there.
    Guest,
}

/// Users whose connections have ended, by socket id.
#[derive(Debug, Default)]
pub(super) struct Departed {
    owners: HashMap<SocketId, (UserId, Instant)>,
    /// Oldest first. One that has come back and gone again stands here more than once.
    order: VecDeque<(SocketId, Instant)>,
}

impl Departed {
    /// A user's connection has ended. Who brought an id that is still somebody else's does not get it by going.
    fn note(&mut self, socket: SocketId, user: &UserId, now: Instant, at_most: usize) {
        while let Some((oldest, since)) = self.order.front().copied()
            && (self.order.len() >= at_most.max(1) || now.duration_since(since) >= MEMORY)
        {
            self.order.pop_front();
            if self.owners.get(&oldest).is_some_and(|(_, at)| *at == since) {
                self.owners.remove(&oldest);
            }
        }
        if self.owner(socket, now).is_none_or(|owner| owner == user) {
            self.owners.insert(socket, (user.clone(), now));
            self.order.push_back((socket, now));
        }
    }

    fn owner(&self, socket: SocketId, now: Instant) -> Option<&UserId> {
        let (owner, since) = self.owners.get(&socket)?;
        (now.duration_since(*since) < MEMORY).then_some(owner)
    }
}

impl Registry {
    /// Whose `socket:{id}` is: whoever holds the id now, or held it a short while ago. A guest that holds what was a
    /// user's until just now is not the one who was meant.
    pub(crate) fn socket_holder(&self, socket: SocketId) -> Option<Holder> {
        let state = self.state.lock().unwrap();
        let entry = state.sockets.get(&socket);
        let entry = entry.and_then(|id| state.connections.get(id));
        if let Some(user) = entry.and_then(|entry| entry.connection.user_id()) {
            return Some(Holder::User(user.clone()));
        }
        let owner = state.departed.owner(socket, Instant::now());
        let owner = owner.map(|owner| Holder::User(owner.clone()));
        owner.or(entry.map(|_| Holder::Guest))
    }
}

impl State {
    /// A connection is gone: somebody else may hold its id, and its user comes back with it.
    pub(super) fn let_go_of_socket(&mut self, connection: &Connection, at_most: usize) {
        if self.sockets.get(&connection.socket) == Some(&connection.id) {
            self.sockets.remove(&connection.socket);
            // Each poll has an id of its own, and never comes back with it.
            if let Some(user) = connection.user_id()
                && connection.transport != Transport::Poll
            {
                let socket = connection.socket;
                self.departed.note(socket, user, Instant::now(), at_most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    #[test]
    fn an_id_is_its_last_owners_for_a_while() {
        let mut departed = Departed::default();
        let (socket, begin) = (SocketId::random(), Instant::now());
        departed.note(socket, &user("ada"), begin, 10);
        let later = begin + MEMORY / 2;
        departed.note(socket, &user("eve"), later, 10);
        assert_eq!(departed.owner(socket, later), Some(&user("ada")));
        // From the last time that it went.
        departed.note(socket, &user("ada"), later, 10);
        assert_eq!(departed.owner(socket, begin + MEMORY), Some(&user("ada")));
        let much_later = later + MEMORY;
        assert_eq!(departed.owner(socket, much_later), None);
        departed.note(socket, &user("eve"), much_later, 10);
        assert_eq!(departed.owner(socket, much_later), Some(&user("eve")));
        assert_eq!(departed.order.len(), 1);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut departed = Departed::default();
        let sockets: Vec<_> = (0..20).map(|_| SocketId::random()).collect();
        let now = Instant::now();
        for socket in &sockets {
            departed.note(*socket, &user("ada"), now, 10);
        }
        assert_eq!((departed.owners.len(), departed.order.len()), (10, 10));
        assert_eq!(departed.owner(sockets[9], now), None);
        assert_eq!(departed.owner(sockets[10], now), Some(&user("ada")));
    }
}
