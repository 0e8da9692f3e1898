//! Turns: the right to write one change, one after another.
//!
//! SQLite has one writer, so the order of turns is the order of the log. Each turn that changes rows is a savepoint, so
//! that one that fails takes nothing with it. One that only appends events needs no more than a place in the log for
//! them, and has it also while others are committed. Who has finished leaves the rest to the committer ([`Writer`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::pending::Pending;
use super::rows;
use super::writer::{Open, Writer};
use crate::realtime::cursor::Position;
use crate::realtime::registry::Move;
use crate::realtime::{Cursor, Event, Registry};
use crate::store::Db;
use crate::timeout::within;

/// How long a change waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a change was not kept. Nobody has seen anything of it.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Too many wait before it.
    #[error("the log is busy")]
    Busy,
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// The database refused it.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database refused the commit of several changes, this one among them.
    #[error("the database failed to commit")]
    NotCommitted,
}

/// The right to write one change. Dropping it without [`Turn::commit`] rolls it back.
#[derive(Debug)]
pub struct Turn {
    writer: Arc<Writer>,
    moves: Vec<Move>,
    /// It has had the connection to do so.
    changes_rows: bool,
    /// Of one that may change rows, until it is given back on drop.
    open: Option<Open>,
    /// To wait for a commit, until that is done.
    seat: Option<OwnedSemaphorePermit>,
    /// To change rows, and to append.
    _permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
}

/// A change that is left to the committer.
#[derive(Debug)]
pub(crate) struct Keeping {
    committed: oneshot::Receiver<Position>,
    registry: Arc<Registry>,
    span: Span,
}

impl Keeping {
    /// Waits until it is kept and has been told. Who does not changes nothing about it.
    pub(crate) async fn kept(self) -> Result<Cursor, CommitError> {
        let position = self.committed.instrument(self.span).await;
        let position = position.map_err(|_| CommitError::NotCommitted)?;
        Ok(self.registry.cursor_at(position))
    }
}

/// The next permit of these, in the order in which they are asked for.
async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, CommitError> {
    let permit = Arc::clone(of).acquire_owned().await;
    permit.map_err(|_| CommitError::Closed)
}

/// What comes while a change waits for its turn.
async fn in_time<T>(
    waiting: impl Future<Output = Result<T, CommitError>>,
) -> Result<T, CommitError> {
    let came = within(PATIENCE, waiting).await;
    came.unwrap_or(Err(CommitError::Busy))
}

impl Turn {
    /// One that changes no row: events are all that it keeps.
    pub(super) async fn begin_appending(writer: &Arc<Writer>) -> Result<Self, CommitError> {
        in_time(async {
            let seat = permit(&writer.seats).await?;
            let permits = (None, permit(&writer.places).await?);
            Ok(Self::with(writer, None, seat, permits))
        })
        .await
    }

    pub(super) async fn begin(
        writer: &Arc<Writer>,
        tasks: &TaskTracker,
    ) -> Result<Self, CommitError> {
        let (seat, permits) = in_time(async {
            let seat = permit(&writer.seats).await?;
            // In this order: nobody who has a place waits for the other, which the committer has for long.
            let rows = permit(&writer.rows).await?;
            Ok((seat, (Some(rows), permit(&writer.places).await?)))
        })
        .await?;
        let mut turn = Self::with(writer, writer.take(), seat, permits);
        // In a task of its own, because half a begin is worse than none: callers are dropped when clients hang up.
        let prepared = tasks.spawn(async move {
            let open = turn.open.as_mut().ok_or(CommitError::Closed)?;
            let begun = open.begin_turn(&turn.writer.queue).await;
            begun.inspect_err(|error| turn.writer.health.fails(error))?;
            Ok(turn)
        });
        prepared.await.map_err(|_| CommitError::Closed)?
    }

    fn with(
        writer: &Arc<Writer>,
        open: Option<Open>,
        seat: OwnedSemaphorePermit,
        permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
    ) -> Self {
        Self {
            writer: Arc::clone(writer),
            moves: Vec::new(),
            changes_rows: false,
            open,
            seat: Some(seat),
            _permits: permits,
        }
    }

    /// The connection to change rows with, inside the transaction.
    pub fn db(&mut self) -> &mut Db {
        self.changes_rows = true;
        self.db_to_read()
    }

