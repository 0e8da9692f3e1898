//! A client on whichever transport, for promises that hold on all of them.

use serde_json::Value;

use super::{Person, Poller, SseClient, WsClient};

/// The ways to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    Sse,
    Poll,
}

impl Way {
    /// Those that are told everything as it happens, for what polls cannot be.
    pub(crate) const BOTH: [Self; 2] = [Self::WebSocket, Self::Sse];
    pub(crate) const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Poll];

    /// The other one of the two.
    pub(crate) fn other(self) -> Self {
        if self == Self::Sse {
            Self::WebSocket
        } else {
            Self::Sse
        }
    }

    /// The one after it, round and round.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::WebSocket => Self::Sse,
            Self::Sse => Self::Poll,
            Self::Poll => Self::WebSocket,
        }
    }
}

/// Somebody who listens, past the `welcome`.
pub(crate) enum Client {
    WebSocket(Box<WsClient>),
    Sse(SseClient),
    Poll(Box<Poller>),
}

impl Person {
    /// Connects one way; `query` is what comes after the question mark.
    pub(crate) async fn listens(&self, way: Way, query: &str) -> Client {
        match way {
            Way::WebSocket => Client::WebSocket(Box::new(self.ws(query).await)),
            Way::Sse => Client::Sse(self.sse(query).await),
            Way::Poll => Client::Poll(Box::new(Poller::begin(self, query).await)),
        }
    }
}

impl Client {
    pub(crate) fn welcome(&self) -> &Value {
        match self {
            Self::WebSocket(ws) => &ws.welcome,
            Self::Sse(sse) => &sse.welcome,
            Self::Poll(poller) => &poller.welcome,
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

    /// The channels that it was welcomed in; a poll names only those that it asked for.
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
            Self::Poll(poller) => poller.next().await,
        }
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn next_event(&mut self) -> Value {
        match self {
            Self::WebSocket(ws) => ws.next_event().await,
            Self::Sse(sse) => sse.next_event().await,
            Self::Poll(poller) => poller.next_event().await,
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
            Self::Poll(poller) => (poller.end().await.json, None),
        }
    }
}
