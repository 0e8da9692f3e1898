//! The writer: the one connection that writes, and the committer, which commits what came together at once.
//!
//! The committer waits in the same fair queue as the turns that change rows: when it is its turn, it writes the events of
//! all who were before it, and they share one commit, and one wait for the disk. It then publishes them, in order, before
//! anybody else can change a row. Who only appends meanwhile goes into the next commit.
//!
//! Where the database refuses an event for what it is, the others are written without it. The position that it was
//! given stays empty, because later ones may stand in answers already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::{Connection, Executor};
use tokio::sync::{Notify, Semaphore};
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

/// How often everybody else goes on before a commit, however many still come.
const MOST_ROUNDS: usize = 16;

/// The one connection that writes, and who waits for it.
#[derive(Debug)]
pub(super) struct Writer {
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
    /// Gives events their places behind the last one, and says under which channels they are looked up there.
    pub(super) fn place(
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
            queue.lock().unwrap().pending.clear();
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
            (false, _) => "begin immediate; savepoint events; ",
            (true, true) => "release change; release turn; savepoint events; ",
            (true, false) => "savepoint events; ",
        };
        let channels: Vec<_> = all.iter().flat_map(|one| &one.channels).collect();
        (self.begun, self.unreleased) = (true, false);
        match rows::insert(&mut self.db, before, &events, &channels, "commit").await {
            Err(error) if rows::is_refusal(&error) => {
                self.insert_one_by_one(all, error).await?;
                self.db.execute("commit").await?;
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
        self.db.execute("rollback to events").await?;
        let (mut left, mut refusal) = (Vec::new(), refusal);
        for pending in std::mem::take(all) {
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
        *all = left;
        // Where nobody is left the log may be broken, and whoever watches it has to know.
        if all.is_empty() {
            return Err(refusal);
        }
        Ok(())
    }

    /// Leaves no transaction open, whatever state it is in.
    async fn reset(&mut self) {
        // Fails where the database has already rolled back by itself, which is as good.
        let _ = self.db.execute("rollback").await;
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
        let mut before = waiting();
        for _ in 0..MOST_ROUNDS {
            tokio::task::yield_now().await;
            let now = waiting();
            if now == before {
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
        let mut all = std::mem::take(&mut self.queue.lock().unwrap().pending);
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
                }
            }
        }
        self.give_back(open);
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

    /// Closes the database. Turns that come later are refused.
    pub(super) async fn close(&self) {
        for permits in [&self.rows, &self.places] {
            if let Ok(permit) = permits.acquire().await {
                permit.forget();
            }
            permits.close();
        }
        // Who was too late for the last commit hears so.
        self.queue.lock().unwrap().pending.clear();
        let Some(mut open) = self.take() else {
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
