//! Long polling: the feed in answers of their own, for whoever can neither hold a WebSocket nor an event stream.
//!
//! Each poll is a connection like any other, from the request to its answer. What happens between two of them the next
//! one finds in the log, from the cursor of the answer before.

use std::collections::VecDeque;
use std::time::Duration;

use ::http::request::Parts;
use ::http::{Method, header};
use axum::extract::{FromRequestParts, Query, State};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use super::connect::{Ask, connect};
use super::feed::{self, Feed};
use super::shapes::{Listening, Patience, Polled};
use crate::app::Roomcast;
use crate::error::Error;
use crate::realtime::connection::Transport;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::{Format, Frame};
use crate::realtime::{Close, Cursor};

/// Seconds that a poll waits where nothing is said, and at most: proxies give up on an answer after 30 or 60.
const DEFAULT_WAIT: u64 = 25;
const MAX_WAIT: u64 = 30;
/// Events in one answer.
const MAX_EVENTS: usize = 1_000;
/// Bytes of events in one answer, but for a single one that is larger.
const MAX_BYTES: usize = 1024 * 1024;

/// What a poll asks for.
#[derive(Debug)]
pub(crate) struct Poll {
    ask: Ask,
    wait: Duration,
}

impl FromRequestParts<Roomcast> for Poll {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Roomcast) -> Result<Self, Error> {
        // A poll is gone with its answer, so a socket id of its own would name nothing.
        let ask = Ask::read(parts, app, |name| name != "socket")?;
        if ask.format != Format::Json {
            return Err(Error::invalid(
                "invalid-format",
                "The format of a poll is json.",
            ));
        }
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let query = query.map(|query| query.0).unwrap_or_default();
        let wait = query.iter().find(|(name, _)| name == "wait");
        Ok(Self {
            ask,
            wait: seconds(wait.map_or("", |(_, value)| value))?,
        })
    }
}

fn seconds(wait: &str) -> Result<Duration, Error> {
    let seconds = match wait {
        "" => Some(DEFAULT_WAIT),
        // A sign would be read, too.
        _ if !wait.bytes().all(|b| b.is_ascii_digit()) => None,
        _ => wait.parse().ok(),
    };
    let accepted = seconds.filter(|seconds| *seconds <= MAX_WAIT);
    accepted.map(Duration::from_secs).ok_or_else(|| {
        let detail = format!("\"wait\" is a whole number of seconds, from 0 to {MAX_WAIT}.");
        Error::invalid("invalid-wait", detail)
    })
}

/// Long polling: waits until there is an event.
///
/// The first poll has no cursor, and says where to begin; from then on send the `cursor` of the answer before.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "poll", tag = "Listening",
    params(Listening, Patience),
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 200, description = "What there was by then.", body = Polled)),
)]
pub(crate) async fn poll(
    State(app): State<Roomcast>,
    method: Method,
    Poll { ask, wait }: Poll,
) -> Result<Response, Error> {
    let mut feed = connect(&app, ask, Transport::Poll).await?;
    let mut answer = Answer::from(feed.begins());
    // Who does not go on is told where to begin, at once. HEAD asks only whether it would be answered.
    if feed.recovered() == Some(true) && method != Method::HEAD {
        let filled = answer.fill(&mut feed, Instant::now() + wait).await;
        if let Err(close) = filled
            && answer.frames.is_empty()
        {
            if let Some(refusal) = refusal(close, feed.retry()) {
                return Err(refusal);
            }
            // Nothing was left out on the way here, so that a long way is not begun anew each time.
            answer.cursor = feed.replayed().unwrap_or(answer.cursor);
        }
    }
    feed.wrote(feed::told(&answer.frames));
    feed.ends("answered");
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, answer.body(feed.recovered())).into_response())
}

/// What a poll that has nothing to tell is answered with when its connection ends. Nothing, where the client is just to
/// come again: with new rights, or for what was too much at once.
fn refusal(close: Close, retry: u64) -> Option<Error> {
    match close {
        Close::SessionEnded => Some(Error::Unauthorized(close.message())),
        Close::Removed => Some(Error::forbidden(close.message())),
        Close::Shutdown | Close::Internal => Some(Error::Unavailable {
            detail: close.message(),
            retry_after: retry.div_ceil(1_000),
        }),
        _ => None,
    }
}

/// Whether a poll is answered for a frame. What is not worth an answer is not in one either, so that it takes no place
/// while a poll waits.
fn wakes(frame: &Frame) -> bool {
    // Who is there changes with each poll that comes and goes: polls would wake each other for ever.
    frame.is_event() && frame.name() != "connected-clients"
}

/// What a poll is answered with.
#[derive(Debug)]
struct Answer {
    frames: Vec<Frame>,
    bytes: usize,
    /// Everything up to here that is for this client is in the frames.
    cursor: Cursor,
}

impl From<Cursor> for Answer {
    fn from(cursor: Cursor) -> Self {
        Self {
            frames: Vec::new(),
            bytes: 0,
            cursor,
        }
    }
}

