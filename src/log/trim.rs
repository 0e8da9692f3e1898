//! Retention: events older than the log is to reach are deleted, a few at a time.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{CommitError, Log};
use crate::store::to_millis;

/// Events deleted in one turn, so that nobody waits long for theirs.
const AT_ONCE: i64 = 500;
/// Channels that they are taken out of in one turn, but for the last event's: one event may have a thousand.
const CHANNELS_AT_ONCE: usize = 2_000;

/// Trims until the log is closed.
pub(super) async fn run(log: Log, retention: Duration, stop: CancellationToken) {
    let pause = (retention / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
    while !stop.is_cancelled() {
        match trim(&log, retention).await {
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
async fn trim(log: &Log, retention: Duration) -> Result<bool, CommitError> {
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
    for statement in [
        "delete from events where position <= $1",
        // One that lasts stays, however old: who comes back must not get what was said meanwhile. It goes with its thing.
        "delete from withdrawals where ended <= $1",
        "delete from withdrawals where ended is null and position <= $1 and (
            (channel like 'group:%' and substr(channel, 7) not in (select id from groups))
            or (channel like 'document:%' and substr(channel, 10) not in (select id from document_roots))
            or (channel like 'chat:%' and substr(channel, 6) not in (select id from rooms)))",
        "update log_state set trimmed = $1 where id = 1 and trimmed < $1",
    ] {
        sqlx::query(statement).bind(last).execute(turn.db()).await?;
    }
    // Noted before readers can miss anything: whoever reads across this finds out.
    log.0
        .trimmed
        .fetch_max(last.cast_unsigned(), Ordering::AcqRel);
    turn.commit(Vec::new()).await?;
    Ok(full)
}
