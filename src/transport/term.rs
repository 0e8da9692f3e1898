//! How long a connection may stay that came with a token: until the token ends, with a word ahead.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use time::OffsetDateTime;
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

/// With whose rights a connection is there; another's with a new token.
#[derive(Debug, Clone)]
pub(super) struct Standing(Arc<Mutex<Option<Arc<Caller>>>>);

impl Standing {
    pub(super) fn new(caller: Option<Caller>) -> Self {
        Self(Arc::new(Mutex::new(caller.map(Arc::new))))
    }

    /// With whose rights now; a guest has few, and is nobody.
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        self.0.lock().unwrap().clone()
    }

    /// Whoever counts the time is to [look](Term::is_over).
    pub(super) fn renew(&self, caller: Caller) {
        *self.0.lock().unwrap() = Some(Arc::new(caller));
    }
}

/// The time that a connection has.
#[derive(Debug)]
pub(super) struct Term {
    standing: Standing,
    /// Whose token it is counted from.
    counted: Arc<Caller>,
    ends: OffsetDateTime,
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
    /// The time of a connection; nothing, if its caller did not come with a token, and stays.
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        let counted = standing.caller()?;
        let ends = counted.expires()?;
        let mut term = Self {
            standing: standing.clone(),
            counted,
            ends,
            warns: Some(warns(ends)),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        term.wind();
        Some(term)
    }

    /// Takes the end from the token that holds now.
    fn take_up(&mut self) {
        let Some(caller) = self.standing.caller() else {
            return;
        };
        if Arc::ptr_eq(&caller, &self.counted) {
            return;
        }
        if let Some(ends) = caller.expires() {
            (self.ends, self.warns) = (ends, Some(warns(ends)));
            self.wind();
        }
        self.counted = caller;
    }

    fn wind(&mut self) {
        let next = until(self.warns.unwrap_or(self.ends));
        self.timer
            .as_mut()
            .reset(Instant::now() + next.min(LONGEST_SLEEP));
    }

    /// Waits until it is time for something. Dropping it before that loses nothing.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.is_over() {
                return Poll::Ready(Due::End);
            }
            let told = self
                .warns
                .take_if(|warns| *warns <= OffsetDateTime::now_utc());
            self.wind();
            if told.is_some() {
                return Poll::Ready(Due::Word(self.ends));
            }
        }
    }

    /// Whether the end has come, also where there is a new token.
    pub(super) fn is_over(&mut self) -> bool {
        self.take_up();
        self.ends <= OffsetDateTime::now_utc()
    }

    /// Whether it came so long ago that what waits is not for this client.
    pub(super) fn is_long_over(&self) -> bool {
        OffsetDateTime::now_utc() - self.ends >= LATE
    }
}

/// When a client is told of the end.
fn warns(ends: OffsetDateTime) -> OffsetDateTime {
    ends - (until(ends) / 3).min(AHEAD)
}

/// What a connection's time is up to; for ever nothing, where it has all the time there is.
pub(super) async fn due(mut term: Option<&mut Term>) -> Due {
    // By hand, since every connection that waits holds this.
    poll_fn(|cx| match &mut term {
        Some(term) => term.poll_due(cx),
        None => Poll::Pending,
    })
    .await
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
