//! When users were last seen: noted in the database a few seconds after they come and go, many at once.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::log::{CommitError, Log};
use crate::realtime::UserId;
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

/// Notes who came and went since this was last done. What cannot be noted now is for the next time.
pub(crate) async fn note(log: &Log) -> Result<(), CommitError> {
    let seen = log.registry().take_seen();
    for (n, some) in seen.chunks(AT_ONCE).enumerate() {
        if let Err(error) = put(log, some).await {
            log.registry().give_back_seen(&seen[n * AT_ONCE..]);
            return Err(error);
        }
    }
    Ok(())
}

async fn put(log: &Log, seen: &[(UserId, OffsetDateTime)]) -> Result<(), CommitError> {
    let mut turn = log.begin().await?;
    last_seen::put(turn.db(), seen).await?;
    turn.commit(Vec::new()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::registry::{Access, Arrival, Limits, Membership};
    use crate::realtime::{Channel, User, connection::Transport};
    use crate::store::{Durability, Store};

    #[tokio::test]
    async fn what_cannot_be_noted_is_kept_for_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, Durability::Full).await.unwrap();
        let limits = Limits {
            max_connections: 10,
            max_connections_per_ip: 10,
            max_connections_per_user: 10,
            max_channels: 10,
            outbox_bytes: 10_000,
            newest: std::collections::BTreeMap::new(),
            presence_grace: Duration::ZERO,
        };
        let log = Log::open(&store, Durability::Full, limits, 0)
            .await
            .unwrap();
        let id = UserId::parse("ada").unwrap();
        let arrival = Arrival {
            channels: vec![(Channel::user(&id), Membership::automatic(Access::Read))],
            access_version: log.registry().access_version(Some(&id)),
            user: Some(User {
                name: "ada".into(),
                id: id.clone(),
                admin: false,
            }),
            session: None,
            socket: None,
            transport: Transport::Sse,
            address: None,
            resume: None,
        };
        drop(log.registry().connect(arrival).unwrap());
        log.close().await;
        assert!(note(&log).await.is_err());
        let seen = log.registry().take_seen();
        assert!(seen.len() == 1 && seen[0].0 == id, "{seen:?}");
    }
}
