//! A finished turn that waits for the commit which it shares with others.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::rows;
use crate::realtime::Event;
use crate::realtime::cursor::Position;
use crate::realtime::registry::Move;
use crate::store::Db;

/// The turn, and who waits for it.
#[derive(Debug)]
pub(super) struct Pending {
    /// They stand in the log where they will be; the rows are written with the commit.
    pub(super) events: Vec<Event>,
    /// The channels that they are looked up by later, as they are to be stored, and their positions.
    pub(super) channels: Vec<(String, Position)>,
    /// What is told after them, and not kept.
    pub(super) fleeting: Vec<Event>,
    pub(super) moves: Vec<Move>,
    /// Others may have built upon its rows, so it cannot be taken out alone.
    pub(super) changes_rows: bool,
    /// What its publication is a part of.
    pub(super) span: Span,
    /// Hears of the position at which it is kept.
    pub(super) committed: oneshot::Sender<Position>,
    /// Given back when it is over.
    pub(super) _seat: Option<OwnedSemaphorePermit>,
}

impl Pending {
    pub(super) async fn insert(&self, db: &mut Db) -> sqlx::Result<()> {
        let (events, channels): (Vec<_>, Vec<_>) =
            (self.events.iter().collect(), self.channels.iter().collect());
        rows::insert(db, "", &events, &channels, "").await
    }

    /// Whether somebody's rights change with it.
    pub(super) fn moves(&self) -> bool {
        !self.moves.is_empty()
    }

    /// The position of its last event.
    pub(super) fn last(&self) -> Option<Position> {
        self.events.last()?.position
    }
}
