//! Turns: writing one change and its events, one after another, and committing those that came together at once.
//!
//! SQLite has one writer, so the order of turns is the order of the log. Each turn is a savepoint, so that one that
//! fails takes nothing with it. The committer waits in the same fair queue as the turns: when it is its turn, it writes
//! the events of all who were before it, and they share one commit, and one wait for the disk. It then publishes them,
//! in order, before anybody else can write.
//!
//! Where the database refuses an event for what it is, the others are written without it. The position that it was
//! given stays empty, because later ones may stand in answers already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{Connection, Executor};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::head::Head;
use super::health::Health;
use super::pending::Pending;
use super::recent::Recent;
use super::rows;
use crate::realtime::cursor::Position;
use crate::realtime::registry::Move;
use crate::realtime::{Cursor, Event, Registry};
use crate::store::Db;

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

/// The one connection that writes, and who waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    turns: Arc<Semaphore>,
    open: Mutex<Option<Open>>,
    /// A turn is over: there is something to commit, or to roll back.
    finished: Notify,
    registry: Arc<Registry>,
    recent: Arc<Recent>,
    health: Health,
    /// Where a channel was last dissolved.
    dissolved: AtomicU64,
}

/// What whoever has the turn may use.
#[derive(Debug)]
struct Open {
    db: Db,
    head: Head,
    /// A transaction is open.
    begun: bool,
    /// A turn was begun and never finished: its savepoint has to be rolled back.
    unfinished: bool,
    /// A turn was finished, and its savepoint is still there: to release it goes with what is to be done next, because
    /// each word to the database costs as much as what it says.
    unreleased: bool,
    /// What was given a position up to here has been kept, or never will be.
    committed: Position,
    appended: Position,
    /// The last event in the database. After a restart the log goes on from here, so nothing later may be named to
    /// anybody.
    kept: Position,
    pending: Vec<Pending>,
}

/// The right to write one change. Dropping it without [`Turn::commit`] rolls it back.
#[derive(Debug)]
pub struct Turn {
    /// Always there, until it is given back on drop.
    open: Option<Open>,
    writer: Arc<Writer>,
    moves: Vec<Move>,
    has_savepoint: bool,
    /// It has had the connection to do so.
    changes_rows: bool,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// One that changes no row: events are all that it keeps.
    pub(super) async fn begin_appending(writer: &Arc<Writer>) -> Result<Self, CommitError> {
        let waiting = tokio::time::timeout(PATIENCE, Arc::clone(&writer.turns).acquire_owned());
        let permit = waiting
            .await
            .map_err(|_| CommitError::Busy)?
            .map_err(|_| CommitError::Closed)?;
        let open = writer.open.lock().unwrap().take();
        let turn = Self {
            open,
            writer: Arc::clone(writer),
            moves: Vec::new(),
            has_savepoint: false,
            changes_rows: false,
            _permit: permit,
        };
        if turn.open.is_none() {
            return Err(CommitError::Closed);
        }
        Ok(turn)
    }

