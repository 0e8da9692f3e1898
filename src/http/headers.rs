//! What every answer of ours has: nobody is to run, frame or keep what is data.

use ::http::{HeaderName, HeaderValue, header};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::observe::observe;
use crate::app::Roomcast;

/// The outermost layer of the server's own routes: [`observe`], and these headers. One layer and not one for each,
/// because each costs every request.
pub(super) async fn dress(State(app): State<Roomcast>, request: Request, next: Next) -> Response {
    let secure = app.config().is_secure();
    let is_api = request.uri().path().starts_with("/api/v1/");
    let mut response = observe(State(app), request, next).await;
    let headers = response.headers_mut();
    let mut unless_said = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    if is_api {
        unless_said(header::CACHE_CONTROL, "no-store");
    }
    unless_said(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // What is answered is data: nothing in it is to be run, framed, or read by a page of another site.
    unless_said(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    );
    unless_said(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    // An address may have a token in it.
    unless_said(header::REFERRER_POLICY, "no-referrer");
    if secure {
        // For a year no browser goes to the same name without TLS (RFC 6797).
        unless_said(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}
