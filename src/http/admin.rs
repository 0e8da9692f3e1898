//! What administrators see and do: rooms and connections, in pages that are filtered and sorted here, and ending one.

use ::http::StatusCode;
use ::http::request::Parts;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Paging, Params, Path};
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::realtime::connection::Transport;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::registry::{RoomSize, Sighting};
use crate::realtime::{Channel, SocketId, User};

/// Channels that are shown with a connection.
const SHOWN_CHANNELS: usize = 200;

/// An administrator, or a back end with the API key.
#[derive(Debug)]
pub(super) struct Overseer(String);

impl<S: Send + Sync> FromRequestParts<S> for Overseer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        if parts.extensions.get::<BackEnd>().is_some() {
            return Ok(Self("a back end".into()));
        }
        match parts.extensions.get::<Caller>() {
            Some(caller) if caller.user.admin => Ok(Self(caller.user.id.to_string())),
            Some(_) => Err(Error::forbidden(
                "Only administrators, and back ends with the API key, may do that.",
            )),
            None => Err(Error::Unauthorized("Log in first, or show the API key.")),
        }
    }
}

/// Which rooms, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RoomQuery {
    /// A part of the name.
    #[serde(default)]
    search: String,
    /// The first word of the name.
    #[param(example = "document")]
    kind: Option<String>,
    /// In which order.
    #[param(
        pattern = "^(-connections|connections|channel)$",
        default = "-connections"
    )]
    sort: Option<String>,
}

/// A page of what is counted, too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counted<T> {
    items: Vec<T>,
    /// What to send as the next `after`; nothing at the end.
    #[schema(required)]
    next: Option<String>,
    /// How many there are in all.
    total: usize,
}

/// A room in the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveRoom)]
pub(super) struct ShownRoom {
    channel: Channel,
    connections: usize,
    /// Users who are said to be there; for presence channels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    members: Option<usize>,
}

/// All rooms and their sizes, the largest first.
#[utoipa::path(
    get, path = "/api/v1/admin/rooms", operation_id = "listLiveRooms", tag = "Administration",
    params(RoomQuery, Paging),
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 200, description = "A page of rooms.", body = Counted<ShownRoom>)),
)]
pub(super) async fn rooms(
    State(app): State<Roomcast>,
    _: Overseer,
    Params(query): Params<RoomQuery>,
    Params(paging): Params<Paging>,
) -> Result<Json<Counted<ShownRoom>>, Error> {
    let limit = paging.limit()?;
    let by: fn(&RoomSize) -> String = match query.sort.as_deref().unwrap_or("-connections") {
        "-connections" => |room| {
            format!(
                "{:010}{}",
                u32::MAX as usize - room.connections,
                room.channel
            )
        },
        "connections" => |room| format!("{:010}{}", room.connections, room.channel),
        "channel" => |room| room.channel.to_string(),
        _ => return Err(unsorted("-connections, connections and channel")),
    };
    let of_kind = |name: &str| {
        let kind = name.split(':').next().unwrap_or_default();
        query.kind.as_deref().is_none_or(|wanted| wanted == kind)
    };
    let mut rooms = app.registry().rooms();
    rooms.retain(|room| {
        let name = room.channel.as_str();
        name.contains(&query.search) && of_kind(name)
    });
    let (rooms, next, total) = page(rooms, by, &paging.after, limit);
    let items = rooms.into_iter().map(|room| ShownRoom {
        channel: room.channel,
        connections: room.connections,
        members: room.members,
    });
    Ok(Json(Counted {
        items: items.collect(),
        next,
        total,
    }))
}

/// Which connections, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionQuery {
    /// A part of the user's name, or of the socket id, or of the address.
    #[serde(default)]
    search: String,
    /// The id of a user.
    user: Option<String>,
    /// Where it is in.
    #[param(value_type = Option<Channel>)]
    channel: Option<String>,
    #[param(pattern = "^(websocket|sse|polling)$")]
    transport: Option<String>,
    /// In which order.
    #[param(pattern = "^(-since|since|name|-waiting)$", default = "-since")]
    sort: Option<String>,
}

/// A connection in the list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Connection)]
pub(super) struct ShownConnection {
    socket: SocketId,
    /// Nobody, for a guest or a back end.
    #[schema(required)]
    user: Option<User>,
    /// `websocket`, `sse` or `polling`.
    transport: &'static str,
    #[schema(required)]
    address: Option<String>,
    #[schema(format = DateTime)]
    since: String,
    /// The first 200.
    channels: Vec<Channel>,
    /// How many channels it is in.
    channel_count: usize,
    /// Bytes that it has not been sent yet.
    waiting_bytes: usize,
}

