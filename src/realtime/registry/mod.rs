//! The registry: every room and every connection of this process, behind one lock, and the only way in.
//!
//! [`Registry::connect`] gives a connection, [`Registry::join`] and [`Registry::leave`] move it between rooms,
//! `publish` delivers into outboxes, and `moves` follows what changed in the store.
//!
//! Invariants: nothing here awaits, blocks or fails; the lock is a leaf but for the outboxes', which are taken inside
//! it; a room exists exactly while somebody is in it.

mod moves;
mod publish;
mod versions;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub use moves::Move;
use versions::Versions;

use super::channel::Channel;
use super::close::Close;
use super::connection::{Connection, ConnectionId, SessionKey, SocketId, Transport};
use super::cursor::{Cursor, Epoch, Position};
use super::outbox::Outbox;
use super::protocol::Frame;
use super::room::Room;
pub use super::room::{Access, Membership};
use super::user::{User, UserId};

/// What one process, address, user and connection may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub max_connections: usize,
    /// Connections of one address.
    pub max_connections_per_ip: usize,
    /// Connections of one user.
    pub max_connections_per_user: usize,
    /// Channels that one connection asked for.
    pub max_channels: usize,
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
}

/// Every room and every connection of this process.
#[derive(Debug)]
pub struct Registry {
    epoch: Epoch,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rooms: HashMap<Channel, Room>,
    connections: HashMap<ConnectionId, Entry>,
    /// The connection that `socket:{id}` reaches: the first to bring the id. Others with the same id belong to other
    /// users, and an id is no credential.
    sockets: HashMap<SocketId, ConnectionId>,
    addresses: HashMap<IpAddr, usize>,
    /// The last kept event that was delivered.
    position: Position,
    versions: Versions,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    address: Option<IpAddr>,
    /// The login it is there with, which may be another after a new token; closing that closes this.
    session: Option<SessionKey>,
    channels: HashMap<Channel, Membership>,
}

/// Who wants in, and where to.
#[derive(Debug)]
pub struct Arrival {
    /// Whose connection it will be; a guest's is nobody's.
    pub user: Option<User>,
    /// The login it came with.
    pub session: Option<SessionKey>,
    /// The id it brought.
    pub socket: Option<SocketId>,
    /// Which way its bytes go.
    pub transport: Transport,
    /// Where it came from, for the limit of each address.
    pub address: Option<IpAddr>,
    /// The channels it may have, and how.
    pub channels: Vec<(Channel, Membership)>,
    /// [`Registry::access_version`] from before the channels were looked up.
    pub access_version: u64,
    /// Where it resumes from, if it can.
    pub resume: Option<Position>,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody's rights changed meanwhile: look them up again and come back.
    Stale,
    /// As many connections as there may be.
    Full,
    /// As many connections as the address may have.
    FullForAddress,
    /// As many connections as the user may have.
    FullForUser,
    /// As many channels as a connection may have.
    TooManyChannels,
}

/// A connection in the registry. Dropping it leaves every room.
#[derive(Debug)]
pub struct Handle {
    registry: Arc<Registry>,
    connection: Arc<Connection>,
}

impl Handle {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.registry.disconnect(&self.connection);
    }
}

impl Registry {
    /// An empty registry that continues a log at its last position.
    pub fn new(epoch: Epoch, position: Position, limits: Limits) -> Self {
        let state = State {
            rooms: HashMap::new(),
            connections: HashMap::new(),
            sockets: HashMap::new(),
            addresses: HashMap::new(),
            position,
            versions: Versions::default(),
            next_id: 1,
        };
        Self {
            epoch,
            limits,
            state: Mutex::new(state),
        }
    }

    /// The last kept event that was delivered.
    pub fn cursor(&self) -> Cursor {
        self.cursor_at(self.state.lock().unwrap().position)
    }

    /// A position of this log as a cursor.
    pub fn cursor_at(&self, position: Position) -> Cursor {
        Cursor {
            epoch: self.epoch,
            position,
        }
    }

    /// To be read before somebody's rights are looked up, and handed over with what was found.
    pub fn access_version(&self, user: Option<&UserId>) -> u64 {
        self.state.lock().unwrap().versions.of(user)
    }

