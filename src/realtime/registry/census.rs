//! The census: how many are in which room, told to administrators and to the room itself; who is there, for lists.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::presence::said;
use super::{Registry, State};
use crate::realtime::channel::Kind;
use crate::realtime::connection::{Connection, Transport};
use crate::realtime::{Channel, Close, Data, Scales, SocketId, UserId};

/// Rooms in one message to administrators; of more than that, the largest.
const MAX_TOLD: usize = 10_000;
/// What has been told of a room where not everybody was told the same: no room is of this size.
const NO_SIZE: usize = usize::MAX;
/// How long changes gather before a room is told of itself.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Users whose coming and going is remembered until somebody writes it down.
const MAX_SEEN: usize = 100_000;

/// What has changed since it was told.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Connections in `admin`.
    listeners: usize,
    /// What they have been told; kept only while there are any.
    told: HashMap<Channel, usize>,
    /// Rooms that are perhaps of another size than that.
    changed: HashSet<Channel>,
    /// Rooms whose own members are to be told how many they are, and since when.
    uncounted: HashMap<Channel, Instant>,
    /// When crowds were last counted.
    crowds: Option<Instant>,
    /// Users who came or went, and when.
    seen: HashMap<UserId, OffsetDateTime>,
}

/// A room in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSize {
    /// Which.
    pub channel: Channel,
    /// Connections that are in it.
    pub connections: usize,
    /// Users who are said to be in it, where it says that.
    pub members: Option<usize>,
}

/// A connection in a list.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Which.
    pub connection: Arc<Connection>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// Channels that it is in.
    pub channels: usize,
}

impl Registry {
    /// Every room, in no order.
    pub fn rooms(&self) -> Vec<RoomSize> {
        let state = self.state.lock().unwrap();
        let rooms = state.rooms.iter().map(|(channel, room)| RoomSize {
            channel: channel.clone(),
            connections: room.members.len(),
            members: state.present.rooms.get(channel).map(|here| here.len()),
        });
        rooms.collect()
    }

    /// Every connection, in no order; or those in one channel.
    pub fn connections(&self, channel: Option<&Channel>) -> Vec<Sighting> {
        let state = self.state.lock().unwrap();
        let sighting = |id| {
            let entry = state.connections.get(id)?;
            Some(Sighting {
                connection: Arc::clone(&entry.connection),
                address: entry.address,
                channels: entry.channels.len(),
            })
        };
        match channel {
            Some(channel) => {
                let room = state.rooms.get(channel).into_iter();
                let ids = room.flat_map(|room| room.members.keys());
                ids.filter_map(sighting).collect()
            }
            None => state.connections.keys().filter_map(sighting).collect(),
        }
    }

    /// What the events weigh that somebody still has to be sent.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Ends the connections that are furthest behind, as many as it takes to get below the budget once they are gone.
    pub fn relieve(&self, budget: usize) {
        let state = self.state.lock().unwrap();
        let entries = state.connections.values();
        let all: Vec<_> = entries.map(|entry| Arc::clone(&entry.connection)).collect();
        drop(state);
        let mut over = self.scales.bytes().saturating_sub(budget);
        let mut behind = Vec::new();
        for connection in &all {
            let (bytes, closed) = connection.outbox.behind();
            if closed {
                // It ends already, and what it is being sent with it: nobody else is to go for that.
                over = over.saturating_sub(bytes);
            } else if bytes > 0 {
                behind.push((bytes, connection));
            }
        }
        behind.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, connection) in behind {
            if over == 0 {
                return;
            }
            connection.outbox.cut(Close::SlowConsumer);
            over = over.saturating_sub(bytes);
        }
    }

    /// Which of these users have a connection, in their order.
    pub fn online(&self, users: &[UserId]) -> Vec<bool> {
        let state = self.state.lock().unwrap();
        let online = |user| state.own(user).next().is_some();
        users.iter().map(online).collect()
    }

    /// Ends every connection with a socket id; false, if there is none.
    pub fn remove(&self, socket: SocketId) -> bool {
        let state = self.state.lock().unwrap();
        let entries = state.connections.values();
        let held = entries.filter(|entry| entry.connection.socket == socket);
        let removed = held.map(|entry| entry.connection.outbox.close(Close::Removed));
        removed.count() > 0
    }

    /// Users who came or went since this was last asked, and when that was.
    pub fn take_seen(&self) -> Vec<(UserId, OffsetDateTime)> {
        let mut state = self.state.lock().unwrap();
        std::mem::take(&mut state.census.seen).into_iter().collect()
    }

    /// Gives back what could not be written down. What has been seen since is later, and stays.
    pub(crate) fn give_back_seen(&self, seen: &[(UserId, OffsetDateTime)]) {
        let mut state = self.state.lock().unwrap();
        for (user, at) in seen {
            if state.census.seen.len() >= MAX_SEEN {
                break;
            }
            state.census.seen.entry(user.clone()).or_insert(*at);
        }
    }
}

impl State {
    /// A user comes or goes; true if they are not there otherwise.
    pub(super) fn see(&mut self, user: Option<&UserId>) -> bool {
        let Some(user) = user.filter(|user| self.own(user).next().is_none()) else {
            return false;
        };
        if self.census.seen.len() < MAX_SEEN {
            let now = OffsetDateTime::now_utc();
            self.census.seen.insert(user.clone(), now);
        }
        true
    }

