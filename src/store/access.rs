//! Access: what a user may do with a root by all its permissions together, and who lost it when.
//!
//! A withdrawal is written in two steps round the change: before it, everybody who might lose something; after it,
//! whoever still has access is crossed out. Both are one statement, however large the group. When access comes back
//! the withdrawal ends there.

use super::Db;
use super::permissions::{Holder, from_number};
use super::rooms::ChatRoom;
use super::users::user_id;
use crate::realtime::cursor::Position;
use crate::realtime::registry::Access;
use crate::realtime::{Channel, UserId};

/// What a user may do with a root, administrators' rights aside.
pub(crate) async fn of_root(
    db: &mut Db,
    root_id: &str,
    user: &UserId,
) -> sqlx::Result<Option<Access>> {
    let access: Option<i16> = sqlx::query_scalar(
        "select max(access) from root_access where root_id = $1 and user_id = $2",
    )
    .bind(root_id)
    .bind(user.as_str())
    .fetch_one(db)
    .await?;
    Ok(access.and_then(from_number))
}

/// What each user with any permission for a root may do with it now; administrators may everything.
pub(crate) async fn holders(db: &mut Db, root_id: &str) -> sqlx::Result<Vec<(UserId, Access)>> {
    let rows: Vec<(String, i16)> = sqlx::query_as(
        "select u.id, max(case when u.admin then 2 else a.access end)
         from root_access a join users u on u.id = a.user_id where a.root_id = $1 group by u.id",
    )
    .bind(root_id)
    .fetch_all(db)
    .await?;
    let known = rows
        .into_iter()
        .filter_map(|(id, access)| Some((id, from_number(access)?)));
    known
        .map(|(id, access)| Ok((user_id(&id)?, access)))
        .collect()
}

/// The roots that a group has permissions for.
pub(crate) async fn roots_of_group(db: &mut Db, group_id: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select root_id from group_permissions where group_id = $1")
        .bind(group_id)
        .fetch_all(db)
        .await
}

