//! Permissions: who may read or write a document root, as a user or as a member of a group.

use serde::Serialize;

use super::Db;
use crate::realtime::registry::Access;

/// Who a permission is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder<'a> {
    User(&'a str),
    Group(&'a str),
}

/// A permission, as it is shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Permission {
    pub(crate) id: String,
    pub(crate) root_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group_id: Option<String>,
    pub(crate) access: &'static str,
}

/// How access is stored.
pub(crate) fn to_number(access: Access) -> i16 {
    match access {
        Access::Read => 1,
        Access::Write => 2,
    }
}

/// Stored access; anything unknown is none.
pub(crate) fn from_number(number: i16) -> Option<Access> {
    match number {
        1 => Some(Access::Read),
        2 => Some(Access::Write),
        _ => None,
    }
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

/// The id of a permission.
pub(crate) async fn find(
    db: &mut Db,
    root_id: &str,
    holder: Holder<'_>,
) -> sqlx::Result<Option<String>> {
    let query = match holder {
        Holder::User(id) => sqlx::query_scalar(
            "select id from user_permissions where root_id = $1 and user_id = $2",
        )
        .bind(root_id)
        .bind(id),
        Holder::Group(id) => sqlx::query_scalar(
            "select id from group_permissions where root_id = $1 and group_id = $2",
        )
        .bind(root_id)
        .bind(id),
    };
    query.fetch_optional(db).await
}

/// Gives a permission, or changes it. `id` is used where it is new.
pub(crate) async fn put(
    db: &mut Db,
    id: String,
    root_id: &str,
    holder: Holder<'_>,
    access: Access,
) -> sqlx::Result<Permission> {
    let (statement, holder_id) = match holder {
        Holder::User(id) => (
            "insert into user_permissions (id, root_id, user_id, access) values ($1, $2, $3, $4)
             on conflict (root_id, user_id) do update set access = excluded.access returning id",
            id,
        ),
        Holder::Group(id) => (
            "insert into group_permissions (id, root_id, group_id, access) values ($1, $2, $3, $4)
             on conflict (root_id, group_id) do update set access = excluded.access returning id",
            id,
        ),
    };
    let id = sqlx::query_scalar(statement)
        .bind(id)
        .bind(root_id)
        .bind(holder_id)
        .bind(to_number(access))
        .fetch_one(db)
        .await?;
    let (user_id, group_id) = match holder {
        Holder::User(id) => (Some(id.to_owned()), None),
        Holder::Group(id) => (None, Some(id.to_owned())),
    };
    Ok(Permission {
        id,
        root_id: root_id.to_owned(),
        user_id,
        group_id,
        access: word(access),
    })
}

/// Takes a permission away.
pub(crate) async fn delete(db: &mut Db, root_id: &str, holder: Holder<'_>) -> sqlx::Result<()> {
    let query = match holder {
        Holder::User(id) => {
            sqlx::query("delete from user_permissions where root_id = $1 and user_id = $2")
                .bind(root_id)
                .bind(id)
        }
        Holder::Group(id) => {
            sqlx::query("delete from group_permissions where root_id = $1 and group_id = $2")
                .bind(root_id)
                .bind(id)
        }
    };
    query.execute(db).await?;
    Ok(())
}

/// Whether anybody could still change a root and its permissions, administrators aside.
pub(crate) async fn has_writer(db: &mut Db, root_id: &str) -> sqlx::Result<bool> {
    let writer: Option<i32> =
        sqlx::query_scalar("select 1 from root_access where root_id = $1 and access = 2 limit 1")
            .bind(root_id)
            .fetch_optional(db)
            .await?;
    Ok(writer.is_some())
}
