//! Whether the server lives, and whether it can do its work.

use std::time::Duration;

use ::http::{StatusCode, Uri};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::app::Roomcast;
use crate::caller::Caller;
use crate::realtime::Cursor;

/// How long a part may take to say that it is well: less than whoever asks waits for it.
const PATIENCE: Duration = Duration::from_millis(900);

/// The process answers.
///
/// It asks nothing of the database: restarting would not mend that.
#[utoipa::path(
    get, path = "/livez", operation_id = "isAlive", tag = "Operation",
    security(()),
    responses(
        (status = 200, description = "It lives.", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Requests can be served.
///
/// Where something is wrong, or with `?verbose`, it says how each part is, in the manner of Kubernetes.
#[utoipa::path(
    get, path = "/readyz", operation_id = "isReady", tag = "Operation",
    params(("verbose" = Option<String>, Query, description = "Say how each part is, also where all is well.")),
    security(()),
    responses(
        (status = 200, description = "They can.", body = String, content_type = "text/plain"),
        (
            status = 503,
            description = "Not now, and why.",
            body = String,
            content_type = "text/plain",
        ),
    ),
)]
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

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[schema(examples("0.1.0"))]
    version: &'static str,
    uptime_seconds: u64,
    connections: usize,
    rooms: usize,
    /// Where the log is.
    cursor: Cursor,
}

/// Version, uptime, how many connections and rooms, the cursor.
#[utoipa::path(
    get, path = "/api/v1/status", operation_id = "showStatus", tag = "Operation",
    responses((status = 200, description = "How the server is.", body = Status)),
)]
pub(super) async fn status(State(app): State<Roomcast>, _: Caller) -> Json<Status> {
    let (connections, rooms) = app.registry().counts();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.uptime().as_secs(),
        connections,
        rooms,
        cursor: app.registry().cursor(),
    })
}
