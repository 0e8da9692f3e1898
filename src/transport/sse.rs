//! Server-sent events (HTML section 9.2): the feed as one endless answer.

use std::convert::Infallible;

use ::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{Ask, Format, connect};
use super::feed::{self, Feed};
use super::shapes::{EventStream, LastEventId, Listening, Streaming};
use crate::app::Roomcast;
use crate::error::Error;
use crate::realtime::connection::Transport;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::{ErrorCode, Frame};

/// An event stream of a channel.
#[utoipa::path(
    get, path = "/sse/events/{channel}", operation_id = "streamChannel", tag = "Listening",
    params(Listening, Streaming, EventStream, LastEventId),
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses(
        (
            status = 200,
            description = "Frames, for ever; where it is refused for a time, one `disconnect`.",
            body = String,
            content_type = "text/event-stream",
        ),
    ),
)]
pub(crate) async fn channel(
    State(app): State<Roomcast>,
    channel: Result<Path<String>, PathRejection>,
    version: Version,
    headers: HeaderMap,
    mut ask: Ask,
) -> Result<Response, Error> {
    // What is not UTF-8 once decoded is no channel either.
    ask.channel(channel.as_deref().map_or("", String::as_str))?;
    answer(&app, ask, version, &headers).await
}

/// An event stream of channels.
#[utoipa::path(
    get, path = "/sse/events", operation_id = "streamChannels", tag = "Listening",
    params(Listening, Streaming, EventStream, LastEventId),
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses(
        (
            status = 200,
            description = "Frames, for ever; where it is refused for a time, one `disconnect`.",
            body = String,
            content_type = "text/event-stream",
        ),
    ),
)]
pub(crate) async fn channels(
    State(app): State<Roomcast>,
    version: Version,
    headers: HeaderMap,
    ask: Ask,
) -> Result<Response, Error> {
    answer(&app, ask, version, &headers).await
}

async fn answer(
    app: &Roomcast,
    mut ask: Ask,
    version: Version,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    ask.last_event_id(headers);
    let format = ask.format;
    let feed = connect(app, ask, Transport::Sse).await?;
    // How soon to come back when the line breaks; a browser's own default is up to it.
    let retry = feed.retry();
    let first = Bytes::from(format!("retry: {retry}\n"));
    let chunks = stream::unfold(Some((feed, first)), move |state| async move {
        let (mut feed, first) = state?;
        let (chunk, more) = next(&mut feed, first, format).await;
        Some((
            Ok::<_, Infallible>(chunk),
            more.then_some((feed, Bytes::new())),
        ))
    });
    let body = if version == Version::HTTP_2 {
        Body::from_stream(push(app, chunks))
    } else {
        Body::from_stream(chunks)
    };
    Ok(event_stream(body))
}

/// Gives up on a stream whose client takes nothing for too long. Over HTTP/1.1 the connection itself does (see
/// `server/deadline.rs`); over HTTP/2 that may go on, and the stream is just not asked for more.
fn push<C: Send + 'static>(
    app: &Roomcast,
    chunks: impl Stream<Item = C> + Send + 'static,
) -> impl Stream<Item = C> + Send + 'static {
    let (sender, mut receiver) = mpsc::channel(1);
    let patience = app.config().ping_timeout;
    app.tasks().spawn(async move {
        let mut chunks = std::pin::pin!(chunks);
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = sender.closed() => return,
            };
            let Some(chunk) = chunk else { return };
            match timeout(patience, sender.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    });
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// The next bytes of a stream, and whether more follow. What waits together goes out together.
async fn next(feed: &mut Feed, first: Bytes, format: Format) -> (Bytes, bool) {
    let block = |frame: &Frame| match format {
        Format::Json => frame.sse().clone(),
        Format::Data => frame.sse_data().clone(),
        Format::Message => frame.sse_message(),
    };
    match feed.next().await {
        Waiting::Frames(frames) if frames.len() == 1 && first.is_empty() => {
            feed.wrote(frames[0].told());
            (block(&frames[0]), true)
        }
        Waiting::Frames(frames) => {
            // What is handed over here is written before more is asked for.
            feed.wrote(feed::told(&frames));
            let mut chunk = BytesMut::from(first);
            for frame in &frames {
                chunk.extend_from_slice(&block(frame));
            }
            (chunk.freeze(), true)
        }
        Waiting::Closed(close) => (Frame::disconnect(close, feed.retry()).sse().clone(), false),
    }
}

/// The layer that says in a stream what passes: a browser's EventSource never comes back from another status than 200.
pub(crate) async fn refuse_softly(response: Response) -> Response {
    let (code, message) = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => (
            ErrorCode::RateLimited,
            "That is more than you may have. Come back later.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            ErrorCode::Unavailable,
            "The server cannot serve you now. Come back later.",
        ),
        _ => return response,
    };
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let retry = seconds.unwrap_or(5) * 1_000;
    event_stream(Body::from(
        Frame::refusal(code, message, retry).sse().clone(),
    ))
}

fn event_stream(body: Body) -> Response {
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store, no-transform"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // nginx would otherwise collect events until a buffer is full.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
