//! How long a connection may stay that came with a token: until the token ends, with a word ahead.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::caller::Caller;
use crate::realtime::protocol::Frame;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::{Channel, Connection, Data, Event};

/// How long before the end a client is told of it; of a short life, no earlier than when two thirds are over.
const AHEAD: Duration = Duration::from_secs(60);
/// How long a timer runs before the clock is looked at again: it may be set, and a token may outlive any timer.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// Up to this much after the end what waits is still sent; later it is from a time that the token was not for.
const LATE: Duration = Duration::from_secs(1);

/// With whose rights a connection is there; told anew with a new token.
pub(super) type Standing = watch::Sender<Option<Arc<Caller>>>;

/// The time that a connection has.
#[derive(Debug)]
pub(super) struct Term {
    callers: watch::Receiver<Option<Arc<Caller>>>,
    /// Nothing for who came without a token, and stays.
    ends: Option<OffsetDateTime>,
    /// Nothing once the client has been told.
    warns: Option<OffsetDateTime>,
    timer: Pin<Box<Sleep>>,
}

/// What it is time for.
#[derive(Debug)]
pub(super) enum Due {
    /// To tell the client that its token ends.
    Word(OffsetDateTime),
    /// To end.
    End,
}

impl Term {
    /// The time of a connection; nothing, if its caller did not come with a token.
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        let mut term = Self {
            callers: standing.subscribe(),
            ends: None,
            warns: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        term.take_up();
        term.ends.is_some().then_some(term)
    }

    /// Takes the end from the token that holds now.
    fn take_up(&mut self) {
        let caller = self.callers.borrow_and_update().clone();
        self.ends = caller.and_then(|caller| caller.expires());
        self.warns = self.ends.map(|ends| {
            let life = until(ends);
            ends - (life / 3).min(AHEAD)
        });
        self.wind();
    }

    fn wind(&mut self) {
        let next = self.warns.or(self.ends).map_or(LONGEST_SLEEP, until);
        self.timer
            .as_mut()
            .reset(Instant::now() + next.min(LONGEST_SLEEP));
    }

    /// Waits until it is time for something. Dropping it before that loses nothing.
    pub(super) async fn due(&mut self) -> Due {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.callers.changed() => self.take_up(),
                () = &mut self.timer => {
                    let now = OffsetDateTime::now_utc();
                    if self.ends.is_some_and(|ends| ends <= now) {
                        return Due::End;
                    }
                    let told = self.warns.is_some_and(|warns| warns <= now);
                    if told {
                        self.warns = None;
                    }
                    self.wind();
                    if let (true, Some(ends)) = (told, self.ends) {
                        return Due::Word(ends);
                    }
                }
            }
        }
    }

    /// Whether the end has come.
    pub(super) fn is_over(&self) -> bool {
        self.ends
            .is_some_and(|ends| ends <= OffsetDateTime::now_utc())
    }

    /// Whether it came so long ago that what waits is not for this client.
    pub(super) fn is_long_over(&self) -> bool {
        self.ends
            .is_some_and(|ends| OffsetDateTime::now_utc() - ends >= LATE)
    }
}

/// What a connection's time is up to; for ever nothing, where it has all the time there is.
pub(super) async fn due(term: Option<&mut Term>) -> Due {
    match term {
        Some(term) => term.due().await,
        None => pending().await,
    }
}

/// What a client is told ahead of the end: an event on its own channel, for its connection alone.
pub(super) fn word(connection: &Connection, ends: OffsetDateTime) -> Option<Frame> {
    let channel = Channel::user(connection.user_id()?);
    let in_ms = u64::try_from(until(ends).as_millis()).unwrap_or(u64::MAX);
    let data = serde_json::json!({ "expiresAt": timestamp(ends), "inMs": in_ms });
    let event = Event {
        channels: [channel.clone()].into(),
        name: "token-expiring".parse().ok()?,
        data: Data::from_value(&data),
        origin: None,
        except: [].into(),
        by: None,
        time: OffsetDateTime::now_utc(),
        position: None,
    };
    Some(Frame::event(&event, &channel, None))
}

fn until(at: OffsetDateTime) -> Duration {
    let left = at - OffsetDateTime::now_utc();
    left.try_into().unwrap_or_default()
}