impl Answer {
    /// Takes all that is there as soon as there is something, and otherwise waits; an error when the connection ends.
    async fn fill(&mut self, feed: &mut Feed, until: Instant) -> Result<(), Close> {
        loop {
            let waiting = match feed.ready().await {
                Some(waiting) => waiting,
                None if !self.frames.is_empty() => break,
                None => match timeout_at(until, feed.next()).await {
                    Ok(waiting) => waiting,
                    Err(_) => break,
                },
            };
            if !self.take(waiting)? {
                return Ok(());
            }
            // It has looked through the past for as long as a client may hear nothing.
            if feed.is_replaying() && self.frames.is_empty() && self.cursor != feed.begins() {
                return Ok(());
            }
        }
        // What others said meanwhile is before the mark, or comes to the next poll.
        feed.mark().map_or(Ok(()), |waiting| {
            self.take(waiting)?;
            Ok(())
        })
    }

    /// Takes frames in their order. False at one that does not fit: with it, if it is kept, and with all that are kept
    /// after it the client gets on from the cursor of the last one that did.
    fn take(&mut self, waiting: Waiting) -> Result<bool, Close> {
        let frames: VecDeque<Frame> = match waiting {
            Waiting::Frames(frames) => frames,
            Waiting::Closed(close) => return Err(close),
        };
        for frame in frames {
            let cursor = frame.cursor();
            if wakes(&frame) {
                let bytes = self.bytes + frame.json().len();
                let full = self.frames.len() == MAX_EVENTS || bytes > MAX_BYTES;
                if full && !self.frames.is_empty() {
                    return Ok(false);
                }
                self.bytes = bytes;
                self.frames.push(frame);
            }
            self.cursor = cursor.unwrap_or(self.cursor);
        }
        Ok(true)
    }

    /// The frames as on the other transports, byte for byte.
    fn body(&self, recovered: Option<bool>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes + self.frames.len() + 80);
        body.extend_from_slice(br#"{"events":["#);
        for (n, frame) in self.frames.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(frame.json());
        }
        body.extend_from_slice(format!(r#"],"cursor":"{}""#, self.cursor).as_bytes());
        if let Some(recovered) = recovered {
            body.extend_from_slice(format!(r#","recovered":{recovered}"#).as_bytes());
        }
        body.push(b'}');
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::cursor::{Epoch, Position};
    use crate::realtime::{Channel, Data, Event};

    fn cursor(position: Position) -> Cursor {
        Cursor {
            epoch: Epoch(1),
            position,
        }
    }

    fn event(name: &str, position: Option<Position>, bytes: usize) -> Frame {
        let event = Event {
            channels: [Channel::global()].into(),
            name: name.parse().unwrap(),
            data: Data::from_value(&"x".repeat(bytes)),
            origin: None,
            except: [].into(),
            by: None,
            time: time::OffsetDateTime::UNIX_EPOCH,
            position,
        };
        Frame::event(&event, &Channel::global(), position.map(cursor))
    }

    fn taken(frames: Vec<Frame>) -> (Answer, bool) {
        let mut answer = Answer::from(cursor(0));
        let more = answer.take(Waiting::Frames(frames.into())).unwrap();
        (answer, more)
    }

    #[test]
    fn waits_are_whole_seconds_up_to_thirty() {
        for (text, expected) in [("", 25), ("0", 0), ("7", 7), ("30", 30), ("007", 7)] {
            assert_eq!(seconds(text).unwrap(), Duration::from_secs(expected));
        }
        for text in [
            "31",
            "-1",
            "+1",
            "1.5",
            "1s",
            " 1",
            "x",
            "99999999999999999999",
        ] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_answer_is_cut_at_an_event_and_its_cursor_is_of_the_last_one_in_it() {
        let frames = (1..=2_000).map(|n| event("note", Some(n), 1)).collect();
        let (answer, more) = taken(frames);
        assert_eq!(
            (answer.frames.len(), answer.cursor, more),
            (1_000, cursor(1_000), false)
        );

        let third = MAX_BYTES / 3;
        let frames = (1..=9).map(|n| event("note", Some(n), third)).collect();
        let (answer, more) = taken(frames);
        assert_eq!(
            (answer.frames.len(), answer.cursor, more),
            (2, cursor(2), false)
        );

        let frames = (1..=2)
            .map(|n| event("note", Some(n), 2 * MAX_BYTES))
            .collect();
        let (answer, more) = taken(frames);
        assert_eq!(
            (answer.frames.len(), answer.cursor, more),
            (1, cursor(1), false)
        );
    }

    #[test]
    fn volatile_events_move_no_cursor_and_those_that_do_not_fit_are_gone() {
        let mut frames = vec![event("note", Some(1), 1)];
        frames.extend((0..1_500).map(|_| event("typing", None, 1)));
        frames.push(event("note", Some(2), 1));
        let (answer, more) = taken(frames);
        assert_eq!(
            (answer.frames.len(), answer.cursor, more),
            (1_000, cursor(1), false)
        );
    }

    #[test]
    fn who_is_there_wakes_no_poll_and_takes_no_place() {
        let (answer, more) = taken(vec![
            event("connected-clients", None, 1),
            event("connected-clients", Some(3), 1),
            Frame::heartbeat(cursor(4)),
        ]);
        assert_eq!(
            (answer.frames.len(), answer.cursor, more),
            (0, cursor(4), true)
        );
    }
}
