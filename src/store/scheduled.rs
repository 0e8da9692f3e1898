//! What is to be told later: events that wait for their time.

use futures_util::TryStreamExt;

use super::Db;

/// An event that waits, as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Scheduled {
    pub(crate) id: String,
    /// Milliseconds since 1970.
    pub(crate) due: i64,
    pub(crate) name: String,
    pub(crate) data: String,
    /// A JSON array.
    pub(crate) channels: String,
    /// A JSON array, if there is anybody to leave out.
    pub(crate) except_sockets: Option<String>,
    pub(crate) volatile: bool,
}

pub(crate) async fn insert(db: &mut Db, later: &Scheduled) -> sqlx::Result<()> {
    sqlx::query(
        "insert into scheduled (id, due, name, data, channels, except_sockets, volatile)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&later.id)
    .bind(later.due)
    .bind(&later.name)
    .bind(&later.data)
    .bind(&later.channels)
    .bind(&later.except_sockets)
    .bind(later.volatile)
    .execute(db)
    .await?;
    Ok(())
}

/// How many wait.
pub(crate) async fn count(db: &mut Db) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from scheduled")
        .fetch_one(db)
        .await
}

/// When the next is due.
pub(crate) async fn next(db: &mut Db) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("select min(due) from scheduled")
        .fetch_one(db)
        .await
}

/// Takes out those that are due, in their order: at most so many, and no more after so many bytes.
pub(crate) async fn take_due(
    db: &mut Db,
    now: i64,
    at_most: usize,
    max_bytes: usize,
) -> sqlx::Result<Vec<Scheduled>> {
    let (mut due, mut bytes) = (Vec::new(), 0);
    let mut rows = sqlx::query_as::<_, Scheduled>(
        "select id, due, name, data, channels, except_sockets, volatile
         from scheduled where due <= $1 order by due, id",
    )
    .bind(now)
    .fetch(&mut *db);
    while due.len() < at_most
        && bytes < max_bytes
        && let Some(row) = rows.try_next().await?
    {
        bytes += row.data.len() + row.channels.len();
        due.push(row);
    }
    drop(rows);
    if let Some(last) = due.last() {
        sqlx::query("delete from scheduled where due < $1 or (due = $1 and id <= $2)")
            .bind(last.due)
            .bind(&last.id)
            .execute(db)
            .await?;
    }
    Ok(due)
}

/// Puts one back that cannot be told: there it holds up nobody, and can still be taken out.
pub(crate) async fn set_aside(db: &mut Db, row: &Scheduled) -> sqlx::Result<()> {
    let never = Scheduled {
        due: i64::MAX,
        ..row.clone()
    };
    insert(db, &never).await
}

/// Takes one out; false where there is none.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from scheduled where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}
