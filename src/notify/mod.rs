//! The notification layer: what a handler attaches to its answer is kept with the change, and then told.
//!
//! A handler takes a [`Tx`] to change rows with, and returns [`Notify`] beside its answer. It never commits. When the
//! answer is a success (below 400) the layer appends the notifications to the log in the handler's own transaction,
//! commits, and the log publishes them in the order of commits. Otherwise all of it is rolled back. So there is no
//! change without its notification, and no notification without its change.
//!
//! It works for any axum router ([`crate::Roomcast::notifying`]). Caveats: bodies are read to their end before the
//! handler runs, so that a slow client cannot hold up other writers; a handler that has a [`Tx`] should not wait for
//! anything but the database, and is rolled back after 10 seconds.

mod transaction;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use axum::routing::Route;
use futures_util::poll;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::Instrument;

pub use transaction::{Begin, Tx};

use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::limits::Place;
use crate::log::{Keeping, Log};
use crate::realtime::{Channel, Cursor, Data, Event, EventName, Origin, SocketId};
use crate::timeout::within;
use transaction::{Outcome, Slot};

/// The position of a request in the log: on a mutation that of its own last notification, on a GET one from before the
/// data was read.
pub const EVENT_CURSOR: HeaderName = HeaderName::from_static("event-cursor");

/// Names the socket that is to be left out; the second is what older clients send.
const SOCKET_ID: [HeaderName; 2] = [
    HeaderName::from_static("x-socket-id"),
    HeaderName::from_static("x-metadata-socketid"),
];

/// The largest body of somebody who is not logged in, in bytes.
const MAX_ANONYMOUS_BYTES: usize = 16 * 1024;
/// What is read of a body that is too large, so that its sender gets to the answer, in bytes.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
/// How long its sender may pause before it is answered.
const DISCARD_PAUSE: Duration = Duration::from_millis(500);
/// How long a mutating handler may take once its body is there.
const HANDLER_TIME: Duration = Duration::from_secs(10);

/// One event to publish if the request succeeds.
#[derive(Debug, Clone)]
pub struct Notification {
    name: EventName,
    data: Data,
    to: Vec<Channel>,
    to_self: bool,
    except: Vec<SocketId>,
    volatile: bool,
}

impl Notification {
    /// An event with data.
    ///
    /// # Panics
    /// When `name` is not an event name, or `data` cannot be JSON: both are mistakes in the program.
    pub fn new<T: serde::Serialize + ?Sized>(name: &str, data: &T) -> Self {
        let name = name.parse().expect("an event name that the program says");
        Self::of(name, Data::from_value(data))
    }

    /// An event whose name and data somebody else has said.
    pub fn of(name: EventName, data: Data) -> Self {
        Self {
            name,
            data,
            to: Vec::new(),
            to_self: false,
            except: Vec::new(),
            volatile: false,
        }
    }

    /// Adds a channel. Who is in several gets the event once, under the first.
    #[must_use]
    pub fn to(mut self, channel: Channel) -> Self {
        self.to.push(channel);
        self
    }

    /// Also tells the socket that asked.
    #[must_use]
    pub fn to_self(mut self) -> Self {
        self.to_self = true;
        self
    }

    /// Leaves a socket out, whoever's it is.
    #[must_use]
    pub fn except(mut self, socket: SocketId) -> Self {
        self.except.push(socket);
        self
    }

    /// Tells only whoever is there, once the change is kept; the notification itself is not.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    fn event(self, origin: Option<&Origin>, time: OffsetDateTime) -> Option<Event> {
        let origin = if self.to_self { None } else { origin.cloned() };
        let channels: Arc<[Channel]> = self.to.into();
        (!channels.is_empty()).then_some(Event {
            channels,
            name: self.name,
            data: self.data,
            origin,
            except: self.except.into(),
            by: None,
            time,
            position: None,
        })
    }
}

/// Notifications, as a part of an answer: `(StatusCode::NO_CONTENT, Notify::of(…))`.
#[derive(Debug, Clone, Default)]
pub struct Notify(Vec<Notification>);

impl Notify {
    /// One notification.
    pub fn of(notification: Notification) -> Self {
        Self(vec![notification])
    }

    /// Another one after it.
    #[must_use]
    pub fn and(mut self, notification: Notification) -> Self {
        self.0.push(notification);
        self
    }
}

impl IntoResponseParts for Notify {
    type Error = std::convert::Infallible;

    fn into_response_parts(
        self,
        mut response: ResponseParts,
    ) -> Result<ResponseParts, Self::Error> {
        let all = response.extensions_mut().get_or_insert_default::<Self>();
        all.0.extend(self.0);
        Ok(response)
    }
}

impl IntoResponse for Notify {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// What the layer needs.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    pub(crate) log: Log,
    pub(crate) tasks: TaskTracker,
    pub(crate) max_body_bytes: usize,
    pub(crate) body_timeout: Duration,
}

/// The layer: goes round every route that may change something.
pub(crate) async fn notify(notifier: &Notifier, request: Request, mut route: Route) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        let before = notifier.log.registry().cursor();
        let Ok(response) = route.call(request).await;
        return if response.status().is_success() {
            with_cursor(response, before)
        } else {
            response
        };
    }
    // Somebody who is not logged in has little to say, and nobody to hold to account for holding memory.
    let known = request.extensions().get::<Caller>().is_some()
        || request.extensions().get::<BackEnd>().is_some();
    let max_bytes = if known {
        notifier.max_body_bytes
    } else {
        MAX_ANONYMOUS_BYTES.min(notifier.max_body_bytes)
    };
    let request = match read_body(request, max_bytes, notifier.body_timeout).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let mut change = Box::pin(change(notifier.log.clone(), request, route));
    let changed = match poll!(change.as_mut()) {
        // What waits for nothing needs no task.
        Poll::Ready(changed) => Ok(changed),
        // In a task of its own: when the client hangs up, the change and its notifications are both kept, or neither.
        Poll::Pending => notifier.tasks.spawn(change.in_current_span()).await,
    };
    match changed {
        Ok(changed) => changed.answer().await,
        Err(error) => Error::Internal(anyhow::Error::new(error)).into_response(),
    }
}

