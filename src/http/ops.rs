//! What operators ask: metrics and health, on the port of the clients and on one of their own.

use ::http::{HeaderValue, header};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;

use super::admin::Overseer;
use super::health;
use crate::app::Roomcast;
use crate::error::Error;
use crate::metrics::CONTENT_TYPE;
use crate::metrics::live::Live;

impl Roomcast {
    /// What is answered at `ROOMCAST_OPS_LISTEN`: health, and metrics without a login. Nothing else, so that whoever
    /// can reach it can do nothing there.
    pub fn ops_router(&self) -> Router {
        Router::new()
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route(
                "/metrics",
                get(async |State(app): State<Roomcast>| metrics(&app).await),
            )
            .fallback(async || Error::NotFound)
            .method_not_allowed_fallback(async || Error::MethodNotAllowed)
            .layer(SetResponseHeaderLayer::if_not_present(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ))
            .with_state(self.clone())
    }

    async fn live(&self) -> Live {
        Live {
            figures: self.registry().figures(),
            outbox_bytes: self.registry().scales().bytes() as u64,
            position: self.registry().cursor().position,
            log_events: self.log().events(),
            log_writable: self.log().is_writable(),
            database_bytes: self.store().bytes().await,
            draining: !self.is_ready(),
            tasks: self.running_tasks() as u64,
        }
    }
}

/// Metrics, in the text format of Prometheus.
///
/// At `ROOMCAST_OPS_LISTEN` they are there without a login.
#[utoipa::path(
    get, path = "/metrics", operation_id = "readMetrics", tag = "Operation",
    security(("cookie" = []), ("token" = []), ("apiKey" = [])),
    responses(
        (status = 200, description = "All of them.", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn guarded(State(app): State<Roomcast>, _: Overseer) -> Response {
    metrics(&app).await
}

async fn metrics(app: &Roomcast) -> Response {
    match app.metrics().encode(&app.live().await) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => Error::Internal(error.into()).into_response(),
    }
}
