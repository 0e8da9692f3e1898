//! Publishing from outside: a back end with the API key tells channels something, now or later, once or in batches.
//!
//! A kept event takes a turn like any change. What is volatile, and is not to be remembered, takes none. An
//! `idempotencyKey` is kept with its answer in the turn of the publish itself: a crash loses both or neither.

use std::collections::HashSet;

use ::http::request::Parts;
use ::http::{HeaderValue, StatusCode, header};
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::description::shapes::{Published, PublishedBatch, Waiting};
use super::extract::{Body, Path};
use super::new_event::{NewEvent, NewEvents};
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::log::{Later, Log};
use crate::notify::{Begin, Notification, Notify, Tx};
use crate::realtime::cursor::Position;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::{Channel, Data, EventName, SocketId};
use crate::store::answers::{self, Answer};
use crate::store::{from_millis, scheduled, to_millis};

/// Channels of one event, and sockets that it leaves out.
const MAX_NAMES: usize = 1_000;
/// Events in one batch.
const MAX_EVENTS: usize = 1_000;
/// Channels of all events of one batch together: each is a row.
const MAX_NAMES_OF_BATCH: usize = 20_000;
/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;
/// How long the answer to one is remembered.
const REMEMBERED: Duration = Duration::minutes(5);
/// How many are.
const MAX_ANSWERS: i64 = 500_000;
/// How far ahead an event may be.
const FARTHEST: Duration = Duration::days(30);
/// How many may wait.
const MAX_WAITING: i64 = 100_000;

/// Who may publish from outside; on a server without an API key, nobody.
pub(super) struct Publisher;

impl FromRequestParts<Roomcast> for Publisher {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Roomcast) -> Result<Self, Error> {
        if parts.extensions.get::<BackEnd>().is_some() {
            Ok(Self)
        } else if app.config().api_key.is_none() {
            Err(Error::forbidden(
                "Publishing is off: the server has no ROOMCAST_API_KEY.",
            ))
        } else if parts.extensions.get::<Caller>().is_some() {
            Err(Error::forbidden(
                "Publishing is for back ends, with Authorization: Bearer <ROOMCAST_API_KEY>.",
            ))
        } else {
            <BackEnd as FromRequestParts<Roomcast>>::from_request_parts(parts, app)
                .await
                .map(|BackEnd| Self)
        }
    }
}

/// When an event is to be told.
#[derive(Debug, Clone, Copy)]
enum When {
    Now,
    After(Duration),
    At(OffsetDateTime),
}

/// One event, understood.
#[derive(Debug)]
struct Publish {
    /// What stands before the names of its fields where they are spoken of.
    at: String,
    channels: Vec<Channel>,
    name: EventName,
    data: Data,
    volatile: bool,
    except: Vec<SocketId>,
    when: When,
    key: Option<String>,
}

/// Publishes an event, now or later.
///
/// With an `idempotencyKey` it is safe to ask again: for 5 minutes the same request gets the same answer.
#[utoipa::path(
    post, path = "/api/v1/publish", operation_id = "publish", tag = "Publishing",
    security(("apiKey" = [])),
    request_body = NewEvent,
    responses(
        (status = 200, description = "It is told.", body = Published),
        (status = 202, description = "It is sure to be told at that time.", body = Waiting),
        (status = 409, description = "The `idempotencyKey` was used for another request."),
    ),
)]
pub(super) async fn one(
    State(app): State<Roomcast>,
    _: Publisher,
    begin: Begin,
    Body(asked): Body<NewEvent>,
) -> Result<Response, Error> {
    let publish = Publish::new(String::new(), asked)?;
    let (notify, answers) = publish_all(&app, begin, &[publish]).await?;
    let answer = answers.into_iter().next();
    let (status, body) = answer.map_or((200, String::new()), |a| (a.status, a.body));
    let status = StatusCode::from_u16(status).map_err(anyhow::Error::from)?;
    Ok((status, notify, as_json(body)).into_response())
}

