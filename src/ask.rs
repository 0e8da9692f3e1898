//! Asking the application who may join: one signed request to its endpoint, whose answer counts for a while.
//!
//! Nothing waits here with a connection to the database or a turn in its hands. Those who ask the same at once share
//! one request. An application that fails, or that is asked too much at once, is no reason to let somebody in or to
//! forget somebody: there is then no answer, for those who asked and for nobody after them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, StatusCode, header, redirect};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::realtime::registry::Access;
use crate::realtime::{Channel, User, UserId};
use crate::rules::Endpoint;

/// Questions on their way at once.
const MAX_AT_ONCE: usize = 64;
/// Questions about one user on their way at once, so that nobody takes all the places.
const MAX_OF_ONE_USER: usize = 16;
/// Answers that are remembered; over it the oldest go.
const MAX_ANSWERS: usize = 10_000;
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Users share counters of what was forgotten, so that these take the same room however many users there are.
const COUNTERS: usize = 256;

/// There is no answer: the application failed, or is asked too much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanswered;

/// What the application says somebody may do.
type Said = Result<Option<Access>, Unanswered>;
/// Who, and where.
type Key = (UserId, Channel);

/// Asks the application.
#[derive(Debug, Clone)]
pub(crate) struct Asking(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None where no rule needs it.
    endpoint: Option<(Endpoint, Client)>,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// When a failure was last logged, in seconds: once a second is enough to find it.
    complained: AtomicU64,
}

#[derive(Debug)]
struct State {
    answers: HashMap<Key, Answer>,
    /// The answers from the oldest on, among some that count no more.
    order: VecDeque<(Key, u64)>,
    /// Questions that are on their way.
    flights: HashMap<Key, Flight>,
    /// How often something was forgotten of the users that share a counter.
    forgotten: Box<[u64; COUNTERS]>,
    next_id: u64,
}

#[derive(Debug)]
struct Answer {
    id: u64,
    access: Option<Access>,
    until: Instant,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    said: watch::Receiver<Option<Said>>,
}

impl Asking {
    /// Makes the client, and asks nothing yet.
    pub(crate) fn new(endpoint: Option<&Endpoint>, tasks: &TaskTracker) -> reqwest::Result<Self> {
        let endpoint = match endpoint {
            None => None,
            Some(endpoint) => {
                let client = Client::builder()
                    // A proxy of the environment, or whoever the application points at, would be told who asks.
                    .no_proxy()
                    .redirect(redirect::Policy::none())
                    .timeout(endpoint.timeout())
                    .pool_max_idle_per_host(8)
                    .build()?;
                Some((endpoint.clone(), client))
            }
        };
        let state = State {
            answers: HashMap::new(),
            order: VecDeque::new(),
            flights: HashMap::new(),
            forgotten: Box::new([0; COUNTERS]),
            next_id: 1,
        };
        Ok(Self(Arc::new(Inner {
            endpoint,
            state: Mutex::new(state),
            places: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            tasks: tasks.clone(),
            complained: AtomicU64::new(0),
        })))
    }

    /// What the application says that a user may do in a channel.
    pub(crate) async fn ask(&self, user: &User, channel: &Channel) -> Said {
        let mut said = {
            let mut state = self.0.state.lock().unwrap();
            let key = (user.id.clone(), channel.clone());
            if let Some(answer) = state.answers.get(&key)
                && answer.until > Instant::now()
            {
                return Ok(answer.access);
            }
            let flight = state.flights.get(&key);
            // One whose task is gone will never land.
            match flight.filter(|flight| flight.said.has_changed().is_ok()) {
                Some(flight) => flight.said.clone(),
                None => self.take_off(&mut state, key, user)?,
            }
        };
        // In a task of its own: who asked first may be gone before the answer is there, and others wait for it.
        let landed = said.wait_for(Option::is_some).await;
        landed
            .ok()
            .and_then(|said| *said)
            .unwrap_or(Err(Unanswered))
    }

    /// What was answered of a user, and is being asked, counts no more.
    pub(crate) fn forget(&self, user: &UserId, channel: &Channel) {
        let mut state = self.0.state.lock().unwrap();
        state.forgotten[counter(user)] += 1;
        let key = (user.clone(), channel.clone());
        state.answers.remove(&key);
        state.flights.remove(&key);
    }

    /// How often something was forgotten, of this user and some others: what was answered between two equal numbers
    /// still counts.
    pub(crate) fn forgotten(&self, user: &UserId) -> u64 {
        self.0.state.lock().unwrap().forgotten[counter(user)]
    }

