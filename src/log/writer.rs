//! The writer: the one connection that writes, and the committer, which commits what came together at once.
//!
//! The committer waits in the same fair queue as the turns that change rows: when it is its turn, it writes the events of
//! all who were before it, and they share one commit, and one wait for the disk. It then publishes them, in order, before
//! anybody else can change a row. Who only appends meanwhile goes into the next commit.
//!
//! Where the database refuses an event for what it is, the others are written without it. The position that it was
//! given stays empty, because later ones may stand in answers already.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::Connection;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::head::Head;
use super::health::Health;
use super::pending::Pending;
use super::recent::Recent;
use super::rows;
use crate::realtime::cursor::Position;
use crate::realtime::registry::Move;
use crate::realtime::{Event, Registry};
use crate::store::Db;

/// How many changes wait for commits at once. Who comes later waits with what it has not said yet, and not for ever.
const SEATS: usize = 1_024;
/// How long others may go on before a commit, however many still come: no longer than a disk takes.
const GATHERING: Duration = Duration::from_millis(1);

/// The one connection that writes, and who waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    /// Who waits for a commit, or for the turn before it.
    pub(super) seats: Arc<Semaphore>,
    /// Who may change rows, and the committer: one at a time.
    pub(super) rows: Arc<Semaphore>,
    /// Who may give events their places: one at a time. Whoever may change rows may do that, too, and asks for it last.
    pub(super) places: Arc<Semaphore>,
    pub(super) queue: Mutex<Queue>,
    open: Mutex<Option<Open>>,
    /// A turn is over: there is something to commit, or to roll back.
    pub(super) finished: Notify,
    pub(super) registry: Arc<Registry>,
    recent: Arc<Recent>,
    pub(super) health: Health,
    /// Where a channel was last dissolved.
    dissolved: AtomicU64,
}

/// What waits for the commit, in the order of the log.
#[derive(Debug)]
pub(super) struct Queue {
    /// The last position that was given out.
    pub(super) appended: Position,
    pub(super) pending: Vec<Pending>,
    /// There are moves among those that are just being committed.
    moving: bool,
}

/// What whoever may change rows may use.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) db: Db,
    head: Head,
    /// A transaction is open.
    begun: bool,
    /// A turn was begun and never finished: its savepoint has to be rolled back.
    unfinished: bool,
    /// A turn was finished, and its savepoint is still there: to release it goes with what is to be done next, because
    /// each word to the database costs as much as what it says.
    unreleased: bool,
    /// The last event in the database. After a restart the log goes on from here, so nothing later may be named to
    /// anybody.
    kept: Position,
}

impl Queue {
    /// Whether rights have been changed and nobody knows yet but the database.
    pub(super) fn has_moves(&self) -> bool {
        self.moving || self.pending.iter().any(Pending::moves)
    }
}