/// Publishes many events, all or none.
#[utoipa::path(
    post, path = "/api/v1/publish/batch", operation_id = "publishBatch", tag = "Publishing",
    security(("apiKey" = [])),
    request_body = NewEvents,
    responses(
        (status = 200, description = "The answer of each, in order.", body = PublishedBatch),
        (status = 409, description = "An `idempotencyKey` was used for another request."),
    ),
)]
pub(super) async fn batch(
    State(app): State<Roomcast>,
    _: Publisher,
    begin: Begin,
    Body(asked): Body<NewEvents>,
) -> Result<Response, Error> {
    if !(1..=MAX_EVENTS).contains(&asked.events.len()) {
        return Err(Error::field(
            "events",
            format!("expected 1 to {MAX_EVENTS} events"),
        ));
    }
    let events = asked.events.into_iter().enumerate();
    let events: Result<Vec<_>, _> = events
        .map(|(n, event)| Publish::new(format!("events[{n}]."), event))
        .collect();
    let events = events?;
    let names: usize = events.iter().map(|event| event.channels.len()).sum();
    if names > MAX_NAMES_OF_BATCH {
        return Err(Error::field(
            "events",
            format!("expected at most {MAX_NAMES_OF_BATCH} channels in all events together"),
        ));
    }
    let (notify, answers) = publish_all(&app, begin, &events).await?;
    let items: Vec<String> = answers.into_iter().map(|answer| answer.body).collect();
    let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
    Ok((notify, as_json(body)).into_response())
}

/// Takes back an event that waits for its time.
#[utoipa::path(
    delete, path = "/api/v1/publish/{id}", operation_id = "cancelPublish", tag = "Publishing",
    security(("apiKey" = [])),
    responses((status = 204, description = "It will not be told.")),
)]
pub(super) async fn cancel(
    _: Publisher,
    Path(id): Path<String>,
    mut tx: Tx,
) -> Result<StatusCode, Error> {
    if scheduled::delete(tx.db(), &id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound)
    }
}

fn as_json(body: String) -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body)
}

impl Publish {
    /// Understands what is asked for; `at` says where it stands, for what is said of its fields.
    fn new(at: String, asked: NewEvent) -> Result<Self, Error> {
        let wrong = |field: &str, message: String| Error::field(&format!("{at}{field}"), message);
        if !(1..=MAX_NAMES).contains(&asked.channels.len()) {
            let message = format!("expected 1 to {MAX_NAMES} channels");
            return Err(wrong("channels", message));
        }
        let mut channels = Vec::with_capacity(asked.channels.len());
        for (n, name) in asked.channels.iter().enumerate() {
            let channel: Channel = name
                .parse()
                .map_err(|error| wrong(&format!("channels[{n}]"), format!("{error}")))?;
            channels.push(channel);
        }
        // Most have one.
        if channels.len() > 1 {
            let mut seen = HashSet::new();
            channels.retain(|channel| seen.insert(channel.clone()));
        }
        let name = asked.event.parse();
        let name = name.map_err(|error| wrong("event", format!("{error}")))?;
        let data = match &asked.data {
            Some(data) => Data::of(data).map_err(|error| wrong("data", error.to_string()))?,
            None => Data::from_value(&Value::Null),
        };
        if asked.except_sockets.len() > MAX_NAMES {
            let message = format!("expected at most {MAX_NAMES} sockets");
            return Err(wrong("exceptSockets", message));
        }
        let mut except = Vec::new();
        for (n, id) in asked.except_sockets.iter().enumerate() {
            let socket = SocketId::parse(id);
            except.push(socket.ok_or_else(|| {
                wrong(
                    &format!("exceptSockets[{n}]"),
                    "expected a UUID, for example 0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11".into(),
                )
            })?);
        }
        let when = when(&asked).map_err(|(field, message)| wrong(field, message))?;
        let key = asked.idempotency_key;
        if key
            .as_ref()
            .is_some_and(|key| !(1..=MAX_KEY_BYTES).contains(&key.len()))
        {
            let message = format!("expected 1 to {MAX_KEY_BYTES} bytes");
            return Err(wrong("idempotencyKey", message));
        }
        let volatile = asked.volatile;
        Ok(Self {
            at,
            channels,
            name,
            data,
            volatile,
            except,
            when,
            key,
        })
    }

