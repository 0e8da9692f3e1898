//! What has a shape and no type: answers that are put together as text, because events go out byte for byte, and headers
//! that are read one by one.
#![expect(dead_code, reason = "these are for the description alone")]

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::realtime::{Cursor, UserId};
use crate::transport::shapes::EventFrame;

/// A page of a channel's past.
#[derive(ToSchema)]
pub(in crate::http) struct History {
    items: Vec<EventFrame>,
    /// The `after` of the next page, or the `before` of the one before; nothing at the end.
    #[schema(required)]
    next: Option<Cursor>,
    /// Where the log was when this was asked: join with it once there is no `next`.
    cursor: Cursor,
    /// With `after`: whether what came since is here. If not, nothing is.
    #[schema(required = false, nullable = false)]
    recovered: Option<bool>,
}

/// That an event was published.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Published {
    /// Where it stands in the log; a volatile event has none.
    #[schema(required = false, nullable = false)]
    cursor: Option<Cursor>,
}

/// That an event waits for its time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Waiting {
    /// What to take it back with.
    id: String,
    #[schema(format = DateTime)]
    deliver_at: String,
}

/// The answer to each event of a batch, in order.
#[derive(ToSchema)]
pub(in crate::http) struct PublishedBatch {
    items: Vec<PublishedOne>,
}

/// The answer to one event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum PublishedOne {
    Waiting(Waiting),
    Published(Published),
}

/// A member of a presence channel.
#[derive(ToSchema)]
pub(in crate::http) struct Member {
    user: MemberUser,
    /// What the user says of itself, any JSON; `{}` where it says nothing.
    meta: Value,
    #[schema(format = DateTime)]
    since: String,
}

/// Who a member is.
#[derive(ToSchema)]
struct MemberUser {
    id: UserId,
    #[schema(examples("ada"))]
    name: String,
}

/// Which version of a document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct IfMatch {
    /// Only this version: the `ETag` of the document that was read.
    #[param(rename = "If-Match", nullable = false, example = "\"3\"")]
    if_match: Option<String>,
}
