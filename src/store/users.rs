//! Users.

use time::OffsetDateTime;

use super::{Db, to_millis};
use crate::realtime::{User, UserId};

/// A user and what its password is checked against.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) id: UserId,
    pub(crate) password_hash: String,
}

type Columns = (String, String, bool);

/// Reads a user's columns.
pub(super) fn user((id, username, admin): Columns) -> sqlx::Result<User> {
    Ok(User {
        id: user_id(&id)?,
        name: username.into(),
        admin,
    })
}

/// Reads an id that was stored.
pub(crate) fn user_id(id: &str) -> sqlx::Result<UserId> {
    UserId::parse(id).map_err(|_| sqlx::Error::Decode("a stored user id is malformed".into()))
}

/// Two names are the same user when they differ in case only.
fn key(username: &str) -> String {
    username.to_lowercase()
}

/// Adds a user; a unique violation says that the name is taken.
pub(crate) async fn insert(
    db: &mut Db,
    user: &User,
    password_hash: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into users (id, username, username_key, password_hash, admin, created_at) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(user.id.as_str())
    .bind(&*user.name)
    .bind(key(&user.name))
    .bind(password_hash)
    .bind(user.admin)
    .bind(to_millis(now))
    .execute(db)
    .await?;
    Ok(())
}

/// The user with this id.
pub(crate) async fn find(db: &mut Db, id: &str) -> sqlx::Result<Option<User>> {
    let columns: Option<Columns> =
        sqlx::query_as("select id, username, admin from users where id = $1")
            .bind(id)
            .fetch_optional(db)
            .await?;
    columns.map(user).transpose()
}

/// What to check a login of this name against.
pub(crate) async fn credentials(db: &mut Db, username: &str) -> sqlx::Result<Option<Credentials>> {
    let columns: Option<(String, String)> =
        sqlx::query_as("select id, password_hash from users where username_key = $1")
            .bind(key(username))
            .fetch_optional(db)
            .await?;
    columns
        .map(|(id, password_hash)| {
            Ok(Credentials {
                id: user_id(&id)?,
                password_hash,
            })
        })
        .transpose()
}

/// What to check a user's password against.
pub(crate) async fn password_hash(db: &mut Db, id: &UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("select password_hash from users where id = $1")
        .bind(id.as_str())
        .fetch_optional(db)
        .await
}

/// Users with ids after the given one, in order of their ids.
pub(crate) async fn list(db: &mut Db, after: &str, limit: i64) -> sqlx::Result<Vec<User>> {
    let columns: Vec<Columns> =
        sqlx::query_as("select id, username, admin from users where id > $1 order by id limit $2")
            .bind(after)
            .bind(limit)
            .fetch_all(db)
            .await?;
    columns.into_iter().map(user).collect()
}

/// Stores a changed name and rank.
pub(crate) async fn update(db: &mut Db, user: &User) -> sqlx::Result<()> {
    sqlx::query("update users set username = $2, username_key = $3, admin = $4 where id = $1")
        .bind(user.id.as_str())
        .bind(&*user.name)
        .bind(key(&user.name))
        .bind(user.admin)
        .execute(db)
        .await?;
    Ok(())
}

/// Stores a changed password.
pub(crate) async fn set_password(
    db: &mut Db,
    id: &UserId,
    password_hash: &str,
) -> sqlx::Result<()> {
    sqlx::query("update users set password_hash = $2 where id = $1")
        .bind(id.as_str())
        .bind(password_hash)
        .execute(db)
        .await?;
    Ok(())
}

/// How many administrators there are.
pub(crate) async fn count_admins(db: &mut Db) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from users where admin")
        .fetch_one(db)
        .await
}