    /// Whether it is told at once, and nothing of it is kept.
    fn is_fleeting(&self) -> bool {
        self.volatile && self.key.is_none() && matches!(self.when, When::Now)
    }

    /// Whether it is kept at once, and nothing else of it is.
    fn is_plain(&self) -> bool {
        !self.volatile && self.key.is_none() && matches!(self.when, When::Now)
    }

    fn notification(&self) -> Notification {
        let said = Notification::of(self.name.clone(), self.data.clone());
        let to = self.channels.iter().cloned().fold(said, Notification::to);
        let to = self.except.iter().copied().fold(to, Notification::except);
        if self.volatile { to.volatile() } else { to }
    }

    /// What is the same for the same request, however its JSON was written.
    fn fingerprint(&self) -> String {
        let names: Vec<&str> = self.channels.iter().map(Channel::as_str).collect();
        let when = match self.when {
            When::Now => Value::Null,
            When::After(delay) => json!(["after", delay.whole_milliseconds().to_string()]),
            When::At(time) => json!(["at", to_millis(time)]),
        };
        let (name, data) = (self.name.as_str(), self.data.as_str());
        let all = json!([names, name, data, self.volatile, self.except, when]);
        let hash = Sha256::digest(all.to_string());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn wrong(&self, field: &str, message: String) -> Error {
        Error::field(&format!("{}{field}", self.at), message)
    }
}

/// When an event is to be told, or which field says that wrongly.
fn when(asked: &NewEvent) -> Result<When, (&'static str, String)> {
    match (asked.delay_ms, &asked.deliver_at) {
        (None, None) => Ok(When::Now),
        (Some(_), Some(_)) => Err(("deliverAt", "expected not together with delayMs".into())),
        (Some(delay), None) => {
            let delay = i64::try_from(delay).map_or(Duration::MAX, Duration::milliseconds);
            if delay > FARTHEST {
                let most = FARTHEST.whole_milliseconds();
                let message = format!("expected 0 to {most} milliseconds (30 days)");
                return Err(("delayMs", message));
            }
            Ok(When::After(delay))
        }
        (None, Some(time)) => match OffsetDateTime::parse(time, &Rfc3339) {
            Ok(time) => Ok(When::At(time)),
            Err(_) => Err((
                "deliverAt",
                "expected a time of RFC 3339, for example 2026-11-21T05:20:11.123Z".into(),
            )),
        },
    }
}

/// Carries all out, in one turn if any of them needs one. Each has an answer.
async fn publish_all(
    app: &Roomcast,
    begin: Begin,
    all: &[Publish],
) -> Result<(Notify, Vec<Answer>), Error> {
    if all.iter().all(Publish::is_fleeting) {
        let notify = all.iter().fold(Notify::default(), |notify, publish| {
            notify.and(publish.notification())
        });
        return Ok((
            notify,
            all.iter().map(|_| answer(200, "{}".to_owned())).collect(),
        ));
    }
    if all.iter().all(Publish::is_plain) {
        let mut place = begin.place().await?;
        let positions = place.position()..;
        let cursor = |position| app.log().registry().cursor_at(position);
        let kept = positions.zip(all).map(|(position, publish)| {
            let body = format!(r#"{{"cursor":"{}"}}"#, cursor(position));
            (publish.notification(), answer(200, body))
        });
        let (all, answers): (Vec<_>, Vec<_>) = kept.unzip();
        let notify = all.into_iter().fold(Notify::default(), Notify::and);
        return Ok((notify, answers));
    }
    let mut tx = begin.begin().await?;
    let mut publishing = Publishing {
        log: app.log(),
        now: OffsetDateTime::now_utc(),
        next: tx.position(),
        waiting: None,
        notify: Notify::default(),
    };
    let mut answers = Vec::new();
    for publish in all {
        answers.push(publishing.carry_out(&mut tx, publish).await?);
    }
    Ok((publishing.notify, answers))
}

/// What is put into a body here has no character that JSON escapes.
fn answer(status: u16, body: String) -> Answer {
    Answer {
        request: String::new(),
        status,
        body,
    }
}

/// What is published in one turn, as far as it has come.
struct Publishing<'a> {
    log: &'a Log,
    now: OffsetDateTime,
    /// The position that the next kept event will have.
    next: Position,
    /// How many wait for their time, once that has been asked.
    waiting: Option<i64>,
    notify: Notify,
}

impl Publishing<'_> {
    /// Carries one out, or finds what was answered when it was.
    async fn carry_out(&mut self, tx: &mut Tx, publish: &Publish) -> Result<Answer, Error> {
        let Some(key) = &publish.key else {
            return self.carry_out_anew(tx, publish).await;
        };
        let request = publish.fingerprint();
        let now = to_millis(self.now);
        match answers::find(tx.db(), key, now).await? {
            Some(known) if known.request == request => return Ok(known),
            Some(_) => {
                let at = &publish.at;
                return Err(Error::Conflict(
                    format!("{at}idempotencyKey was used for another request within the last 5 minutes; give each its own.").into(),
                ));
            }
            None => {}
        }
        if answers::count(tx.db()).await? >= MAX_ANSWERS {
            return Err(Error::RateLimited {
                detail: "The server remembers as many idempotency keys as it may; each is for 5 minutes.",
                retry_after: 60,
            });
        }
        let answer = self.carry_out_anew(tx, publish).await?;
        let answer = Answer { request, ..answer };
        answers::put(tx.db(), key, &answer, to_millis(self.now + REMEMBERED)).await?;
        Ok(answer)
    }

