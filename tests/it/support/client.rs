//! A client on either transport, for promises that hold on both.

use serde_json::Value;

use super::{Person, SseClient, WsClient};

/// The two ways to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    Sse,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::WebSocket, Self::Sse];

    /// The one that it is not.
    pub(crate) fn other(self) -> Self {
        if self == Self::Sse {
            Self::WebSocket
        } else {
            Self::Sse
        }
    }
}

/// Somebody who listens, past the `welcome`.
pub(crate) enum Client {
    WebSocket(Box<WsClient>),
    Sse(SseClient),
}

impl Person {
    /// Connects one way; `query` is what comes after the question mark.
    pub(crate) async fn listens(&self, way: Way, query: &str) -> Client {
        match way {
            Way::WebSocket => Client::WebSocket(Box::new(self.ws(query).await)),
            Way::Sse => Client::Sse(self.sse(query).await),
        }
    }
}

impl Client {
    pub(crate) fn welcome(&self) -> &Value {
        match self {
            Self::WebSocket(ws) => &ws.welcome,
            Self::Sse(sse) => &sse.welcome,
        }
    }

    /// The socket id.
    pub(crate) fn id(&self) -> &str {
        self.welcome()["socket"].as_str().unwrap()
    }

    /// Where it was when it was welcomed.
    pub(crate) fn cursor(&self) -> &str {
        self.welcome()["cursor"].as_str().unwrap()
    }

    /// The channels that it was welcomed in.
    pub(crate) fn is_in(&self, channel: &str) -> bool {
        self.welcome()["channels"]
            .as_array()
            .unwrap()
            .iter()
            .any(|name| name == channel)
    }

    /// The next frame; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        match self {
            Self::WebSocket(ws) => ws.try_next().await.ok(),
            Self::Sse(sse) => sse.next().await.map(|event| event.json()),
        }
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn next_event(&mut self) -> Value {
        match self {
            Self::WebSocket(ws) => ws.next_event().await,
            Self::Sse(sse) => sse.next_event().await,
        }
    }

    /// All that comes before a mark (see `TestApp::marks`), as events: what is not here did not come.
    pub(crate) async fn before(&mut self, mark: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next_event().await;
            if frame["event"] == "mark" && frame["data"] == mark {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// The names of the events of one channel that come before a mark.
    pub(crate) async fn names_before(&mut self, mark: &str, channel: &str) -> Vec<String> {
        let frames = self.before(mark).await.into_iter();
        let here = frames.filter(|frame| frame["channel"] == channel);
        here.map(|frame| frame["event"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Reads on to the end; what `disconnect` said, and the close code where the transport has them.
    pub(crate) async fn end(&mut self) -> (Value, Option<u16>) {
        match self {
            Self::WebSocket(ws) => {
                let ended = ws.end().await;
                (
                    ended.disconnect.expect("a disconnect before the close"),
                    ended.code,
                )
            }
            Self::Sse(sse) => (sse.end().await, None),
        }
    }
}
