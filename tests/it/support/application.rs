//! Somebody's application that says who may join: an endpoint of its own, whose answers the test sets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::post};
use roomcast::rules::Rules;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Person;

/// What the questions are signed with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What it does when it is asked.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with this.
    Json(Value),
    /// Answers with this status, and nothing else.
    Status(u16),
    /// Points somewhere else.
    Redirect(String),
    /// Never answers.
    Silence,
}

/// One question as it came.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// An application that is asked.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) url: String,
    state: Arc<Mutex<Says>>,
    /// Closed while answers are held back.
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct Says {
    replies: HashMap<(String, String), Reply>,
    questions: Vec<Question>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = Self {
            url: format!("http://{}/access", listener.local_addr().unwrap()),
            state: Arc::default(),
            gate: Arc::new(Semaphore::new(1)),
        };
        let routes = Router::new().route("/access", post(answer));
        let routes = routes.with_state(application.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        application
    }

    /// From now on it says this of somebody in a channel. Of others it says nothing good.
    pub(crate) fn says(&self, person: &Person, channel: &str, reply: Reply) {
        let key = (person.id.clone(), channel.to_owned());
        self.state.lock().unwrap().replies.insert(key, reply);
    }

    pub(crate) fn gives(&self, person: &Person, access: &str, channel: &str) {
        self.says(person, channel, Reply::Json(json!({ "access": access })));
    }

    pub(crate) fn gives_nothing(&self, person: &Person, channel: &str) {
        self.says(person, channel, Reply::Json(json!({ "access": null })));
    }

    /// What it was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.state.lock().unwrap().questions.clone()
    }

    /// Makes up its mind as before, but holds the answers back until they are let go.
    pub(crate) async fn holds_back(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.gate).acquire_owned().await.unwrap()
    }

    /// Rules that ask it; `rules` is the rest of the file.
    pub(crate) fn rules(&self, rules: &str, more: &str) -> Rules {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("channels.toml");
        let text = format!(
            "{rules}\n[ask]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n{more}\n",
            self.url
        );
        std::fs::write(&path, text).unwrap();
        Rules::read(&path, &BTreeMap::new(), 65_536).unwrap()
    }
}

async fn answer(
    State(application): State<Application>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let reply = {
        let mut state = application.state.lock().unwrap();
        let asked: Value = serde_json::from_str(&body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        state.questions.push(Question { headers, body });
        let key = (text(&asked["user"]["id"]), text(&asked["channel"]));
        state.replies.get(&key).cloned()
    };
    let _passed = application.gate.acquire().await;
    match reply.unwrap_or(Reply::Status(404)) {
        Reply::Json(json) => axum::Json(json).into_response(),
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Redirect(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}
