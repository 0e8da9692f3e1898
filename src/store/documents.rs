//! Documents.

use futures_util::TryStreamExt;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;

use super::permissions::from_number;
use super::{Db, Page, from_millis, to_millis};
use crate::realtime::registry::Access;
use crate::realtime::{Data, UserId};

/// Data on one page, in bytes, but for the last document's.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) root_id: String,
    pub(crate) parent_id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Data,
    /// Counts changes, from 1.
    pub(crate) version: i64,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
}

type Columns = (
    String,
    String,
    Option<String>,
    String,
    String,
    i64,
    i64,
    i64,
);

fn document((id, root_id, parent_id, kind, data, version, created, updated): Columns) -> Document {
    let (created_at, updated_at) = (from_millis(created), from_millis(updated));
    Document {
        id,
        root_id,
        parent_id,
        kind,
        data: Data::stored(data),
        version,
        created_at,
        updated_at,
    }
}

/// Adds a document.
pub(crate) async fn insert(db: &mut Db, document: &Document) -> sqlx::Result<()> {
    sqlx::query(
        "insert into documents (id, root_id, parent_id, type, data, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&document.id)
    .bind(&document.root_id)
    .bind(&document.parent_id)
    .bind(&document.kind)
    .bind(document.data.as_str())
    .bind(document.version)
    .bind(to_millis(document.created_at))
    .bind(to_millis(document.updated_at))
    .execute(db)
    .await?;
    Ok(())
}

/// The document with this id, and what a user may do with its root, administrators' rights aside: as one question.
pub(crate) async fn find(
    db: &mut Db,
    id: &str,
    user: &UserId,
) -> sqlx::Result<Option<(Document, Option<Access>)>> {
    let row = sqlx::query(
        "select d.id, d.root_id, d.parent_id, d.type, d.data, d.version, d.created_at, d.updated_at,
             (select max(access) from root_access where root_id = d.root_id and user_id = $2)
         from documents d where d.id = $1",
    )
    .bind(id)
    .bind(user.as_str())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let access: Option<i16> = row.try_get(8)?;
    let columns = Columns::from_row(&row)?;
    Ok(Some((document(columns), access.and_then(from_number))))
}

/// The root of the document with this id.
pub(crate) async fn root(db: &mut Db, id: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select root_id from documents where id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
}

/// Documents of a root with ids after the given one, in order of their ids; fewer than `limit` where they are large.
pub(crate) async fn list(
    db: &mut Db,
    root_id: &str,
    after: &str,
    limit: usize,
) -> sqlx::Result<Page<Document>> {
    let mut rows = sqlx::query_as::<_, Columns>(
        "select id, root_id, parent_id, type, data, version, created_at, updated_at from documents
         where root_id = $1 and id > $2 order by id",
    )
    .bind(root_id)
    .bind(after)
    .fetch(db);
    let (mut items, mut bytes) = (Vec::<Document>::new(), 0);
    while let Some(columns) = rows.try_next().await? {
        if items.len() >= limit || bytes >= MAX_PAGE_BYTES {
            let next = items.last().map(|document| document.id.clone());
            return Ok(Page { items, next });
        }
        let document = document(columns);
        bytes += document.data.as_str().len();
        items.push(document);
    }
    Ok(Page { items, next: None })
}

/// Stores changed data, and the version and time that go with it.
pub(crate) async fn update(db: &mut Db, document: &Document) -> sqlx::Result<()> {
    sqlx::query("update documents set data = $2, version = $3, updated_at = $4 where id = $1")
        .bind(&document.id)
        .bind(document.data.as_str())
        .bind(document.version)
        .bind(to_millis(document.updated_at))
        .execute(db)
        .await?;
    Ok(())
}

/// Whether other documents have this one as their parent.
pub(crate) async fn has_children(db: &mut Db, id: &str) -> sqlx::Result<bool> {
    let child: Option<i32> =
        sqlx::query_scalar("select 1 from documents where parent_id = $1 limit 1")
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(child.is_some())
}

/// Deletes a document.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from documents where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}
