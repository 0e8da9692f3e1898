//! Groups and who is in them.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Db, to_millis};
use crate::realtime::UserId;

/// A group, as it is shown to those who may see it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, ToSchema)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Somebody in a group.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = GroupMember)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) manager: bool,
}

/// Adds a group.
pub(crate) async fn insert(db: &mut Db, group: &Group, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query("insert into groups (id, name, created_at) values ($1, $2, $3)")
        .bind(&group.id)
        .bind(&group.name)
        .bind(to_millis(now))
        .execute(db)
        .await?;
    Ok(())
}

/// The group with this id.
pub(crate) async fn find(db: &mut Db, id: &str) -> sqlx::Result<Option<Group>> {
    sqlx::query_as("select id, name from groups where id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
}

/// Stores a changed name.
pub(crate) async fn rename(db: &mut Db, id: &str, name: &str) -> sqlx::Result<()> {
    sqlx::query("update groups set name = $2 where id = $1")
        .bind(id)
        .bind(name)
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes a group with its memberships and permissions.
pub(crate) async fn delete(db: &mut Db, id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from groups where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Groups with ids after the given one, in order of their ids: those of a user, or all.
pub(crate) async fn list(
    db: &mut Db,
    of: Option<&UserId>,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<Group>> {
    let query = match of {
        Some(user) => sqlx::query_as(
            "select g.id, g.name from memberships m join groups g on g.id = m.group_id
             where m.user_id = $3 and g.id > $1 order by g.id limit $2",
        )
        .bind(after)
        .bind(limit)
        .bind(user.as_str()),
        None => sqlx::query_as("select id, name from groups where id > $1 order by id limit $2")
            .bind(after)
            .bind(limit),
    };
    query.fetch_all(db).await
}

/// The ids of a user's groups.
pub(crate) async fn ids_of(db: &mut Db, user: &UserId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select group_id from memberships where user_id = $1 order by group_id")
        .bind(user.as_str())
        .fetch_all(db)
        .await
}

/// The members of a group, at most `limit`.
pub(crate) async fn members(db: &mut Db, id: &str, limit: i64) -> sqlx::Result<Vec<Member>> {
    sqlx::query_as(
        "select u.id, u.username, m.manager from memberships m join users u on u.id = m.user_id
         where m.group_id = $1 order by u.id limit $2",
    )
    .bind(id)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// Whether a user is in a group, and whether as its manager.
pub(crate) async fn membership(db: &mut Db, id: &str, user: &UserId) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar("select manager from memberships where group_id = $1 and user_id = $2")
        .bind(id)
        .bind(user.as_str())
        .fetch_optional(db)
        .await
}

/// How many managers a group has.
pub(crate) async fn count_managers(db: &mut Db, id: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from memberships where group_id = $1 and manager")
        .bind(id)
        .fetch_one(db)
        .await
}

/// Puts a user into a group, or changes its rank there.
pub(crate) async fn put_member(
    db: &mut Db,
    id: &str,
    user: &UserId,
    manager: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into memberships (group_id, user_id, manager) values ($1, $2, $3)
         on conflict (group_id, user_id) do update set manager = excluded.manager",
    )
    .bind(id)
    .bind(user.as_str())
    .bind(manager)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a user out of a group.
pub(crate) async fn delete_member(db: &mut Db, id: &str, user: &UserId) -> sqlx::Result<()> {
    sqlx::query("delete from memberships where group_id = $1 and user_id = $2")
        .bind(id)
        .bind(user.as_str())
        .execute(db)
        .await?;
    Ok(())
}
