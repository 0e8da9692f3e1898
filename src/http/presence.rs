//! Who is in a channel, and who is online at all.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::channels::{may_look, named};
use super::description::shapes::Member;
use super::extract::{Body, Paging, Params};
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::{Channel, UserId};
use crate::store::{Page, last_seen};

/// Users that are asked about at once.
const MAX_USERS: usize = 1_000;

/// One page of members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Members {
    #[schema(value_type = Vec<Member>)]
    items: Vec<Box<RawValue>>,
    /// What to send as the next `after`; nothing at the end.
    #[schema(required)]
    next: Option<String>,
    /// How many there are in all.
    count: usize,
}

/// Who is in a channel, and how many.
///
/// `document:42` and `presence:document:42` mean the same here.
#[utoipa::path(
    get, path = "/api/v1/channels/{channel}/presence", operation_id = "listMembers", tag = "Channels",
    params(Paging),
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses(
        (
            status = 200,
            description = "The members in order of their ids, a page at a time.",
            body = Members,
        ),
    ),
)]
pub(super) async fn members(
    State(app): State<Roomcast>,
    caller: Option<Caller>,
    back_end: Option<BackEnd>,
    channel: Result<Path<String>, PathRejection>,
    Params(paging): Params<Paging>,
) -> Result<Json<Members>, Error> {
    let limit = paging.limit()?;
    let channel = presence_of(named(channel)?)?;
    may_look(&app, back_end, caller.as_ref(), &channel).await?;
    let (mut page, count) = app.registry().members(&channel, &paging.after, limit + 1);
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page
        .last()
        .filter(|_| more)
        .map(|(user, _)| user.to_string());
    let items = page.iter().map(|(_, member)| member.raw()).collect();
    Ok(Json(Members { items, next, count }))
}

/// `document:42` and `presence:document:42` mean the same here.
fn presence_of(channel: Channel) -> Result<Channel, Error> {
    if channel.is_presence() {
        return Ok(channel);
    }
    // May be too long with the word before it.
    Ok(channel.presence().as_str().parse()?)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AskedUsers, examples(json!({ "users": ["0190a6d1-0c5e-7a41-9d0b-6a1f5e2c7b30"] })))]
pub(super) struct Asked {
    /// Ids of users.
    #[schema(value_type = Vec<UserId>, max_items = 1_000)]
    users: Vec<String>,
}

/// Whether a user is there, as it is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Online {
    id: UserId,
    online: bool,
    /// When it last came or went; now, for somebody who is there.
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
}

/// Who is online.
///
/// Which of these users have a connection, and when the others were last there.
#[utoipa::path(
    post, path = "/api/v1/users/online", operation_id = "askWhoIsOnline", tag = "Accounts",
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    request_body = Asked,
    responses(
        (
            status = 200,
            description = "Each user that was asked about; there is always one page.",
            body = Page<Online>,
        ),
    ),
)]
pub(super) async fn online(
    State(app): State<Roomcast>,
    caller: Option<Caller>,
    back_end: Option<BackEnd>,
    Body(asked): Body<Asked>,
) -> Result<Json<Page<Online>>, Error> {
    if caller.is_none() && back_end.is_none() {
        return Err(Error::Unauthorized("Log in first."));
    }
    if asked.users.len() > MAX_USERS {
        let expected = format!("expected at most {MAX_USERS} ids of users");
        return Err(Error::field("users", expected));
    }
    let parse = |(at, id): (usize, &String)| {
        let expected = |_| Error::field(&format!("users[{at}]"), "expected the id of a user");
        UserId::parse(id).map_err(expected)
    };
    let users: Vec<UserId> = asked
        .users
        .iter()
        .enumerate()
        .map(parse)
        .collect::<Result<_, _>>()?;
    let online = app.registry().online(&users);
    let seen = last_seen::of(&mut *app.store().read().await?, &users).await?;
    let seen: HashMap<String, OffsetDateTime> = seen.into_iter().collect();
    let now = OffsetDateTime::now_utc();
    let items = users.into_iter().zip(online).map(|(id, online)| {
        let last = if online {
            Some(now)
        } else {
            seen.get(id.as_str()).copied()
        };
        Online {
            id,
            online,
            last_seen: last.map(timestamp),
        }
    });
    Ok(Json(Page {
        items: items.collect(),
        next: None,
    }))
}
