//! The feed: all that a connection is to be sent, in order. First `welcome`, then what it missed, then what is live.
//!
//! While it reads the log it does so a page at a time, and only when the client has taken the last one: a slow reader
//! of a long past costs a page of memory. Kept events that are published meanwhile are in the log too. Once it is near
//! the end the registry makes it live, under its lock, at a position up to which it still reads: no gap, no overlap.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::term::{self, Due, Standing, Term};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::log::ReadError;
use crate::realtime::cursor::Position;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::Frame;
use crate::realtime::protocol::server::Welcome;
use crate::realtime::registry::{Access, Handle, Membership};
use crate::realtime::{Channel, Close, Connection, Cursor, Members, Rounds};

/// How far behind a connection may be to go live: what then still has to be read may be this much.
const NEAR: u64 = 1_024;

/// What a connection is to be sent.
#[derive(Debug)]
pub(super) struct Feed {
    handle: Handle,
    app: Roomcast,
    /// How it ends, unless its outbox says.
    ending: &'static str,
    standing: Standing,
    /// Only of who came with a token.
    term: Option<Term>,
    welcome: Option<Frame>,
    begins: Cursor,
    recovered: Option<bool>,
    replay: Option<Replay>,
    heartbeat: Duration,
    /// When something was last given out to be sent.
    given: Instant,
    silence: Pin<Box<Sleep>>,
}

/// How far a connection has read the log.
#[derive(Debug, Clone, Copy)]
struct Replay {
    at: Position,
    /// Where it has to get to, once it is live.
    until: Option<Position>,
}

/// When the oldest event of those that are written together was told.
pub(super) fn told<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Option<Instant> {
    frames.into_iter().find_map(Frame::told)
}

impl Drop for Feed {
    fn drop(&mut self) {
        let connection = self.handle.connection();
        let reason = connection.outbox.closed().map_or(self.ending, Close::word);
        self.app.metrics().closed(connection.transport, reason);
        tracing::debug!(
            socket = %connection.socket,
            transport = connection.transport.word(),
            reason,
            "a connection ended"
        );
    }
}

impl Feed {
    pub(super) fn new(
        app: &Roomcast,
        welcome: &Welcome<'_>,
        presence: &[(Channel, Members)],
        resume: Option<Position>,
        handle: Handle,
        caller: Option<Caller>,
    ) -> Self {
        let heartbeat = app.config().heartbeat;
        let connection = handle.connection();
        app.metrics().opened(connection.transport);
        tracing::debug!(
            socket = %connection.socket,
            transport = connection.transport.word(),
            user = connection.user_id().map(tracing::field::display),
            "a connection was let in"
        );
        let retry = app.registry().retry(connection.id);
        let standing = Standing::new(caller);
        Self {
            handle,
            app: app.clone(),
            ending: "gone",
            term: Term::of(&standing),
            standing,
            welcome: Some(Frame::welcome(welcome, presence, retry)),
            begins: welcome.cursor,
            recovered: welcome.recovered,
            replay: resume.map(|at| Replay { at, until: None }),
            heartbeat,
            given: Instant::now(),
            silence: Box::pin(tokio::time::sleep(heartbeat)),
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        self.handle.connection()
    }

    /// Milliseconds after which the client is to come back.
    pub(super) fn retry(&self) -> u64 {
        self.app.registry().retry(self.connection().id)
    }

    /// With whose rights now; a guest has few, and is nobody.
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        self.standing.caller()
    }

    /// Notes how it ends. Nothing said, whoever was there is gone without a word.
    pub(super) fn ends(&mut self, word: &'static str) {
        self.ending = word;
    }

    /// Ends: out of every room at once, so that nothing more is for this client. What still waits, and why it ends.
    pub(super) fn end(mut self, close: Close) -> VecDeque<Frame> {
        let connection = Arc::clone(self.connection());
        let disconnect = Frame::disconnect(close, self.retry());
        self.ends(close.word());
        drop(self);
        let mut last = match connection.outbox.try_take() {
            Some(Waiting::Frames(frames)) => frames,
            Some(Waiting::Closed(_)) | None => VecDeque::new(),
        };
        last.push_back(disconnect);
        last
    }

    /// Where deliveries are counted.
    pub(super) fn app(&self) -> &Roomcast {
        &self.app
    }

    /// The rounds that its connection may be served in.
    pub(super) fn rounds(&self) -> &Arc<Rounds> {
        self.app.registry().rounds_of(self.handle.connection())
    }

    /// Notes that what was told at this time has been written.
    pub(super) fn wrote(&self, told: Option<Instant>) {
        if let Some(told) = told {
            let transport = self.connection().transport;
            self.app
                .metrics()
                .delivered(transport, told, Instant::now());
        }
    }

    /// To be told of a new token.
    pub(super) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// From where on it has everything.
    pub(super) fn begins(&self) -> Cursor {
        self.begins
    }

    /// Whether it goes on from where the client was; nothing, where the client did not ask.
    pub(super) fn recovered(&self) -> Option<bool> {
        self.recovered
    }

    /// Whether the past is still being sent.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Whether there is still something to be sent before anything live.
    pub(super) fn has_past(&self) -> bool {
        self.welcome.is_some() || self.is_replaying()
    }

