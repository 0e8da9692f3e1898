//! A client that is cut off and comes back, on whichever transport, with the last cursor that it received.

use serde_json::Value;

use super::{Person, SseClient, WsClient};

/// Which way a follower connects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Ws,
    Sse,
}

impl Via {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ws => Self::Sse,
            Self::Sse => Self::Ws,
        }
    }
}

/// An open connection on either transport.
pub(crate) enum Client {
    Ws(Box<WsClient>),
    Sse(SseClient),
}

impl Client {
    pub(crate) fn welcome(&self) -> &Value {
        match self {
            Self::Ws(client) => &client.welcome,
            Self::Sse(client) => &client.welcome,
        }
    }

    /// The next frame; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        match self {
            Self::Ws(client) => client.try_next().await.ok(),
            Self::Sse(client) => client.next().await.map(|event| event.json()),
        }
    }
}

/// Somebody's client, across its connections.
pub(crate) struct Follower {
    pub(crate) person: Person,
    pub(crate) client: Option<Client>,
    pub(crate) via: Via,
    /// The last one received: in `welcome`, `event`, `heartbeat` or the ack of a join.
    pub(crate) cursor: Option<String>,
    /// What it asks for each time.
    query: String,
}

impl Follower {
    /// Not connected yet; `query` is what it asks for each time.
    pub(crate) fn new(person: &Person, query: &str, via: Via) -> Self {
        Self {
            person: person.clone(),
            client: None,
            via,
            cursor: None,
            query: query.to_owned(),
        }
    }

    /// Connects, with the cursor if it has one, and gives the welcome.
    pub(crate) async fn connects(&mut self) -> Value {
        let cursor = self
            .cursor
            .as_ref()
            .map(|cursor| format!("&cursor={cursor}"));
        let query = format!("{}{}", self.query, cursor.unwrap_or_default());
        let client = match self.via {
            Via::Ws => Client::Ws(Box::new(self.person.ws(&query).await)),
            Via::Sse => Client::Sse(self.person.sse(&query).await),
        };
        let welcome = client.welcome().clone();
        self.cursor = welcome["cursor"].as_str().map(str::to_owned);
        self.client = Some(client);
        welcome
    }

    /// Comes back on the other transport.
    pub(crate) async fn swaps(&mut self) -> Value {
        self.cut();
        self.via = self.via.other();
        self.connects().await
    }

    /// The line breaks: what is under way is lost, and nobody says goodbye.
    pub(crate) fn cut(&mut self) {
        self.client = None;
    }

    /// The next frame, its cursor remembered; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let frame = self
            .client
            .as_mut()
            .expect("it is connected")
            .next()
            .await?;
        if let Some(cursor) = frame["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        Some(frame)
    }

    /// The next event; nothing at the end.
    pub(crate) async fn next_event(&mut self) -> Option<Value> {
        loop {
            let frame = self.next().await?;
            if frame["type"] == "event" {
                return Some(frame);
            }
        }
    }
}
