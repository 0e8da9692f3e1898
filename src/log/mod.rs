//! The log: every kept event, in the order of commits, each with its position.
//!
//! [`turn`] appends in the transaction of the change itself, [`writer`] commits and publishes in that order, [`rows`] is
//! what it writes, [`read`] replays, [`history`] shows one channel's past, [`schedule`] tells what waits for its time, [`head`]
//! says whether old cursors can still be trusted, [`trim`] lets go of what is old, [`health`] says whether the disk takes
//! what is appended.

mod head;
mod health;
mod history;
mod pending;
mod read;
mod recent;
mod rows;
mod schedule;
mod trim;
mod turn;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use history::Stretch;
pub use read::{Page, ReadError};
pub(crate) use schedule::Later;
pub(crate) use turn::Keeping;
pub use turn::{CommitError, Turn};

use crate::realtime::cursor::Position;
use crate::realtime::registry::Limits;
use crate::realtime::{Cursor, Event, Registry};
use crate::store::{Durability, OpenError, Store};
use head::Head;
use recent::Recent;
use schedule::Schedule;
use writer::Writer;

/// Connections that only replays use, so that a thousand clients who come back together do not hold up requests.
const REPLAY_READERS: u32 = 2;
/// How long the next page of a replay waits for one of them when everybody comes back at once.
const REPLAY_PATIENCE: Duration = Duration::from_secs(60);

/// The ordered record of kept events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    readers: SqlitePool,
    recent: Arc<Recent>,
    writer: Arc<Writer>,
    trimmed: AtomicU64,
    schedule: Schedule,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What is written to find out whether anything can be.
    probe: PathBuf,
    /// The committer, and its end: it outlives whoever may still wait for a commit.
    committing: TaskTracker,
    all_committed: CancellationToken,
}

impl Log {
    /// Opens the log of a store, with the registry that what is appended is published to. So many of its last events are
    /// held in memory, too.
    ///
    /// # Errors
    /// When the store does not work, or another process has its log open.
    pub async fn open(
        store: &Store,
        durability: Durability,
        limits: Limits,
        recent_events: usize,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database {
            path: store.path().to_path_buf(),
            source,
        };
        let mut db = store.writer().await?;
        let (head, start) = Head::open(&mut db, store.path(), durability).await?;
        let registry = Arc::new(Registry::new(start.epoch, start.position, limits));
        let readers = store.another_pool(REPLAY_READERS, REPLAY_PATIENCE);
        sqlx::query("select 1")
            .execute(&readers)
            .await
            .map_err(failed)?;
        let recent = Arc::new(Recent::load(&readers, start.position, recent_events).await);
        let writer = Writer::new(
            db,
            head,
            start.position,
            Arc::clone(&registry),
            Arc::clone(&recent),
        );
        let writer = Arc::new(writer);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let probe = head::with_suffix(store.path(), "-probe");
        let inner = Inner {
            registry,
            readers,
            recent,
            writer,
            trimmed: AtomicU64::new(start.trimmed),
            schedule: Schedule::default(),
            tasks,
            stop,
            probe,
            committing: TaskTracker::new(),
            all_committed: CancellationToken::new(),
        };
        let log = Self(Arc::new(inner));
        let (writer, end) = (Arc::clone(&log.0.writer), log.0.all_committed.clone());
        log.0.committing.spawn(writer.commit_turns(end));
        Ok(log)
    }

    /// The registry that this log publishes to.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// Appends one event that belongs to no other change, and publishes it.
    ///
    /// # Errors
    /// When it could not be kept; then nobody has seen it.
    pub async fn append(&self, event: Event) -> Result<Cursor, CommitError> {
        self.begin_appending().await?.commit(vec![event]).await
    }

    /// Waits for a turn that only appends events: it costs the database nothing before the commit.
    pub(crate) async fn begin_appending(&self) -> Result<Turn, CommitError> {
        Turn::begin_appending(&self.0.writer).await
    }

    /// Waits for a turn to write.
    ///
    /// # Errors
    /// When none comes in 5 seconds, or the log is closed or broken.
    pub async fn begin(&self) -> Result<Turn, CommitError> {
        Turn::begin(&self.0.writer, &self.0.tasks).await
    }

    /// Everything up to here is gone.
    fn trimmed(&self) -> Position {
        self.0.trimmed.load(Ordering::Acquire)
    }

    /// Deletes events older than `retention` from time to time, until the log is closed.
    pub fn trim_after(&self, retention: Duration) {
        self.0
            .tasks
            .spawn(trim::run(self.clone(), retention, self.0.stop.clone()));
    }

    /// Tells what waits for its time, until the log is closed. What fell due while nobody was there is told at once.
    pub fn deliver_scheduled(&self) {
        self.0
            .tasks
            .spawn(schedule::run(self.clone(), self.0.stop.clone()));
    }

    /// Commits what waits and closes the database, so that the next start knows that nothing was lost.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.all_committed.cancel();
        self.0.committing.close();
        self.0.committing.wait().await;
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}
