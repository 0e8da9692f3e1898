//! Who is in the presence channels, followed through every coming and going, and told to those who are there.
//!
//! A list and the changes after it are of one piece: both are made under the registry's lock, and a list says of others
//! what has been told of them, so that nothing is missed or heard twice.

use std::collections::{HashMap, HashSet, VecDeque};

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Registry, State};
use crate::realtime::connection::{Connection, ConnectionId};
use crate::realtime::presence::{Change, Members, Presence};
use crate::realtime::protocol::Frame;
use crate::realtime::{Channel, Close, Data, Event, EventName, UserId};

/// Places that are kept for one user who dropped out. A connection is gone as fast as it comes, so what it may join is
/// no bound for these.
const MAX_KEPT: usize = 1_024;
/// As much for all of them together: no limit of connections counts who is not there any more.
pub(super) const MAX_AWAY: usize = 200_000;

/// The presence channels with somebody in them.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) rooms: HashMap<Channel, Presence>,
    /// Who has dropped out and until when they may come back, in this order: the time given is the same for all.
    pub(super) dropped: VecDeque<(Instant, Channel, UserId)>,
    /// How many of these are of whom.
    pub(super) kept: HashMap<UserId, usize>,
    /// Channels with members whose `meta` has changed.
    pub(super) updated: HashSet<Channel>,
    /// Crowds whose number has changed.
    pub(super) crowds: HashSet<Channel>,
}

impl Present {
    /// A channel is no more, and nobody is left to hear of it.
    pub(super) fn dissolve(&mut self, channel: &Channel) {
        self.rooms.remove(channel);
    }

    /// Whether a place may be kept for a user in one channel more.
    fn may_keep(&self, user: &UserId) -> bool {
        let room = self.dropped.len() < MAX_AWAY;
        room && self.kept.get(user).is_none_or(|kept| *kept < MAX_KEPT)
    }

    /// The next place that has been kept for long enough.
    fn pop_dropped(&mut self, now: Instant) -> Option<(Channel, UserId)> {
        let (_, channel, user) = self.dropped.pop_front_if(|(until, ..)| *until <= now)?;
        if let Some(kept) = self.kept.get_mut(&user) {
            *kept -= 1;
            if *kept == 0 {
                self.kept.remove(&user);
            }
        }
        Some((channel, user))
    }
}

/// How a connection goes out of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It has left, or was put out: nobody waits for it.
    Left,
    /// It broke off, and may come back until then.
    BrokeOff(Instant),
}

impl Registry {
    /// Somebody who was sent away for good does not come back; whoever else goes, may.
    pub(super) fn parting(&self, connection: &Connection) -> Parting {
        match connection.outbox.closed() {
            Some(Close::SessionEnded | Close::Removed) => Parting::Left,
            _ => Parting::BrokeOff(Instant::now() + self.limits.presence_grace),
        }
    }

    /// Replaces what a presence channel says of a connection's user, and answers in its place among the events. False,
    /// if the connection is in no such channel, or is nobody's.
    pub fn describe(
        &self,
        connection: &Connection,
        channel: &Channel,
        meta: Data,
        answer: impl FnOnce(&Members) -> Frame,
    ) -> bool {
        let mut state = self.state.lock().unwrap();
        let entry = state.connections.get(&connection.id);
        let is_in = entry.is_some_and(|entry| entry.channels.contains_key(channel));
        if !is_in || !channel.is_presence() || connection.user.is_none() {
            return false;
        }
        state.describe(channel, connection, Some(meta));
        let members = state.members(channel, connection.id);
        connection.outbox.push(answer(&members));
        self.wake_for(&mut state);
        true
    }

    /// Members of a presence channel with ids after the given one, in order of their ids, and how many there are.
    pub fn members(
        &self,
        channel: &Channel,
        after: &str,
        limit: usize,
    ) -> (Vec<(UserId, Data)>, usize) {
        let state = self.state.lock().unwrap();
        let presence = state.present.rooms.get(channel);
        presence.map_or_else(Default::default, |presence| {
            (presence.page(after, limit), presence.len())
        })
    }
}

impl State {
    pub(super) fn appear(
        &mut self,
        channel: &Channel,
        connection: &Connection,
        meta: Option<Data>,
    ) {
        let Some(user) = connection.user.as_ref().filter(|_| channel.is_presence()) else {
            return;
        };
        let presence = self.present.rooms.entry(channel.clone()).or_default();
        let change = presence.enter(user, meta, connection.id, OffsetDateTime::now_utc());
        self.tell(channel, change, Some(connection.id));
    }

    pub(super) fn disappear(
        &mut self,
        channel: &Channel,
        connection: &Connection,
        parting: Parting,
    ) {
        let Some(user) = connection.user_id() else {
            return;
        };
        let may_keep = self.present.may_keep(user);
        let Some(presence) = self.present.rooms.get_mut(channel) else {
            return;
        };
        let change = match parting {
            Parting::BrokeOff(until) if may_keep => {
                if presence.drop_out(user, until) {
                    let dropped = (until, channel.clone(), user.clone());
                    self.present.dropped.push_back(dropped);
                    *self.present.kept.entry(user.clone()).or_default() += 1;
                }
                return;
            }
            Parting::Left | Parting::BrokeOff(_) => presence.leave(user),
        };
        self.tell(channel, change, None);
    }

