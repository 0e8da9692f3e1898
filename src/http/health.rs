//! Whether the server lives, and whether it can do its work.

use std::time::Duration;

use ::http::{StatusCode, Uri};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::app::Roomcast;
use crate::caller::Caller;

/// How long a part may take to say that it is well: less than whoever asks waits for it.
const PATIENCE: Duration = Duration::from_millis(900);

/// `GET /livez`: the process answers. It asks nothing of the database: restarting would not mend that.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests can be served. Where something is wrong, or with `?verbose`, it says how each part is, in
/// the manner of Kubernetes.
pub(super) async fn readyz(State(app): State<Roomcast>, uri: Uri) -> Response {
    let parts = [
        ("database", database(&app).await),
        ("log", log(&app).await),
        ("draining", draining(&app)),
    ];
    let ready = parts.iter().all(|(_, state)| state.is_ok());
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let verbose = parameters.any(|parameter| matches!(parameter, "verbose" | "verbose="));
    if ready && !verbose {
        return "ok\n".into_response();
    }
    let mut text = String::new();
    for (part, state) in parts {
        text.push_str(&match state {
            Ok(()) => format!("[+]{part} ok\n"),
            Err(why) => format!("[-]{part} failed: {why}\n"),
        });
    }
    if ready {
        text.push_str("readyz check passed\n");
        return text.into_response();
    }
    text.push_str("readyz check failed\n");
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Whether rows can be read.
async fn database(app: &Roomcast) -> Result<(), &'static str> {
    match timeout(PATIENCE, app.store().check_read()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the database does not answer");
            Err("it cannot be read")
        }
        Err(_) => Err("it does not answer in time"),
    }
}

/// Whether changes can be kept.
async fn log(app: &Roomcast) -> Result<(), &'static str> {
    let checked = timeout(PATIENCE, app.log().check()).await;
    checked.unwrap_or(Err("it does not answer in time"))
}

fn draining(app: &Roomcast) -> Result<(), &'static str> {
    if app.is_ready() {
        Ok(())
    } else {
        Err("the server shuts down")
    }
}

/// `GET /status`
pub(super) async fn status(State(app): State<Roomcast>, _: Caller) -> Json<Value> {
    let (connections, rooms) = app.registry().counts();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": app.uptime().as_secs(),
        "connections": connections,
        "rooms": rooms,
        "cursor": app.registry().cursor(),
    }))
}
