//! Chat rooms: open to everybody who is logged in, or to a group.

use time::OffsetDateTime;

use super::{Db, from_millis, to_millis};
use crate::realtime::UserId;

/// A chat room.
#[derive(Debug, Clone)]
pub(crate) struct ChatRoom {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) group_id: Option<String>,
    pub(crate) owner_id: String,
    pub(crate) created_at: OffsetDateTime,
}

type Columns = (String, String, Option<String>, String, i64);

fn room((id, name, group_id, owner_id, created): Columns) -> ChatRoom {
    ChatRoom {
        id,
        name,
        group_id,
        owner_id,
        created_at: from_millis(created),
    }
}

/// Adds a room.
pub(crate) async fn insert(db: &mut Db, room: &ChatRoom) -> sqlx::Result<()> {
    sqlx::query(
        "insert into rooms (id, name, group_id, owner_id, created_at) values ($1, $2, $3, $4, $5)",
    )
    .bind(&room.id)
    .bind(&room.name)
    .bind(&room.group_id)
    .bind(&room.owner_id)
    .bind(to_millis(room.created_at))
    .execute(db)
    .await?;
    Ok(())
}

/// The room with this id.
pub(crate) async fn find(db: &mut Db, id: &str) -> sqlx::Result<Option<ChatRoom>> {
    let columns: Option<Columns> =
        sqlx::query_as("select id, name, group_id, owner_id, created_at from rooms where id = $1")
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(columns.map(room))
}

/// Whether there is such a room and a user may be in it, administrators' rights aside.
pub(crate) async fn admits(db: &mut Db, id: &str, user: &UserId) -> sqlx::Result<bool> {
    let found: Option<i32> = sqlx::query_scalar(
        "select 1 from rooms r where r.id = $1 and (r.group_id is null
         or exists (select 1 from memberships m where m.group_id = r.group_id and m.user_id = $2))",
    )
    .bind(id)
    .bind(user.as_str())
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Rooms with ids after the given one, in order of their ids: those that a user may be in, or all.
pub(crate) async fn list(
    db: &mut Db,
    of: Option<&UserId>,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<ChatRoom>> {
    let query = match of {
        Some(user) => sqlx::query_as::<_, Columns>(
            "select id, name, group_id, owner_id, created_at from rooms where id > $1 and (group_id is null
             or group_id in (select group_id from memberships where user_id = $3)) order by id limit $2",
        )
        .bind(after)
        .bind(limit)
        .bind(user.as_str()),
        None => sqlx::query_as(
            "select id, name, group_id, owner_id, created_at from rooms where id > $1 order by id limit $2",
        )
        .bind(after)
        .bind(limit),
    };
    Ok(query.fetch_all(db).await?.into_iter().map(room).collect())
}

/// The ids of a group's rooms.
pub(crate) async fn ids_of_group(db: &mut Db, group_id: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select id from rooms where group_id = $1 order by id")
        .bind(group_id)
        .fetch_all(db)
        .await
}

/// How many rooms a group has.
pub(crate) async fn count_of_group(db: &mut Db, group_id: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from rooms where group_id = $1")
        .bind(group_id)
        .fetch_one(db)
        .await
}

/// How many open rooms somebody owns.
pub(crate) async fn count_open_of(db: &mut Db, owner: &UserId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from rooms where owner_id = $1 and group_id is null")
        .bind(owner.as_str())
        .fetch_one(db)
        .await
}

/// Stores a changed name.
pub(crate) async fn rename(db: &mut Db, id: &str, name: &str) -> sqlx::Result<()> {
    sqlx::query("update rooms set name = $2 where id = $1")
        .bind(id)
        .bind(name)
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes a room with all that was said in it.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from rooms where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}
