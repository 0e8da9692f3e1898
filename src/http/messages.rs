//! What people say in chat rooms: the history a page at a time from either end, and each message told as it is kept.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Body, Paging, Params, Path};
use super::rooms::{manages, visible};
use crate::accounts::is_unseen;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notification, Notify, Tx};
use crate::realtime::Channel;
use crate::realtime::protocol::server::timestamp;
use crate::store::messages::{self, Message};
use crate::store::rooms::ChatRoom;
use crate::store::{Db, Page, new_id};

/// Characters of one message.
const MAX_CHARS: usize = 4_000;

/// No `Debug`: what people say does not belong in a log.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMessage, examples(json!({ "text": "Who is there?" })))]
pub(super) struct NewText {
    /// Not only white space; no control characters but line breaks and tabs.
    #[schema(min_length = 1, max_length = 4_000)]
    text: String,
}

/// From the end of the history instead of from its beginning.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Backward {
    /// The `next` of the page after it; empty for the last page.
    before: Option<String>,
}

/// A message, as it is shown and told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(super) struct Shown {
    id: String,
    room_id: String,
    user: Author,
    text: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    edited_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Author {
    id: String,
    name: String,
}

/// Of what is gone, only where it was.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    id: &'a str,
    room_id: &'a str,
}

impl From<Message> for Shown {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            room_id: message.room_id,
            user: Author {
                id: message.author_id,
                name: message.author_name,
            },
            text: message.text,
            created_at: timestamp(message.created_at),
            edited_at: message.edited_at.map(timestamp),
        }
    }
}

/// What was said in a chat room.
///
/// From the oldest message on, or with `before` from the newest back.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/messages", operation_id = "listMessages", tag = "Chat",
    params(Paging, Backward),
    responses(
        (
            status = 200,
            description = "A page of messages, in the order in which they were said.",
            body = Page<Shown>,
        ),
    ),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
    Params(backward): Params<Backward>,
) -> Result<Json<Page<Shown>>, Error> {
    let limit = paging.limit()?;
    let mut db = app.store().read().await?;
    visible(&mut db, &caller.user, &id).await?;
    let page = match backward.before {
        None => messages::after(&mut db, &id, &paging.after, limit).await?,
        Some(before) if paging.after.is_empty() => {
            messages::before(&mut db, &id, &before, limit).await?
        }
        Some(_) => {
            return Err(Error::invalid(
                "invalid-query",
                "A page is either \"after\" a message or \"before\" one, not both.",
            ));
        }
    };
    Ok(Json(Page {
        items: page.items.into_iter().map(Shown::from).collect(),
        next: page.next,
    }))
}

/// Says something in a chat room.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/messages", operation_id = "makeMessage", tag = "Chat",
    request_body = NewText,
    responses((status = 201, description = "The message.", body = Shown)),
)]
pub(super) async fn create(
    caller: Caller,
    Path(id): Path<String>,
    mut tx: Tx,
    Body(new): Body<NewText>,
) -> Result<impl IntoResponse, Error> {
    visible(tx.db(), &caller.user, &id).await?;
    check_text(&new.text)?;
    let message = Message {
        id: new_id(),
        room_id: id,
        author_id: caller.user.id.to_string(),
        author_name: caller.user.name.to_string(),
        text: new.text,
        created_at: OffsetDateTime::now_utc(),
        edited_at: None,
    };
    messages::insert(tx.db(), &message).await?;
    let channel = Channel::chat(&message.room_id);
    let shown = Shown::from(message);
    let notify = Notify::of(Notification::new("chat-message", &shown).to(channel));
    Ok((StatusCode::CREATED, notify, Json(shown)))
}

/// Changes the text of a message.
///
/// By its author.
#[utoipa::path(
    patch, path = "/api/v1/rooms/{id}/messages/{message}", operation_id = "changeMessage", tag = "Chat",
    request_body = NewText,
    responses((status = 200, description = "The message, as it is now.", body = Shown)),
)]
pub(super) async fn update(
    caller: Caller,
    Path((id, message)): Path<(String, String)>,
    mut tx: Tx,
    Body(new): Body<NewText>,
) -> Result<impl IntoResponse, Error> {
    let (_, mut message) = found(tx.db(), &caller, &id, &message).await?;
    if message.author_id != caller.user.id.as_str() {
        return Err(Error::forbidden("You may change your own messages only."));
    }
    check_text(&new.text)?;
    message.text = new.text;
    message.edited_at = Some(OffsetDateTime::now_utc());
    messages::update(tx.db(), &message).await?;
    let shown = Shown::from(message);
    let notification = Notification::new("chat-message-changed", &shown).to(Channel::chat(&id));
    Ok((Notify::of(notification), Json(shown)))
}

/// Deletes a message.
///
/// By its author, or by who decides about the room.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{id}/messages/{message}", operation_id = "deleteMessage", tag = "Chat",
    responses((status = 204, description = "The message is gone.")),
)]
pub(super) async fn remove(
    caller: Caller,
    Path((id, message)): Path<(String, String)>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    let (room, message) = found(tx.db(), &caller, &id, &message).await?;
    let own = message.author_id == caller.user.id.as_str();
    if !own && !manages(tx.db(), &caller.user, &room).await? {
        return Err(Error::forbidden(
            "Only who said it, the room's owner, a manager of its group or an administrator may do that.",
        ));
    }
    messages::delete(tx.db(), &message.id).await?;
    let said = Deleted {
        id: &message.id,
        room_id: &id,
    };
    let notification = Notification::new("chat-message-deleted", &said).to(Channel::chat(&id));
    Ok((StatusCode::NO_CONTENT, Notify::of(notification)))
}

/// A message in a room that the caller may be in.
async fn found(
    db: &mut Db,
    caller: &Caller,
    room_id: &str,
    id: &str,
) -> Result<(ChatRoom, Message), Error> {
    let room = visible(db, &caller.user, room_id).await?;
    let message = messages::find(db, room_id, id).await?;
    Ok((room, message.ok_or(Error::NotFound)?))
}

/// What a message may be. Joiners and directions belong to how people write, so they may stand in it, but not alone.
fn check_text(text: &str) -> Result<(), Error> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    let is_blank = |c: char| c.is_whitespace() || is_unseen(c);
    let too_long = text.chars().nth(MAX_CHARS).is_some();
    if too_long || text.chars().any(is_control) || text.chars().all(is_blank) {
        return Err(Error::field(
            "text",
            format!(
                "expected 1 to {MAX_CHARS} characters, not only white space, and no control characters but line \
                 breaks (\\n) and tabs"
            ),
        ));
    }
    Ok(())
}
