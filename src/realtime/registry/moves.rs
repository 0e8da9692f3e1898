//! Moves: what a change in the store means for connections that are there already.

use std::sync::Arc;

use super::presence::Parting;
use super::{Access, Membership, Refusal, Registry, State};
use crate::realtime::connection::{Connection, ConnectionId, SessionKey};
use crate::realtime::{Channel, Close, UserId};

/// One consequence of a change, applied at the change's own position in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The user belongs to a channel from now on that the server joins everybody to: its connections are in.
    Enter {
        /// Who.
        user: UserId,
        /// Where.
        channel: Channel,
        /// With which right.
        access: Access,
    },
    /// What the user may do in a channel has changed: with nothing left its connections are out of it, and of its presence.
    Change {
        /// Who.
        user: UserId,
        /// Where.
        channel: Channel,
        /// What is left; administrators keep all.
        access: Option<Access>,
    },
    /// The channel is no more: everybody is out, after those who are live have heard of it.
    Dissolve {
        /// Which.
        channel: Channel,
    },
    /// A login has ended: its connections are closed.
    EndSession {
        /// Whose.
        user: UserId,
        /// Which.
        session: SessionKey,
    },
    /// So much has changed for the user that its connections have to come anew.
    Restart {
        /// Who.
        user: UserId,
    },
}

impl Move {
    /// Whether a channel goes.
    pub(crate) fn dissolves(&self) -> bool {
        matches!(self, Self::Dissolve { .. })
    }

    /// Whose rights change; nobody in particular's where a channel goes.
    fn user(&self) -> Option<&UserId> {
        match self {
            Self::Enter { user, .. }
            | Self::Change { user, .. }
            | Self::EndSession { user, .. }
            | Self::Restart { user } => Some(user),
            Self::Dissolve { .. } => None,
        }
    }
}

impl Registry {
    /// Lets a connection go on with a new token: it is there with another login from now on, or with none, and with
    /// what it may do now in each of these channels; out of those where that is nothing.
    ///
    /// # Errors
    /// When rights changed since they were looked up.
    pub fn renew(
        &self,
        connection: &Connection,
        session: Option<SessionKey>,
        rights: &[(Channel, Option<Access>)],
        access_version: u64,
    ) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.versions.of(connection.user_id()) != access_version {
            return Err(Refusal::Stale);
        }
        if let Some(entry) = state.connections.get_mut(&connection.id) {
            entry.session = session;
        }
        for (channel, access) in rights {
            match access {
                Some(access) => state.set_access(connection.id, channel, *access),
                None => state.remove(connection.id, channel),
            }
        }
        self.wake_for(&mut state);
        Ok(())
    }
}

impl State {
    /// What holds before the change's own events are delivered.
    pub(super) fn before(&mut self, change: &Move) {
        // Whatever was looked up before this, and is not applied yet, has to be looked up again.
        self.versions.count(change.user());
        match change {
            Move::Enter {
                user,
                channel,
                access,
            } => {
                let membership = Membership {
                    since: self.position,
                    ..Membership::automatic(*access)
                };
                for id in self.connections_of(user) {
                    let Some(entry) = self.connections.get_mut(&id) else {
                        continue;
                    };
                    let held = entry.channels.entry(channel.clone()).or_insert(membership);
                    (held.access, held.automatic) = (*access, true);
                    let connection = entry.connection.clone();
                    self.enter(channel, &connection, None);
                }
            }
            Move::Change {
                user,
                channel,
                access,
            } => {
                for id in self.connections_of(user) {
                    match access {
                        Some(access) => self.set_access(id, channel, *access),
                        None => {
                            self.remove(id, channel);
                            self.remove(id, &channel.presence());
                        }
                    }
                }
                if access.is_none() {
                    // Also who has dropped out, and might come back.
                    self.forget(&channel.presence(), user);
                }
            }
            Move::EndSession { user, session } => {
                self.close(user, Close::SessionEnded, |held| held == Some(session));
            }
            Move::Restart { user } => {
                self.close(user, Close::Restart, |_| true);
            }
            Move::Dissolve { .. } => {}
        }
    }

    /// What holds after they are delivered.
    pub(super) fn after(&mut self, change: &Move) {
        if let Move::Dissolve { channel } = change {
            for channel in [channel, &channel.presence()] {
                let members: Option<Vec<_>> = self
                    .rooms
                    .get(channel)
                    .map(|room| room.members.keys().copied().collect());
                self.present.dissolve(channel);
                for id in members.unwrap_or_default() {
                    self.remove(id, channel);
                }
            }
        }
    }

    fn connections_of(&self, user: &UserId) -> Vec<ConnectionId> {
        self.own(user).map(|connection| connection.id).collect()
    }

    fn set_access(&mut self, id: ConnectionId, channel: &Channel, access: Access) {
        let entry = self.connections.get_mut(&id);
        if let Some(membership) = entry.and_then(|entry| entry.channels.get_mut(channel)) {
            membership.access = access;
        }
    }

    fn remove(&mut self, id: ConnectionId, channel: &Channel) {
        let Some(entry) = self.connections.get_mut(&id) else {
            return;
        };
        debug_assert!(
            entry.connection.user_id().map(Channel::user).as_ref() != Some(channel),
            "a connection never leaves its user's room"
        );
        if entry.channels.remove(channel).is_some() {
            let connection = Arc::clone(&entry.connection);
            self.exit(channel, &connection, Parting::Left);
        }
    }

    fn close(&self, user: &UserId, close: Close, which: impl Fn(Option<&SessionKey>) -> bool) {
        for connection in self.own(user) {
            let entry = self.connections.get(&connection.id);
            if which(entry.and_then(|entry| entry.session.as_ref())) {
                connection.outbox.close(close);
            }
        }
    }
}
