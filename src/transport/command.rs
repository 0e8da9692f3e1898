//! Commands: what a WebSocket client asks for, each answered once, in its place among the events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use time::OffsetDateTime;

use super::feed::Feed;
use super::renew::renew;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::log::{CommitError, ReadError};
use crate::policy;
use crate::realtime::channel::Kind;
use crate::realtime::protocol::{ClientFrame, Command, CommandId, ErrorCode, Frame};
use crate::realtime::registry::{Access, Membership, Refusal};
use crate::realtime::{Channel, Connection, Cursor, Data, Event, EventName, Members, Origin};
use crate::rules::Unfit;

/// Events in the answer to a join, at most.
const MAX_ACK_EVENTS: usize = 1_000;
/// Bytes of events in the answer to a join, at most.
const MAX_ACK_BYTES: usize = 1024 * 1024;
/// How often rights may change under a join before it is refused.
const ATTEMPTS: usize = 20;

/// What is still being done.
pub(super) type Pending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a command was not carried out.
type Failure = (ErrorCode, String);

/// Carries a command out, at once or, where it needs the database, as what is returned. Every command is answered
/// through the connection's outbox.
pub(super) fn carry_out(app: &Roomcast, feed: &Feed, command: Command) -> Option<Pending> {
    let (connection, caller) = (feed.connection(), feed.caller());
    let caller = caller.as_ref();
    let Command { id, frame } = command;
    let id = id.as_ref();
    match frame {
        ClientFrame::Ping => {
            app.registry().send_cursor(connection, |cursor| {
                Frame::ack(id, &[("cursor", &quoted(&cursor))])
            });
        }
        ClientFrame::Leave { channel } => {
            let answer = Frame::ack(id, &[("channel", &quoted(&channel))]);
            if !app.registry().leave(connection, &channel, answer) {
                let message =
                    format!("The server has joined you to {channel}; you may not leave it.");
                connection
                    .outbox
                    .push(Frame::error(id, ErrorCode::Forbidden, &message));
            }
        }
        ClientFrame::Publish {
            channel,
            event,
            data,
            volatile,
            to_self,
        } => {
            let may = may_publish(app, connection, &channel, volatile, data.as_str().len());
            let event = match may {
                Ok(()) => event_of(connection, channel, event, data, to_self),
                Err(failure) => return fail(connection, id, &failure),
            };
            if volatile {
                app.registry().publish(&event);
                connection.outbox.push(Frame::ack(id, &[]));
            } else {
                return Some(Box::pin(keep(
                    app.clone(),
                    Arc::clone(connection),
                    caller.cloned(),
                    id.cloned(),
                    event,
                )));
            }
        }
        ClientFrame::Token { token } => {
            return Some(Box::pin(renew(
                app.clone(),
                Arc::clone(connection),
                feed.standing(),
                id.cloned(),
                token,
            )));
        }
        ClientFrame::Presence { channel, meta } => {
            if let Err(failure) = describe(app, connection, id, &channel, meta) {
                return fail(connection, id, &failure);
            }
        }
        ClientFrame::Join {
            channel,
            cursor,
            meta,
        } => {
            return Some(Box::pin(join(
                app.clone(),
                Arc::clone(connection),
                caller.cloned(),
                id.cloned(),
                channel,
                cursor,
                meta,
            )));
        }
    }
    None
}

fn quoted(text: &impl std::fmt::Display) -> String {
    // Channels and cursors have no character that JSON escapes.
    format!("\"{text}\"")
}

fn fail(
    connection: &Connection,
    id: Option<&CommandId>,
    (code, message): &Failure,
) -> Option<Pending> {
    connection.outbox.push(Frame::error(id, *code, message));
    None
}

/// Whether a client may publish this, by what it may do in the channel and by the channel's rules.
fn may_publish(
    app: &Roomcast,
    connection: &Connection,
    channel: &Channel,
    volatile: bool,
    bytes: usize,
) -> Result<(), Failure> {
    let Some(membership) = app.registry().membership(connection, channel) else {
        let message = format!("Join {channel} before you publish to it.");
        return Err((ErrorCode::NotJoined, message));
    };
    let admin = connection.user.as_ref().is_some_and(|user| user.admin);
    let (code, message) = match app.rules().check(channel, admin, volatile, bytes) {
        Ok(()) if membership.access >= Access::Write => return Ok(()),
        Ok(()) => (
            ErrorCode::Forbidden,
            format!("You may not publish to {channel}."),
        ),
        Err(Unfit::Nobody) => (
            ErrorCode::Forbidden,
            format!("Clients do not publish to {channel}; the application does."),
        ),
        Err(Unfit::Kept) => (ErrorCode::Forbidden, only_volatile(channel)),
        Err(Unfit::Volatile) => (
            ErrorCode::Forbidden,
            format!("Clients publish kept events alone to {channel}: expected \"volatile\":false."),
        ),
        Err(Unfit::TooLarge { most }) => (
            ErrorCode::TooLarge,
            format!("\"data\" has {bytes} bytes; in {channel} it may have at most {most}."),
        ),
    };
    Err((code, message))
}

