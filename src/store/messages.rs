//! What was said in chat rooms. Ids are made in turns, so their order is that of the log.

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;

use super::{Db, Page, from_millis, to_millis};

/// Text on one page, in bytes, but for the last message's.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Sorts after every id.
const BEHIND_ALL: &str = "~";

/// A message. No `Debug`: what people say does not belong in a log.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) room_id: String,
    pub(crate) author_id: String,
    /// The author's name now; the one from then, where the author is not among the users.
    pub(crate) author_name: String,
    pub(crate) text: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) edited_at: Option<OffsetDateTime>,
}

type Columns = (String, String, String, String, String, i64, Option<i64>);

fn message((id, room_id, author_id, author_name, text, created, edited): Columns) -> Message {
    Message {
        id,
        room_id,
        author_id,
        author_name,
        text,
        created_at: from_millis(created),
        edited_at: edited.map(from_millis),
    }
}

/// Adds a message.
pub(crate) async fn insert(db: &mut Db, message: &Message) -> sqlx::Result<()> {
    sqlx::query(
        "insert into messages (id, room_id, author_id, author_name, text, created_at, edited_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&message.id)
    .bind(&message.room_id)
    .bind(&message.author_id)
    .bind(&message.author_name)
    .bind(&message.text)
    .bind(to_millis(message.created_at))
    .bind(message.edited_at.map(to_millis))
    .execute(db)
    .await?;
    Ok(())
}

/// The message of a room with this id.
pub(crate) async fn find(db: &mut Db, room_id: &str, id: &str) -> sqlx::Result<Option<Message>> {
    let columns: Option<Columns> = sqlx::query_as(
        "select m.id, m.room_id, m.author_id, coalesce(u.username, m.author_name), m.text, m.created_at, m.edited_at
         from messages m left join users u on u.id = m.author_id where m.room_id = $1 and m.id = $2",
    )
    .bind(room_id)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(columns.map(message))
}

/// Messages of a room after the given one, oldest first; `next` is what comes after them. Fewer than `limit` where
/// they are long.
pub(crate) async fn after(
    db: &mut Db,
    room_id: &str,
    after: &str,
    limit: usize,
) -> sqlx::Result<Page<Message>> {
    let rows = sqlx::query_as::<_, Columns>(
        "select m.id, m.room_id, m.author_id, coalesce(u.username, m.author_name), m.text, m.created_at, m.edited_at
         from messages m left join users u on u.id = m.author_id
         where m.room_id = $1 and m.id > $2 order by m.id",
    )
    .bind(room_id)
    .bind(after)
    .fetch(db);
    page(rows, limit).await
}

/// The messages of a room just before the given one, or at its end; oldest first all the same. `next` is what comes
/// before them.
pub(crate) async fn before(
    db: &mut Db,
    room_id: &str,
    before: &str,
    limit: usize,
) -> sqlx::Result<Page<Message>> {
    let rows = sqlx::query_as::<_, Columns>(
        "select m.id, m.room_id, m.author_id, coalesce(u.username, m.author_name), m.text, m.created_at, m.edited_at
         from messages m left join users u on u.id = m.author_id
         where m.room_id = $1 and m.id < $2 order by m.id desc",
    )
    .bind(room_id)
    .bind(if before.is_empty() { BEHIND_ALL } else { before })
    .fetch(db);
    let mut page = page(rows, limit).await?;
    page.items.reverse();
    Ok(page)
}

/// The first rows, in the order in which they come.
async fn page(
    mut rows: BoxStream<'_, sqlx::Result<Columns>>,
    limit: usize,
) -> sqlx::Result<Page<Message>> {
    let (mut items, mut bytes) = (Vec::<Message>::new(), 0);
    while let Some(columns) = rows.try_next().await? {
        if items.len() >= limit || bytes >= MAX_PAGE_BYTES {
            let next = items.last().map(|message| message.id.clone());
            return Ok(Page { items, next });
        }
        let message = message(columns);
        bytes += message.text.len();
        items.push(message);
    }
    Ok(Page { items, next: None })
}

/// Stores a changed text, and when it was changed.
pub(crate) async fn update(db: &mut Db, message: &Message) -> sqlx::Result<()> {
    sqlx::query("update messages set text = $2, edited_at = $3 where id = $1")
        .bind(&message.id)
        .bind(&message.text)
        .bind(message.edited_at.map(to_millis))
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes a message.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from messages where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}
