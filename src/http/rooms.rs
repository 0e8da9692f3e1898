//! Chat rooms: open to everybody who is logged in, or to a group. What is said there is told in `chat:{id}`.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::extract::{Body, Paging, Params, Path, check_name};
use super::groups::visible as visible_group;
use super::record::{self, Kind};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notify, Tx};
use crate::realtime::protocol::server::timestamp;
use crate::realtime::registry::Move;
use crate::realtime::{Channel, User};
use crate::store::rooms::{self, ChatRoom};
use crate::store::{Db, Page, access, groups, new_id};

/// Rooms of one group: they all go with it in one change, which has to be of a size that can be kept.
const MAX_ROOMS_OF_GROUP: i64 = 1_000;
/// Open rooms of one owner who is no administrator: everybody hears of each, and has it in the list.
const MAX_OPEN_ROOMS_OF_USER: i64 = 100;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(examples(json!({ "name": "Lobby" })))]
pub(super) struct NewRoom {
    /// Without control characters and white space round it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// A group of one's own; without it the room is open.
    #[serde(default)]
    group_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRoomName, examples(json!({ "name": "Lounge" })))]
pub(super) struct NewName {
    /// Without control characters and white space round it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// A room, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Room)]
pub(super) struct Shown {
    id: String,
    name: String,
    /// Nothing, where it is open.
    #[schema(required)]
    group_id: Option<String>,
    owner_id: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<ChatRoom> for Shown {
    fn from(room: ChatRoom) -> Self {
        Self {
            id: room.id,
            name: room.name,
            group_id: room.group_id,
            owner_id: room.owner_id,
            created_at: timestamp(room.created_at),
        }
    }
}

/// The chat rooms that one may be in; administrators see all.
#[utoipa::path(
    get, path = "/api/v1/rooms", operation_id = "listRooms", tag = "Chat",
    params(Paging),
    responses((status = 200, description = "A page of rooms.", body = Page<Shown>)),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Shown>>, Error> {
    let limit = paging.limit()?;
    let of = (!caller.user.admin).then_some(&caller.user.id);
    let rows = rooms::list(
        &mut *app.store().read().await?,
        of,
        &paging.after,
        limit as i64 + 1,
    )
    .await?;
    let page = Page::new(rows, limit, |room| room.id.clone());
    Ok(Json(Page {
        items: page.items.into_iter().map(Shown::from).collect(),
        next: page.next,
    }))
}

/// Makes a chat room, open or of a group.
///
/// Who makes it owns it.
#[utoipa::path(
    post, path = "/api/v1/rooms", operation_id = "makeRoom", tag = "Chat",
    request_body = NewRoom,
    responses(
        (status = 201, description = "The room.", body = Shown),
        (status = 404, description = "There is no such group, or none for you."),
        (status = 409, description = "As many rooms as there may be."),
    ),
)]
pub(super) async fn create(
    caller: Caller,
    mut tx: Tx,
    Body(new): Body<NewRoom>,
) -> Result<impl IntoResponse, Error> {
    check_name("name", &new.name)?;
    if let Some(group) = &new.group_id {
        visible_group(tx.db(), &caller.user, group).await?;
        if rooms::count_of_group(tx.db(), group).await? >= MAX_ROOMS_OF_GROUP {
            return Err(Error::Conflict(
                "The group has as many rooms as it may; delete one first.".into(),
            ));
        }
    } else if !caller.user.admin
        && rooms::count_open_of(tx.db(), &caller.user.id).await? >= MAX_OPEN_ROOMS_OF_USER
    {
        return Err(Error::Conflict(
            "You own as many open rooms as you may; delete one first.".into(),
        ));
    }
    let room = ChatRoom {
        id: new_id(),
        name: new.name,
        group_id: new.group_id,
        owner_id: caller.user.id.to_string(),
        created_at: OffsetDateTime::now_utc(),
    };
    rooms::insert(tx.db(), &room).await?;
    let at = tx.position();
    access::withheld_from_the_outset(tx.db(), at, &room).await?;
    let to = vec![audience(&room)];
    let shown = Shown::from(room);
    let notify = record::new(&caller, Kind::Room, &shown, to);
    Ok((StatusCode::CREATED, notify, Json(shown)))
}

/// One chat room.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}", operation_id = "showRoom", tag = "Chat",
    responses((status = 200, description = "The room.", body = Shown)),
)]
pub(super) async fn show(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Error> {
    let room = visible(&mut *app.store().read().await?, &caller.user, &id).await?;
    Ok(Json(room.into()))
}

/// Renames a chat room.
#[utoipa::path(
    put, path = "/api/v1/rooms/{id}", operation_id = "renameRoom", tag = "Chat",
    request_body = NewName,
    responses((status = 200, description = "The room, as it is now.", body = Shown)),
)]
pub(super) async fn update(
    caller: Caller,
    Path(id): Path<String>,
    mut tx: Tx,
    Body(new): Body<NewName>,
) -> Result<impl IntoResponse, Error> {
    let mut room = managed(tx.db(), &caller.user, &id).await?;
    check_name("name", &new.name)?;
    room.name = new.name;
    rooms::rename(tx.db(), &id, &room.name).await?;
    let to = vec![Channel::chat(&id), audience(&room)];
    let shown = Shown::from(room);
    let notify = record::changed(&caller, Kind::Room, &shown, to);
    Ok((notify, Json(shown)))
}

/// Deletes a chat room, with all that was said there.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{id}", operation_id = "deleteRoom", tag = "Chat",
    responses((status = 204, description = "The room is gone.")),
)]
pub(super) async fn remove(
    caller: Caller,
    Path(id): Path<String>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    let room = managed(tx.db(), &caller.user, &id).await?;
    rooms::delete(tx.db(), &id).await?;
    let channel = Channel::chat(&id);
    tx.moves([Move::Dissolve {
        channel: channel.clone(),
    }]);
    let to = vec![channel, audience(&room)];
    Ok((
        StatusCode::NO_CONTENT,
        record::deleted(&caller, Kind::Room, &id, to),
    ))
}

/// Who may know of a room.
fn audience(room: &ChatRoom) -> Channel {
    let group = room.group_id.as_deref();
    group.map_or_else(Channel::global, Channel::group)
}

/// A room that the user may be in.
pub(super) async fn visible(db: &mut Db, user: &User, id: &str) -> Result<ChatRoom, Error> {
    let room = rooms::find(db, id).await?.ok_or(Error::NotFound)?;
    if user.admin || rooms::admits(db, id, &user.id).await? {
        Ok(room)
    } else {
        Err(Error::NotFound)
    }
}

/// Whether the user decides about a room that it may be in: its owner, the managers of its group, administrators.
pub(super) async fn manages(db: &mut Db, user: &User, room: &ChatRoom) -> Result<bool, Error> {
    if user.admin || room.owner_id == user.id.as_str() {
        return Ok(true);
    }
    Ok(match &room.group_id {
        Some(group) => groups::membership(db, group, &user.id).await? == Some(true),
        None => false,
    })
}

/// A room that the user may change.
async fn managed(db: &mut Db, user: &User, id: &str) -> Result<ChatRoom, Error> {
    let room = visible(db, user, id).await?;
    if manages(db, user, &room).await? {
        return Ok(room);
    }
    Err(Error::forbidden(
        "Only the room's owner, a manager of its group or an administrator may do that.",
    ))
}