/// Who is connected how, and where.
#[utoipa::path(
    get, path = "/api/v1/admin/connections", operation_id = "listConnections", tag = "Administration",
    params(ConnectionQuery, Paging),
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses(
        (status = 200, description = "A page of connections.", body = Counted<ShownConnection>),
    ),
)]
pub(super) async fn connections(
    State(app): State<Roomcast>,
    _: Overseer,
    Params(query): Params<ConnectionQuery>,
    Params(paging): Params<Paging>,
) -> Result<Json<Counted<ShownConnection>>, Error> {
    let limit = paging.limit()?;
    // Numbers of connections grow with time, and are never used twice: a key for paging.
    let by: fn(&Sighting) -> String = match query.sort.as_deref().unwrap_or("-since") {
        "-since" => |seen| format!("{:020}", u64::MAX - seen.connection.id.number()),
        "since" => |seen| format!("{:020}", seen.connection.id.number()),
        "name" => |seen| format!("{}\n{:020}", name(seen), seen.connection.id.number()),
        "-waiting" => |seen| {
            let waiting = u64::MAX - seen.connection.outbox.bytes() as u64;
            format!("{waiting:020}{:020}", seen.connection.id.number())
        },
        _ => return Err(unsorted("-since, since, name and -waiting")),
    };
    let ways = [Transport::WebSocket, Transport::Sse, Transport::Poll].map(Transport::word);
    if query
        .transport
        .as_deref()
        .is_some_and(|way| !ways.contains(&way))
    {
        return Err(Error::invalid(
            "invalid-query",
            format!("\"transport\" is one of {}.", ways.join(", ")),
        ));
    }
    let channel: Option<Channel> = query.channel.map(|name| name.parse()).transpose()?;
    let search = query.search.to_lowercase();
    let found = |seen: &Sighting| {
        let of_user = |id: &str| {
            seen.connection
                .user_id()
                .is_some_and(|user| user.as_str() == id)
        };
        let over = |word: &str| seen.connection.transport.word() == word;
        query.user.as_deref().is_none_or(of_user)
            && query.transport.as_deref().is_none_or(over)
            && (search.is_empty()
                || name(seen).to_lowercase().contains(&search)
                || seen.connection.socket.to_string().contains(&search)
                || seen
                    .address
                    .is_some_and(|of| of.to_string().contains(&search)))
    };
    let mut seen = app.registry().connections(channel.as_ref());
    seen.retain(found);
    let (seen, next, total) = page(seen, by, &paging.after, limit);
    Ok(Json(Counted {
        items: seen.iter().map(|seen| shown(&app, seen)).collect(),
        next,
        total,
    }))
}

fn name(seen: &Sighting) -> String {
    let user = seen.connection.user.as_ref();
    user.map(|user| user.name.to_string()).unwrap_or_default()
}

fn shown(app: &Roomcast, seen: &Sighting) -> ShownConnection {
    let connection = &seen.connection;
    let channels = app.registry().channels(connection).into_iter();
    ShownConnection {
        socket: connection.socket,
        user: connection.user.clone(),
        transport: connection.transport.word(),
        address: seen.address.map(|address| address.to_string()),
        since: timestamp(connection.since),
        channels: channels
            .map(|(channel, _)| channel)
            .take(SHOWN_CHANNELS)
            .collect(),
        channel_count: seen.channels,
        waiting_bytes: connection.outbox.bytes(),
    }
}

/// Ends a connection for good, with close code 4403.
#[utoipa::path(
    delete, path = "/api/v1/admin/connections/{socket}", operation_id = "endConnection", tag = "Administration",
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 204, description = "The connection is ended.")),
)]
pub(super) async fn remove(
    State(app): State<Roomcast>,
    Overseer(who): Overseer,
    Path(socket): Path<String>,
) -> Result<StatusCode, Error> {
    let socket = SocketId::parse(&socket).ok_or(Error::NotFound)?;
    if !app.registry().remove(socket) {
        return Err(Error::NotFound);
    }
    tracing::info!(by = who, %socket, "a connection was ended");
    Ok(StatusCode::NO_CONTENT)
}

fn unsorted(expected: &str) -> Error {
    Error::invalid("invalid-query", format!("\"sort\" is one of {expected}."))
}

/// The items after a key in the order of their keys, the key of the last where more follow, and how many there are.
fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    after: &str,
    limit: usize,
) -> (Vec<T>, Option<String>, usize) {
    let total = items.len();
    let keyed = items.into_iter().map(|item| (key(&item), item));
    let mut keyed: Vec<(String, T)> = keyed
        .filter(|(key, _)| after.is_empty() || key.as_str() > after)
        .collect();
    let more = keyed.len() > limit;
    if more {
        // Only what is on the page has to be in order.
        keyed.select_nth_unstable_by(limit, |(a, _), (b, _)| a.cmp(b));
        keyed.truncate(limit);
    }
    keyed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let next = keyed.last().filter(|_| more).map(|(key, _)| key.clone());
    (
        keyed.into_iter().map(|(_, item)| item).collect(),
        next,
        total,
    )
}
