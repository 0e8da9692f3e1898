//! What is told later: events wait in the database, and one task appends them when their time has come.
//!
//! Taking them out and appending them is one turn, so each is told once, whenever the process ends. The task sleeps
//! until the next is due; a turn that stores an earlier one wakes it. It reads what is due in a turn of its own, which
//! comes after the turn that woke it, so it need not know whether that one was kept.

use std::sync::Mutex;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rows::{names, sockets};
use super::{CommitError, Log, Turn, read};
use crate::realtime::{Channel, Data, Event, EventName, SocketId};
use crate::store::scheduled::{self, Scheduled};
use crate::store::{answers, from_millis, new_id, to_millis};

/// Events told in one turn,
const AT_ONCE: usize = 500;
/// and their bytes, but for the last one's: several turns of this fit into what may wait for a connection.
const BYTES_AT_ONCE: usize = 256 * 1024;
/// The longest sleep: somebody may set the clock meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long to wait when the database fails.
const PAUSE: Duration = Duration::from_secs(1);
/// How often answers that have expired are looked for, and how many are deleted in one turn.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_AT_ONCE: i64 = 1_000;

/// When the next event is due, as far as is known: never later than it is.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Mutex<Option<i64>>,
    earlier: Notify,
}

impl Default for Schedule {
    /// Nothing is known yet, so something may be due at once.
    fn default() -> Self {
        Self {
            next: Mutex::new(Some(i64::MIN)),
            earlier: Notify::new(),
        }
    }
}

impl Schedule {
    fn next(&self) -> Option<i64> {
        *self.next.lock().unwrap()
    }

    fn set(&self, next: Option<i64>) {
        *self.next.lock().unwrap() = next;
    }

    fn note(&self, due: i64) {
        let mut next = self.next.lock().unwrap();
        if next.is_none_or(|next| due < next) {
            *next = Some(due);
            self.earlier.notify_one();
        }
    }
}

/// An event that is to be told later.
#[derive(Debug)]
pub(crate) struct Later<'a> {
    pub(crate) due: OffsetDateTime,
    pub(crate) name: &'a EventName,
    pub(crate) data: &'a Data,
    pub(crate) channels: &'a [Channel],
    pub(crate) except: &'a [SocketId],
    pub(crate) volatile: bool,
}

impl Log {
    /// Stores in a turn what is to be told later, and returns its id. It is told if the turn is kept.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn schedule(
        &self,
        turn: &mut Turn,
        later: &Later<'_>,
    ) -> sqlx::Result<String> {
        let row = Scheduled {
            id: new_id(),
            due: to_millis(later.due),
            name: later.name.to_string(),
            data: later.data.as_str().to_owned(),
            channels: names(later.channels),
            except_sockets: sockets(later.except),
            volatile: later.volatile,
        };
        scheduled::insert(turn.db(), &row).await?;
        self.0.schedule.note(row.due);
        Ok(row.id)
    }
}

/// Tells what is due until the log is closed.
pub(super) async fn run(log: Log, stop: CancellationToken) {
    let schedule = &log.0.schedule;
    let mut forgotten = Instant::now();
    let mut failed = false;
    while !stop.is_cancelled() {
        let now = to_millis(OffsetDateTime::now_utc());
        let next = schedule.next();
        let mut wait = LONGEST_SLEEP;
        if next.is_some_and(|due| due <= now) {
            let delivered = deliver(&log, failed).await;
            failed = delivered.is_err();
            match delivered {
                Ok(()) => continue,
                Err(error) => {
                    tracing::warn!(%error, "what is due could not be told; it is tried again");
                    // What was read of the next one went with the turn.
                    schedule.set(Some(i64::MIN));
                    wait = PAUSE;
                }
            }
        } else if let Some(due) = next {
            let ahead = u64::try_from(due - now).unwrap_or_default();
            wait = wait.min(Duration::from_millis(ahead));
        }
        if forgotten.elapsed() >= FORGET_EVERY {
            forgotten = Instant::now();
            if let Err(error) = forget(&log, now).await {
                tracing::warn!(%error, "old answers could not be deleted; it is tried again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = schedule.earlier.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Tells what is due now, or the first part of it. Where that has failed before, each is tried by itself first: one that
/// is refused fails all that it shares a commit with, and would do so again and again.
async fn deliver(log: &Log, failed: bool) -> Result<(), CommitError> {
    let mut turn = log.begin().await?;
    let now = OffsetDateTime::now_utc();
    let due = scheduled::take_due(turn.db(), to_millis(now), AT_ONCE, BYTES_AT_ONCE).await?;
    // While the turn is ours nobody stores an earlier one.
    log.0.schedule.set(scheduled::next(turn.db()).await?);
    let (mut kept, mut volatile) = (Vec::new(), Vec::new());
    for row in due {
        let Some(event) = event(&row, now) else {
            // Left in its place it would hold up all that come after it.
            tracing::error!(row.id, "a stored event cannot be read, and is not told");
            continue;
        };
        if row.volatile {
            volatile.push(event);
            continue;
        }
        if failed && let Some(error) = turn.refusal(&event).await? {
            tracing::error!(%error, row.id, "a stored event is refused by the database, and is set aside");
            scheduled::set_aside(turn.db(), &row).await?;
            continue;
        }
        kept.push(event);
    }
    turn.commit(kept).await?;
    for event in &volatile {
        log.registry().publish(event);
    }
    Ok(())
}

/// The event of a row, told now; nothing, if it cannot be read.
fn event(row: &Scheduled, now: OffsetDateTime) -> Option<Event> {
    Some(Event {
        by: None,
        channels: read::channels(&row.channels)?,
        name: row.name.parse().ok()?,
        data: Data::stored(row.data.clone()),
        origin: None,
        except: read::sockets(row.except_sockets.as_deref())?,
        // As it will be read from the log; not before the time that was asked for.
        time: from_millis(to_millis(now)),
        position: None,
    })
}

/// Deletes answers that have expired.
async fn forget(log: &Log, now: i64) -> Result<(), CommitError> {
    while {
        let mut db = log.0.readers.acquire().await?;
        answers::any_expired(&mut db, now).await?
    } {
        let mut turn = log.begin().await?;
        answers::forget(turn.db(), now, FORGET_AT_ONCE).await?;
        turn.commit(Vec::new()).await?;
    }
    Ok(())
}
