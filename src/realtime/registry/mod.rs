//! The registry: every room and every connection of this process, behind one lock, and the only way in.
//!
//! [`Registry::connect`] gives a connection, [`Registry::join`] and [`Registry::leave`] move it between rooms,
//! `publish` delivers into outboxes, and `moves` follows what changed in the store.
//!
//! Invariants: nothing here awaits, blocks or fails; the lock is a leaf but for the outboxes', which are taken inside
//! it; a room exists exactly while somebody is in it.

mod arrival;
mod census;
mod moves;
mod presence;
mod publish;
mod pulse;
mod sockets;
mod versions;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use time::OffsetDateTime;
use tokio::sync::Notify;

pub use arrival::{Arrival, Connected, Limits, Refusal};
pub use census::{RoomSize, Sighting};
pub use moves::Move;
pub use pulse::PULSE;
use sockets::Departed;
pub(crate) use sockets::Holder;
use versions::Versions;

use super::channel::Channel;
use super::close::Close;
use super::connection::{Connection, ConnectionId, SessionKey, SocketId, Transport};
use super::cursor::{Cursor, Epoch, Position};
use super::data::Data;
use super::figures::Figures;
use super::outbox::Outbox;
use super::presence::Members;
use super::protocol::Frame;
use super::room::Room;
pub use super::room::{Access, Membership};
use super::rounds::Rounds;
use super::scales::Scales;
use super::user::UserId;
use census::Census;
use presence::{Parting, Present};

/// Every room and every connection of this process.
#[derive(Debug)]
pub struct Registry {
    epoch: Epoch,
    limits: Limits,
    state: Mutex<State>,
    /// There is something to be told a little later.
    wake: Notify,
    scales: Scales,
    /// Each connection that is served in rounds is in one of these, by its number.
    rounds: Vec<Arc<Rounds>>,
    /// How many are to come back after the shutdown that has begun; 0 before.
    crowd: AtomicUsize,
}