    async fn carry_out_anew(&mut self, tx: &mut Tx, publish: &Publish) -> Result<Answer, Error> {
        if let Some(due) = self.due(publish)? {
            return self.schedule(tx, publish, due).await;
        }
        self.notify = std::mem::take(&mut self.notify).and(publish.notification());
        if publish.volatile {
            return Ok(answer(200, "{}".to_owned()));
        }
        let cursor = self.log.registry().cursor_at(self.next);
        self.next += 1;
        Ok(answer(200, format!(r#"{{"cursor":"{cursor}"}}"#)))
    }

    /// The whole millisecond at which an event is due, if that is not now.
    fn due(&self, publish: &Publish) -> Result<Option<OffsetDateTime>, Error> {
        let due = match publish.when {
            When::Now => return Ok(None),
            When::After(delay) => self.now + delay,
            When::At(time) if time >= self.now && time <= self.now + FARTHEST => time,
            When::At(_) => {
                let message = "expected a time from now on, and at most 30 days ahead";
                return Err(publish.wrong("deliverAt", message.into()));
            }
        };
        // Upwards: never before its time.
        let rounded = from_millis(to_millis(due));
        Ok(Some(if rounded < due {
            rounded + Duration::MILLISECOND
        } else {
            rounded
        }))
    }

    async fn schedule(
        &mut self,
        tx: &mut Tx,
        publish: &Publish,
        due: OffsetDateTime,
    ) -> Result<Answer, Error> {
        let waiting = match self.waiting {
            Some(waiting) => waiting,
            None => scheduled::count(tx.db()).await?,
        };
        if waiting >= MAX_WAITING {
            return Err(Error::RateLimited {
                detail: "100000 events wait for their time, as many as may.",
                retry_after: 60,
            });
        }
        self.waiting = Some(waiting + 1);
        let later = Later {
            due,
            name: &publish.name,
            data: &publish.data,
            channels: &publish.channels,
            except: &publish.except,
            volatile: publish.volatile,
        };
        let id = self.log.schedule(tx, &later).await?;
        let due = timestamp(due);
        Ok(answer(
            202,
            format!(r#"{{"id":"{id}","deliverAt":"{due}"}}"#),
        ))
    }
}
