//! An event stream client, on a parser that nobody here wrote.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use serde_json::Value;
use sse_stream::{Sse, SseStream};

use super::PATIENCE;
use super::described::is_a_frame;

/// An open event stream, past its `welcome`.
pub(crate) struct SseClient {
    pub(crate) welcome: Value,
    pub(crate) last_id: Option<String>,
    pub(crate) retry: Option<u64>,
    /// As a WebSocket client's.
    pub(crate) hears_counts: bool,
    events: Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>,
}

/// One event, as a browser would hand it on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
}

impl SseEvent {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl SseClient {
    /// Opens a stream, and waits for the welcome.
    pub(crate) async fn connect(request: reqwest::RequestBuilder) -> Self {
        let mut client = Self::open(request).await;
        let welcome = client.next().await.expect("a welcome");
        assert_eq!(welcome.name, "welcome", "{welcome:?}");
        client.welcome = welcome.json();
        client
    }

    /// Opens a stream, and reads nothing.
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let events = SseStream::from_bytes_stream(response.bytes_stream());
        Self {
            welcome: Value::Null,
            last_id: None,
            retry: None,
            hears_counts: false,
            events: Box::pin(events),
        }
    }

    /// The next event; nothing at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.next())
                .await
                .expect("nothing came")?;
            let Ok(event) = event else { return None };
            self.retry = event.retry.or(self.retry);
            // What has no name is a message (HTML, section 9.2.6).
            let unnamed = event.data.is_some().then(|| "message".to_owned());
            let Some(name) = event.event.or(unnamed) else {
                continue;
            };
            if name == "connected-clients" && !self.hears_counts {
                continue;
            }
            if event.id.is_some() {
                self.last_id.clone_from(&event.id);
            }
            let event = SseEvent {
                name,
                data: event.data.unwrap_or_default(),
                id: event.id,
            };
            // With `?format=data` it may be anything.
            if let Ok(frame) = serde_json::from_str::<Value>(&event.data)
                && (frame["type"] == "event" || frame["type"] == event.name)
            {
                is_a_frame(&frame);
            }
            return Some(event);
        }
    }

    /// The next event's frame, heartbeats left out.
    pub(crate) async fn next_event(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("an event, not the end");
            if event.name != "heartbeat" {
                return event.json();
            }
        }
    }

    /// Reads on to the end, and returns what `disconnect` said before it.
    pub(crate) async fn end(&mut self) -> Value {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        let last = last.expect("something before the end");
        assert_eq!(last.name, "disconnect", "{last:?}");
        last.json()
    }
}
