//! `/ws`: from a request to a WebSocket, by GET (RFC 6455 section 4.2) or, over HTTP/2, by CONNECT (RFC 8441).
//!
//! Checked here rather than by axum, which lets empty, doubled and malformed keys pass, and whose sockets nobody waits
//! for at shutdown.

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use hyper::ext::Protocol;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connect::{Ask, connect};
use super::shapes::{Listening, Streaming};
use super::ws;
use crate::app::Roomcast;
use crate::error::Error;
use crate::realtime::connection::Transport;

/// Stands in the answer to a handshake after which the server is the first to speak: both may go out together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SaysWelcome;

/// Opens a WebSocket.
///
/// What goes over it is described with AsyncAPI: /asyncapi.json.
#[utoipa::path(
    get, path = "/ws", operation_id = "openWebSocket", tag = "Listening",
    params(Listening, Streaming),
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses(
        (status = 101, description = "Frames go both ways."),
        (status = 426, description = "Not a WebSocket handshake of version 13."),
    ),
)]
pub(crate) async fn upgrade(State(app): State<Roomcast>, mut request: Request) -> Response {
    let handshake = if request.version() == Version::HTTP_2 {
        handshake_http2(&request)
    } else {
        handshake(&request)
    };
    let mut agreed = match handshake {
        Ok(agreed) => agreed,
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
    agreed.extensions_mut().insert(SaysWelcome);
    agreed
}

/// The answer to a handshake over HTTP/2, or the refusal of a request that is none.
fn handshake_http2(request: &Request) -> Result<Response, Box<Response>> {
    let protocol = request.extensions().get::<Protocol>();
    let asked = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    if request.method() != Method::CONNECT || !asked {
        return Err(Box::new(
            Error::invalid(
                "invalid-upgrade",
                "This is a WebSocket: over HTTP/2 expected CONNECT with :protocol websocket (RFC 8441).",
            )
            .into_response(),
        ));
    }
    check_version(request.headers())?;
    Ok(StatusCode::OK.into_response())
}

/// The answer to a request of HTTP/1.1 that is a handshake; what comes after it is for a
/// [`Socket`](super::socket::Socket).
///
/// # Errors
/// The refusal of a request that is none.
pub fn handshake(request: &Request) -> Result<Response, Box<Response>> {
    if request.method() != Method::GET {
        let response = Error::MethodNotAllowed.into_response();
        return Err(Box::new(with_header(response, header::ALLOW, "GET")));
    }
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
    check_version(headers)?;
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

fn check_version(headers: &HeaderMap) -> Result<(), Box<Response>> {
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13") {
        return Ok(());
    }
    let response = Error::UpgradeRequired("Expected Sec-WebSocket-Version: 13.").into_response();
    let response = with_header(response, header::SEC_WEBSOCKET_VERSION, "13");
    Err(Box::new(response))
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
