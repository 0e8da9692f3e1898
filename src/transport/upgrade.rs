//! `GET /ws`: from a request to a WebSocket (RFC 6455 section 4.2).
//!
//! Checked here rather than by axum, which lets empty, doubled and malformed keys pass, and whose sockets nobody waits
//! for at shutdown.

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connect::{Ask, connect};
use super::ws;
use crate::app::Roomcast;
use crate::error::Error;
use crate::realtime::connection::Transport;

/// Upgrades a request to a WebSocket.
pub(crate) async fn upgrade(State(app): State<Roomcast>, mut request: Request) -> Response {
    if request.method() != Method::GET {
        return with_header(
            Error::MethodNotAllowed.into_response(),
            header::ALLOW,
            "GET",
        );
    }
    let switching = match handshake(&request) {
        Ok(switching) => switching,
        Err(response) => return *response,
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    let feed =
        match <Ask as axum::extract::FromRequestParts<_>>::from_request_parts(&mut parts, &app)
            .await
        {
            Ok(ask) => connect(&app, ask, Transport::WebSocket).await,
            Err(error) => Err(error),
        };
    let feed = match feed {
        Ok(feed) => feed,
        Err(error) => return error.into_response(),
    };
    app.tasks().spawn({
        let app = app.clone();
        async move {
            match upgrading.await {
                Ok(upgraded) => ws::run(upgraded, feed, app).await,
                // The client went away; dropping the feed takes it out of its rooms.
                Err(error) => tracing::debug!(%error, "an upgrade was not finished"),
            }
        }
    });
    switching
}

/// The answer to a request that is a handshake; what comes after it is for a [`Socket`](super::socket::Socket).
///
/// # Errors
/// The refusal of a request that is none.
pub fn handshake(request: &Request) -> Result<Response, Box<Response>> {
    let headers = request.headers();
    let wrong =
        |detail: &'static str| Box::new(Error::invalid("invalid-upgrade", detail).into_response());
    let required = |detail| Error::UpgradeRequired(detail).into_response();
    if request.version() != Version::HTTP_11 || !has_token(headers, &header::UPGRADE, "websocket") {
        let response = required("This is a WebSocket: expected HTTP/1.1 with Upgrade: websocket.");
        let response = with_header(response, header::UPGRADE, "websocket");
        return Err(Box::new(response));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(wrong(
            "Expected Connection: Upgrade; a proxy in between may have taken it away.",
        ));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let response = required("Expected Sec-WebSocket-Version: 13.");
        let response = with_header(response, header::SEC_WEBSOCKET_VERSION, "13");
        return Err(Box::new(response));
    }
    if !request.body().is_end_stream() {
        return Err(wrong("An upgrade has no body."));
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let key = key.ok_or_else(|| wrong("Expected one Sec-WebSocket-Key of 16 bytes in base64."))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| wrong("That key cannot be answered."))?;
    let response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let response = with_header(response, header::CONNECTION, "upgrade");
    let mut response = with_header(response, header::UPGRADE, "websocket");
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let mut tokens = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes in base64 are 22 characters and two signs of equality.
fn is_key(key: &[u8]) -> bool {
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(base64)
}

fn with_header(mut response: Response, name: header::HeaderName, value: &'static str) -> Response {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}