fn only_volatile(channel: &Channel) -> String {
    let mut message =
        format!("Clients publish volatile events alone to {channel}: expected \"volatile\":true.");
    if let Kind::Context { kind: "chat", id } = channel.kind() {
        message.push_str(&format!(
            " To say something, POST /api/v1/rooms/{id}/messages."
        ));
    }
    message
}

fn event_of(
    connection: &Connection,
    channel: Channel,
    name: EventName,
    data: Data,
    to_self: bool,
) -> Event {
    let origin = connection.user_id().map(|user| Origin {
        user: user.clone(),
        socket: connection.socket,
    });
    let origin = if to_self { None } else { origin };
    Event {
        channels: [channel].into(),
        name,
        data,
        origin,
        except: [].into(),
        time: OffsetDateTime::now_utc(),
        position: None,
    }
}

/// Keeps an event. The right to publish it is looked up again in the turn itself, where no withdrawal can come between.
async fn keep(
    app: Roomcast,
    connection: Arc<Connection>,
    caller: Option<Arc<Caller>>,
    id: Option<CommandId>,
    event: Event,
) {
    let kept = async {
        let mut turn = app.log().begin().await?;
        let (channel, caller) = (&event.channels[0], caller.as_deref());
        let held = app.registry().membership(&connection, channel);
        let held = held.map(|membership| membership.access);
        if !policy::may_still_publish(turn.db(), app.rules(), caller, channel, held).await? {
            return Ok(None);
        }
        turn.commit(vec![event]).await.map(Some)
    };
    let answer = match kept.await {
        Ok(Some(cursor)) => Frame::ack(id.as_ref(), &[("cursor", &quoted(&cursor))]),
        Ok(None) => {
            let message = "You may no longer publish there.";
            Frame::error(id.as_ref(), ErrorCode::Forbidden, message)
        }
        Err::<_, CommitError>(error) => {
            tracing::warn!(%error, "a client's event could not be kept");
            let message = "The event could not be kept. Try again.";
            Frame::error(id.as_ref(), ErrorCode::Unavailable, message)
        }
    };
    connection.outbox.push(answer);
}

async fn join(
    app: Roomcast,
    connection: Arc<Connection>,
    caller: Option<Arc<Caller>>,
    id: Option<CommandId>,
    channel: Channel,
    from: Option<Cursor>,
    meta: Option<Data>,
) {
    let caller = caller.as_deref();
    let (id, door) = (
        id.as_ref(),
        Door {
            channel: &channel,
            from,
            meta,
        },
    );
    let entered = enter(&app, &connection, caller, id, door).await;
    if let Err((code, message)) = entered {
        connection.outbox.push(Frame::error(id, code, &message));
    }
}

/// Where a client wants in, and how.
struct Door<'a> {
    channel: &'a Channel,
    /// What came since is in the answer.
    from: Option<Cursor>,
    meta: Option<Data>,
}

/// Puts a connection into a channel and answers. An error means that it is not in.
async fn enter(
    app: &Roomcast,
    connection: &Arc<Connection>,
    caller: Option<&Caller>,
    id: Option<&CommandId>,
    Door {
        channel,
        from,
        meta,
    }: Door<'_>,
) -> Result<(), Failure> {
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
                    Some(from) => Some(missed(app, connection, channel, from, at).await),
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

/// Says something else of the connection's user, and answers with who is there.
fn describe(
    app: &Roomcast,
    connection: &Connection,
    id: Option<&CommandId>,
    channel: &Channel,
    meta: Data,
) -> Result<(), Failure> {
    if !channel.is_presence() {
        let message = format!(
            "Expected a presence channel, for example {}.",
            channel.presence()
        );
        return Err((ErrorCode::InvalidChannel, message));
    }
    if connection.user.is_none() {
        let message = "Only somebody who is logged in is a member.".into();
        return Err((ErrorCode::Unauthorized, message));
    }
    let answer = |members: &Members| {
        let count = members.count.map(|count| count.to_string());
        let count = count.as_ref().map(|count| ("count", count.as_str()));
        let list = Some(("members", members.list.as_str()));
        let fields: Vec<_> = list.into_iter().chain(count).collect();
        Frame::ack(id, &fields)
    };
    if app.registry().describe(connection, channel, meta, answer) {
        Ok(())
    } else {
        let message = format!("Join {channel} before you say something of yourself there.");
        Err((ErrorCode::NotJoined, message))
    }
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
        for (event, channel) in &page.events {
            let cursor = event
                .position
                .map(|position| app.registry().cursor_at(position));
            let frame = Frame::event(event, channel, cursor);
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
