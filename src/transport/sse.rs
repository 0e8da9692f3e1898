//! Server-sent events (HTML section 9.2): the feed as one endless answer. Most of them go on in [`super::stream`].

use std::convert::Infallible;

use ::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{Ask, connect};
use super::feed::{self, Feed};
use super::shapes::{EventStream, LastEventId, Listening, Streaming};
use super::stream::{Offer, Stream};
use crate::app::Roomcast;
use crate::error::Error;
use crate::realtime::connection::Transport;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::{ErrorCode, Format, Frame};

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
    let stream = Stream { feed, format };
    Ok(match version {
        Version::HTTP_2 => event_stream(Body::from_stream(push(app, chunks(stream)))),
        // What an older client is sent does not come in chunks.
        version if version < Version::HTTP_11 => event_stream(Body::from_stream(chunks(stream))),
        _ => {
            let offer = Offer::new(stream);
            let mut response = event_stream(Body::from_stream(offer.clone().body()));
            response.extensions_mut().insert(offer);
            response
        }
    })
}

/// A stream as the body of an answer.
pub(super) fn chunks(
    Stream { feed, format }: Stream,
) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Some(feed), move |feed| async move {
        let mut feed = feed?;
        let (chunk, more) = next(&mut feed, format).await;
        Some((Ok(chunk), more.then_some(feed)))
    })
}

/// Gives up on a stream whose client takes nothing for too long. Over HTTP/1.1 the connection itself does (see
/// `server/deadline.rs`); over HTTP/2 that may go on, and the stream is just not asked for more.
fn push<C: Send + 'static>(
    app: &Roomcast,
    chunks: impl stream::Stream<Item = C> + Send + 'static,
) -> impl stream::Stream<Item = C> + Send + 'static {
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
async fn next(feed: &mut Feed, format: Format) -> (Bytes, bool) {
    match feed.next().await {
        Waiting::Frames(frames) if frames.len() == 1 => {
            feed.wrote(frames[0].told());
            (frames[0].block(format), true)
        }
        Waiting::Frames(frames) => {
            // What is handed over here is written before more is asked for.
            feed.wrote(feed::told(&frames));
            let mut chunk = BytesMut::new();
            for frame in &frames {
                chunk.extend_from_slice(&frame.block(format));
            }
            (chunk.freeze(), true)
        }
        Waiting::Closed(close) => (Frame::disconnect(close, feed.retry()).block(format), false),
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
        Frame::refusal(code, message, retry).block(Format::Json),
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
