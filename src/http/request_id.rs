//! Request ids: one for each request, in every line that is logged about it and in its answer.

use ::http::{HeaderName, HeaderValue};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer. The path is logged without its query, which may hold a token.
pub(crate) async fn assign(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let span = tracing::info_span!("request", id, method = %request.method(), path = shown(request.uri().path()));
    let mut response = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// As much of a path as anybody reads.
fn shown(path: &str) -> &str {
    // Paths are ASCII, so every byte is the end of a character.
    path.get(..256).unwrap_or(path)
}