    fn take_off(
        &self,
        state: &mut State,
        key: Key,
        user: &User,
    ) -> Result<watch::Receiver<Option<Said>>, Unanswered> {
        let own = state.flights.keys().filter(|(of, _)| *of == user.id);
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let (Ok(place), true) = (place, own.count() < MAX_OF_ONE_USER) else {
            self.complain("too much is asked at once");
            return Err(Unanswered);
        };
        let id = state.next_id;
        state.next_id += 1;
        let (sender, said) = watch::channel(None);
        let flight = Flight {
            id,
            said: said.clone(),
        };
        state.flights.insert(key.clone(), flight);
        let (asking, user) = (self.clone(), user.clone());
        self.0.tasks.spawn(async move {
            let _place = place;
            let answered = asking.request(&user, &key.1).await;
            let said = answered.map_err(|reason| {
                asking.complain(&reason);
                Unanswered
            });
            asking.land(key, id, said);
            // Nobody may wait any more.
            let _ = sender.send(Some(said));
        });
        Ok(said)
    }

    /// Remembers an answer, unless it was forgotten before it came.
    fn land(&self, key: Key, id: u64, said: Said) {
        let mut guard = self.0.state.lock().unwrap();
        let state = &mut *guard;
        if state.flights.get(&key).is_none_or(|flight| flight.id != id) {
            return;
        }
        state.flights.remove(&key);
        let (Ok(access), Some((endpoint, _))) = (said, &self.0.endpoint) else {
            return;
        };
        if endpoint.cache().is_zero() {
            return;
        }
        let now = Instant::now();
        while let Some((oldest, id)) = state.order.front() {
            let answer = state.answers.get(oldest).filter(|answer| answer.id == *id);
            if state.order.len() < MAX_ANSWERS && answer.is_some_and(|answer| answer.until > now) {
                break;
            }
            if answer.is_some() {
                state.answers.remove(oldest);
            }
            state.order.pop_front();
        }
        let until = now + endpoint.cache();
        state
            .answers
            .insert(key.clone(), Answer { id, access, until });
        state.order.push_back((key, id));
    }

    async fn request(&self, user: &User, channel: &Channel) -> Result<Option<Access>, String> {
        let Some((endpoint, client)) = &self.0.endpoint else {
            return Err("nothing says whom to ask".into());
        };
        let body = json!({ "user": user, "channel": channel }).to_string();
        let id = format!("msg_{}", Uuid::now_v7().simple());
        let timestamp = OffsetDateTime::now_utc().unix_timestamp();
        let request = client
            .post(endpoint.url().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signature(endpoint.key(), &id, timestamp, &body),
            )
            .body(body);
        // Without the address: its query may hold a key.
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                return "it did not answer in time".to_owned();
            }
            format!("{:#}", anyhow::Error::new(error.without_url()))
        };
        let mut response = request.send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                return Ok(None);
            }
            status => return Err(format!("it answered with status {}", status.as_u16())),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(format!(
                    "its answer is larger than {MAX_ANSWER_BYTES} bytes"
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        access(&bytes).ok_or_else(|| {
            r#"its answer is not {"access":"read"}, {"access":"write"} or {"access":null}"#.into()
        })
    }

    fn complain(&self, reason: &str) {
        let second = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
        if self.0.complained.swap(second, Ordering::Relaxed) != second {
            tracing::warn!(
                reason,
                "the application did not say who may join; see [ask] in ROOMCAST_CHANNELS"
            );
        }
    }
}

fn counter(user: &UserId) -> usize {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    // Less than the number of counters.
    (hasher.finish() % COUNTERS as u64) as usize
}

/// What an answer says; nothing, if it is none. `access` has to be there: a page that says something else is no answer.
fn access(answer: &[u8]) -> Option<Option<Access>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Read,
        Write,
    }
    let answer: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(answer).ok()?;
    let word: Option<Word> = serde_json::from_value(answer.get("access")?.clone()).ok()?;
    Some(word.map(|word| match word {
        Word::Read => Access::Read,
        Word::Write => Access::Write,
    }))
}

/// The signature of Standard Webhooks (version 1).
fn signature(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // The example of the specification's own libraries.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_what_says_so_lets_somebody_in() {
        for (answer, expected) in [
            (r#"{"access":"read"}"#, Some(Some(Access::Read))),
            (r#"{"access":"write","more":1}"#, Some(Some(Access::Write))),
            (r#"{"access":null}"#, Some(None)),
            (r#"{"access":"READ"}"#, None),
            (r#"{"access":true}"#, None),
            ("{}", None),
            ("", None),
            ("null", None),
            ("[\"read\"]", None),
            ("<html>", None),
        ] {
            assert_eq!(access(answer.as_bytes()), expected, "{answer}");
        }
    }
}