/// Before a permission is taken away: its holders might lose the root.
pub(crate) async fn withdrawing_permission(
    db: &mut Db,
    at: Position,
    root_id: &str,
    holder: Holder<'_>,
) -> sqlx::Result<()> {
    let (statement, id) = match holder {
        Holder::User(id) => (
            "insert into withdrawals (position, user_id, channel) values ($1, $3, 'document:' || $2) on conflict do nothing",
            id,
        ),
        Holder::Group(id) => (
            "insert into withdrawals (position, user_id, channel)
             select $1, user_id, 'document:' || $2 from memberships where group_id = $3 on conflict do nothing",
            id,
        ),
    };
    sqlx::query(statement)
        .bind(at.cast_signed())
        .bind(root_id)
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Before somebody (or everybody) is taken out of a group: they lose its channel and its chat rooms, and might lose
/// its roots.
pub(crate) async fn withdrawing_membership(
    db: &mut Db,
    at: Position,
    group_id: &str,
    user: Option<&UserId>,
) -> sqlx::Result<()> {
    let statements = [
        "insert into withdrawals (position, user_id, channel)
         select $1, user_id, 'group:' || group_id from memberships
         where group_id = $2 and ($3 is null or user_id = $3) on conflict do nothing",
        "insert into withdrawals (position, user_id, channel)
         select $1, m.user_id, 'document:' || p.root_id
         from memberships m join group_permissions p on p.group_id = m.group_id
         where m.group_id = $2 and ($3 is null or m.user_id = $3) on conflict do nothing",
        // Rooms go with their group: nobody comes back into one, and a row for everybody in each would be too many.
        "insert into withdrawals (position, user_id, channel)
         select $1, m.user_id, 'chat:' || r.id
         from memberships m join rooms r on r.group_id = m.group_id
         where m.group_id = $2 and m.user_id = $3 on conflict do nothing",
    ];
    for statement in statements {
        sqlx::query(statement)
            .bind(at.cast_signed())
            .bind(group_id)
            .bind(user.map(UserId::as_str))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// A new chat room of a group: whoever is out of the group is out of the room from its beginning, and does not read
/// its past by coming back.
pub(crate) async fn withheld_from_the_outset(
    db: &mut Db,
    at: Position,
    room: &ChatRoom,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into withdrawals (position, user_id, channel)
         select distinct $1, user_id, 'chat:' || $2 from withdrawals
         where channel = 'group:' || $3 and ended is null on conflict do nothing",
    )
    .bind(at.cast_signed())
    .bind(&room.id)
    .bind(&room.group_id)
    .execute(db)
    .await?;
    Ok(())
}

/// When an administrator becomes a user like others: all that came by rank is lost.
pub(crate) async fn withdrawing_rank(db: &mut Db, at: Position, user: &UserId) -> sqlx::Result<()> {
    sqlx::query("insert into withdrawals (position, user_id, channel) values ($1, $2, '*') on conflict do nothing")
        .bind(at.cast_signed())
        .bind(user.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// After the change: crosses out whoever still has access in another way, and returns who lost what.
pub(crate) async fn withdrawn(db: &mut Db, at: Position) -> sqlx::Result<Vec<(UserId, Channel)>> {
    sqlx::query(
        "delete from withdrawals where position = $1 and (
            (channel like 'document:%' or channel like 'chat:%') and user_id in (select id from users where admin)
            or exists (select 1 from root_access a
                where a.user_id = withdrawals.user_id and 'document:' || a.root_id = withdrawals.channel))",
    )
    .bind(at.cast_signed())
    .execute(&mut *db)
    .await?;
    // A change before this one that had no event has the same position. Who came back since then is not out.
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select user_id, channel from withdrawals where position = $1 and ended is null",
    )
    .bind(at.cast_signed())
    .fetch_all(db)
    .await?;
    let parsed = rows
        .into_iter()
        .filter(|(_, channel)| channel != "*")
        .map(|(user, channel)| {
            let channel = channel
                .parse()
                .map_err(|_| sqlx::Error::Decode("a stored channel is malformed".into()))?;
            Ok((user_id(&user)?, channel))
        });
    parsed.collect()
}

/// After a change that may have given access to a root: whoever has it again, has it from here on.
pub(crate) async fn returned_to_root(db: &mut Db, at: Position, root_id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update withdrawals set ended = $1
         where ended is null and position < $1 and channel = 'document:' || $2
         and exists (select 1 from root_access a where a.root_id = $2 and a.user_id = withdrawals.user_id)",
    )
    .bind(at.cast_signed())
    .bind(root_id)
    .execute(db)
    .await?;
    Ok(())
}

/// When somebody comes back into a group, and so into its chat rooms.
pub(crate) async fn returned_to_group(
    db: &mut Db,
    at: Position,
    group_id: &str,
    user: &UserId,
) -> sqlx::Result<()> {
    sqlx::query(
        "update withdrawals set ended = $1
         where ended is null and position < $1 and user_id = $2 and (channel = 'group:' || $3
            or channel in (select 'chat:' || id from rooms where group_id = $3))",
    )
    .bind(at.cast_signed())
    .bind(user.as_str())
    .bind(group_id)
    .execute(db)
    .await?;
    Ok(())
}

/// When somebody is an administrator again.
pub(crate) async fn returned_to_rank(db: &mut Db, at: Position, user: &UserId) -> sqlx::Result<()> {
    sqlx::query(
        "update withdrawals set ended = $1 where ended is null and user_id = $2 and channel = '*'",
    )
    .bind(at.cast_signed())
    .bind(user.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// When the application says that somebody has lost a channel of its own. Who is out already stays so.
pub(crate) async fn withdrawing_from_channel(
    db: &mut Db,
    at: Position,
    channel: &Channel,
    user: &UserId,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into withdrawals (position, user_id, channel)
         select $1, $2, $3 where not exists
            (select 1 from withdrawals where user_id = $2 and channel = $3 and ended is null)
         on conflict (user_id, position, channel) do update set ended = null",
    )
    .bind(at.cast_signed())
    .bind(user.as_str())
    .bind(channel.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// Whether somebody is out of a channel of the application's own.
pub(crate) async fn is_withdrawn(
    db: &mut Db,
    channel: &Channel,
    user: &UserId,
) -> sqlx::Result<bool> {
    let open: Option<i64> = sqlx::query_scalar(
        "select 1 from withdrawals where user_id = $1 and channel = $2 and ended is null limit 1",
    )
    .bind(user.as_str())
    .bind(channel.as_str())
    .fetch_optional(db)
    .await?;
    Ok(open.is_some())
}

/// When somebody may be in a channel of the application's own again: all up to here stays closed to them.
pub(crate) async fn returned_to_channel(
    db: &mut Db,
    last: Position,
    channel: &Channel,
    user: &UserId,
) -> sqlx::Result<()> {
    sqlx::query(
        "update withdrawals set ended = $1 where ended is null and user_id = $2 and channel = $3",
    )
    .bind(last.cast_signed())
    .bind(user.as_str())
    .bind(channel.as_str())
    .execute(db)
    .await?;
    Ok(())
}