#[derive(Debug)]
struct State {
    rooms: HashMap<Channel, Room>,
    connections: HashMap<ConnectionId, Entry>,
    /// The connection that `socket:{id}` reaches: the first to bring the id. Others with the same id belong to other
    /// users, and an id is no credential.
    sockets: HashMap<SocketId, ConnectionId>,
    departed: Departed,
    addresses: HashMap<IpAddr, usize>,
    present: Present,
    census: Census,
    figures: Figures,
    /// The pulse beats.
    awake: bool,
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
            departed: Departed::default(),
            addresses: HashMap::new(),
            present: Present::default(),
            census: Census::default(),
            figures: Figures::default(),
            awake: false,
            position,
            versions: Versions::default(),
            next_id: 1,
        };
        Self {
            epoch,
            limits,
            state: Mutex::new(state),
            wake: Notify::new(),
            scales: Scales::default(),
            // As many as can go on at once.
            rounds: (0..available_parallelism().map_or(1, NonZero::get))
                .map(|_| Arc::default())
                .collect(),
            crowd: AtomicUsize::new(0),
        }
    }

    /// The rounds, for as many tasks.
    pub fn rounds(&self) -> &[Arc<Rounds>] {
        &self.rounds
    }

    /// The rounds that a connection may be served in.
    pub fn rounds_of(&self, connection: &Connection) -> &Arc<Rounds> {
        let number = connection.id.number() as usize;
        &self.rounds[number % self.rounds.len()]
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

    /// How many moves there have been. To be read before it is looked up who somebody is: as long as there are no more,
    /// that is so.
    pub fn moves(&self) -> u64 {
        self.state.lock().unwrap().versions.moves()
    }

    /// How many connections there are, and in how many rooms.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.connections.len(), state.rooms.len())
    }

    /// Whether somebody is in this room.
    pub fn has_members(&self, channel: &Channel) -> bool {
        self.state.lock().unwrap().rooms.contains_key(channel)
    }

    /// How many there are of what. Nothing is counted for it.
    pub fn figures(&self) -> Figures {
        self.state.lock().unwrap().figures
    }

    /// Lets a connection in, into all of its channels at once. What is published from the returned position on
    /// reaches it; where it resumes from an older one, [`Registry::catch_up`] says when it is there.
    ///
    /// # Errors
    /// When a limit is reached, or rights changed since they were looked up.
    pub fn connect(self: &Arc<Self>, arrival: Arrival) -> Result<Connected, Refusal> {
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
            since: OffsetDateTime::now_utc(),
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
        state.figures.connections[connection.transport.place()] += 1;
        if state.see(connection.user_id()) {
            state.figures.users += 1;
        }
        let channels = arrival.channels.into_iter().collect::<HashMap<_, _>>();
        for channel in channels.keys() {
            state.enter(channel, &connection, None);
        }
        let presence = channels.keys().filter(|channel| channel.is_presence());
        let presence = presence.map(|channel| (channel.clone(), state.members(channel, id)));
        let presence = presence.collect();
        state.connections.insert(
            id,
            Entry {
                connection: Arc::clone(&connection),
                address: arrival.address,
                session: arrival.session,
                channels,
            },
        );
        self.wake_for(state);
        Ok(Connected {
            handle: Handle {
                registry: Arc::clone(self),
                connection,
            },
            position: state.position,
            presence,
        })
    }

    /// Puts a connection into a channel, and holds its outbox: the caller answers with [`Outbox::release`], and what
    /// the room says from the returned position on comes after the answer. `meta` is what a presence channel says of
    /// its user; returned is who is there, the connection's own user among them.
    ///
    /// # Errors
    /// When the connection has as many channels as it may, or rights changed since they were looked up.
    pub fn join(
        &self,
        connection: &Arc<Connection>,
        channel: &Channel,
        access: Access,
        access_version: u64,
        meta: Option<Data>,
    ) -> Result<(Cursor, Option<Members>), Refusal> {
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
                    connection.outbox.hold();
                    state.enter(channel, connection, meta);
                    let members = self.here(state, channel, connection);
                    return Ok((self.cursor_at(state.position), members));
                }
            }
        }
        connection.outbox.hold();
        state.describe(channel, connection, meta);
        let members = self.here(state, channel, connection);
        Ok((self.cursor_at(state.position), members))
    }

    /// Who is in a presence channel, for the answer to somebody who came in; what has changed by that is told soon.
    fn here(
        &self,
        state: &mut State,
        channel: &Channel,
        connection: &Connection,
    ) -> Option<Members> {
        self.wake_for(state);
        let is_presence = channel.is_presence();
        is_presence.then(|| state.members(channel, connection.id))
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
            state.exit(channel, connection, Parting::Left);
            self.wake_for(&mut state);
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

    /// Every connection, for a shutdown. From now on `retry` is spread so widely that as many as these come back at a
    /// rate that one server bears.
    pub fn spread(&self) -> Vec<Arc<Connection>> {
        let state = self.state.lock().unwrap();
        let entries = state.connections.values();
        let connections: Vec<_> = entries.map(|entry| Arc::clone(&entry.connection)).collect();
        self.crowd.store(connections.len(), Ordering::Relaxed);
        connections
    }

    /// Milliseconds that a connection is to wait before it comes back.
    pub fn retry(&self, id: ConnectionId) -> u64 {
        id.retry(self.crowd.load(Ordering::Relaxed))
    }

    fn disconnect(&self, connection: &Connection) {
        let mut state = self.state.lock().unwrap();
        let Some(entry) = state.connections.remove(&connection.id) else {
            return;
        };
        let parting = self.parting(connection);
        for channel in entry.channels.keys() {
            state.exit(channel, connection, parting);
        }
        let counted = &mut state.figures.connections[connection.transport.place()];
        *counted = counted.saturating_sub(1);
        if state.see(connection.user_id()) {
            state.figures.users = state.figures.users.saturating_sub(1);
        }
        self.wake_for(&mut state);
        state.let_go_of_socket(connection, self.limits.max_connections);
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

    fn enter(&mut self, channel: &Channel, connection: &Arc<Connection>, meta: Option<Data>) {
        let room = self.rooms.entry(channel.clone()).or_default();
        let place = channel.kind().place();
        if room.members.is_empty() {
            self.figures.rooms[place] += 1;
        }
        if room
            .members
            .insert(connection.id, Arc::clone(connection))
            .is_none()
        {
            self.figures.memberships[place] += 1;
        }
        if connection.transport != Transport::Poll {
            // It has not been told how many they are, also where somebody else goes out and the number stays.
            room.counted = None;
        }
        self.count_in(channel, connection);
        self.appear(channel, connection, meta);
    }

    fn exit(&mut self, channel: &Channel, connection: &Connection, parting: Parting) {
        if let Some(room) = self.rooms.get_mut(channel) {
            let place = channel.kind().place();
            if room.members.swap_remove(&connection.id).is_some() {
                self.figures.memberships[place] -= 1;
            }
            if room.members.is_empty() {
                self.figures.rooms[place] -= 1;
                self.rooms.remove(channel);
            }
        }
        self.count_out(channel);
        self.disappear(channel, connection, parting);
    }
}

#[cfg(test)]
mod presence_tests;
#[cfg(test)]
mod tests;
