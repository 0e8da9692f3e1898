//! Whether the log can append: what the last attempt came to, and after one that failed, whether another would work.
//!
//! A server that says it is not ready is sent no more changes, so it would never find out that there is room again:
//! whoever asks then makes it try.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{CommitError, Log};

/// How often it is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// How the last attempts to write went.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<Fault>>);

#[derive(Debug, Clone, Copy)]
struct Fault {
    why: &'static str,
    tried: Instant,
}

impl Health {
    /// Something was written.
    pub(super) fn well(&self) {
        if self.0.lock().unwrap().take().is_some() {
            tracing::info!("the log can be written again");
        }
    }

    /// Something could not be written.
    pub(super) fn fails(&self, error: &sqlx::Error) {
        let tried = Instant::now();
        let why = why(error);
        *self.0.lock().unwrap() = Some(Fault { why, tried });
    }

    fn fault(&self) -> Option<&'static str> {
        self.0.lock().unwrap().map(|fault| fault.why)
    }

    /// Whether it is time to try again; then it is the caller's to do.
    fn is_due(&self) -> bool {
        let mut fault = self.0.lock().unwrap();
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
        self.0.writer.health().fault().is_none()
    }

    /// Whether changes can be kept. After one that could not it tries, at most once a second.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check(&self) -> Result<(), &'static str> {
        let health = self.0.writer.health();
        if self.0.stop.is_cancelled() {
            return Err("the log is closed");
        }
        if health.is_due() && self.write_something().await.is_ok() {
            health.well();
        }
        health.fault().map_or(Ok(()), Err)
    }

    /// Writes what stands there already: a page goes to the disk, and says whether it can.
    async fn write_something(&self) -> Result<(), CommitError> {
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
