//! Document roots: what documents live under, and what permissions are given for.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::permissions::from_number;
use super::{Db, to_millis};
use crate::realtime::UserId;
use crate::realtime::registry::Access;

/// A document root.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, ToSchema)]
pub(crate) struct DocumentRoot {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Adds a root.
pub(crate) async fn insert(
    db: &mut Db,
    root: &DocumentRoot,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("insert into document_roots (id, name, created_at) values ($1, $2, $3)")
        .bind(&root.id)
        .bind(&root.name)
        .bind(to_millis(now))
        .execute(db)
        .await?;
    Ok(())
}

/// The root with this id, and what a user may do with it, administrators' rights aside: as one question, since the
/// answer to each has to come from another thread.
pub(crate) async fn find(
    db: &mut Db,
    id: &str,
    user: &UserId,
) -> sqlx::Result<Option<(DocumentRoot, Option<Access>)>> {
    let row: Option<(String, String, Option<i16>)> = sqlx::query_as(
        "select id, name, (select max(access) from root_access where root_id = $1 and user_id = $2)
         from document_roots where id = $1",
    )
    .bind(id)
    .bind(user.as_str())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(id, name, access)| (DocumentRoot { id, name }, access.and_then(from_number))))
}

/// Roots with ids after the given one, in order of their ids: those a user has access to, or all.
pub(crate) async fn list(
    db: &mut Db,
    of: Option<&UserId>,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<DocumentRoot>> {
    let query = match of {
        Some(user) => sqlx::query_as(
            "select id, name from document_roots where id > $1
             and id in (select root_id from root_access where user_id = $3) order by id limit $2",
        )
        .bind(after)
        .bind(limit)
        .bind(user.as_str()),
        None => {
            sqlx::query_as("select id, name from document_roots where id > $1 order by id limit $2")
                .bind(after)
                .bind(limit)
        }
    };
    query.fetch_all(db).await
}

/// Deletes a root with its documents and permissions.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<()> {
    // The children refer to their parents, which go in the same statement's cascade in no particular order.
    sqlx::query("update documents set parent_id = null where root_id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    sqlx::query("delete from document_roots where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}
