//! What every answer of ours has: nobody is to run, frame or keep what is data.

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::extract::Request;

/// Whether the answer is about somebody's data.
pub(super) fn is_api(request: &Request) -> bool {
    request.uri().path().starts_with("/api/v1/")
}

/// Puts them into an answer, unless it says otherwise itself.
pub(super) fn dress(headers: &mut HeaderMap, is_api: bool, secure: bool) {
    // At once for all that is still to come: it would be sorted in anew each time that it grows.
    headers.reserve(8);
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
}