    /// Whose connection `socket:{id}` reaches now.
    pub(crate) fn socket_owner(&self, socket: SocketId) -> Option<UserId> {
        let state = self.state.lock().unwrap();
        let entry = state.connections.get(state.sockets.get(&socket)?)?;
        entry.connection.user_id().cloned()
    }

    /// How many connections there are, and in how many rooms.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.connections.len(), state.rooms.len())
    }

    /// Lets a connection in, into all of its channels at once. What is published from the returned position on
    /// reaches it; where it resumes from an older one, [`Registry::catch_up`] says when it is there.
    ///
    /// # Errors
    /// When a limit is reached, or rights changed since they were looked up.
    pub fn connect(self: &Arc<Self>, arrival: Arrival) -> Result<(Handle, Position), Refusal> {
        let mut guard = self.state.lock().unwrap();
        let state = &mut *guard;
        let user = arrival.user.as_ref().map(|user| &user.id);
        if state.versions.of(user) != arrival.access_version {
            return Err(Refusal::Stale);
        }
        state.check_limits(&self.limits, &arrival)?;
        let id = ConnectionId(state.next_id);
        state.next_id += 1;
        let socket = arrival.socket.unwrap_or_else(SocketId::random);
        // One that resumes reads the log first, however little of it, and goes live by `catch_up` alone.
        let live = arrival.resume.is_none();
        let connection = Arc::new(Connection {
            id,
            socket,
            user: arrival.user,
            transport: arrival.transport,
            outbox: Outbox::new(self.limits.outbox_bytes),
            live: AtomicBool::new(live),
        });
        let older = state.same_socket(&connection);
        for older in &older {
            older.outbox.close(Close::Replaced);
        }
        if older.is_empty() {
            state.sockets.entry(socket).or_insert(id);
        } else {
            state.sockets.insert(socket, id);
        }
        if let Some(address) = arrival.address {
            *state.addresses.entry(address).or_default() += 1;
        }
        let channels = arrival.channels.into_iter().collect::<HashMap<_, _>>();
        for channel in channels.keys() {
            state.enter(channel, &connection);
        }
        state.connections.insert(
            id,
            Entry {
                connection: Arc::clone(&connection),
                address: arrival.address,
                session: arrival.session,
                channels,
            },
        );
        Ok((
            Handle {
                registry: Arc::clone(self),
                connection,
            },
            state.position,
        ))
    }

    /// Puts a connection into a channel, and holds its outbox: the caller answers with [`Outbox::release`], and what
    /// the room says from the returned position on comes after the answer.
    ///
    /// # Errors
    /// When the connection has as many channels as it may, or rights changed since they were looked up.
    pub fn join(
        &self,
        connection: &Arc<Connection>,
        channel: &Channel,
        access: Access,
        access_version: u64,
    ) -> Result<Cursor, Refusal> {
        let mut guard = self.state.lock().unwrap();
        let state = &mut *guard;
        if state.versions.of(connection.user_id()) != access_version {
            return Err(Refusal::Stale);
        }
        if let Some(entry) = state.connections.get_mut(&connection.id) {
            let asked = entry
                .channels
                .values()
                .filter(|membership| !membership.automatic)
                .count();
            match entry.channels.get_mut(channel) {
                Some(membership) => membership.access = access,
                None if asked >= self.limits.max_channels => return Err(Refusal::TooManyChannels),
                None => {
                    entry
                        .channels
                        .insert(channel.clone(), Membership::asked(access));
                    state.enter(channel, connection);
                }
            }
        }
        connection.outbox.hold();
        Ok(self.cursor_at(state.position))
    }

    /// Takes a connection out of a channel and answers: nothing of the room comes after the answer. Leaving a channel
    /// one is not in is fine; false for an automatic one, which stays and gets no answer.
    pub fn leave(&self, connection: &Connection, channel: &Channel, answer: Frame) -> bool {
        let mut state = self.state.lock().unwrap();
        let Some(entry) = state.connections.get_mut(&connection.id) else {
            return true;
        };
        if entry
            .channels
            .get(channel)
            .is_some_and(|membership| membership.automatic)
        {
            return false;
        }
        if entry.channels.remove(channel).is_some() {
            state.exit(channel, connection.id);
        }
        connection.outbox.push(answer);
        true
    }

    /// What a connection may do in a channel that it is in.
    pub fn membership(&self, connection: &Connection, channel: &Channel) -> Option<Membership> {
        self.state
            .lock()
            .unwrap()
            .connections
            .get(&connection.id)?
            .channels
            .get(channel)
            .copied()
    }

    /// The channels that a connection is in, in order of their names.
    pub fn channels(&self, connection: &Connection) -> Vec<(Channel, Membership)> {
        let state = self.state.lock().unwrap();
        let Some(entry) = state.connections.get(&connection.id) else {
            return Vec::new();
        };
        let mut channels: Vec<_> = entry
            .channels
            .iter()
            .map(|(channel, how)| (channel.clone(), *how))
            .collect();
        channels.sort_by(|(a, _), (b, _)| a.cmp(b));
        channels
    }

    /// Asks to go live for a connection that has read the log up to `at`. If it is at most `near` behind it is live
    /// from the returned position on, and reads up to there by itself; otherwise it reads on first.
    pub fn catch_up(&self, connection: &Connection, at: Position, near: u64) -> (Position, bool) {
        let state = self.state.lock().unwrap();
        let live = state.position.saturating_sub(at) <= near;
        connection.live.store(live, Ordering::Relaxed);
        (state.position, live)
    }

    /// Queues a frame that carries the cursor, in its place among the events.
    pub fn send_cursor(&self, connection: &Connection, frame: impl FnOnce(Cursor) -> Frame) {
        let state = self.state.lock().unwrap();
        connection
            .outbox
            .push(frame(self.cursor_at(state.position)));
    }

    /// Ends every connection, for a shutdown.
    pub fn close_all(&self, close: Close) {
        for entry in self.state.lock().unwrap().connections.values() {
            entry.connection.outbox.close(close);
        }
    }

    fn disconnect(&self, connection: &Connection) {
        let mut state = self.state.lock().unwrap();
        let Some(entry) = state.connections.remove(&connection.id) else {
            return;
        };
        for channel in entry.channels.keys() {
            state.exit(channel, connection.id);
        }
        if state.sockets.get(&connection.socket) == Some(&connection.id) {
            state.sockets.remove(&connection.socket);
        }
        if let Some(address) = entry.address
            && let Some(count) = state.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                state.addresses.remove(&address);
            }
        }
    }
}

