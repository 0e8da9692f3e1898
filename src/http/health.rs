//! Whether the server lives, and whether it can do its work.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Roomcast;
use crate::caller::Caller;
use crate::realtime::Cursor;

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
#[utoipa::path(
    get, path = "/readyz", operation_id = "isReady", tag = "Operation",
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
pub(super) async fn readyz(State(app): State<Roomcast>) -> Response {
    if app.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server shuts down\n").into_response();
    }
    let alive = async {
        let mut db = app.store().read().await?;
        sqlx::query("select 1").execute(&mut *db).await
    };
    match alive.await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
                .into_response()
        }
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
    get, path = "/status", operation_id = "showStatus", tag = "Operation",
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
