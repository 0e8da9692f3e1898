//! What transports read one by one, and put together as text, as the description tells it.
#![expect(dead_code, reason = "these are for the description alone")]

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::realtime::{Channel, Cursor, EventName, SocketId};

/// An event, as it goes over the wire.
#[derive(ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventFrame {
    /// Always `event`.
    #[schema(pattern = "^event$", examples("event"))]
    r#type: String,
    /// The first of the event's channels that was asked for.
    channel: Channel,
    event: EventName,
    /// Any JSON, passed on digit for digit.
    data: Value,
    /// Where it stands in the log; a volatile event has none.
    #[schema(required = false, nullable = false)]
    cursor: Option<Cursor>,
    #[schema(format = DateTime)]
    time: String,
}

/// An answer to a poll.
#[derive(ToSchema)]
#[schema(as = Poll)]
pub(crate) struct Polled {
    events: Vec<EventFrame>,
    /// What to send with the next poll.
    cursor: Cursor,
    /// With a cursor: whether what came since is here, now or in the next answers. If not, load your state anew.
    #[schema(required = false, nullable = false)]
    recovered: Option<bool>,
}

/// What whoever listens asks for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listening {
    /// Where to be, besides `global`, one's own `user:{id}` and groups; as often as there are channels.
    channel: Option<Vec<Channel>>,
    /// Where to go on: the last cursor that was received. Empty is the same as none.
    #[param(pattern = "^([0-9a-f]{8}-[0-9]{1,20})?$")]
    cursor: Option<String>,
}

/// What goes on for long has an id, and a format.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Streaming {
    /// One's own socket id; the server makes one where it is left out.
    socket: Option<SocketId>,
}

/// An event stream for pages that know nothing of our frames.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct EventStream {
    /// `data`: of an event only its own data. `message`: the same without the event's name.
    #[param(inline)]
    format: Option<Format>,
    /// The same as `cursor`, for whoever cannot send the header.
    #[param(pattern = "^([0-9a-f]{8}-[0-9]{1,20})?$")]
    last_event_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Format {
    Json,
    Data,
    Message,
}

/// How long a poll waits.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Patience {
    /// Seconds to wait for an event.
    #[param(maximum = 30, default = 25)]
    wait: Option<u64>,
}

/// Where an event stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEventId {
    /// Where to go on; a browser sends it by itself, and it wins.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<String>,
}
