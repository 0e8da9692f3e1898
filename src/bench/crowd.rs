//! Everybody who listens: opened a few at a time, and heard to the end.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::door::Door;
use super::ledger::{Ledger, Totals};
use super::line::Line;
use super::stamp::Frame;
use super::tally::Tally;

/// How many connections are opened at once.
const AT_ONCE: usize = 64;
/// When nothing has come to anybody for so long, what is still missing is lost.
const QUIET: Duration = Duration::from_secs(10);
/// How many reasons for the end of a connection are told apart.
const MAX_REASONS: usize = 8;

/// All connections of a run.
pub(super) struct Crowd {
    listeners: JoinSet<Heard>,
    /// Ends those who still wait.
    over: CancellationToken,
    tally: Arc<Tally>,
}

/// What one connection has heard.
struct Heard {
    room: usize,
    ledger: Ledger,
    /// Why it ended before it was time.
    closed: Option<String>,
}

/// What everybody has heard.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) totals: Totals,
    /// Connections that ended before it was time, by reason.
    pub(super) closed: BTreeMap<String, u64>,
}

impl Crowd {
    /// Opens all connections; times are counted from `began`.
    ///
    /// # Errors
    /// When one of them is refused.
    pub(super) async fn open(
        door: Door,
        connections: usize,
        per_second: u64,
        tally: &Arc<Tally>,
        began: Instant,
    ) -> anyhow::Result<Self> {
        // The first goes alone: of a wrong key, or a server that is not there, one answer is enough.
        let (door, first) = (Arc::new(door), Instant::now());
        let alone = door.open(0).await?;
        let next = Arc::new(AtomicUsize::new(1));
        let (sender, mut lines) = mpsc::channel(AT_ONCE);
        // There is room for it, and somebody who takes it.
        let _ = sender.send((0, Ok(alone))).await;
        let (mut openers, enough) = (JoinSet::new(), CancellationToken::new());
        for _ in 0..AT_ONCE.min(connections - 1) {
            let (door, next, sender) = (Arc::clone(&door), Arc::clone(&next), sender.clone());
            let enough = enough.clone();
            openers.spawn(async move {
                loop {
                    let connection = next.fetch_add(1, Ordering::Relaxed);
                    if connection >= connections {
                        return;
                    }
                    tokio::select! {
                        biased;
                        () = enough.cancelled() => return,
                        () = sleep_until(first + due(connection as u64, per_second)) => {}
                    }
                    let opened = door.open(connection).await;
                    if sender.send((connection, opened)).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut listeners, over) = (JoinSet::new(), CancellationToken::new());
        let mut refused = None;
        // After a refusal those that are under way are still waited for, to say how many there were.
        while let Some((connection, opened)) = lines.recv().await {
            let line = match opened {
                Ok(line) => line,
                Err(error) => {
                    enough.cancel();
                    refused.get_or_insert(error);
                    continue;
                }
            };
            let listener = Listener {
                line,
                connection,
                room: door.room(connection),
                tally: Arc::clone(tally),
                began,
            };
            tally.open();
            listeners.spawn(listener.listen(over.clone()));
        }
        if let Some(error) = refused {
            let opened = tally.opened();
            return Err(error.context(format!("{opened} of {connections} connections were opened")));
        }
        Ok(Self {
            listeners,
            over,
            tally: Arc::clone(tally),
        })
    }

    /// Waits until everybody has heard the end, or nothing comes any more.
    pub(super) async fn heard(mut self, desk: &Desk, rooms: usize) -> Account {
        let told: Vec<_> = (0..rooms).map(|room| desk.told(room)).collect();
        let mut account = Account::default();
        let mut before = 0;
        loop {
            match timeout(QUIET, self.listeners.join_next()).await {
                Ok(None) => return account,
                Ok(Some(Ok(heard))) => {
                    let (published, failed) = &told[heard.room];
                    account.totals += heard.ledger.close(*published, failed);
                    if let Some(reason) = heard.closed {
                        account.note_closed(reason);
                    }
                }
                // A listener neither panics nor is aborted; if it does, that is an end as any other.
                Ok(Some(Err(error))) => account.note_closed(error.to_string()),
                Err(_) => {
                    let now = self.tally.heard();
                    if now == before {
                        self.over.cancel();
                    }
                    before = now;
                }
            }
        }
    }

    /// Ends those who still wait.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }
}

impl Account {
    fn note_closed(&mut self, reason: String) {
        let known = self.closed.contains_key(&reason) || self.closed.len() < MAX_REASONS;
        let reason = if known {
            reason
        } else {
            "other reasons".to_owned()
        };
        *self.closed.entry(reason).or_default() += 1;
    }
}

/// When a connection is to be opened, after the first.
fn due(connection: u64, per_second: u64) -> Duration {
    if per_second == 0 {
        return Duration::ZERO;
    }
    Duration::from_secs_f64(connection as f64 / per_second as f64)
}

/// One connection that listens.
struct Listener {
    line: Line,
    connection: usize,
    room: usize,
    tally: Arc<Tally>,
    began: Instant,
}

impl Listener {
    /// Up to the end of the run, or of the connection.
    async fn listen(mut self, over: CancellationToken) -> Heard {
        let mut ledger = Ledger::default();
        let mut over = pin!(over.cancelled());
        let closed = loop {
            let text = tokio::select! {
                text = self.line.next() => text,
                () = &mut over => break None,
            };
            match text.map(|text| Frame::parse(&text)) {
                Ok(Some(Frame::Message(stamp))) => {
                    let now = self.began.elapsed();
                    if ledger.note(stamp.number, stamp.settled) {
                        self.tally.hear(self.connection, now, stamp.due);
                    }
                }
                Ok(Some(Frame::End)) => break None,
                Ok(Some(Frame::Welcome | Frame::Other)) => {}
                Ok(Some(Frame::Disconnect(code, message))) => {
                    break Some(format!("{code}: {message}"));
                }
                Ok(None) => break Some("it sent what is no frame of a roomcast".into()),
                Err(why) => break Some(why),
            }
        };
        if closed.is_some() {
            self.tally.close();
        }
        self.line.end().await;
        Heard {
            room: self.room,
            ledger,
            closed,
        }
    }
}
