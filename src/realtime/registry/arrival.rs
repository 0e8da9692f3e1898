//! Arrivals: who wants in, and who is not let in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{Handle, Membership, State};
use crate::realtime::connection::{SessionKey, SocketId, Transport};
use crate::realtime::cursor::Position;
use crate::realtime::presence::Members;
use crate::realtime::{Channel, Event, EventName, User};

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
    /// Events of which only the newest of each sender waits for a slow reader, by the kind of their channel.
    pub newest: BTreeMap<String, BTreeSet<EventName>>,
    /// How long somebody whose last connection broke off is still said to be there.
    pub presence_grace: Duration,
}

impl Limits {
    /// Whether only the newest of events like this one is to wait. What is kept is never left out, nor what a back end
    /// says, which may speak for many.
    pub(super) fn keeps_newest(&self, event: &Event, channel: &Channel) -> bool {
        if self.newest.is_empty() || event.position.is_some() || event.by.is_none() {
            return false;
        }
        let names = self.newest.get(channel.kind().word());
        names.is_some_and(|names| names.contains(&event.name))
    }
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
    /// [`Registry::access_version`](super::Registry::access_version) from before the channels were looked up.
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

/// A connection that was let in.
#[derive(Debug)]
pub struct Connected {
    /// Keeps it in; dropping it leaves every room.
    pub handle: Handle,
    /// What is published after this reaches it.
    pub position: Position,
    /// Who is in the presence channels that it is in.
    pub presence: Vec<(Channel, Members)>,
}

impl State {
    pub(super) fn check_limits(&self, limits: &Limits, arrival: &Arrival) -> Result<(), Refusal> {
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
}