    pub(super) fn count_in(&mut self, channel: &Channel, connection: &Connection) {
        let is_admin = matches!(channel.kind(), Kind::Admin);
        if is_admin {
            self.census.listeners += 1;
            let sizes = self.sizes();
            // A poll is not told sizes, and one comes every few seconds.
            if connection.transport != Transport::Poll {
                connection.outbox.push(full(&sizes));
            }
            if self.census.listeners == 1 {
                self.census.told = sizes.into_iter().collect();
            }
        }
        self.count(channel);
        if is_admin && self.census.listeners > 1 {
            // Of these it was told another size than the others, so whatever they are next is news to somebody.
            for channel in &self.census.changed {
                self.census.told.insert(channel.clone(), NO_SIZE);
            }
        }
    }

    pub(super) fn count_out(&mut self, channel: &Channel) {
        if matches!(channel.kind(), Kind::Admin) {
            self.census.listeners = self.census.listeners.saturating_sub(1);
            if self.census.listeners == 0 {
                (self.census.told, self.census.changed) = Default::default();
            }
        }
        self.count(channel);
    }

    fn count(&mut self, channel: &Channel) {
        if self.census.listeners > 0 {
            self.census.changed.insert(channel.clone());
        }
        // Who is in `global` or in one's own channels is nothing to watch; presence channels say more than a number.
        if matches!(channel.kind(), Kind::Context { .. }) {
            let since = self.census.uncounted.entry(channel.clone());
            since.or_insert_with(Instant::now);
        }
    }

    pub(super) fn has_counts_to_tell(&self) -> bool {
        !self.census.changed.is_empty() || !self.census.uncounted.is_empty()
    }

    /// Tells how many are where. True, if more is to come by itself.
    pub(super) fn tell_counts(&mut self, now: Instant) -> bool {
        self.tell_administrators();
        self.tell_rooms(now);
        let crowds_due = |at: Instant| now.duration_since(at) >= ROOM_PAUSE;
        if self.census.crowds.is_none_or(crowds_due) {
            self.count_crowds();
            self.census.crowds = Some(now);
        }
        self.has_counts_to_tell()
    }

    fn tell_administrators(&mut self) {
        let mut rooms = Vec::new();
        let mut left = HashSet::new();
        for channel in std::mem::take(&mut self.census.changed) {
            if rooms.len() == MAX_TOLD {
                left.insert(channel);
                continue;
            }
            let size = self.size(&channel);
            let told = self.census.told.get(&channel).copied().unwrap_or(0);
            if size == told {
                continue;
            }
            if size == 0 {
                self.census.told.remove(&channel);
            } else {
                self.census.told.insert(channel.clone(), size);
            }
            rooms.push((channel, size));
        }
        self.census.changed = left;
        if !rooms.is_empty() {
            let data = Counts::update(&rooms);
            self.say(&Channel::admin(), "connected-clients", data, None);
        }
    }

    fn tell_rooms(&mut self, now: Instant) {
        let mut uncounted = std::mem::take(&mut self.census.uncounted);
        uncounted.retain(|channel, since| {
            if now.duration_since(*since) < ROOM_PAUSE {
                return true;
            }
            let Some(room) = self.rooms.get_mut(channel) else {
                return false;
            };
            let size = room.members.len();
            if room.counted.replace(size) == Some(size) {
                return false;
            }
            let rooms = [(channel, size)];
            let data = Counts::update(rooms);
            self.say(channel, "connected-clients", data, None);
            false
        });
        self.census.uncounted = uncounted;
    }

    fn size(&self, channel: &Channel) -> usize {
        self.rooms.get(channel).map_or(0, |room| room.members.len())
    }

    /// Every room with its size.
    fn sizes(&self) -> Vec<(Channel, usize)> {
        let rooms = self.rooms.iter();
        rooms
            .map(|(channel, room)| (channel.clone(), room.members.len()))
            .collect()
    }
}

/// What `connected-clients` says.
#[derive(serde::Serialize)]
struct Counts<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    rooms: T,
    /// How many rooms there are, where these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
}

impl<T: serde::Serialize> Counts<T> {
    fn update(rooms: T) -> Data {
        Data::from_value(&Self {
            kind: "update",
            rooms,
            count: None,
        })
    }
}

/// All rooms with their sizes, for an administrator who has come in.
fn full(sizes: &[(Channel, usize)]) -> crate::realtime::protocol::Frame {
    type Size = (Channel, usize);
    let order = |(a, n): &&Size, (b, m): &&Size| m.cmp(n).then_with(|| a.cmp(b));
    let mut rooms: Vec<_> = sizes.iter().collect();
    if rooms.len() > MAX_TOLD {
        // Only those that are told have to be in order: everybody else waits meanwhile.
        rooms.select_nth_unstable_by(MAX_TOLD, order);
        rooms.truncate(MAX_TOLD);
    }
    rooms.sort_unstable_by(order);
    let counts = Counts {
        kind: "full",
        rooms,
        count: (sizes.len() > MAX_TOLD).then_some(sizes.len()),
    };
    said(
        &Channel::admin(),
        "connected-clients",
        Data::from_value(&counts),
    )
}