/// What has become of a change. It is kept whether or not somebody waits for the answer.
struct Changed {
    response: Response,
    /// Nothing, where it failed.
    kept: Option<Kept>,
    /// As long as the change takes.
    _place: Option<Arc<Place>>,
}

enum Kept {
    /// There was nothing to keep.
    At(Cursor),
    Soon(Keeping),
}

impl Changed {
    async fn answer(self) -> Response {
        match self.kept {
            None => self.response,
            Some(Kept::At(cursor)) => with_cursor(self.response, cursor),
            Some(Kept::Soon(keeping)) => match keeping.kept().await {
                Ok(cursor) => with_cursor(self.response, cursor),
                Err(error) => Error::from(error).into_response(),
            },
        }
    }
}

/// Runs a handler and has kept what it did, if it succeeded.
async fn change(log: Log, mut request: Request, mut route: Route) -> Changed {
    let place = request.extensions_mut().remove::<Arc<Place>>();
    let origin = origin(&request);
    let slot = Slot::new(log.clone());
    request.extensions_mut().insert(slot.clone());
    let answered = within(HANDLER_TIME, route.call(request)).await;
    let outcome = slot.take();
    let settled = match answered {
        Ok(Ok(response)) => settle(&log, response, outcome, origin.as_ref()).await,
        Err(_) => Err(Error::Unavailable {
            detail: "The change took too long. Nothing of it was kept.",
            retry_after: 1,
        }),
    };
    let (response, kept) = settled.unwrap_or_else(|error| (error.into_response(), None));
    Changed {
        response,
        kept,
        _place: place,
    }
}

/// Has kept what a handler did and what it attached to its answer, or nothing of it.
async fn settle(
    log: &Log,
    mut response: Response,
    outcome: Outcome,
    origin: Option<&Origin>,
) -> Result<(Response, Option<Kept>), Error> {
    if response.status().is_client_error() || response.status().is_server_error() {
        return Ok((response, None));
    }
    let notify = response.extensions_mut().remove::<Notify>();
    let time = OffsetDateTime::now_utc();
    let all = notify.unwrap_or_default().0.into_iter();
    let (fleeting, lasting): (Vec<_>, Vec<_>) = all.partition(|one| one.volatile);
    let event = |notification: Notification| notification.event(origin, time);
    let fleeting: Vec<Event> = fleeting.into_iter().filter_map(event).collect();
    let lasting: Vec<Event> = lasting.into_iter().filter_map(event).collect();
    let turn = match outcome {
        Outcome::Returned(turn) => turn,
        Outcome::Unused if lasting.is_empty() => {
            let cursor = log.registry().cursor();
            for event in fleeting {
                log.registry().publish(&event);
            }
            return Ok((response, Some(Kept::At(cursor))));
        }
        Outcome::Unused => log.begin_appending().await?,
        // Whoever has it cannot keep it any more.
        Outcome::Taken => {
            let why = anyhow::anyhow!("a Tx has outlived its handler; its change is rolled back");
            return Err(Error::Internal(why));
        }
    };
    Ok((response, Some(Kept::Soon(turn.keep(lasting, fleeting)))))
}

/// The socket to leave out: one of the caller's own, or none.
fn origin(request: &Request) -> Option<Origin> {
    let caller = request.extensions().get::<Caller>()?;
    let socket = socket_id(request.headers())?;
    Some(Origin {
        user: caller.user.id.clone(),
        socket,
    })
}

fn socket_id(headers: &HeaderMap) -> Option<SocketId> {
    let value = SOCKET_ID.iter().find_map(|name| headers.get(name))?;
    SocketId::parse(value.to_str().ok()?)
}

async fn read_body(
    request: Request,
    max_bytes: usize,
    patience: Duration,
) -> Result<Request, Error> {
    let (parts, mut body) = request.into_parts();
    if body.size_hint().lower() <= max_bytes as u64 {
        let collecting = Limited::new(&mut body, max_bytes).collect();
        let collected = within(patience, collecting).await;
        match collected.map_err(|_| Error::Timeout)? {
            Ok(bytes) => return Ok(Request::from_parts(parts, Body::from(bytes.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => {}
            Err(_) => {
                let detail = "The body did not arrive whole.";
                return Err(Error::invalid("invalid-body", detail));
            }
        }
    }
    // Who asks before it sends is answered before it does.
    if !parts.headers.contains_key(header::EXPECT) {
        let _ = tokio::time::timeout(patience, discard(body)).await;
    }
    let detail = format!("The body may have at most {max_bytes} bytes.");
    Err(Error::TooLarge(detail))
}

/// Throws away what is still coming, within a bound: who sends does not read, and an end in between is a reset in which
/// the answer is lost.
async fn discard(mut body: Body) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(DISCARD_PAUSE, body.frame()).await {
        let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn with_cursor(mut response: Response, cursor: Cursor) -> Response {
    if let Ok(value) = HeaderValue::from_str(&cursor.to_string()) {
        response.headers_mut().insert(EVENT_CURSOR, value);
    }
    response
}
