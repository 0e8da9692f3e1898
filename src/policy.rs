//! The policy: who may join, read and write what, and what a change of rights means for those who are connected.

use std::collections::HashSet;

use crate::caller::Caller;
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::registry::{Access, Membership, Move};
use crate::realtime::{Channel, User, UserId};
use crate::rules::{Join, Publish, Rules};
use crate::store::permissions::Holder;
use crate::store::{Db, access, groups, rooms};

/// What a caller may do in a channel, as far as it can be said without waiting for the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This, or nothing.
    Settled(Option<Access>),
    /// What the application says.
    Ask(Question),
}

/// What only the application knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The channel to ask about: for a presence, the one that it is of.
    pub(crate) channel: Channel,
    /// What may be had at most, whatever the answer is.
    pub(crate) most: Access,
}

/// What a caller may do in a channel; a guest is nobody.
pub(crate) async fn access(
    db: &mut Db,
    rules: &Rules,
    caller: Option<&Caller>,
    channel: &Channel,
) -> sqlx::Result<Decision> {
    let user = caller.map(|caller| &caller.user);
    if user.is_none() && *channel != Channel::global() {
        return Ok(Decision::Settled(None));
    }
    let decision = match channel.kind() {
        Kind::Presence(of) => presence(db, rules, user, of).await?,
        _ => direct(db, rules, user, channel).await?,
    };
    if !caller.is_some_and(|caller| is_granted(&caller.grants, channel)) {
        return Ok(decision);
    }
    // What is granted is not asked for, and is for reading where the application says who may write.
    Ok(match decision {
        Decision::Settled(Some(access)) => Decision::Settled(Some(access)),
        Decision::Ask(_) => Decision::Settled(Some(Access::Read)),
        Decision::Settled(None) => Decision::Settled(Some(of_member(rules, channel))),
    })
}

/// Whether a channel, or the one that it is the presence of, was granted by name. Nobody is granted another's socket.
pub(crate) fn is_granted(grants: &[Channel], channel: &Channel) -> bool {
    // There is nobody in a presence channel whose presence there were.
    let is_presence = |grant: &Channel| matches!(grant.kind(), Kind::Presence(_));
    let names =
        |grant: &Channel| grant == channel || (!is_presence(grant) && grant.presence() == *channel);
    !matches!(channel.kind(), Kind::Socket(_)) && grants.iter().any(names)
}

/// What whoever is in a channel of the application's own may do there, if nothing else says.
fn of_member(rules: &Rules, channel: &Channel) -> Access {
    let rule = rules.of(channel);
    if rule.join != Join::BuiltIn && rule.publish == Publish::Members {
        Access::Write
    } else {
        Access::Read
    }
}

async fn direct(
    db: &mut Db,
    rules: &Rules,
    user: Option<&User>,
    channel: &Channel,
) -> sqlx::Result<Decision> {
    let settled = |access| Ok(Decision::Settled(access));
    let Some(user) = user else {
        return settled((*channel == Channel::global()).then_some(Access::Read));
    };
    if user.admin && !matches!(channel.kind(), Kind::Socket(_)) {
        return settled(Some(Access::Write));
    }
    match channel.kind() {
        Kind::Global => settled(Some(Access::Read)),
        Kind::User(id) => settled((id == user.id.as_str()).then_some(Access::Read)),
        Kind::Group(id) => {
            let membership = groups::membership(db, id, &user.id).await?;
            settled(membership.map(|_| Access::Write))
        }
        Kind::Context {
            kind: "document",
            id,
        } => settled(access::of_root(db, id, &user.id).await?),
        Kind::Context { kind: "chat", id } => {
            let admitted = rooms::admits(db, id, &user.id).await?;
            settled(admitted.then_some(Access::Write))
        }
        Kind::Context { .. } => {
            let most = of_member(rules, channel);
            Ok(match rules.of(channel).join {
                Join::Ask => Decision::Ask(Question {
                    channel: channel.clone(),
                    most,
                }),
                Join::Users => Decision::Settled(Some(most)),
                Join::BuiltIn | Join::Nobody | Join::Granted => Decision::Settled(None),
            })
        }
        // Every connection has its own already, and nobody else's is anybody's.
        Kind::Admin | Kind::Socket(_) | Kind::Presence(_) => settled(None),
    }
}

/// Who is in a channel is for those who may be in it; a free-standing room is for everybody who is logged in.
async fn presence(
    db: &mut Db,
    rules: &Rules,
    user: Option<&User>,
    of: &str,
) -> sqlx::Result<Decision> {
    let Ok(channel) = of.parse::<Channel>() else {
        return Ok(Decision::Settled(user.map(|_| Access::Read)));
    };
    if matches!(channel.kind(), Kind::Presence(_)) {
        return Ok(Decision::Settled(None));
    }
    // What happens in a presence channel only the server says.
    Ok(match direct(db, rules, user, &channel).await? {
        Decision::Settled(access) => Decision::Settled(access.map(|_| Access::Read)),
        Decision::Ask(question) => Decision::Ask(Question {
            most: Access::Read,
            ..question
        }),
    })
}

