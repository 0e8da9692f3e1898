//! When users were last seen: noted in the database a few seconds after they come and go, many at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::log::{CommitError, Log};
use crate::store::last_seen;

/// How often it is noted.
const PAUSE: Duration = Duration::from_secs(5);
/// Users in one turn, so that nobody waits long for theirs.
const AT_ONCE: usize = 500;

/// Notes who came and went until the server stops; who is there at a clean end was seen then.
pub(crate) async fn write_down(log: Log, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stopping.cancelled() => {}
        }
        if let Err(error) = note(&log).await {
            tracing::warn!(%error, "who was last seen when could not be noted");
        }
    }
}

/// Notes who came and went since this was last done.
pub(crate) async fn note(log: &Log) -> Result<(), CommitError> {
    for seen in log.registry().take_seen().chunks(AT_ONCE) {
        let mut turn = log.begin().await?;
        last_seen::put(turn.db(), seen).await?;
        turn.commit(Vec::new()).await?;
    }
    Ok(())
}
