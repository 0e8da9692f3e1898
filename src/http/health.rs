//! Whether the server lives, and whether it can do its work.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::Roomcast;
use crate::caller::Caller;

/// `GET /livez`: the process answers. It asks nothing of the database: restarting would not mend that.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests can be served.
pub(super) async fn readyz(State(app): State<Roomcast>) -> Response {
    if !app.is_ready() {
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
