//! A WebSocket from the server's side (RFC 6455): bounded messages in, messages out together, and an end that is said
//! before it comes. Rooms are not known here; `examples/echo.rs` has none.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error};

use super::fragments::Fragments;
use crate::realtime::Close;

/// tungstenite's own default is 128 KiB, for each connection, from the start. Most messages are smaller than
/// this; for those that are not, there is more room in `ahead.rs`.
const READ_BUFFER_BYTES: usize = 256;
/// What waits together is written together, up to this much at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// How long a client may take to answer our close, or to end after we answered its own.
pub(super) const CLOSE_TIME: Duration = Duration::from_secs(2);
/// What is read and thrown away after the end, so that the client reads our close before it hears of a reset.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// How much a client may make the server hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message from the client, in bytes.
    pub message_bytes: usize,
    /// The most fragments of one message.
    pub fragments: u32,
    /// The most bytes that wait to be written, answers to pings among them; larger than any message that is sent, and
    /// at least 16 KiB.
    pub waiting_bytes: usize,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket<S> {
    frames: WebSocketStream<Fragments<S>>,
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// We end it, and say why.
    Close(Close),
    /// The client closed it; the answer still has to go out.
    Closed,
    /// There is nobody to say anything to.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// After the handshake; `read` is what came before the stream was ours.
    pub async fn new(stream: S, read: Vec<u8>, limits: &Limits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            // tungstenite panics where this is not the larger one.
            .max_write_buffer_size(limits.waiting_bytes.max(WRITE_BUFFER_BYTES + 1))
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let stream = Fragments::new(stream, &read, limits.fragments);
        let frames =
            WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
        Self { frames }
    }

    /// The next message; pings have been answered already. Nothing is lost when this is dropped before it is done.
    ///
    /// # Errors
    /// How the conversation ends: [`close`](Self::close) it, or [answer the close](Self::answer_close).
    pub async fn read(&mut self) -> Result<Message, End> {
        match self.frames.next().await {
            Some(Ok(Message::Close(_))) => Err(End::Closed),
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) if self.frames.get_ref().too_many() => Err(End::Close(Close::TooLarge)),
            Some(Err(error)) => Err(end_of(&error)),
            None => Err(End::Gone),
        }
    }

    /// Whether a message has begun to come and has not ended.
    pub fn amid_message(&self) -> bool {
        self.frames.get_ref().amid_message()
    }

    /// Sends messages, as many at once as fit.
    ///
    /// # Errors
    /// When the client has taken nothing for too long, or one is larger than may wait.
    pub async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let sending = async {
            for message in messages {
                self.frames.feed(message).await?;
            }
            self.frames.flush().await
        };
        // What the client said meanwhile is not read either.
        sending.await.map_err(|error: Error| match error {
            Error::WriteBufferFull(_) => {
                tracing::error!("a frame is larger than any client could be sent");
                End::Close(Close::Internal)
            }
            _ => End::Gone,
        })
    }

    /// Waits until all that was sent has gone out.
    ///
    /// # Errors
    /// When the client has taken nothing for too long.
    pub async fn flush(&mut self) -> Result<(), End> {
        self.frames.flush().await.map_err(|_| End::Gone)
    }

    /// Says what is still to be said and why it ends, and leaves the client time to read that.
    pub async fn close(mut self, close: Close, last: impl IntoIterator<Item = Message>) {
        let reason = CloseFrame {
            code: CloseCode::from(close.code()),
            reason: close.word().into(),
        };
        let closing = async {
            for message in last {
                self.frames.feed(message).await?;
            }
            self.frames.send(Message::Close(Some(reason))).await?;
            self.discard().await
        };
        // Whether the client heard of it is not ours to know.
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }

    /// Sends the answer to the client's close, which tungstenite has made ready.
    pub async fn answer_close(mut self) {
        let closing = async {
            while let Some(Ok(_)) = self.frames.next().await {}
            self.discard().await
        };
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }

    /// Ends our side, and reads what was under way: a socket that is dropped with something unread is reset, and the
    /// client may lose what it was told last.
    async fn discard(&mut self) -> Result<(), tungstenite::Error> {
        let stream = self.frames.get_mut().stream_mut();
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        let mut discarded = 0;
        while discarded < MAX_DISCARDED_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok(())
    }
}

/// What a broken message means (RFC 6455 section 7.4.1).
fn end_of(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(Close::TooLarge),
        Error::Utf8(_) => End::Close(Close::InvalidText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(Close::Protocol),
        _ => End::Gone,
    }
}