    /// What is to be sent before anything live: the welcome, and the past. Nothing, once that has been taken.
    pub(super) async fn past(&mut self) -> Option<Waiting> {
        while self.has_past() {
            if let Some(waiting) = self.ready().await {
                self.given = Instant::now();
                return Some(waiting);
            }
        }
        None
    }

    /// How far it has read the past, while it does.
    pub(super) fn replayed(&self) -> Option<Cursor> {
        self.replay
            .map(|replay| self.app.registry().cursor_at(replay.at))
    }

    /// All that there is to send now, as soon as there is something. Dropping it before it is ready loses nothing.
    pub(super) async fn next(&mut self) -> Waiting {
        let waiting = self.wait().await;
        self.given = Instant::now();
        waiting
    }

    /// What is there already: the past, to its end, before what waits. Nothing, once all of it has been taken.
    pub(super) async fn ready(&mut self) -> Option<Waiting> {
        if let Some(welcome) = self.welcome.take() {
            return Some(Waiting::Frames(VecDeque::from([welcome])));
        }
        loop {
            // Looked at each time: what waited while the client took the last was perhaps said after the end.
            self.check_term();
            if self.replay.is_none() {
                return self.connection().outbox.try_take();
            }
            if let Some(waiting) = Box::pin(self.replay_page()).await {
                return Some(waiting);
            }
        }
    }

    /// What waits, and behind it a heartbeat: its cursor is true where it stands. For a feed that is live.
    pub(super) fn mark(&self) -> Option<Waiting> {
        self.app
            .registry()
            .send_cursor(self.connection(), Frame::heartbeat);
        self.connection().outbox.try_take()
    }

    async fn wait(&mut self) -> Waiting {
        if let Some(waiting) = self.ready().await {
            return waiting;
        }
        loop {
            tokio::select! {
                biased;
                due = term::due(self.term.as_mut()) => self.comes_due(due),
                waiting = self.handle.connection().outbox.take() => return waiting,
                () = &mut self.silence => self.is_silent(self.given),
            }
        }
    }

    /// Waits until the connection's own task has something to do, where others send: `written` says when they last did.
    pub(super) async fn stirs(&mut self, written: impl Fn() -> Instant) {
        loop {
            tokio::select! {
                biased;
                due = term::due(self.term.as_mut()) => self.comes_due(due),
                () = self.handle.connection().outbox.stirred() => return,
                () = &mut self.silence => self.is_silent(written().max(self.given)),
            }
        }
    }

    /// Says that it is there, if it has said nothing for long. The clock is set anew only here: to do so for each event
    /// would cost more than the event.
    fn is_silent(&mut self, since: Instant) {
        let (now, mut until) = (Instant::now(), since + self.heartbeat);
        if until <= now {
            // Through the registry, so that its cursor is true where it stands among the events.
            self.app
                .registry()
                .send_cursor(self.handle.connection(), Frame::heartbeat);
            until = now + self.heartbeat;
        }
        self.silence.as_mut().reset(until);
    }

    fn comes_due(&mut self, due: Due) {
        match due {
            Due::Word(ends) => {
                let connection = self.handle.connection();
                if let Some(word) = term::word(connection, ends) {
                    connection.outbox.push(word);
                }
            }
            Due::End => self.end_term(),
        }
    }

    /// Ends the connection where its token has ended.
    pub(super) fn check_term(&mut self) {
        if self.term.as_mut().is_some_and(Term::is_over) {
            self.end_term();
        }
    }

    /// Ends the connection, since its token has.
    fn end_term(&mut self) {
        let outbox = &self.handle.connection().outbox;
        match self.term.take() {
            // Only whoever reads too slowly gets here late.
            Some(term) if term.is_long_over() => outbox.cut(Close::TokenEnded),
            _ => outbox.close(Close::TokenEnded),
        }
    }

    /// Reads the next page of the past; nothing, if the connection was in none of its events.
    async fn replay_page(&mut self) -> Option<Waiting> {
        let connection = self.handle.connection();
        if let Some(close) = connection.outbox.closed() {
            return Some(Waiting::Closed(close));
        }
        let replay = self.replay.as_mut()?;
        let until = match replay.until {
            Some(until) => until,
            None => {
                let (position, live) = self.app.registry().catch_up(connection, replay.at, NEAR);
                replay.until = live.then_some(position);
                position
            }
        };
        // Asked anew for each page: a channel that was withdrawn meanwhile is not read any further.
        let mut channels = self.app.registry().channels(connection);
        channels.push((
            Channel::socket(connection.socket),
            Membership::asked(Access::Read),
        ));
        let page = match self
            .app
            .log()
            .page(
                &channels,
                replay.at,
                until,
                connection.user_id(),
                connection.socket,
            )
            .await
        {
            Ok(page) => page,
            Err(error) => {
                if let ReadError::Database(error) = error {
                    tracing::error!(%error, "a replay failed");
                }
                return Some(Waiting::Closed(Close::Internal));
            }
        };
        let metrics = self.app.metrics();
        metrics.replayed(connection.transport, page.frames.len());
        replay.at = page.at;
        let at = page.at;
        if replay.until == Some(at) {
            self.replay = None;
        }
        let mut frames = VecDeque::from(page.frames);
        if frames.is_empty() && self.given.elapsed() >= self.heartbeat {
            frames.push_back(Frame::heartbeat(self.app.registry().cursor_at(at)));
        }
        (!frames.is_empty()).then_some(Waiting::Frames(frames))
    }
}
