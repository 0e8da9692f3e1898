//! Who is in a channel, and who is online at all.

use std::collections::HashMap;

use ::http::{HeaderValue, header};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::channels::named;
use super::extract::{Body, Paging, Params};
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::{Channel, Data, UserId};
use crate::store::last_seen;

/// Users that are asked about at once.
const MAX_USERS: usize = 1_000;

/// One page of members.
#[derive(Debug, Serialize)]
struct Members {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    count: usize,
}

/// `GET /channels/{channel}/presence`: the members, in order of their ids, and how many they are.
pub(super) async fn members(
    State(app): State<Roomcast>,
    caller: Option<Caller>,
    back_end: Option<BackEnd>,
    channel: Result<Path<String>, PathRejection>,
    Params(paging): Params<Paging>,
) -> Result<Response, Error> {
    let limit = paging.limit()?;
    let channel = presence_of(named(channel)?)?;
    if back_end.is_none() {
        let caller = caller.ok_or(Error::Unauthorized("Log in first."))?;
        if app.admits(Some(&caller), &channel).await?.is_none() {
            let detail = format!("You may not know who is in {channel}.");
            return Err(Error::forbidden(detail));
        }
    }
    let (mut page, count) = app.registry().members(&channel, &paging.after, limit + 1);
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page
        .last()
        .filter(|_| more)
        .map(|(user, _)| user.to_string());
    let items: Result<_, Error> = page.iter().map(|(_, member)| raw(member)).collect();
    let members = Members {
        items: items?,
        next,
        count,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(members)).into_response())
}

/// `document:42` and `presence:document:42` mean the same here.
fn presence_of(channel: Channel) -> Result<Channel, Error> {
    if channel.is_presence() {
        return Ok(channel);
    }
    // May be too long with the word before it.
    let presence = channel.presence().as_str().parse();
    presence.map_err(|error| Error::invalid("invalid-channel", format!("The channel is {error}.")))
}

fn raw(data: &Data) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(data.as_str().to_owned()).map_err(|error| Error::Internal(error.into()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    users: Vec<String>,
}

/// Whether a user is there, as it is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Online {
    id: UserId,
    online: bool,
    /// When it last came or went; now, for somebody who is there.
    last_seen: Option<String>,
}

/// `POST /users/online`: which of these users have a connection, and when the others were last there.
pub(super) async fn online(
    State(app): State<Roomcast>,
    caller: Option<Caller>,
    back_end: Option<BackEnd>,
    Body(asked): Body<Asked>,
) -> Result<Json<serde_json::Value>, Error> {
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
    let items: Vec<Online> = items.collect();
    Ok(Json(serde_json::json!({ "items": items, "next": null })))
}
