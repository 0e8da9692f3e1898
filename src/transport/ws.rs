//! A WebSocket, once it is one: the feed out, commands in, pings, and an end that says why.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::task::AbortOnDropHandle;

use super::command;
use super::feed::{self, Feed};
use super::line::{Line, Wire};
use super::rate::{Rate, Verdict};
use super::socket::{End, Limits, Message, Socket};
use crate::app::Roomcast;
use crate::metrics::Refusal;
use crate::realtime::Close;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::{ClientFrame, Command, ErrorCode, Frame, Rejection};
use crate::server::{Deadline, Lent};

/// The largest frame of ours is an event with a body of 2 MiB, or what the settings allow; without a bound one client's
/// pings take all memory.
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Nobody needs as many: tungstenite bounds the bytes of a message, but empty fragments have none.
const MAX_FRAGMENTS: u32 = 1_024;
/// As many messages as a new token counts for: the right to every channel is looked up again.
const TOKEN_MESSAGES: f64 = 10.0;

/// Serves an upgraded connection to its end, in a task of its own: a connection that waits, as most do, holds no room for
/// how it began. What it takes to send and to end is made in boxes, when it is needed.
pub(super) async fn run(upgraded: Upgraded, feed: Feed, app: Roomcast) {
    let tasks = app.tasks().clone();
    // The socket itself where it is one of our server's: no indirection for each read and write.
    match upgraded.downcast::<TokioIo<Deadline<Lent>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let read = read_buf.to_vec();
            // It holds all of the library's buffer.
            drop(read_buf);
            let Some((stream, head)) = io.into_inner().into_inner().keep() else {
                return;
            };
            let (line, own) = Line::new(stream, Wire::WebSocket, head, &feed);
            tasks.spawn(begin(own, read, feed, app, Some(line)).await.run());
        }
        Err(upgraded) => {
            let stream = Deadline::new(TokioIo::new(upgraded), app.config().ping_timeout);
            tasks.spawn(begin(stream, Vec::new(), feed, app, None).await.run());
        }
    }
}

async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    read: Vec<u8>,
    feed: Feed,
    app: Roomcast,
    line: Option<Arc<Line>>,
) -> Box<Conversation<S>> {
    let config = app.config();
    let limits = Limits {
        message_bytes: config.max_message_bytes,
        fragments: MAX_FRAGMENTS,
        waiting_bytes: WAITING_BYTES.max(config.max_body_bytes * 2),
    };
    let socket = Socket::new(stream, read, &limits).await;
    Box::new(Conversation {
        socket,
        feed,
        line,
        rate: Rate::new(config.messages_per_second),
        pending: None,
        patience: Box::pin(tokio::time::sleep(config.heartbeat)),
        pinged: false,
        heartbeat: config.heartbeat,
        ping_timeout: config.ping_timeout,
        app,
    })
}

struct Conversation<S> {
    socket: Socket<S>,
    feed: Feed,
    /// Where others send, too: on plain TCP.
    line: Option<Arc<Line>>,
    app: Roomcast,
    rate: Rate,
    /// The command that is being carried out; the next is read when it is done.
    pending: Option<AbortOnDropHandle<()>>,
    /// When to ping, and then when to give up.
    patience: Pin<Box<Sleep>>,
    pinged: bool,
    heartbeat: Duration,
    ping_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    async fn run(mut self: Box<Self>) {
        let line = self.line.clone();
        loop {
            // Commands wait until the past has been sent: their answers carry later cursors.
            let went_on = if self.feed.has_past() {
                // Most of the time there is none, and a connection that just waits is to be small.
                Box::pin(self.send_past()).await
            } else if let Some(line) = &line {
                self.go_on(line).await
            } else {
                Box::pin(self.go_on_alone()).await
            };
            match went_on {
                Ok(()) => {}
                Err(End::Close(close)) => return Box::pin((*self).close(close)).await,
                Err(End::Closed) => return Box::pin((*self).answer_close()).await,
                Err(End::Gone) => return,
            }
        }
    }

    /// Sends some of what comes before anything live.
    async fn send_past(&mut self) -> Result<(), End> {
        let Some(waiting) = self.feed.past().await else {
            return Ok(());
        };
        // An answer to a ping may be there already, and nobody looks.
        self.pinged = false;
        self.take(waiting).await
    }

