//! When users were last seen: when they last came or went.

use sqlx::QueryBuilder;
use time::OffsetDateTime;

use super::{Db, from_millis, to_millis};
use crate::realtime::UserId;

/// Notes it for some users.
pub(crate) async fn put(db: &mut Db, seen: &[(UserId, OffsetDateTime)]) -> sqlx::Result<()> {
    let mut query = QueryBuilder::new("insert into last_seen (user_id, at) ");
    query.push_values(seen, |mut row, (user, at)| {
        row.push_bind(user.as_str()).push_bind(to_millis(*at));
    });
    query.push(" on conflict (user_id) do update set at = excluded.at");
    query.build().execute(db).await?;
    Ok(())
}

/// What is known of these users, in no order.
pub(crate) async fn of(
    db: &mut Db,
    users: &[UserId],
) -> sqlx::Result<Vec<(String, OffsetDateTime)>> {
    let mut query = QueryBuilder::new("select user_id, at from last_seen where user_id in (");
    let mut ids = query.separated(", ");
    for user in users {
        ids.push_bind(user.as_str());
    }
    query.push(")");
    let rows: Vec<(String, i64)> = query
        .build_query_as()
        .persistent(false)
        .fetch_all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(user, at)| (user, from_millis(at)))
        .collect())
}