impl Open {
    pub(super) async fn begin_turn(&mut self, queue: &Mutex<Queue>) -> sqlx::Result<()> {
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
            let mut queue = queue.lock().unwrap();
            queue.pending.clear();
            queue.appended = self.kept;
        }
        if !self.begun {
            self.begun = true;
            let words = "begin immediate; savepoint turn; savepoint change";
            if let Err(error) = rows::say(&mut self.db, words).await {
                self.reset().await;
                return Err(error);
            }
        }
        (self.unfinished, self.unreleased) = (true, false);
        Ok(())
    }

    /// What the turn did is to be kept.
    pub(super) fn finish_turn(&mut self) {
        (self.unfinished, self.unreleased) = (false, true);
    }

    async fn roll_back_unfinished(&mut self) -> sqlx::Result<()> {
        if self.unfinished {
            rows::say(&mut self.db, "rollback to turn; release turn").await?;
            self.unfinished = false;
        }
        Ok(())
    }

    /// Writes the events of all these, and commits. Whose event the database refuses is left out.
    async fn commit(&mut self, all: &mut Vec<Pending>) -> sqlx::Result<()> {
        self.roll_back_unfinished().await?;
        let events: Vec<&Event> = all.iter().flat_map(|one| &one.events).collect();
        let before = match (self.begun, self.unreleased) {
            (false, _) => "begin immediate; ",
            (true, true) => "release change; release turn; savepoint events; ",
            (true, false) => "savepoint events; ",
        };
        // Where nothing but events is in the transaction, it is its own savepoint.
        let back = if self.begun {
            "rollback to events"
        } else {
            "rollback; begin immediate"
        };
        let channels: Vec<_> = all.iter().flat_map(|one| &one.channels).collect();
        (self.begun, self.unreleased) = (true, false);
        match rows::insert(&mut self.db, before, &events, &channels, "commit").await {
            Err(error) if rows::is_refusal(&error) => {
                rows::say(&mut self.db, back).await?;
                self.insert_one_by_one(all, error).await?;
                rows::say(&mut self.db, "commit").await?;
            }
            inserted => inserted?,
        }
        Ok(())
    }

    /// Finds out whose event the database refused, and leaves that turn out.
    async fn insert_one_by_one(
        &mut self,
        all: &mut Vec<Pending>,
        refusal: sqlx::Error,
    ) -> sqlx::Result<()> {
        let (mut left, mut refused, mut refusal) = (Vec::new(), Vec::new(), refusal);
        for pending in std::mem::take(all) {
            if pending.events.is_empty() {
                left.push(pending);
                continue;
            }
            rows::say(&mut self.db, "savepoint one").await?;
            match pending.insert(&mut self.db).await {
                Ok(()) => {
                    rows::say(&mut self.db, "release one").await?;
                    left.push(pending);
                }
                Err(error) if rows::is_refusal(&error) && !pending.changes_rows => {
                    rows::say(&mut self.db, "rollback to one; release one").await?;
                    tracing::error!(%error, "the database refused an event; it is not kept");
                    refusal = error;
                    refused.push(pending);
                }
                Err(error) => return Err(error),
            }
        }
        // Where nobody is left the log may be broken, and whoever watches it has to know. They hear of it once their places
        // have been taken back: what they say next has those.
        if left.is_empty() {
            *all = refused;
            return Err(refusal);
        }
        *all = left;
        Ok(())
    }

    /// Leaves no transaction open, whatever state it is in.
    async fn reset(&mut self) {
        // Fails where the database has already rolled back by itself, which is as good.
        let _ = rows::say(&mut self.db, "rollback").await;
        (self.begun, self.unfinished, self.unreleased) = (false, false, false);
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
        let queue = Queue {
            appended: position,
            pending: Vec::new(),
            moving: false,
        };
        let open = Open {
            db,
            head,
            begun: false,
            unfinished: false,
            unreleased: false,
            kept: position,
        };
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            rows: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(1)),
            queue: Mutex::new(queue),
            open: Mutex::new(Some(open)),
            finished: Notify::new(),
            registry,
            recent,
            health: Health::default(),
            dissolved: AtomicU64::new(0),
        }
    }

    /// For whoever may change rows; nothing, once it is closed.
    pub(super) fn take(&self) -> Option<Open> {
        self.open.lock().unwrap().take()
    }

    pub(super) fn give_back(&self, open: Open) {
        *self.open.lock().unwrap() = Some(open);
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
        let committing = AssertUnwindSafe(self.commit_until(stop)).catch_unwind();
        if committing.await.is_err() {
            tracing::error!("the committer has panicked; nothing is kept any more");
            self.refuse_all();
        }
    }

    async fn commit_until(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.finished.notified() => {
                    self.gather().await;
                    self.commit_finished().await;
                }
                () = stop.cancelled() => {}
            }
        }
        self.commit_finished().await;
    }

    /// Lets everybody go on who is about to finish, for as long as that brings somebody: they share the commit. One that
    /// waited for nobody would make all who come with it wait for two.
    async fn gather(&self) {
        let waiting = || self.queue.lock().unwrap().pending.len();
        let (began, mut before) = (Instant::now(), waiting());
        loop {
            tokio::task::yield_now().await;
            let now = waiting();
            if now == before || began.elapsed() >= GATHERING {
                break;
            }
            before = now;
        }
    }

    async fn commit_finished(&self) {
        let Ok(_permit) = self.rows.acquire().await else {
            return;
        };
        let Some(mut open) = self.take() else {
            return;
        };
        let mut all = {
            let mut queue = self.queue.lock().unwrap();
            queue.moving = queue.has_moves();
            std::mem::take(&mut queue.pending)
        };
        if open.begun || !all.is_empty() {
            let changes = all.len();
            self.health.begins();
            let committed = open.commit(&mut all).await;
            self.health.ends();
            match committed {
                Ok(()) => self.publish(&mut open, all),
                Err(error) => {
                    tracing::error!(%error, changes, "the database failed to commit");
                    self.health.fails(&error);
                    open.reset().await;
                    self.take_places_back(open.kept);
                }
            }
        }
        self.queue.lock().unwrap().moving = false;
        self.give_back(open);
    }

    /// Where nobody has appended since, the places of what was not kept are given out again: what is noted of the log's
    /// end without an event must not be far behind it.
    fn take_places_back(&self, kept: Position) {
        if let Ok(_only) = self.places.try_acquire() {
            let mut queue = self.queue.lock().unwrap();
            if queue.pending.is_empty() {
                queue.appended = kept;
            }
        }
    }

    /// Tells what has been committed, in order.
    fn publish(&self, open: &mut Open, all: Vec<Pending>) {
        let mut at = open.kept;
        if let Some(last) = all.iter().rev().find_map(Pending::last) {
            open.kept = last;
            self.health.well();
        }
        open.begun = false;
        open.head.advance(open.kept);
        for pending in all {
            at = pending.last().unwrap_or(at);
            if pending.moves.iter().any(Move::dissolves) {
                self.dissolved.store(at, Ordering::Release);
            }
            self.recent.push(&pending.events, &pending.channels);
            let span = &pending.span;
            tracing::trace_span!(target: "roomcast::trace", parent: span, "publish").in_scope(
                || {
                    self.registry.commit(&pending.events, &pending.moves);
                    for event in &pending.fleeting {
                        self.registry.publish(event);
                    }
                },
            );
            // Whoever asked may have gone; the change stays.
            let _ = pending.committed.send(at);
        }
    }

    /// Nothing is kept any more: whoever waits hears so, and whoever comes.
    fn refuse_all(&self) {
        for permits in [&self.seats, &self.rows, &self.places] {
            permits.close();
        }
        self.queue.lock().unwrap().pending.clear();
    }

    /// Closes the database. Turns that come later are refused.
    pub(super) async fn close(&self) {
        for permits in [&self.rows, &self.places] {
            if let Ok(permit) = permits.acquire().await {
                permit.forget();
            }
        }
        self.refuse_all();
        let Some(mut open) = self.take() else {
            return;
        };
        let closed = async {
            if open.begun {
                open.reset().await;
            }
            rows::say(&mut open.db, "pragma wal_checkpoint(truncate)").await?;
            open.head.close(open.kept)?;
            open.db.close().await
        };
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::poll;

    use super::*;
    use crate::log::{CommitError, Log, Turn};
    use crate::realtime::registry::Limits;
    use crate::store::{Durability, Store};

    /// A log, and its writer.
    async fn opened(folder: &tempfile::TempDir) -> (Log, Arc<Writer>) {
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, Durability::Full).await.unwrap();
        let limits = Limits {
            max_connections: 1,
            max_connections_per_ip: 1,
            max_connections_per_user: 1,
            max_channels: 1,
            outbox_bytes: 1,
            newest: BTreeMap::new(),
            presence_grace: Duration::ZERO,
        };
        let log = Log::open(&store, Durability::Full, limits, 16).await;
        let log = log.unwrap();
        let writer = Arc::clone(&log.0.writer);
        (log, writer)
    }

    #[tokio::test]
    async fn who_only_appends_waits_for_no_commit_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let (log, writer) = opened(&folder).await;
        let going_on = writer.rows.acquire().await.unwrap();
        let mut kept = Vec::new();
        for _ in 0..SEATS {
            let turn = Turn::begin_appending(&writer).await.unwrap();
            assert_eq!(turn.position(), 1);
            kept.push(turn.keep(Vec::new(), Vec::new()));
        }
        let mut late = Box::pin(Turn::begin_appending(&writer));
        assert!(poll!(&mut late).is_pending());
        drop(going_on);
        for kept in kept {
            kept.kept().await.unwrap();
        }
        drop(late.await.unwrap());
        log.close().await;
    }

    #[tokio::test]
    async fn when_nobody_commits_any_more_all_hear_so() {
        let folder = tempfile::tempdir().unwrap();
        let (_log, writer) = opened(&folder).await;
        let _going_on = writer.rows.acquire().await.unwrap();
        let turn = Turn::begin_appending(&writer).await.unwrap();
        let waits = turn.keep(Vec::new(), Vec::new());
        let under_way = Turn::begin_appending(&writer).await.unwrap();
        writer.refuse_all();
        for kept in [waits, under_way.keep(Vec::new(), Vec::new())] {
            let heard = tokio::time::timeout(Duration::from_secs(10), kept.kept()).await;
            assert!(
                matches!(heard, Ok(Err(CommitError::NotCommitted))),
                "{heard:?}"
            );
        }
        let late = Turn::begin_appending(&writer).await;
        assert!(matches!(late, Err(CommitError::Closed)), "{late:?}");
    }
}
