//! Sessions: logins. A finished one stays finished: saving changes a row that is there, and never makes one.

use time::OffsetDateTime;

use super::users::{self, user_id};
use super::{Db, to_millis};
use crate::realtime::{User, UserId};

/// Adds a session; a unique violation says that the id is taken.
pub(crate) async fn insert(
    db: &mut Db,
    id_hash: &str,
    user: Option<&str>,
    data: &str,
    now: OffsetDateTime,
    expires: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("insert into sessions (id_hash, user_id, data, created_at, expires_at) values ($1, $2, $3, $4, $5)")
        .bind(id_hash)
        .bind(user)
        .bind(data)
        .bind(to_millis(now))
        .bind(to_millis(expires))
        .execute(db)
        .await?;
    Ok(())
}

/// Stores changed data of a session that is still there; of one that has ended, nothing.
pub(crate) async fn update(
    db: &mut Db,
    id_hash: &str,
    data: &str,
    expires: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("update sessions set data = $2, expires_at = $3 where id_hash = $1")
        .bind(id_hash)
        .bind(data)
        .bind(to_millis(expires))
        .execute(db)
        .await?;
    Ok(())
}

/// The data of a session that has not expired, and when it will.
pub(crate) async fn find(
    db: &mut Db,
    id_hash: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<(String, i64)>> {
    sqlx::query_as("select data, expires_at from sessions where id_hash = $1 and expires_at > $2")
        .bind(id_hash)
        .bind(to_millis(now))
        .fetch_optional(db)
        .await
}

/// Whose a session is that has not expired.
pub(crate) async fn user(
    db: &mut Db,
    id_hash: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<User>> {
    let columns: Option<(String, String, bool)> = sqlx::query_as(
        "select u.id, u.username, u.admin from sessions s join users u on u.id = s.user_id
         where s.id_hash = $1 and s.expires_at > $2",
    )
    .bind(id_hash)
    .bind(to_millis(now))
    .fetch_optional(db)
    .await?;
    columns.map(users::user).transpose()
}

/// Ends a session, and returns whose it was, if it was somebody's.
pub(crate) async fn delete(db: &mut Db, id_hash: &str) -> sqlx::Result<Option<UserId>> {
    let user: Option<Option<String>> =
        sqlx::query_scalar("delete from sessions where id_hash = $1 returning user_id")
            .bind(id_hash)
            .fetch_optional(db)
            .await?;
    user.flatten().map(|user| user_id(&user)).transpose()
}

/// Ends all of a user's sessions but one, and returns which.
pub(crate) async fn delete_others(
    db: &mut Db,
    user: &UserId,
    but: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "delete from sessions where user_id = $1 and id_hash <> $2 returning id_hash",
    )
    .bind(user.as_str())
    .bind(but.unwrap_or_default())
    .fetch_all(db)
    .await
}

/// Ends the sessions that have expired, at most `limit`, and returns whose and which.
pub(crate) async fn delete_expired(
    db: &mut Db,
    now: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<(Option<String>, String)>> {
    sqlx::query_as(
        "delete from sessions where id_hash in (select id_hash from sessions where expires_at <= $1 limit $2)
         returning user_id, id_hash",
    )
    .bind(to_millis(now))
    .bind(limit)
    .fetch_all(db)
    .await
}
