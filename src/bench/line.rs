//! An open connection, on either transport: what comes over it, one text after another.

use anyhow::Context;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Response, Upgraded};
use sse_stream::{Sse, SseStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// tungstenite's own default is 128 KiB for each connection, and there are many.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A connection that was let in.
pub(super) enum Line {
    WebSocket(Box<WebSocketStream<Upgraded>>),
    Sse(BoxStream<'static, Result<Sse, sse_stream::Error>>),
}

impl Line {
    /// After the answer to a handshake.
    pub(super) async fn upgraded(answer: Response) -> anyhow::Result<Self> {
        let stream = answer.upgrade().await.context("the upgrade failed")?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        Ok(Self::WebSocket(Box::new(socket)))
    }

    /// An event stream.
    pub(super) fn stream(answer: Response) -> Self {
        let stream = SseStream::from_bytes_stream(answer.bytes_stream());
        Self::Sse(stream.boxed())
    }

    /// The next text. Pings are answered on the way.
    ///
    /// # Errors
    /// Why nothing more comes.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, String> {
        match self {
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text),
                    Some(Ok(Message::Close(Some(close)))) => {
                        return Err(format!("closed with {} {}", close.code, close.reason));
                    }
                    Some(Ok(Message::Close(None))) | None => return Err("closed".into()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.to_string()),
                }
            },
            Self::Sse(stream) => loop {
                match stream.next().await {
                    Some(Ok(block)) => {
                        if let Some(data) = block.data {
                            return Ok(data.into());
                        }
                    }
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("closed".into()),
                }
            },
        }
    }

    /// Ends it, without waiting for an answer.
    pub(super) async fn end(self) {
        if let Self::WebSocket(mut socket) = self {
            let _ = socket.send(Message::Close(None)).await;
        }
    }
}
