//! The policy: who may join, read and write what, and what a change of rights means for those who are connected.

use crate::caller::Caller;
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::registry::{Access, Membership, Move};
use crate::realtime::{Channel, User, UserId};
use crate::store::permissions::Holder;
use crate::store::{Db, access, groups};

/// What a caller may do in a channel; a guest is nobody.
pub(crate) async fn access(
    db: &mut Db,
    caller: Option<&Caller>,
    channel: &Channel,
) -> sqlx::Result<Option<Access>> {
    let user = caller.map(|caller| &caller.user);
    if user.is_none() && *channel != Channel::global() {
        return Ok(None);
    }
    let access = match channel.kind() {
        Kind::Presence(of) => presence(db, user, of).await?,
        _ => direct(db, user, channel).await?,
    };
    let granted = caller.is_some_and(|caller| is_granted(&caller.grants, channel));
    Ok(access.or(granted.then_some(Access::Read)))
}

/// Whether a channel, or the one that it is the presence of, was granted by name. Nobody is granted another's socket.
fn is_granted(grants: &[Channel], channel: &Channel) -> bool {
    // There is nobody in a presence channel whose presence there were.
    let is_presence = |grant: &Channel| matches!(grant.kind(), Kind::Presence(_));
    let names =
        |grant: &Channel| grant == channel || (!is_presence(grant) && grant.presence() == *channel);
    !matches!(channel.kind(), Kind::Socket(_)) && grants.iter().any(names)
}

async fn direct(
    db: &mut Db,
    user: Option<&User>,
    channel: &Channel,
) -> sqlx::Result<Option<Access>> {
    let Some(user) = user else {
        return Ok((*channel == Channel::global()).then_some(Access::Read));
    };
    if user.admin && !matches!(channel.kind(), Kind::Socket(_)) {
        return Ok(Some(Access::Write));
    }
    match channel.kind() {
        Kind::Global => Ok(Some(Access::Read)),
        Kind::User(id) => Ok((id == user.id.as_str()).then_some(Access::Read)),
        Kind::Group(id) => Ok(groups::membership(db, id, &user.id)
            .await?
            .map(|_| Access::Write)),
        Kind::Context {
            kind: "document",
            id,
        } => access::of_root(db, id, &user.id).await,
        // Every connection has its own already, and nobody else's is anybody's.
        Kind::Admin | Kind::Socket(_) | Kind::Presence(_) | Kind::Context { .. } => Ok(None),
    }
}

/// Who is in a channel is for those who may be in it; a free-standing room is for everybody who is logged in.
async fn presence(db: &mut Db, user: Option<&User>, of: &str) -> sqlx::Result<Option<Access>> {
    let Ok(channel) = of.parse::<Channel>() else {
        return Ok(user.map(|_| Access::Read));
    };
    if matches!(channel.kind(), Kind::Presence(_)) {
        return Ok(None);
    }
    // What happens in a presence channel only the server says.
    Ok(direct(db, user, &channel).await?.map(|_| Access::Read))
}

/// The channels that the server joins somebody to on connect.
pub(crate) async fn automatic(
    db: &mut Db,
    user: Option<&User>,
) -> sqlx::Result<Vec<(Channel, Membership)>> {
    let mut channels = vec![(Channel::global(), Membership::automatic(Access::Read))];
    let Some(user) = user else {
        return Ok(channels);
    };
    channels.push((Channel::user(&user.id), Membership::automatic(Access::Read)));
    let groups = groups::ids_of(db, &user.id).await?;
    channels.extend(
        groups
            .iter()
            .map(|id| (Channel::group(id), Membership::automatic(Access::Write))),
    );
    if user.admin {
        channels[0].1.access = Access::Write;
        channels.push((Channel::admin(), Membership::automatic(Access::Write)));
    }
    Ok(channels)
}

/// Takes a permission for a root away, and says what that means.
pub(crate) async fn withdraw_permission(
    db: &mut Db,
    at: Position,
    root_id: &str,
    holder: Holder<'_>,
) -> sqlx::Result<Vec<Move>> {
    access::withdrawing_permission(db, at, root_id, holder).await?;
    crate::store::permissions::delete(db, root_id, holder).await?;
    changed(db, at, &[root_id.to_owned()]).await
}

/// Takes a user out of a group, and says what that means.
pub(crate) async fn withdraw_membership(
    db: &mut Db,
    at: Position,
    group_id: &str,
    user: &UserId,
) -> sqlx::Result<Vec<Move>> {
    let roots = access::roots_of_group(db, group_id).await?;
    access::withdrawing_membership(db, at, group_id, Some(user)).await?;
    groups::delete_member(db, group_id, user).await?;
    changed(db, at, &roots).await
}

/// Deletes a group, and says what that means. Its members hear of it before its channel is no more.
pub(crate) async fn withdraw_group(
    db: &mut Db,
    at: Position,
    group_id: &str,
) -> sqlx::Result<Vec<Move>> {
    let channel = Channel::group(group_id);
    let roots = access::roots_of_group(db, group_id).await?;
    access::withdrawing_membership(db, at, group_id, None).await?;
    groups::delete(db, group_id).await?;
    let mut moves = changed(db, at, &roots).await?;
    moves.retain(|change| !matches!(change, Move::Change { channel: of, .. } if *of == channel));
    moves.push(Move::Dissolve { channel });
    Ok(moves)
}

/// Puts a user into a group, and says what that means.
pub(crate) async fn admit(
    db: &mut Db,
    at: Position,
    group_id: &str,
    user: &UserId,
    manager: bool,
) -> sqlx::Result<Vec<Move>> {
    groups::put_member(db, group_id, user, manager).await?;
    access::returned_to_group(db, at, group_id, user).await?;
    // What the group may read and write, its new member may too.
    let roots = access::roots_of_group(db, group_id).await?;
    let mut moves = changed(db, at, &roots).await?;
    moves.push(Move::Enter {
        user: user.clone(),
        channel: Channel::group(group_id),
        access: Access::Write,
    });
    Ok(moves)
}

/// Who lost what in the change at this position, and what everybody else may do with these roots now.
pub(crate) async fn changed(
    db: &mut Db,
    at: Position,
    roots: &[String],
) -> sqlx::Result<Vec<Move>> {
    let lost = access::withdrawn(db, at).await?;
    let mut moves: Vec<_> = lost
        .into_iter()
        .map(|(user, channel)| Move::Change {
            user,
            channel,
            access: None,
        })
        .collect();
    for root in roots {
        access::returned_to_root(db, at, root).await?;
        for (user, access) in access::holders(db, root).await? {
            moves.push(Move::Change {
                user,
                channel: Channel::document(root),
                access: Some(access),
            });
        }
    }
    Ok(moves)
}