    /// Another `meta`, if there is one.
    pub(super) fn describe(
        &mut self,
        channel: &Channel,
        connection: &Connection,
        meta: Option<Data>,
    ) {
        let presence = self.present.rooms.get_mut(channel);
        if let (Some(presence), Some(user)) = (presence, connection.user_id()) {
            let change = presence.update(user, meta, connection.id);
            self.tell(channel, change, None);
        }
    }

    /// A user is out of a presence channel, whether somebody waits for it or not.
    pub(super) fn forget(&mut self, channel: &Channel, user: &UserId) {
        if let Some(presence) = self.present.rooms.get_mut(channel) {
            let change = presence.remove(user);
            self.tell(channel, change, None);
        }
    }

    /// Who is there, as it is said to one connection.
    pub(super) fn members(&self, channel: &Channel, to: ConnectionId) -> Members {
        let presence = self.present.rooms.get(channel);
        presence.map_or_else(Members::none, |presence| presence.members(to))
    }

    /// Who dropped out and has not come back by now is out; what has changed since is told. True, if more is to come.
    pub(super) fn tell_presence(&mut self, now: Instant) -> bool {
        while let Some((channel, user)) = self.present.pop_dropped(now) {
            if let Some(presence) = self.present.rooms.get_mut(&channel) {
                let change = presence.expire(&user, now);
                self.tell(&channel, change, None);
            }
        }
        let mut later = HashSet::new();
        for channel in std::mem::take(&mut self.present.updated) {
            let Some(presence) = self.present.rooms.get_mut(&channel) else {
                continue;
            };
            if presence.rests(now) {
                later.insert(channel);
                continue;
            }
            let changed = presence.take_changed();
            let listeners = self
                .rooms
                .get(&channel)
                .map_or(0, |room| room.members.len());
            presence.told(changed.len().saturating_mul(listeners), now);
            for (by, data) in changed {
                self.say(&channel, "user-updated", data, Some(by));
            }
        }
        self.present.updated = later;
        self.has_presence_to_tell()
    }

    pub(super) fn has_presence_to_tell(&self) -> bool {
        let Present {
            dropped,
            updated,
            crowds,
            ..
        } = &self.present;
        !dropped.is_empty() || !updated.is_empty() || !crowds.is_empty()
    }

    /// Says how many are in the crowds; a room that is none any more gets its list back.
    pub(super) fn count_crowds(&mut self) {
        for channel in std::mem::take(&mut self.present.crowds) {
            let Some(presence) = self.present.rooms.get_mut(&channel) else {
                continue;
            };
            let count = presence.len();
            if presence.calm_down() {
                // All of it at once: nothing is untold in what was a crowd.
                presence.take_changed();
                let list = presence.members(ConnectionId(0)).list;
                let data = Data::stored(format!(r#"{{"members":{}}}"#, list.as_str()));
                self.say(&channel, "presence-list", data, None);
            } else {
                let data = Data::from_value(&serde_json::json!({ "count": count }));
                self.say(&channel, "presence-count", data, None);
            }
        }
    }

    /// Tells a change to all who are there, or notes that it is to be told.
    fn tell(&mut self, channel: &Channel, change: Change, but: Option<ConnectionId>) {
        let Some(presence) = self.present.rooms.get(channel) else {
            return;
        };
        let crowded = presence.is_crowded();
        if presence.is_empty() {
            self.present.rooms.remove(channel);
        }
        match change {
            Change::None => {}
            Change::Joined(_) | Change::Left(_) if crowded => {
                self.present.crowds.insert(channel.clone());
            }
            Change::Joined(data) => self.say(channel, "user-joined", data, but),
            Change::Left(data) => self.say(channel, "user-left", data, None),
            // It may have become a crowd by that, or end to be one.
            Change::Updated if crowded => {
                self.present.crowds.insert(channel.clone());
            }
            Change::Updated => {
                self.present.updated.insert(channel.clone());
            }
        }
    }

    /// Says something volatile to a room, but not to the one connection that knows it already.
    pub(super) fn say(
        &self,
        channel: &Channel,
        name: &'static str,
        data: Data,
        but: Option<ConnectionId>,
    ) {
        let Some(room) = self.rooms.get(channel) else {
            return;
        };
        let frame = said(channel, name, data);
        for (id, connection) in &room.members {
            if Some(*id) != but {
                connection.outbox.push(frame.clone());
            }
        }
    }
}

/// A volatile event of the server's own.
pub(super) fn said(channel: &Channel, name: &'static str, data: Data) -> Frame {
    let event = Event {
        channels: [channel.clone()].into(),
        name: EventName::own(name),
        data,
        origin: None,
        except: [].into(),
        by: None,
        time: OffsetDateTime::now_utc(),
        position: None,
    };
    Frame::event(&event, channel, None)
}
