//! Answers that are given again: what a publish with an `idempotencyKey` was answered, for a short while.

use super::Db;

/// What was asked, and what was answered.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Answer {
    /// A hash.
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// What was answered under a key that has not expired.
pub(crate) async fn find(db: &mut Db, key: &str, now: i64) -> sqlx::Result<Option<Answer>> {
    sqlx::query_as(
        "select request, status, body from answers where idempotency_key = $1 and expires > $2",
    )
    .bind(key)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Notes an answer. One that has expired under the same key makes room.
pub(crate) async fn put(db: &mut Db, key: &str, answer: &Answer, expires: i64) -> sqlx::Result<()> {
    sqlx::query("delete from answers where idempotency_key = $1")
        .bind(key)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "insert into answers (idempotency_key, request, status, body, expires) values ($1, $2, $3, $4, $5)",
    )
    .bind(key)
    .bind(&answer.request)
    .bind(answer.status)
    .bind(&answer.body)
    .bind(expires)
    .execute(db)
    .await?;
    Ok(())
}

/// How many there are at most: they come and go in the order of their numbers.
pub(crate) async fn count(db: &mut Db) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select coalesce((select max(number) from answers) - (select min(number) from answers) + 1, 0)",
    )
    .fetch_one(db)
    .await
}

/// Whether any has expired.
pub(crate) async fn any_expired(db: &mut Db, now: i64) -> sqlx::Result<bool> {
    let found: Option<i64> =
        sqlx::query_scalar("select number from answers where expires <= $1 limit 1")
            .bind(now)
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

/// Deletes some that have expired.
pub(crate) async fn forget(db: &mut Db, now: i64, at_most: i64) -> sqlx::Result<()> {
    sqlx::query(
        "delete from answers where number in (
            select number from answers where expires <= $1 order by expires limit $2)",
    )
    .bind(now)
    .bind(at_most)
    .execute(db)
    .await?;
    Ok(())
}