    pub(super) async fn begin(
        writer: &Arc<Writer>,
        tasks: &TaskTracker,
    ) -> Result<Self, CommitError> {
        let mut turn = Self::begin_appending(writer).await?;
        turn.has_savepoint = true;
        // In a task of its own, because half a begin is worse than none: callers are dropped when clients hang up.
        let prepared = tasks.spawn(async move {
            let open = turn.open.as_mut().ok_or(CommitError::Closed)?;
            let begun = open.begin_turn().await;
            begun.inspect_err(|error| turn.writer.health.fails(error))?;
            Ok(turn)
        });
        prepared.await.map_err(|_| CommitError::Closed)?
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
    pub fn position(&mut self) -> Position {
        self.open_mut().appended + 1
    }

    /// How many moves there have been before this change, if all that were made have been.
    pub(crate) fn moves_before(&mut self) -> Option<u64> {
        let registry = Arc::clone(&self.writer.registry);
        let none_waits = self
            .open_mut()
            .pending
            .iter()
            .all(|one| one.moves.is_empty());
        none_waits.then(|| registry.moves())
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
        let span = tracing::trace_span!(target: "roomcast::trace", "commit", events = events.len());
        let writer = Arc::clone(&self.writer);
        let committed = span.in_scope(|| self.finish(events));
        // Who does not wait for it any more changes nothing about it.
        let position = committed.instrument(span).await;
        let position = position.map_err(|_| CommitError::NotCommitted)?;
        Ok(writer.registry.cursor_at(position))
    }

    /// Leaves it to the committer, which says at which position it is kept.
    fn finish(mut self, events: Vec<Event>) -> oneshot::Receiver<Position> {
        let (sender, committed) = oneshot::channel();
        let moves = std::mem::take(&mut self.moves);
        let registry = Arc::clone(&self.writer.registry);
        let (has_savepoint, changes_rows) = (self.has_savepoint, self.changes_rows);
        let open = self.open_mut();
        if has_savepoint {
            (open.unfinished, open.unreleased) = (false, true);
        }
        let (events, channels) = open.place(&registry, events);
        open.pending.push(Pending {
            events,
            channels,
            moves,
            changes_rows,
            span: Span::current(),
            committed: sender,
        });
        committed
    }

    /// Why the database would refuse an event in this turn for what it is, if it would.
    ///
    /// # Errors
    /// When it fails for another reason.
    pub(super) async fn refusal(&mut self, event: &Event) -> sqlx::Result<Option<sqlx::Error>> {
        let registry = Arc::clone(&self.writer.registry);
        let open = self.open_mut();
        let appended = open.appended;
        let (events, channels) = open.place(&registry, vec![event.clone()]);
        open.appended = appended;
        open.db.execute("savepoint trial").await?;
        let (events, channels): (Vec<_>, Vec<_>) =
            (events.iter().collect(), channels.iter().collect());
        let inserted = rows::insert(&mut open.db, "", &events, &channels, "").await;
        open.db.execute("rollback to trial; release trial").await?;
        match inserted {
            Ok(()) => Ok(None),
            Err(error) if rows::is_refusal(&error) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    fn open_mut(&mut self) -> &mut Open {
        self.open
            .as_mut()
            .expect("a turn has the writer until it is dropped")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the permit goes: whoever has the next turn finds the writer in its place.
        *self.writer.open.lock().unwrap() = self.open.take();
        // Also for a turn that kept nothing: its transaction would lock out other programs until the next change.
        self.writer.finished.notify_one();
    }
}

impl Open {
    async fn begin_turn(&mut self) -> sqlx::Result<()> {
        let prepared = match self.roll_back_unfinished().await {
            Ok(()) if self.begun => {
                let savepoints = if self.unreleased {
                    "release change; release turn; savepoint turn; savepoint change"
                } else {
                    "savepoint turn; savepoint change"
                };
                rows::say(&mut self.db, savepoints).await
            }
            rolled_back => rolled_back,
        };
        if let Err(error) = prepared {
            // When the disk is full or broken the database rolls back all of a transaction by itself, and with it what
            // waited for the commit. There are two savepoints, so that their release finds that out.
            tracing::warn!(%error, "the database has rolled back what waited for the commit");
            self.reset().await;
        }
        if !self.begun {
            rows::say(
                &mut self.db,
                "begin immediate; savepoint turn; savepoint change",
            )
            .await?;
            self.begun = true;
        }
        (self.unfinished, self.unreleased) = (true, false);
        Ok(())
    }

    /// Gives events their places behind the last one, and says under which channels they are looked up there.
    fn place(
        &mut self,
        registry: &Registry,
        mut events: Vec<Event>,
    ) -> (Vec<Event>, Vec<(String, Position)>) {
        events.retain(|event| !event.channels.is_empty());
        let mut channels = Vec::new();
        for event in &mut events {
            self.appended += 1;
            event.position = Some(self.appended);
            let names = event
                .channels
                .iter()
                .filter_map(|channel| rows::stored(channel, registry));
            channels.extend(names.map(|name| (name, self.appended)));
        }
        (events, channels)
    }

    async fn roll_back_unfinished(&mut self) -> sqlx::Result<()> {
        if self.unfinished {
            rows::say(&mut self.db, "rollback to turn; release turn").await?;
            self.unfinished = false;
        }
        Ok(())
    }

    async fn commit(&mut self) -> sqlx::Result<()> {
        self.roll_back_unfinished().await?;
        let events: Vec<&Event> = self.pending.iter().flat_map(|one| &one.events).collect();
        let before = match (self.begun, self.unreleased) {
            (false, _) => "begin immediate; savepoint events; ",
            (true, true) => "release change; release turn; savepoint events; ",
            (true, false) => "savepoint events; ",
        };
        let channels: Vec<_> = self.pending.iter().flat_map(|one| &one.channels).collect();
        (self.begun, self.unreleased) = (true, false);
        match rows::insert(&mut self.db, before, &events, &channels, "commit").await {
            Err(error) if rows::is_refusal(&error) => {
                self.insert_one_by_one(error).await?;
                self.db.execute("commit").await?;
            }
            inserted => inserted?,
        }
        Ok(())
    }

    /// Finds out whose event the database refused, and leaves that turn out.
    async fn insert_one_by_one(&mut self, refusal: sqlx::Error) -> sqlx::Result<()> {
        self.db.execute("rollback to events").await?;
        let (mut left, mut refusal) = (Vec::new(), refusal);
        for pending in std::mem::take(&mut self.pending) {
            if pending.events.is_empty() {
                left.push(pending);
                continue;
            }
            self.db.execute("savepoint one").await?;
            match pending.insert(&mut self.db).await {
                Ok(()) => {
                    self.db.execute("release one").await?;
                    left.push(pending);
                }
                Err(error) if rows::is_refusal(&error) && !pending.changes_rows => {
                    self.db.execute("rollback to one; release one").await?;
                    tracing::error!(%error, "the database refused an event; it is not kept");
                    refusal = error;
                }
                Err(error) => return Err(error),
            }
        }
        self.pending = left;
        // Where nobody is left the log may be broken, and whoever watches it has to know.
        if self.pending.is_empty() {
            return Err(refusal);
        }
        Ok(())
    }

    /// Leaves no transaction open, whatever state it is in.
    async fn reset(&mut self) {
        // Fails where the database has already rolled back by itself, which is as good.
        let _ = self.db.execute("rollback").await;
        (self.begun, self.unfinished, self.unreleased) = (false, false, false);
        self.appended = self.committed;
        self.pending.clear();
    }
}

impl Writer {
    pub(super) fn new(
        db: Db,
        head: Head,
        position: Position,
        registry: Arc<Registry>,
        recent: Arc<Recent>,
    ) -> Self {
        let (committed, appended) = (position, position);
        let open = Open {
            db,
            head,
            begun: false,
            unfinished: false,
            unreleased: false,
            committed,
            appended,
            kept: position,
            pending: Vec::new(),
        };
        let turns = Arc::new(Semaphore::new(1));
        Self {
            turns,
            open: Mutex::new(Some(open)),
            finished: Notify::new(),
            registry,
            recent,
            health: Health::default(),
            dissolved: AtomicU64::new(0),
        }
    }

    /// The position at which a channel was last dissolved since the start.
    pub(super) fn dissolved(&self) -> Position {
        self.dissolved.load(Ordering::Acquire)
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// The committer: commits and publishes what has been finished, until it is stopped and nothing is left.
    pub(super) async fn commit_turns(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.finished.notified() => {
                    // Who is about to finish shares the commit: one that waits for nobody makes all others wait for two.
                    tokio::task::yield_now().await;
                    self.commit_finished().await;
                }
                () = stop.cancelled() => {}
            }
        }
        self.commit_finished().await;
    }

    async fn commit_finished(&self) {
        let Ok(_permit) = self.turns.acquire().await else {
            return;
        };
        let Some(mut open) = self.open.lock().unwrap().take() else {
            return;
        };
        if open.begun || !open.pending.is_empty() {
            let changes = open.pending.len();
            self.health.begins();
            let committed = open.commit().await;
            self.health.ends();
            match committed {
                Ok(()) => {
                    let mut at = open.kept;
                    if let Some(last) = open.pending.iter().rev().find_map(Pending::last) {
                        open.kept = last;
                        self.health.well();
                    }
                    (open.begun, open.committed) = (false, open.appended);
                    open.head.advance(open.kept);
                    for pending in open.pending.drain(..) {
                        at = pending.last().unwrap_or(at);
                        if pending.moves.iter().any(Move::dissolves) {
                            self.dissolved.store(at, Ordering::Release);
                        }
                        self.recent.push(&pending.events, &pending.channels);
                        let span = &pending.span;
                        tracing::trace_span!(target: "roomcast::trace", parent: span, "publish")
                            .in_scope(|| self.registry.commit(&pending.events, &pending.moves));
                        // Whoever asked may have gone; the change stays.
                        let _ = pending.committed.send(at);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, changes, "the database failed to commit");
                    self.health.fails(&error);
                    open.reset().await;
                }
            }
        }
        *self.open.lock().unwrap() = Some(open);
    }

    /// Closes the database. Turns that come later are refused.
    pub(super) async fn close(&self) {
        let Ok(permit) = self.turns.acquire().await else {
            return;
        };
        permit.forget();
        self.turns.close();
        let Some(mut open) = self.open.lock().unwrap().take() else {
            return;
        };
        let closed = async {
            if open.begun {
                open.reset().await;
            }
            open.db.execute("pragma wal_checkpoint(truncate)").await?;
            open.head.close(open.kept)?;
            open.db.close().await
        };
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}
