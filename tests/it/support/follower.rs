//! A client that is cut off and comes back, on whichever transport, with the last cursor that it received.

use serde_json::Value;

use super::{Client, Person, Way};

/// Somebody's client, across its connections.
pub(crate) struct Follower {
    pub(crate) person: Person,
    pub(crate) client: Option<Client>,
    pub(crate) way: Way,
    /// The last one received: in `welcome`, `event`, `heartbeat` or the ack of a join.
    pub(crate) cursor: Option<String>,
    /// What it asks for each time.
    query: String,
}

impl Follower {
    /// Not connected yet; `query` is what it asks for each time.
    pub(crate) fn new(person: &Person, query: &str, way: Way) -> Self {
        Self {
            person: person.clone(),
            client: None,
            way,
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
        let client = self.person.listens(self.way, &query).await;
        let welcome = client.welcome().clone();
        self.cursor = welcome["cursor"].as_str().map(str::to_owned);
        self.client = Some(client);
        welcome
    }

    /// Comes back on the next transport.
    pub(crate) async fn swaps(&mut self) -> Value {
        self.comes_back(self.way.next()).await
    }

    /// Comes back on this one.
    pub(crate) async fn comes_back(&mut self, way: Way) -> Value {
        self.cut();
        self.way = way;
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
        // Who has read all of an answer goes on from there, as `Poller` itself does.
        if let Some(Client::Poll(poller)) = &self.client
            && poller.is_through()
        {
            self.cursor = Some(poller.cursor.clone());
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
