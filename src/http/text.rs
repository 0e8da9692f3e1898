//! Texts that many ask for, who often have them already: descriptions of the server, the client, and the pages.

use std::borrow::Cow;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::app::Roomcast;

/// What a page of ours may do: nothing but what stands beside it. Text never becomes markup: no script of ours needs
/// that, so none may.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// One of them, with a tag by which a client knows that it has it.
#[derive(Clone)]
pub(super) struct Text {
    kind: HeaderValue,
    text: Bytes,
    etag: HeaderValue,
    cache: HeaderValue,
}

impl Text {
    pub(super) fn new(kind: &'static str, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let hash = Sha256::digest(&text).into();
        Self::tagged(kind, text, &hash)
    }

    /// One whose hash is known.
    pub(super) fn of_file(kind: &'static str, text: Cow<'static, [u8]>, hash: &[u8; 32]) -> Self {
        let text = match text {
            Cow::Borrowed(text) => Bytes::from_static(text),
            Cow::Owned(text) => text.into(),
        };
        Self::tagged(kind, text, hash)
    }

    fn tagged(kind: &'static str, text: Bytes, hash: &[u8; 32]) -> Self {
        let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        // Hex digits in quotes are a header.
        let etag = HeaderValue::try_from(format!("\"{hash}\""));
        Self {
            kind: HeaderValue::from_static(kind),
            text,
            etag: etag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
            cache: HeaderValue::from_static("no-cache"),
        }
    }

    /// It never changes: its name does.
    pub(super) fn for_ever(self) -> Self {
        let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
        Self { cache, ..self }
    }

    /// Serves it at a path.
    pub(super) fn at(self, path: &str) -> Router<Roomcast> {
        Router::new().route(
            path,
            get(async move |headers: HeaderMap| self.answer(&headers)),
        )
    }

    /// The text, unless the client has it.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let about: [(HeaderName, HeaderValue); 4] = [
            (header::CONTENT_TYPE, self.kind.clone()),
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, self.cache.clone()),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(POLICY),
            ),
        ];
        // Tags are compared weakly here (RFC 9110, section 13.1.2); a proxy that compresses weakens ours.
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| {
            let tags = tags.to_str().unwrap_or_default().split(',');
            let mut tags = tags.map(|tag| tag.trim().trim_start_matches("W/"));
            tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
        });
        if known {
            (StatusCode::NOT_MODIFIED, about).into_response()
        } else {
            (about, self.text.clone()).into_response()
        }
    }
}