    /// The same, for who only looks something up: then an event that the database refuses fails alone.
    pub(crate) fn db_to_read(&mut self) -> &mut Db {
        &mut self.open_mut().db
    }

    /// The position that the first event of this change will have.
    pub fn position(&self) -> Position {
        self.writer.queue.lock().unwrap().appended + 1
    }

    /// How many moves there have been before this change; nothing, where some are still to be made, so that only the
    /// database knows of them.
    pub(crate) fn moves_before(&self) -> Option<u64> {
        let to_be_made = self.writer.queue.lock().unwrap().has_moves();
        // Nobody can make one in between.
        (!to_be_made).then(|| self.writer.registry.moves())
    }

    /// Notes what the change means for connections that are there; it happens when the change does.
    pub fn moves(&mut self, moves: impl IntoIterator<Item = Move>) {
        self.moves.extend(moves);
    }

    /// Appends the change's events and keeps all of it, or nothing. Returns the position of the last event once the
    /// disk has it and it has been published; without events, the log's position.
    ///
    /// # Errors
    /// When it could not be kept.
    pub async fn commit(self, events: Vec<Event>) -> Result<Cursor, CommitError> {
        self.keep(events, Vec::new()).kept().await
    }

    /// The same, without waiting for it; `fleeting` events are told after the others, and not kept.
    pub(crate) fn keep(mut self, events: Vec<Event>, fleeting: Vec<Event>) -> Keeping {
        let span = tracing::trace_span!(target: "roomcast::trace", "commit", events = events.len());
        let (sender, committed) = oneshot::channel();
        let moves = std::mem::take(&mut self.moves);
        if let Some(open) = &mut self.open {
            open.finish_turn();
        }
        let registry = Arc::clone(&self.writer.registry);
        let (events, channels) = place(self.position(), &registry, events);
        let appended = events.len() as u64;
        let pending = Pending {
            events,
            channels,
            fleeting,
            moves,
            changes_rows: self.changes_rows,
            span: span.clone(),
            committed: sender,
            _seat: self.seat.take(),
        };
        let mut queue = self.writer.queue.lock().unwrap();
        // Where nobody commits any more nobody would ever look; so it is dropped, and heard of.
        if !self.writer.seats.is_closed() {
            queue.appended += appended;
            queue.pending.push(pending);
        }
        drop(queue);
        Keeping {
            committed,
            registry,
            span,
        }
    }

    /// Why the database would refuse an event in this turn for what it is, if it would.
    ///
    /// # Errors
    /// When it fails for another reason.
    pub(super) async fn refusal(&mut self, event: &Event) -> sqlx::Result<Option<sqlx::Error>> {
        let registry = &self.writer.registry;
        let (events, channels) = place(self.position(), registry, vec![event.clone()]);
        let db = &mut self.open_mut().db;
        rows::say(db, "savepoint trial").await?;
        let (events, channels): (Vec<_>, Vec<_>) =
            (events.iter().collect(), channels.iter().collect());
        let inserted = rows::insert(db, "", &events, &channels, "").await;
        rows::say(db, "rollback to trial; release trial").await?;
        match inserted {
            Ok(()) => Ok(None),
            Err(error) if rows::is_refusal(&error) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    fn open_mut(&mut self) -> &mut Open {
        self.open
            .as_mut()
            .expect("a turn that may change rows has the writer until it is dropped")
    }
}

/// Gives events their places from this one on, and says under which channels they are looked up there. Whoever does so
/// is the only one: nothing is locked, because the registry may be busy.
fn place(
    first: Position,
    registry: &Registry,
    mut events: Vec<Event>,
) -> (Vec<Event>, Vec<(String, Position)>) {
    events.retain(|event| !event.channels.is_empty());
    let mut channels = Vec::new();
    for (position, event) in (first..).zip(&mut events) {
        event.position = Some(position);
        let names = event
            .channels
            .iter()
            .filter_map(|channel| rows::stored(channel, registry));
        channels.extend(names.map(|name| (name, position)));
    }
    (events, channels)
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the permits go: whoever has the next turn finds the writer in its place.
        if let Some(open) = self.open.take() {
            self.writer.give_back(open);
        }
        // Also for a turn that kept nothing: its transaction would lock out other programs until the next change.
        self.writer.finished.notify_one();
    }
}
