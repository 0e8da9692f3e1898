//! Joining a channel over WebSocket: the right to, what came since, and who is there, in one answer.

use std::sync::Arc;

use super::command::{Failure, count, quoted};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::log::ReadError;
use crate::metrics::Outcome;
use crate::realtime::protocol::{CommandId, ErrorCode, Frame};
use crate::realtime::registry::{Access, Membership, Refusal};
use crate::realtime::{Channel, Connection, Cursor, Data, Members};

/// Events in the answer to a join, at most.
const MAX_ACK_EVENTS: usize = 1_000;
/// Bytes of events in the answer to a join, at most.
const MAX_ACK_BYTES: usize = 1024 * 1024;
/// How often rights may change under a join before it is refused.
const ATTEMPTS: usize = 20;

/// Where a client wants in, and how.
pub(super) struct Door {
    pub(super) channel: Channel,
    /// What came since is in the answer.
    pub(super) from: Option<Cursor>,
    /// What a presence channel says of it.
    pub(super) meta: Option<Data>,
}

/// Carries a join out.
pub(super) async fn join(
    app: Roomcast,
    connection: Arc<Connection>,
    caller: Option<Arc<Caller>>,
    id: Option<CommandId>,
    door: Door,
) {
    let (caller, id) = (caller.as_deref(), id.as_ref());
    if let Err((code, message)) = enter(&app, &connection, caller, id, door).await {
        count(&app, code);
        connection.outbox.push(Frame::error(id, code, &message));
    }
}

/// Puts a connection into a channel and answers. An error means that it is not in.
async fn enter(
    app: &Roomcast,
    connection: &Arc<Connection>,
    caller: Option<&Caller>,
    id: Option<&CommandId>,
    door: Door,
) -> Result<(), Failure> {
    let Door {
        channel,
        from,
        meta,
    } = door;
    let channel = &channel;
    let unavailable = |error: Error| {
        let message = match error {
            Error::Unavailable { detail, .. } => format!("{detail} Try again."),
            error => {
                tracing::error!(?error, "a join failed");
                "The server cannot look up your rights now. Try again.".to_owned()
            }
        };
        (ErrorCode::Unavailable, message)
    };
    for _ in 0..ATTEMPTS {
        let access_version = app.registry().access_version(connection.user_id());
        let access = app.admits(caller, channel).await.map_err(unavailable)?;
        let Some(access) = access else {
            let code = if connection.user.is_some() {
                ErrorCode::Forbidden
            } else {
                ErrorCode::Unauthorized
            };
            return Err((code, format!("You may not join {channel}.")));
        };
        match app
            .registry()
            .join(connection, channel, access, access_version, meta.clone())
        {
            Ok((at, members)) => {
                // From here on the outbox is held: whatever happens, it gets its answer.
                let missed = match from {
                    Some(from) => {
                        let missed = missed(app, connection, channel, from, at).await;
                        let outcome = missed
                            .as_ref()
                            .map_or(Outcome::Lost, |_| Outcome::Recovered);
                        app.metrics().resumed(outcome);
                        Some(missed)
                    }
                    None => None,
                };
                connection
                    .outbox
                    .release(joined(id, channel, at, missed, members));
                return Ok(());
            }
            Err(Refusal::Stale) => {}
            Err(_) => {
                let max = app.config().max_channels;
                return Err((
                    ErrorCode::TooManyChannels,
                    format!("A connection may join at most {max} channels."),
                ));
            }
        }
    }
    Err((
        ErrorCode::Unavailable,
        "Rights change too fast. Try again.".into(),
    ))
}

fn joined(
    id: Option<&CommandId>,
    channel: &Channel,
    at: Cursor,
    missed: Option<Option<String>>,
    members: Option<Members>,
) -> Frame {
    let (channel, cursor) = (quoted(channel), quoted(&at));
    let mut fields = vec![("channel", channel.as_str()), ("cursor", &cursor)];
    match &missed {
        None => {}
        Some(None) => fields.push(("recovered", "false")),
        Some(Some(events)) => fields.extend([("recovered", "true"), ("events", events)]),
    }
    let count = members.as_ref().and_then(|members| members.count);
    let count = count.map(|count| count.to_string());
    if let Some(members) = &members {
        fields.push(("members", members.list.as_str()));
    }
    if let Some(count) = &count {
        fields.push(("count", count));
    }
    Frame::ack(id, &fields)
}

/// What a channel said between a cursor and a join, as a JSON array; nothing, if that cannot be said in full.
async fn missed(
    app: &Roomcast,
    connection: &Connection,
    channel: &Channel,
    from: Cursor,
    at: Cursor,
) -> Option<String> {
    let (log, user) = (app.log(), connection.user_id());
    match log.covers(from, user, [channel]).await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            tracing::error!(%error, "what a join missed could not be read");
            return None;
        }
    }
    let membership = app
        .registry()
        .membership(connection, channel)
        .unwrap_or(Membership::asked(Access::Read));
    let channels = [(channel.clone(), membership)];
    let (mut events, mut count, mut position) = (String::from("["), 0, from.position);
    while position < at.position {
        let page = match log
            .page(&channels, position, at.position, user, connection.socket)
            .await
        {
            Ok(page) => page,
            Err(ReadError::Trimmed) => return None,
            Err(ReadError::Database(error)) => {
                tracing::error!(%error, "what a join missed could not be read");
                return None;
            }
        };
        position = page.at;
        for frame in &page.frames {
            count += 1;
            if count > MAX_ACK_EVENTS || events.len() + frame.json().len() > MAX_ACK_BYTES {
                return None;
            }
            if count > 1 {
                events.push(',');
            }
            events.push_str(std::str::from_utf8(frame.json()).ok()?);
        }
    }
    events.push(']');
    Some(events)
}