/// Whether somebody who is in a channel may still publish there, where nobody can be asked: inside a turn. `held` is
/// what the connection may do by what it was told when it joined.
pub(crate) async fn may_still_publish(
    db: &mut Db,
    rules: &Rules,
    caller: Option<&Caller>,
    channel: &Channel,
    held: Option<Access>,
) -> sqlx::Result<bool> {
    let access = match access(db, rules, caller, channel).await? {
        Decision::Settled(access) => access,
        Decision::Ask(question) => held.map(|held| held.min(question.most)),
    };
    Ok(access >= Some(Access::Write) && !is_withdrawn(db, rules, caller, channel).await?)
}

/// Whether the application took somebody out of a channel who has not come back since.
pub(crate) async fn is_withdrawn(
    db: &mut Db,
    rules: &Rules,
    caller: Option<&Caller>,
    channel: &Channel,
) -> sqlx::Result<bool> {
    match caller {
        Some(caller) if rules.is_listed(channel) => {
            access::is_withdrawn(db, channel, &caller.user.id).await
        }
        _ => Ok(false),
    }
}

/// Takes a user out of a channel of the application's own, and says what that means.
pub(crate) async fn withdraw_from_channel(
    db: &mut Db,
    at: Position,
    channel: &Channel,
    user: &UserId,
) -> sqlx::Result<Vec<Move>> {
    access::withdrawing_from_channel(db, at, channel, user).await?;
    Ok(vec![Move::Change {
        user: user.clone(),
        channel: channel.clone(),
        access: None,
    }])
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

/// Deletes a group with its chat rooms, and says what that means. Its members hear of it before the channels are no
/// more.
pub(crate) async fn withdraw_group(
    db: &mut Db,
    at: Position,
    group_id: &str,
) -> sqlx::Result<Vec<Move>> {
    let roots = access::roots_of_group(db, group_id).await?;
    let rooms = rooms::ids_of_group(db, group_id).await?;
    let mut gone: HashSet<_> = rooms.iter().map(|id| Channel::chat(id)).collect();
    gone.insert(Channel::group(group_id));
    access::withdrawing_membership(db, at, group_id, None).await?;
    groups::delete(db, group_id).await?;
    let mut moves = changed(db, at, &roots).await?;
    moves
        .retain(|change| !matches!(change, Move::Change { channel, .. } if gone.contains(channel)));
    moves.extend(gone.into_iter().map(|channel| Move::Dissolve { channel }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Endpoint, Rule};
    use crate::store::{Durability, Store};

    fn rules() -> Rules {
        let endpoint =
            Endpoint::new("http://127.0.0.1:1/", "a secret of 24 bytes or more").unwrap();
        let mut rules = Rules::default().asking(endpoint);
        for (kind, join, publish) in [
            ("closed", Join::Nobody, Publish::Members),
            ("given", Join::Granted, Publish::Nobody),
            ("talk", Join::Granted, Publish::Members),
            ("open", Join::Users, Publish::Nobody),
            ("order", Join::Ask, Publish::Members),
            ("quiet", Join::Ask, Publish::Nobody),
        ] {
            let rule = Rule {
                join,
                publish,
                ..Rule::default()
            };
            rules = rules.with(kind, rule).unwrap();
        }
        rules
    }

    #[tokio::test]
    async fn a_grant_counts_whatever_the_rule_says() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, Durability::Full).await.unwrap();
        let mut db = store.read().await.unwrap();
        let user = User {
            id: UserId::parse("7").unwrap(),
            name: "ada".into(),
            admin: false,
        };
        let (read, write) = (Some(Access::Read), Some(Access::Write));
        let settled = Decision::Settled;
        let ask = |channel: &str, most| {
            let channel = channel.parse().unwrap();
            Decision::Ask(Question { channel, most })
        };
        for (name, without, with) in [
            ("closed:7", settled(None), settled(write)),
            ("given:7", settled(None), settled(read)),
            ("talk:7", settled(None), settled(write)),
            ("unlisted:7", settled(None), settled(read)),
            ("document:7", settled(None), settled(read)),
            ("open:7", settled(read), settled(read)),
            ("order:7", ask("order:7", Access::Write), settled(read)),
            ("quiet:7", ask("quiet:7", Access::Read), settled(read)),
            ("presence:talk:7", settled(None), settled(read)),
            (
                "presence:order:7",
                ask("order:7", Access::Read),
                settled(read),
            ),
        ] {
            let channel: Channel = name.parse().unwrap();
            let granted = name.strip_prefix("presence:").unwrap_or(name);
            let mut caller = Caller::new(user.clone());
            let decided = access(&mut db, &rules(), Some(&caller), &channel).await;
            assert_eq!(decided.unwrap(), without, "{name}");
            caller.grants = [granted.parse().unwrap()].into();
            let decided = access(&mut db, &rules(), Some(&caller), &channel).await;
            assert_eq!(decided.unwrap(), with, "{name}, granted");
        }
    }
}