impl State {
    fn check_limits(&self, limits: &Limits, arrival: &Arrival) -> Result<(), Refusal> {
        if self.connections.len() >= limits.max_connections {
            return Err(Refusal::Full);
        }
        let of_address = arrival
            .address
            .and_then(|address| self.addresses.get(&address));
        if of_address.is_some_and(|count| *count >= limits.max_connections_per_ip) {
            return Err(Refusal::FullForAddress);
        }
        if let Some(user) = &arrival.user {
            // A connection that takes the place of another one is not one more.
            let others = self
                .own(&user.id)
                .filter(|other| Some(other.socket) != arrival.socket)
                .count();
            if others >= limits.max_connections_per_user {
                return Err(Refusal::FullForUser);
            }
        }
        if arrival
            .channels
            .iter()
            .filter(|(_, membership)| !membership.automatic)
            .count()
            > limits.max_channels
        {
            return Err(Refusal::TooManyChannels);
        }
        Ok(())
    }

    /// A user's own connections: all are in the user's room, where administrators may be too.
    fn own<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = &'a Arc<Connection>> {
        let members = self
            .rooms
            .get(&Channel::user(user))
            .into_iter()
            .flat_map(|room| room.members.values());
        members.filter(move |connection| connection.user_id() == Some(user))
    }

    /// The user's connections that still hold the same socket id: one, and perhaps others that were closed and linger.
    fn same_socket(&self, connection: &Connection) -> Vec<Arc<Connection>> {
        let Some(user) = connection.user_id() else {
            return Vec::new();
        };
        let own = self.own(user);
        own.filter(|other| other.socket == connection.socket)
            .cloned()
            .collect()
    }

    fn enter(&mut self, channel: &Channel, connection: &Arc<Connection>) {
        let room = self.rooms.entry(channel.clone()).or_default();
        room.members.insert(connection.id, Arc::clone(connection));
    }

    fn exit(&mut self, channel: &Channel, id: ConnectionId) {
        if let Some(room) = self.rooms.get_mut(channel) {
            room.members.remove(&id);
            if room.members.is_empty() {
                self.rooms.remove(channel);
            }
        }
    }
}

#[cfg(test)]
mod tests;
