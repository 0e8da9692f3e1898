//! Commands: what a WebSocket client asks for, each answered once, in its place among the events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use time::OffsetDateTime;

use super::feed::Feed;
use super::join::{Door, join};
use super::renew::renew;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::limits::Who;
use crate::log::{CommitError, Turn};
use crate::metrics::Refusal;
use crate::policy;
use crate::realtime::channel::Kind;
use crate::realtime::protocol::{ClientFrame, Command, CommandId, ErrorCode, Frame};
use crate::realtime::registry::Access;
use crate::realtime::{Channel, Connection, Data, Event, EventName, Members, Origin};
use crate::rules::Unfit;

/// What is still being done.
pub(super) type Pending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a command was not carried out.
pub(super) type Failure = (ErrorCode, String);

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
                Err(failure) => return fail(app, connection, id, &failure),
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
                return fail(app, connection, id, &failure);
            }
        }
        ClientFrame::Join {
            channel,
            cursor,
            meta,
        } => {
            if let Some(user) = connection.user_id()
                && app.limits().joins.take(&Who::User(user.clone())).is_err()
            {
                app.metrics().refuse(Refusal::Joins);
                let message = "You join more channels than you may. Wait a second.".to_owned();
                return fail(app, connection, id, &(ErrorCode::RateLimited, message));
            }
            return Some(Box::pin(join(
                app.clone(),
                Arc::clone(connection),
                caller.cloned(),
                id.cloned(),
                Door {
                    channel,
                    from: cursor,
                    meta,
                },
            )));
        }
    }
    None
}

pub(super) fn quoted(text: &impl std::fmt::Display) -> String {
    // Channels and cursors have no character that JSON escapes.
    format!("\"{text}\"")
}

fn fail(
    app: &Roomcast,
    connection: &Connection,
    id: Option<&CommandId>,
    (code, message): &Failure,
) -> Option<Pending> {
    count(app, *code);
    connection.outbox.push(Frame::error(id, *code, message));
    None
}

/// Counts a command that was refused; mistakes and what fails here are no refusals.
pub(super) fn count(app: &Roomcast, code: ErrorCode) {
    let reason = match code {
        ErrorCode::Forbidden => Refusal::Forbidden,
        ErrorCode::Unauthorized => Refusal::Unauthorized,
        ErrorCode::TooLarge => Refusal::TooLarge,
        ErrorCode::TooManyChannels => Refusal::Channels,
        _ => return,
    };
    app.metrics().refuse(reason);
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
        by: Some(connection.socket),
        time: OffsetDateTime::now_utc(),
        position: None,
    }
}

/// The turn for an event of a client's, if it may still publish there: that is looked up again in the turn itself, where
/// no withdrawal can come between.
async fn turn_to_publish(
    app: &Roomcast,
    connection: &Connection,
    caller: Option<&Caller>,
    channel: &Channel,
) -> Result<Option<Turn>, CommitError> {
    let held = || {
        let membership = app.registry().membership(connection, channel);
        membership.map(|membership| membership.access)
    };
    let turn = app.log().begin_appending().await?;
    // The room knows it, unless a change of rights is still to be told: then the database alone does.
    if turn.moves_before().is_some() {
        let may = held() >= Some(Access::Write);
        return Ok(may.then_some(turn));
    }
    drop(turn);
    let mut turn = app.log().begin().await?;
    let db = turn.db_to_read();
    let may = policy::may_still_publish(db, app.rules(), caller, channel, held()).await?;
    Ok(may.then_some(turn))
}

/// Keeps an event.
async fn keep(
    app: Roomcast,
    connection: Arc<Connection>,
    caller: Option<Arc<Caller>>,
    id: Option<CommandId>,
    event: Event,
) {
    let kept = async {
        let channel = &event.channels[0];
        match turn_to_publish(&app, &connection, caller.as_deref(), channel).await? {
            Some(turn) => turn.commit(vec![event]).await.map(Some),
            None => Ok(None),
        }
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
