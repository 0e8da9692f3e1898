//! A WebSocket client.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::PATIENCE;
use super::described::is_a_frame;

/// An open WebSocket, past its `welcome`.
pub(crate) struct WsClient {
    pub(crate) welcome: Value,
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// What came while an answer was waited for.
    early: VecDeque<Value>,
    last_id: u64,
    /// How many are in a room comes whenever that changes; who does not ask for it does not want to see it.
    pub(crate) hears_counts: bool,
}

/// How a connection ended: the close code, where there was one, and the `disconnect` before it.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: Option<u16>,
    pub(crate) disconnect: Option<Value>,
}

impl WsClient {
    /// Connects, and waits for the welcome. A refusal is an error of tungstenite's.
    pub(crate) async fn connect(
        address: SocketAddr,
        query: &str,
        cookie: Option<&str>,
    ) -> Result<Self, tungstenite::Error> {
        let cookie = cookie.map(|cookie| ("cookie", cookie.to_owned()));
        Self::connect_with(address, query, &Vec::from_iter(cookie)).await
    }

    /// The same, with any headers.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, tungstenite::Error> {
        let mut client = Self::open(address, query, headers).await?;
        client.welcome = client.next().await;
        assert_eq!(
            client.welcome["type"], "welcome",
            "the first frame is {}",
            client.welcome
        );
        Ok(client)
    }

    /// Connects, and reads nothing.
    pub(crate) async fn connect_silently(
        address: SocketAddr,
        query: &str,
        cookie: Option<&str>,
    ) -> Result<Self, tungstenite::Error> {
        let cookie = cookie.map(|cookie| ("cookie", cookie.to_owned()));
        Self::open(address, query, &Vec::from_iter(cookie)).await
    }

    async fn open(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}/ws?{query}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self {
            welcome: Value::Null,
            socket,
            early: VecDeque::new(),
            last_id: 0,
            hears_counts: false,
        })
    }

    /// The socket id.
    pub(crate) fn id(&self) -> &str {
        self.welcome["socket"].as_str().unwrap()
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        self.try_next()
            .await
            .unwrap_or_else(|ended| panic!("expected a frame, but it ended: {ended:?}"))
    }

    /// The next text, byte for byte.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("nothing came");
            let text = message.unwrap().unwrap().into_text().unwrap();
            if self.hears_counts || !text.contains(r#""event":"connected-clients""#) {
                return text.to_string();
            }
        }
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn next_event(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }

    /// The next frame, or how it ended.
    pub(crate) async fn try_next(&mut self) -> Result<Value, Ended> {
        match self.early.pop_front() {
            Some(frame) => Ok(frame),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Value, Ended> {
        let mut disconnect = None;
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    is_a_frame(&frame);
                    if frame["event"] == "connected-clients" && !self.hears_counts {
                        continue;
                    }
                    if frame["type"] != "disconnect" {
                        return Ok(frame);
                    }
                    disconnect = Some(frame);
                }
                Some(Ok(Message::Close(close))) => {
                    // The answer to the close goes out while the end is waited for.
                    let _ = tokio::time::timeout(PATIENCE, self.socket.next()).await;
                    return Err(Ended {
                        code: close.map(|close| close.code.into()),
                        disconnect,
                    });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    return Err(Ended {
                        code: None,
                        disconnect,
                    });
                }
            }
        }
    }

    /// Reads on to the end, and says how it came.
    pub(crate) async fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.read().await {
                return ended;
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends a command, and waits for its answer; what comes before it is read later.
    pub(crate) async fn call(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        self.send(command).await;
        loop {
            let frame = self
                .read()
                .await
                .unwrap_or_else(|ended| panic!("expected an answer, but it ended: {ended:?}"));
            if frame["id"] == json!(self.last_id) {
                return frame;
            }
            self.early.push_back(frame);
        }
    }

    /// Joins a channel.
    pub(crate) async fn joins(&mut self, channel: &str) -> Value {
        let answer = self
            .call(json!({ "type": "join", "channel": channel }))
            .await;
        assert_eq!(answer["type"], "ack", "{answer}");
        answer
    }

    /// Joins a channel, and asks for what it said since a cursor.
    pub(crate) async fn joins_since(&mut self, channel: &str, cursor: &str) -> Value {
        let answer = self
            .call(json!({ "type": "join", "channel": channel, "cursor": cursor }))
            .await;
        assert_eq!(answer["type"], "ack", "{answer}");
        answer
    }

    /// Leaves a channel.
    pub(crate) async fn leaves(&mut self, channel: &str) -> Value {
        let answer = self
            .call(json!({ "type": "leave", "channel": channel }))
            .await;
        assert_eq!(answer["type"], "ack", "{answer}");
        answer
    }

    /// What came before the last answer.
    pub(crate) fn came_first(&mut self) -> Vec<Value> {
        self.early.drain(..).collect()
    }

    /// Everything that the server has sent so far: what comes before the answer to a ping.
    pub(crate) async fn so_far(&mut self) -> Vec<Value> {
        self.call(json!({ "type": "ping" })).await;
        self.came_first()
    }
}
