//! A WebSocket, once it is one: the feed out, commands in, pings, and an end that says why.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::command::{self, Pending};
use super::feed::{self, Feed};
use super::fragments::Fragments;
use super::rate::{Rate, Verdict};
use crate::app::Roomcast;
use crate::metrics::Refusal;
use crate::realtime::Close;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::{ClientFrame, Command, ErrorCode, Frame, Rejection};
use crate::server::Deadline;

/// tungstenite's own default is 128 KiB, for each connection, from the start.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// What waits together is written together, up to this much at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// The largest frame of ours is an event with a body of 2 MiB; without a bound one client's pings take all memory.
const MAX_WRITE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// As many messages as a new token counts for: the right to every channel is looked up again.
const TOKEN_MESSAGES: f64 = 10.0;
/// How long a client may take to answer our close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// What is read and thrown away after the end, so that the client reads our close before it hears of a reset.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// Serves an upgraded connection to its end.
pub(super) async fn run(upgraded: Upgraded, feed: Feed, app: Roomcast) {
    // The socket itself where it is one of our server's: no indirection for each read and write.
    match upgraded.downcast::<TokioIo<Deadline<TcpStream>>>() {
        Ok(parts) => {
            let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
            serve(stream, read, feed, app).await;
        }
        Err(upgraded) => {
            let stream = Deadline::new(TokioIo::new(upgraded), app.config().ping_timeout);
            serve(stream, Vec::new(), feed, app).await;
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    read: Vec<u8>,
    feed: Feed,
    app: Roomcast,
) {
    let config = app.config();
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(config.max_message_bytes))
        .max_frame_size(Some(config.max_message_bytes));
    let stream = Fragments::new(stream, &read);
    let socket =
        WebSocketStream::from_partially_read(stream, read, Role::Server, Some(limits)).await;
    let conversation = Conversation {
        socket,
        feed,
        rate: Rate::new(config.messages_per_second),
        pending: None,
        patience: Box::pin(tokio::time::sleep(config.heartbeat)),
        pinged: false,
        heartbeat: config.heartbeat,
        ping_timeout: config.ping_timeout,
        app,
    };
    conversation.run().await;
}

struct Conversation<S> {
    socket: WebSocketStream<Fragments<S>>,
    feed: Feed,
    app: Roomcast,
    rate: Rate,
    /// The command that is being carried out; the next is read when it is done.
    pending: Option<Pending>,
    /// When to ping, and then when to give up.
    patience: Pin<Box<Sleep>>,
    pinged: bool,
    heartbeat: Duration,
    ping_timeout: Duration,
}

/// How a conversation ends.
enum End {
    /// We end it, and say why.
    Close(Close),
    /// The client closed it; the answer still has to go out.
    Closed,
    /// There is nobody to say anything to.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    async fn run(mut self) {
        loop {
            // Commands wait until the past has been sent: their answers carry later cursors.
            let went_on = match self.feed.past().await {
                Some(waiting) => {
                    // An answer to a ping may be there already, and nobody looks.
                    self.pinged = false;
                    self.take(waiting).await
                }
                None => self.go_on().await,
            };
            match went_on {
                Ok(()) => {}
                Err(End::Close(close)) => return self.close(close).await,
                Err(End::Closed) => return self.answer_close().await,
                Err(End::Gone) => return,
            }
        }
    }

    /// Waits for what comes first: something to send, a message, the end of a command, or the time for a ping.
    async fn go_on(&mut self) -> Result<(), End> {
        let listening = self.pending.is_none();
        if !listening {
            self.pinged = false;
        }
        tokio::select! {
            waiting = self.feed.next() => self.take(waiting).await,
            message = self.socket.next(), if listening => self.receive(message).await,
            () = done(&mut self.pending), if self.pending.is_some() => {
                self.pending = None;
                Ok(())
            }
            () = &mut self.patience, if listening => self.ping().await,
        }
    }

    async fn take(&mut self, waiting: Waiting) -> Result<(), End> {
        match waiting {
            Waiting::Frames(frames) => self.send(frames).await,
            Waiting::Closed(close) => Err(End::Close(close)),
        }
    }

    async fn send(&mut self, frames: VecDeque<Frame>) -> Result<(), End> {
        let told = feed::told(&frames);
        let sending = async {
            for frame in frames {
                self.socket.feed(text(&frame)).await?;
            }
            self.socket.flush().await
        };
        // Fails when the client has taken nothing for too long: what we had to say is not read either.
        sending.await.map_err(|error: Error| match error {
            Error::WriteBufferFull(_) => {
                tracing::error!("a frame is larger than any client could be sent");
                End::Close(Close::Internal)
            }
            _ => End::Gone,
        })?;
        self.feed.wrote(told);
        Ok(())
    }

    async fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(_)) if self.socket.get_ref().too_many() => {
                return Err(End::Close(Close::TooLarge));
            }
            Some(Err(error)) => return Err(end_of(&error)),
            None => return Err(End::Gone),
        };
        // Whatever comes shows that somebody is there.
        self.pinged = false;
        self.patience
            .as_mut()
            .reset(Instant::now() + self.heartbeat);
        let verdict = self.rate.take(Instant::now());
        if verdict == Verdict::OverForLong {
            return Err(End::Close(Close::RateLimited));
        }
        match message {
            Message::Text(text) => self.obey(&text, verdict),
            Message::Binary(_) => return Err(End::Close(Close::Unsupported)),
            Message::Close(_) => return Err(End::Closed),
            // tungstenite answers pings by itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    fn obey(&mut self, text: &str, verdict: Verdict) {
        let connection = self.feed.connection();
        match (Command::parse(text), verdict) {
            (Ok(command), Verdict::Pass) => {
                if matches!(command.frame, ClientFrame::Token { .. }) {
                    self.rate.charge(TOKEN_MESSAGES - 1.0);
                }
                self.pending = command::carry_out(&self.app, &self.feed, command);
            }
            (Err(rejection), Verdict::Pass) => {
                connection.outbox.push(Frame::rejection(&rejection));
            }
            (
                Ok(Command { id, .. }) | Err(Rejection { id, .. }),
                Verdict::Over | Verdict::OverForLong,
            ) => {
                self.app.metrics().refuse(Refusal::Messages);
                let message = "You send more messages than you may. Wait a second.";
                connection
                    .outbox
                    .push(Frame::error(id.as_ref(), ErrorCode::RateLimited, message));
            }
        }
    }

    /// Asks whether somebody is there, and gives up on who did not answer.
    async fn ping(&mut self) -> Result<(), End> {
        if self.pinged {
            // Where the whole process stood still the answer is there, and was only not looked at.
            return match self.socket.next().now_or_never() {
                Some(message) => self.receive(message).await,
                None => Err(End::Close(Close::PingTimeout)),
            };
        }
        self.pinged = true;
        self.patience
            .as_mut()
            .reset(Instant::now() + self.ping_timeout);
        let ping = Message::Ping(bytes::Bytes::new());
        self.socket.send(ping).await.map_err(|_| End::Gone)
    }

    /// Answers what was asked before, says why it ends, closes, and leaves the client time to read that.
    async fn close(mut self, close: Close) {
        let connection = Arc::clone(self.feed.connection());
        let disconnect = Frame::disconnect(close, self.feed.retry());
        if close == Close::TooLarge {
            self.app.metrics().refuse(Refusal::TooLarge);
        }
        self.feed.ends(close.word());
        // Out of every room at once: nothing more is for this client.
        drop(self.feed);
        let mut last = match connection.outbox.try_take() {
            Some(Waiting::Frames(frames)) => frames,
            Some(Waiting::Closed(_)) | None => VecDeque::new(),
        };
        last.push_back(disconnect);
        let reason = CloseFrame {
            code: CloseCode::from(close.code()),
            reason: close.word().into(),
        };
        let closing = async {
            for frame in &last {
                self.socket.feed(text(frame)).await?;
            }
            self.socket.send(Message::Close(Some(reason))).await?;
            let stream = self.socket.get_mut().stream_mut();
            stream.shutdown().await?;
            discard(stream).await
        };
        // Whether the client heard of it is not ours to know.
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }

    /// Sends the answer to the client's close, which tungstenite has made ready.
    async fn answer_close(mut self) {
        self.feed.ends("client");
        drop(self.feed);
        let closing = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }
}

async fn done(pending: &mut Option<Pending>) {
    if let Some(pending) = pending {
        pending.await;
    }
}

/// A text frame whose payload is shared with all others that get the same.
fn text(frame: &Frame) -> Message {
    Message::Frame(WsFrame::message(
        frame.json().clone(),
        OpCode::Data(Data::Text),
        true,
    ))
}

/// What a broken message means (RFC 6455 section 7.4.1).
fn end_of(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(Close::TooLarge),
        Error::Utf8(_) => End::Close(Close::InvalidText),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Gone,
        Error::Protocol(_) => End::Close(Close::Protocol),
        _ => End::Gone,
    }
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), Error> {
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
