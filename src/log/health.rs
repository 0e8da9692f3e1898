//! Whether the log can append: what the last attempt came to, and after one that failed, whether another would work.
//!
//! A server that says it is not ready is sent no more changes, so it would never find out that there is room again:
//! whoever asks then makes it try.

use std::sync::Mutex;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{CommitError, Log};

/// How much there has to be room for, in bytes: half of the largest change.
const ROOM: usize = 1024 * 1024;
/// How often it is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a commit may take before nobody believes in it any more.
const STUCK: Duration = Duration::from_secs(5);

/// How the last attempts to write went.
#[derive(Debug, Default)]
pub(super) struct Health {
    fault: Mutex<Option<Fault>>,
    /// Since when a commit waits for the disk.
    commits: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    why: &'static str,
    tried: Instant,
}

impl Health {
    /// Something was written.
    pub(super) fn well(&self) {
        if self.fault.lock().unwrap().take().is_some() {
            tracing::info!("the log can be written again");
        }
    }

    /// Something could not be written.
    pub(super) fn fails(&self, error: &sqlx::Error) {
        let tried = Instant::now();
        let why = why(error);
        *self.fault.lock().unwrap() = Some(Fault { why, tried });
    }

    /// A commit begins.
    pub(super) fn begins(&self) {
        *self.commits.lock().unwrap() = Some(Instant::now());
    }

    /// A commit is over, whatever came of it.
    pub(super) fn ends(&self) {
        *self.commits.lock().unwrap() = None;
    }

    fn fault(&self, now: Instant) -> Option<&'static str> {
        let commits = *self.commits.lock().unwrap();
        if commits.is_some_and(|since| now.duration_since(since) > STUCK) {
            return Some("the disk does not answer");
        }
        self.fault.lock().unwrap().map(|fault| fault.why)
    }

    /// Whether it is time to try again; then it is the caller's to do.
    fn is_due(&self) -> bool {
        let mut fault = self.fault.lock().unwrap();
        let Some(fault) = fault
            .as_mut()
            .filter(|fault| fault.tried.elapsed() >= PAUSE)
        else {
            return false;
        };
        fault.tried = Instant::now();
        true
    }
}

/// What an operator has to know, and anybody may.
fn why(error: &sqlx::Error) -> &'static str {
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok());
    // The lowest byte is the kind of failure (SQLite, "Result and Error Codes").
    match code.map(|code| code & 0xff) {
        Some(13) => "the disk is full",
        Some(10) => "the disk fails",
        Some(8) => "the database is read-only",
        _ => "the last change could not be kept",
    }
}

impl Log {
    /// Whether changes can be kept, as far as the last attempt showed.
    pub(crate) fn is_writable(&self) -> bool {
        self.0.writer.health().fault(Instant::now()).is_none()
    }

    /// Whether changes can be kept. After one that could not it tries, at most once a second.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check(&self) -> Result<(), &'static str> {
        let health = self.0.writer.health();
        if self.0.stop.is_cancelled() || self.0.committing.is_empty() {
            return Err("the log is closed");
        }
        if health.is_due() && self.write_something().await.is_ok() {
            health.well();
        }
        health.fault(Instant::now()).map_or(Ok(()), Err)
    }

    /// Writes a file beside the database, because a disk that is full still takes a little, and a page of what stands
    /// there already.
    async fn write_something(&self) -> Result<(), CommitError> {
        let path = &self.0.probe;
        let mut file = File::create(path).await.map_err(sqlx::Error::Io)?;
        let written = async {
            file.write_all(&vec![0; ROOM]).await?;
            // Without it `sync_all` says nothing of a write that failed.
            file.flush().await?;
            file.sync_all().await
        };
        let written = written.await;
        // One that stays is written over the next time.
        let _ = tokio::fs::remove_file(path).await;
        written.map_err(sqlx::Error::Io)?;
        let mut turn = self.begin().await?;
        sqlx::query("update log_state set trimmed = trimmed where id = 1")
            .execute(turn.db())
            .await?;
        turn.commit(Vec::new()).await?;
        Ok(())
    }

    /// How many events a client can still resume from.
    pub(crate) fn events(&self) -> u64 {
        let last = self.registry().cursor().position;
        last.saturating_sub(self.trimmed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_never_ends_is_a_fault_too() {
        let health = Health::default();
        let now = Instant::now();
        health.begins();
        assert_eq!(health.fault(now + STUCK / 2), None);
        assert!(health.fault(now + STUCK * 2).is_some());
        health.ends();
        assert_eq!(health.fault(now + STUCK * 2), None);
    }

    #[test]
    fn it_is_tried_again_after_a_fault_and_not_all_the_time() {
        let health = Health::default();
        assert!(!health.is_due());
        health.fails(&sqlx::Error::PoolClosed);
        assert!(!health.is_due(), "it has just been tried");
        assert!(health.fault(Instant::now()).is_some());
        health.well();
        assert_eq!(health.fault(Instant::now()), None);
    }
}
