//! Retention: events older than the log is to reach are deleted, a few at a time.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CommitError, Log};
use crate::realtime::cursor::Position;
use crate::store::to_millis;

/// Events deleted in one turn, so that nobody waits long for theirs.
const AT_ONCE: i64 = 500;
/// Channels that they are taken out of in one turn, but for the last event's: one event may have a thousand.
const CHANNELS_AT_ONCE: usize = 2_000;
/// Withdrawals deleted in one turn, because what they were from is gone.
const GONE_AT_ONCE: usize = 1_000;
/// How often they are looked for while one thing after the other goes.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What goes with the events up to a position.
const WITH_EVENTS: [&str; 3] = [
    "delete from events where position <= $1",
    // One that lasts stays, however old: who comes back must not get what was said meanwhile. It goes with its thing.
    "delete from withdrawals where ended <= $1",
    "update log_state set trimmed = $1 where id = 1 and trimmed < $1",
];

/// Withdrawals that last, up to a position, from what is no more. It goes through all that are so old.
const GONE: &str = "select user_id, position, channel from withdrawals where ended is null and position <= $1 and (
        (channel like 'group:%' and substr(channel, 7) not in (select id from groups))
        or (channel like 'document:%' and substr(channel, 10) not in (select id from document_roots))
        or (channel like 'chat:%' and substr(channel, 6) not in (select id from rooms))) limit $2";

/// When withdrawals were last looked for whose thing is gone.
#[derive(Debug, Default)]
struct Sweep {
    /// Up to which position, and when.
    last: Option<(Position, Instant)>,
}

impl Sweep {
    /// Whether something may be found up to a position. Nothing is known of what went before the start.
    fn is_due(&self, upto: Position, dissolved: Position, now: Instant) -> bool {
        self.last.is_none_or(|(swept, at)| {
            dissolved > swept && (dissolved <= upto || now.duration_since(at) >= SWEEP_EVERY)
        })
    }
}

/// Trims until the log is closed.
pub(super) async fn run(log: Log, retention: Duration, stop: CancellationToken) {
    let pause = (retention / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
    let mut sweep = Sweep::default();
    while !stop.is_cancelled() {
        match trim(&log, retention, &mut sweep).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "old events could not be deleted; it is tried again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Deletes the oldest events that are old enough; true when there may be more. The last event always stays, because
/// the log's position is read off it.
async fn trim(log: &Log, retention: Duration, sweep: &mut Sweep) -> Result<bool, CommitError> {
    let cut = to_millis(OffsetDateTime::now_utc() - retention);
    let mut rows = sqlx::query_as::<_, (i64, i64, String)>(
        "select position, time, channels from events
         where position < (select max(position) from events) order by position limit $1",
    )
    .bind(AT_ONCE)
    .fetch(&log.0.readers);
    let (mut last, mut count, mut channels) = (None, 0, BTreeSet::new());
    // Times may go back when somebody sets the clock; positions never do.
    while channels.len() < CHANNELS_AT_ONCE
        && let Some((position, time, names)) = rows.try_next().await?
        && time < cut
    {
        (last, count) = (Some(position), count + 1);
        channels.extend(serde_json::from_str::<Vec<String>>(&names).unwrap_or_default());
    }
    drop(rows);
    let Some(last) = last else {
        return Ok(false);
    };
    let full = count == AT_ONCE || channels.len() >= CHANNELS_AT_ONCE;
    // Read before they are looked for: what goes meanwhile is for the next time.
    let (upto, dissolved) = (last.cast_unsigned(), log.0.writer.dissolved());
    let gone = if sweep.is_due(upto, dissolved, Instant::now()) {
        Some(gone(log, last).await?)
    } else {
        None
    };
    let swept = gone.as_ref().is_some_and(|gone| gone.len() < GONE_AT_ONCE);
    let mut turn = log.begin().await?;
    for channel in channels {
        // A socket's channel may stand there with its owner behind it.
        let statement = if channel.starts_with("socket:") {
            "delete from event_channels where channel >= $1 and channel < $1 || '!' and position <= $2"
        } else {
            "delete from event_channels where channel = $1 and position <= $2"
        };
        sqlx::query(statement)
            .bind(channel)
            .bind(last)
            .execute(turn.db())
            .await?;
    }
    for statement in WITH_EVENTS {
        sqlx::query(statement).bind(last).execute(turn.db()).await?;
    }
    for (user, position, channel) in gone.into_iter().flatten() {
        sqlx::query(
            "delete from withdrawals where user_id = $1 and position = $2 and channel = $3",
        )
        .bind(user)
        .bind(position)
        .bind(channel)
        .execute(turn.db())
        .await?;
    }
    // Noted before readers can miss anything: whoever reads across this finds out.
    log.0
        .trimmed
        .fetch_max(last.cast_unsigned(), Ordering::AcqRel);
    turn.commit(Vec::new()).await?;
    if swept {
        sweep.last = Some((upto, Instant::now()));
    }
    Ok(full)
}

/// Withdrawals from what is gone. Looked for outside of the turn, because it may take long; nothing comes back that has
/// gone.
async fn gone(log: &Log, last: i64) -> sqlx::Result<Vec<(String, i64, String)>> {
    sqlx::query_as(GONE)
        .bind(last)
        .bind(i64::try_from(GONE_AT_ONCE).unwrap_or(i64::MAX))
        .fetch_all(&log.0.readers)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    #[tokio::test]
    async fn what_goes_with_events_is_found_without_going_through_all_withdrawals() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, Durability::Full).await.unwrap();
        let mut db = store.read().await.unwrap();
        for statement in WITH_EVENTS {
            let explained = sqlx::AssertSqlSafe(format!("explain query plan {statement}"));
            let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explained)
                .bind(1)
                .fetch_all(&mut *db)
                .await
                .unwrap();
            let is_short = plan.iter().all(|(.., step)| !step.starts_with("SCAN"));
            assert!(is_short, "{statement}: {plan:?}");
        }
    }

    #[test]
    fn what_is_gone_is_looked_for_when_its_events_go_and_now_and_then_before() {
        let mut sweep = Sweep::default();
        let now = Instant::now();
        assert!(sweep.is_due(10, 0, now), "after the start");
        sweep.last = Some((10, now));
        assert!(!sweep.is_due(20, 10, now));
        assert!(sweep.is_due(20, 15, now));
        assert!(!sweep.is_due(20, 25, now));
        assert!(sweep.is_due(20, 25, now + SWEEP_EVERY));
        assert!(!sweep.is_due(20, 10, now + SWEEP_EVERY));
    }
}
