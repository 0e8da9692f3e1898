//! The outermost layer: every request has an id, is counted with how long it took, and leaves a line in the log.

use ::http::{HeaderValue, Method, StatusCode, header};
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::request_id::{self, REQUEST_ID};
use crate::app::Roomcast;
use crate::error::Problem;
use crate::metrics::Refusal;
#[cfg(feature = "otel")]
use crate::telemetry;
use crate::telemetry::shown;

/// What is said of a request to no route: its path is whatever somebody made up.
const UNMATCHED: &str = "unmatched";

/// Sees a request through. The path is logged without its query, which may hold a token.
pub(super) async fn observe(State(app): State<Roomcast>, request: Request, next: Next) -> Response {
    let (began, method) = (Instant::now(), request.method().clone());
    let id = request_id::of(&request, app.config());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, route_of);
    let span = tracing::info_span!(
        "request",
        id,
        method = shown(method.as_str()),
        path = shown(request.uri().path()),
        otel.name = Empty,
        otel.kind = Empty,
    );
    #[cfg(feature = "otel")]
    telemetry::continue_trace(&span, request.headers(), shown(method.as_str()), route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status(), began.elapsed());
    // With every method that somebody tries, a route would have a series of its own.
    let route = if status == StatusCode::METHOD_NOT_ALLOWED {
        UNMATCHED
    } else {
        route
    };
    app.metrics().answered(&method, route, status, took);
    if let Some(reason) = response.extensions_mut().remove::<Refusal>() {
        app.metrics().refuse(reason);
    }
    span.in_scope(|| {
        let failed = status.is_server_error();
        let (status, ms) = (status.as_u16(), took.as_micros() as f64 / 1_000.0);
        // Of what failed here everybody wants to know; of all the rest there is too much.
        if failed {
            tracing::info!(status, ms, route, "answered");
        } else {
            tracing::debug!(status, ms, route, "answered");
        }
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>()
        && method != Method::HEAD
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(problem.of_request(&id));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The pattern that a request matched. That of axum's own for a fallback is no route.
fn route_of(matched: &MatchedPath) -> &str {
    let route = matched.as_str();
    if route.contains("__private") {
        UNMATCHED
    } else {
        route
    }
}
