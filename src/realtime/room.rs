//! A room: a channel with the connections that are in it now. Made on the first join, gone after the last leave.

use std::sync::Arc;

use indexmap::IndexMap;

use super::connection::{Connection, ConnectionId};
use super::cursor::Position;

/// The live state of one channel.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Who is in, most of them in the order in which they came: so they stand in memory, too, the kernel's part of them
    /// as well. Where there are ten thousand, a delivery costs a sixth less than in any order.
    pub(super) members: IndexMap<ConnectionId, Arc<Connection>>,
    /// How many its members were last told that they are.
    pub(super) counted: Option<usize>,
}

/// What somebody may do in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Receive.
    Read,
    /// Receive and publish.
    Write,
}

/// How a connection is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What it may do there.
    pub access: Access,
    /// The server put it there, so it may not leave by itself.
    pub automatic: bool,
    /// It may see what came after this position.
    pub since: Position,
}

impl Membership {
    /// Of a channel that the client asked for.
    pub fn asked(access: Access) -> Self {
        Self {
            access,
            automatic: false,
            since: 0,
        }
    }

    /// Of a channel that the server puts everybody in who belongs there.
    pub fn automatic(access: Access) -> Self {
        Self {
            access,
            automatic: true,
            since: 0,
        }
    }
}