    /// Waits for what comes first: something to send, a message, the end of a command, or the time for a ping.
    async fn go_on(&mut self, line: &Arc<Line>) -> Result<(), End> {
        let listening = self.listens();
        line.open(&self.feed);
        tokio::select! {
            () = self.feed.stirs(|| line.written()) => Box::pin(self.catch_up(line)).await,
            message = self.socket.read(), if listening => self.receive(message),
            done = done(&mut self.pending), if !listening => self.has_done(done),
            () = &mut self.patience, if listening => Box::pin(self.ping()).await,
        }
    }

    /// The same where nobody else sends.
    async fn go_on_alone(&mut self) -> Result<(), End> {
        let listening = self.listens();
        tokio::select! {
            waiting = self.feed.next() => self.take(waiting).await,
            message = self.socket.read(), if listening => self.receive(message),
            done = done(&mut self.pending), if !listening => self.has_done(done),
            () = &mut self.patience, if listening => self.ping().await,
        }
    }

    /// Whether the next command may be read. While one is carried out nobody looks whether the client answers pings.
    fn listens(&mut self) -> bool {
        let listening = self.pending.is_none();
        if !listening {
            self.pinged = false;
        }
        listening
    }

    fn has_done(&mut self, done: Result<(), End>) -> Result<(), End> {
        self.pending = None;
        done
    }

    /// Sends what others could not, and waits for the client to take it.
    async fn catch_up(&mut self, line: &Line) -> Result<(), End> {
        while line.is_stuck(&mut self.feed)? {
            self.socket.flush().await?;
        }
        Ok(())
    }

    async fn take(&mut self, waiting: Waiting) -> Result<(), End> {
        match waiting {
            Waiting::Frames(frames) => self.send(frames).await,
            Waiting::Closed(close) => Err(End::Close(close)),
        }
    }

    async fn send(&mut self, frames: VecDeque<Frame>) -> Result<(), End> {
        let told = feed::told(&frames);
        match &self.line {
            // Without a copy of each.
            Some(line) => {
                line.put(&frames).map_err(|_| End::Gone)?;
                self.socket.flush().await?;
            }
            None => self.socket.send(frames.iter().map(text)).await?,
        }
        self.feed.wrote(told);
        Ok(())
    }

    fn receive(&mut self, message: Result<Message, End>) -> Result<(), End> {
        let message = message?;
        let control = matches!(message, Message::Ping(_) | Message::Pong(_));
        // Whatever comes shows that somebody is there, but not, amid a message, that it will ever end.
        if !(control && self.socket.amid_message()) {
            self.pinged = false;
            self.patience
                .as_mut()
                .reset(Instant::now() + self.heartbeat);
        }
        let verdict = self.rate.take(Instant::now());
        if verdict == Verdict::OverForLong {
            return Err(End::Close(Close::RateLimited));
        }
        match message {
            Message::Text(text) => self.obey(&text, verdict),
            Message::Binary(_) => return Err(End::Close(Close::Unsupported)),
            // The socket answers both pings and closes.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
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
                let pending = command::carry_out(&self.app, &self.feed, command);
                // A task of its own: it may hold the writer's turn, and must not wait for whatever this one waits for.
                self.pending = pending.map(|it| AbortOnDropHandle::new(self.app.tasks().spawn(it)));
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
            return match self.socket.read().now_or_never() {
                Some(message) => self.receive(message),
                None => Err(End::Close(Close::PingTimeout)),
            };
        }
        self.pinged = true;
        self.patience
            .as_mut()
            .reset(Instant::now() + self.ping_timeout);
        self.socket
            .send([Message::Ping(bytes::Bytes::new())])
            .await
            .map_err(|_| End::Gone)
    }

    /// Answers what was asked before, says why it ends, and closes.
    async fn close(mut self, close: Close) {
        self.shut();
        if close == Close::TooLarge {
            self.app.metrics().refuse(Refusal::TooLarge);
        }
        let last = self.feed.end(close);
        self.socket.close(close, last.iter().map(text)).await;
    }

    /// What goes out from now on is the end.
    fn shut(&mut self) {
        self.pending = None;
        if let Some(line) = &self.line {
            line.shut();
        }
    }

    /// Out of every room at once here too.
    async fn answer_close(mut self) {
        self.shut();
        self.feed.ends("client");
        drop(self.feed);
        self.socket.answer_close().await;
    }
}

/// Waits for a command. One that never comes to its answer ends the conversation.
async fn done(pending: &mut Option<AbortOnDropHandle<()>>) -> Result<(), End> {
    match pending {
        Some(pending) => pending.await.map_err(|_| End::Close(Close::Internal)),
        None => Ok(()),
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
