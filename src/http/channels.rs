//! What can be asked of a channel over HTTP: its past.

use ::http::{HeaderValue, header};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::description::shapes::History;
use super::extract::{Paging, Params};
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::config::Guests;
use crate::error::Error;
use crate::log::{ReadError, Stretch};
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::protocol::Frame;
use crate::realtime::{Channel, Cursor};

/// How often the log may be trimmed under a reader before it is told to come back.
const ATTEMPTS: usize = 5;

/// Which part of a channel's past.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Bounds {
    /// That of [`Paging`], read as a cursor.
    #[param(ignore)]
    after: Option<String>,
    /// A cursor: the page right before it. Empty: the last page.
    before: Option<String>,
}

/// The past of a channel, as far back as the log.
///
/// From the oldest event on, or what came `after` a cursor, or the page `before` one. Whoever may join it may look,
/// unless the rules of its kind close it.
#[utoipa::path(
    get, path = "/api/v1/channels/{channel}/history", operation_id = "listHistory", tag = "Channels",
    params(Bounds, Paging),
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 200, description = "A page of events, oldest first.", body = History)),
)]
pub(super) async fn history(
    State(app): State<Roomcast>,
    back_end: Option<BackEnd>,
    caller: Option<Caller>,
    channel: Result<Path<String>, PathRejection>,
    Params(bounds): Params<Bounds>,
    Params(paging): Params<Paging>,
) -> Result<Response, Error> {
    let channel = named(channel)?;
    let limit = paging.limit()?;
    let after = match bounds.after.as_deref() {
        // Nothing is what a client without a cursor fills in.
        None | Some("") => None,
        Some(_) if bounds.before.is_some() => {
            let detail = "Give \"after\" or \"before\", not both.";
            return Err(Error::invalid("invalid-query", detail));
        }
        Some(cursor) => Some(parsed(cursor)?),
    };
    let before = match bounds.before.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(cursor) => Some(Some(parsed(cursor)?)),
    };
    // From before the rights are looked up: what is said once they are gone is not read with them.
    let end = app.registry().cursor();
    may_look(&app, back_end, caller.as_ref(), &channel).await?;
    let is_admin = caller.as_ref().is_some_and(|caller| caller.user.admin);
    if back_end.is_none() && !is_admin && !app.rules().of(&channel).history {
        let detail = format!("The past of {channel} is not open; the rules of its kind say so.");
        return Err(Error::forbidden(detail));
    }
    let reading = Reading {
        app: &app,
        caller: caller.as_ref(),
        channel: &channel,
        end,
        limit,
    };
    match (after, before) {
        (Some(after), _) => reading.after(after).await,
        (None, Some(before)) => reading.before(before).await,
        (None, None) => reading.oldest().await,
    }
}

/// The channel in a path. What is not UTF-8 once decoded is no channel either.
pub(super) fn named(path: Result<Path<String>, PathRejection>) -> Result<Channel, Error> {
    let name = path.as_deref().map_or("", String::as_str);
    Ok(name.parse()?)
}

fn parsed(cursor: &str) -> Result<Cursor, Error> {
    cursor
        .parse()
        .map_err(|error| Error::invalid("invalid-cursor", format!("The cursor is {error}.")))
}

/// Whoever may join a channel may see what is in it; so may a back end. A socket's is nobody's.
pub(super) async fn may_look(
    app: &Roomcast,
    back_end: Option<BackEnd>,
    caller: Option<&Caller>,
    channel: &Channel,
) -> Result<(), Error> {
    if caller.is_none() && back_end.is_none() && app.config().guests == Guests::Off {
        return Err(Error::Unauthorized("Log in first."));
    }
    let is_socket = matches!(channel.kind(), Kind::Socket(_));
    let may = match back_end {
        _ if is_socket => false,
        Some(BackEnd) => true,
        None => app.admits(caller, channel).await?.is_some(),
    };
    match may {
        true => Ok(()),
        false if caller.is_none() && back_end.is_none() => Err(Error::Unauthorized(
            "Log in first; guests may be in global alone.",
        )),
        false => Err(Error::forbidden(format!("You may not join {channel}."))),
    }
}

/// A page to be read.
struct Reading<'a> {
    app: &'a Roomcast,
    caller: Option<&'a Caller>,
    channel: &'a Channel,
    /// Where the log was when this was asked.
    end: Cursor,
    limit: usize,
}

impl Reading<'_> {
    async fn after(&self, after: Cursor) -> Result<Response, Error> {
        let user = self.caller.map(|caller| &caller.user.id);
        let log = self.app.log();
        // The log may have gone on since: this is a cursor of the client's own, and not from the future.
        if !log.covers(after, user, [self.channel]).await? || after.position > self.end.position {
            return Ok(self.answer(&[], None, Some(false)));
        }
        let within = after.position..self.end.position;
        let stretch = Stretch {
            within,
            last: false,
        };
        match log.history(self.channel, &stretch, self.limit).await {
            Ok((frames, more)) => {
                let next = frames.last().filter(|_| more).and_then(Frame::cursor);
                Ok(self.answer(&frames, next, Some(true)))
            }
            Err(ReadError::Trimmed) => Ok(self.answer(&[], None, Some(false))),
            Err(error) => Err(error.into()),
        }
    }

    async fn before(&self, before: Option<Cursor>) -> Result<Response, Error> {
        let end = match before {
            Some(before) if before.epoch != self.end.epoch => {
                return Ok(self.answer(&[], None, Some(false)));
            }
            Some(before) => before.position.saturating_sub(1).min(self.end.position),
            None => self.end.position,
        };
        let (frames, more) = self.all_that_may_be_read(end, true).await?;
        let next = frames.first().filter(|_| more).and_then(Frame::cursor);
        Ok(self.answer(&frames, next, None))
    }

    async fn oldest(&self) -> Result<Response, Error> {
        let (frames, more) = self.all_that_may_be_read(self.end.position, false).await?;
        let next = frames.last().filter(|_| more).and_then(Frame::cursor);
        Ok(self.answer(&frames, next, None))
    }

    /// The first page or the last of what there is up to a position. What is deleted meanwhile was too old to be asked for.
    async fn all_that_may_be_read(
        &self,
        end: Position,
        last: bool,
    ) -> Result<(Vec<Frame>, bool), Error> {
        let user = self.caller.map(|caller| &caller.user.id);
        let log = self.app.log();
        for _ in 0..ATTEMPTS {
            let start = log.readable_after(self.channel, user).await?;
            let within = start..end;
            let stretch = Stretch { within, last };
            match log.history(self.channel, &stretch, self.limit).await {
                Err(ReadError::Trimmed) => {}
                read => return Ok(read?),
            }
        }
        Err(Error::Unavailable {
            detail: "The log is being trimmed.",
            retry_after: 1,
        })
    }

    /// The events stand in the answer as they went over the wire, byte for byte.
    fn answer(&self, frames: &[Frame], next: Option<Cursor>, recovered: Option<bool>) -> Response {
        let size: usize = frames.iter().map(|frame| frame.json().len() + 1).sum();
        let mut body = Vec::with_capacity(size + 128);
        body.extend_from_slice(br#"{"items":["#);
        for (n, frame) in frames.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(frame.json());
        }
        // Cursors have no character that JSON escapes.
        let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
        let recovered = recovered.map(|recovered| format!(r#","recovered":{recovered}"#));
        let (end, recovered) = (self.end, recovered.unwrap_or_default());
        let rest = format!(r#"],"next":{next},"cursor":"{end}"{recovered}}}"#);
        body.extend_from_slice(rest.as_bytes());
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], body).into_response()
    }
}
