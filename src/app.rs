//! The application: everything that lives as long as the server, made in one place, and ended in the right order.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::Asking;
use crate::attempts::Attempts;
use crate::config::Config;
use crate::last_seen;
use crate::limits;
use crate::log::Log;
use crate::metrics::samples::Samples;
use crate::metrics::{Metrics, summary};
use crate::password::Passwords;
use crate::realtime::registry::{Limits, PULSE};
use crate::realtime::{Close, Connection, Registry};
use crate::rules::Rules;
use crate::session;
use crate::store::{self, Store};

/// How often sessions that have expired are looked for.
const EXPIRY_PAUSE: Duration = Duration::from_secs(10);

/// How often it is looked whether too much waits for slow readers.
const RELIEF_PAUSE: Duration = Duration::from_millis(100);
/// How many connections are ended at once by a shutdown, and how long it waits before the next.
const SLICE: usize = 500;
const SLICE_PAUSE: Duration = Duration::from_millis(50);
/// What there is to close the log in, where everything else has taken all the time.
const CLOSE_TIME: Duration = Duration::from_millis(800);

/// A realtime server with rooms. Cheap to clone.
///
/// [`Roomcast::router`] is the whole server as an axum router; [`Roomcast::notifying`] gives the routes of another
/// application our transactions and notifications.
#[derive(Debug, Clone)]
pub struct Roomcast(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    store: Store,
    log: Log,
    passwords: Passwords,
    attempts: Attempts,
    asking: Asking,
    metrics: Metrics,
    samples: Samples,
    limits: limits::Limits,
    tasks: TaskTracker,
    /// Where connections come in, and what else is there to the very end.
    doors: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
    /// Nobody is let in at the doors any more.
    leaving: CancellationToken,
    ended: CancellationToken,
    started: Instant,
}

/// Why the server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// No request could be made to the application.
    #[error("the application cannot be asked who may join")]
    Ask(#[from] reqwest::Error),
}

impl Roomcast {
    /// Opens the database and the log.
    ///
    /// # Errors
    /// When they cannot be used; the message says why.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let limits = Limits {
            max_connections: config.max_connections,
            max_connections_per_ip: config.max_connections_per_ip,
            max_connections_per_user: config.max_connections_per_user,
            max_channels: config.max_channels,
            outbox_bytes: config.outbox_bytes,
            newest: config.rules.newest().clone(),
            presence_grace: config.presence_grace,
        };
        let tasks = TaskTracker::new();
        let asking = Asking::new(config.rules.endpoint(), &tasks)?;
        let store = Store::open(&config.database_url, config.durability).await?;
        let log = Log::open(&store, config.durability, limits, config.recent_events).await?;
        log.trim_after(config.log_retention);
        log.deliver_scheduled();
        let inner = Inner {
            attempts: Attempts::new(config.login_attempts),
            store,
            log,
            passwords: Passwords::new(),
            asking,
            metrics: Metrics::new(),
            samples: Samples::default(),
            limits: limits::Limits::new(&config),
            config: Arc::new(config),
            tasks,
            doors: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            leaving: CancellationToken::new(),
            ended: CancellationToken::new(),
            started: Instant::now(),
        };
        let app = Self(Arc::new(inner));
        app.0.tasks.spawn(end_expired_sessions(
            app.0.log.clone(),
            app.0.stopping.clone(),
        ));
        app.0
            .tasks
            .spawn(pulse(Arc::clone(app.registry()), app.0.stopping.clone()));
        app.0.tasks.spawn(summary::tell(
            Arc::clone(app.registry()),
            app.0.stopping.clone(),
        ));
        for rounds in app.registry().rounds() {
            let (rounds, ended) = (Arc::clone(rounds), app.0.ended.clone());
            // To the very end: what is said last goes out there, too.
            app.0.doors.spawn(async move {
                tokio::select! {
                    () = rounds.go() => {}
                    () = ended.cancelled() => {}
                }
            });
        }
        app.0.tasks.spawn(sample(Arc::clone(&app.0)));
        app.0.tasks.spawn(relieve(
            Arc::clone(app.registry()),
            app.0.config.outbox_total_bytes,
            app.0.stopping.clone(),
        ));
        app.0.tasks.spawn(last_seen::write_down(
            app.0.log.clone(),
            app.0.stopping.clone(),
        ));
        Ok(app)
    }

    /// The rooms and connections.
    pub fn registry(&self) -> &Arc<Registry> {
        self.0.log.registry()
    }

    /// The log, to publish what belongs to no request.
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn shared_config(&self) -> &Arc<Config> {
        &self.0.config
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    /// What each kind of channel is for.
    pub(crate) fn rules(&self) -> &Rules {
        &self.0.config.rules
    }

    pub(crate) fn asking(&self) -> &Asking {
        &self.0.asking
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How the last minutes were.
    pub(crate) fn samples(&self) -> &Samples {
        &self.0.samples
    }

    /// How much one user or address may ask for.
    pub(crate) fn limits(&self) -> &limits::Limits {
        &self.0.limits
    }

    /// Tasks that a shutdown waits for.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// How many of them there are: one for each connection, each request that changes something, and a few of its own.
    pub fn running_tasks(&self) -> usize {
        self.0.tasks.len()
    }

    /// Cancelled when the shutdown begins.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Where connections come in. They are open until all has ended, so that who comes late is told so.
    pub(crate) fn doors(&self) -> &TaskTracker {
        &self.0.doors
    }

    /// Cancelled when no more connections are to be accepted.
    pub(crate) fn leaving(&self) -> &CancellationToken {
        &self.0.leaving
    }

    /// Cancelled when everything has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }

    /// Whether the server still says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        !self.0.draining.is_cancelled()
    }

    /// Says from now on that the server is not ready any more, and goes on serving: load balancers need a while to
    /// notice.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Accepts no more connections: somebody else has the sockets. The shutdown is to follow.
    pub fn hand_over(&self) {
        self.0.leaving.cancel();
    }

    /// Begins the shutdown: nobody new is let in, and every connection is told why it ends and when to come back; many
    /// of them one after another.
    pub fn stop(&self) {
        self.drain();
        if self.is_stopping() {
            return;
        }
        self.0.stopping.cancel();
        let connections = self.registry().spread();
        let within = self.0.config.shutdown_timeout / 2;
        self.0.tasks.spawn(send_away(connections, within));
    }

    /// Waits until requests and connections have ended, at most as long as the configuration says, and closes the
    /// log. False when some had to be left behind.
    pub async fn wait(&self) -> bool {
        let deadline = Instant::now() + self.0.config.shutdown_timeout;
        self.0.tasks.close();
        let ended = timeout_at(deadline, self.0.tasks.wait()).await.is_ok();
        self.0.leaving.cancel();
        let closing = async {
            // Everybody who was there until now.
            if let Err(error) = last_seen::note(&self.0.log).await {
                tracing::warn!(%error, "who was last seen when could not be noted");
            }
            self.0.log.close().await;
            self.0.store.close().await;
        };
        // What was answered is kept already; who was left behind may hold on to the rest of it for ever.
        let closed = timeout_at(deadline.max(Instant::now() + CLOSE_TIME), closing).await;
        if closed.is_err() {
            tracing::warn!("the log could not be closed in time");
        }
        self.0.ended.cancel();
        self.0.doors.close();
        self.0.doors.wait().await;
        ended && closed.is_ok()
    }
}

/// Ends connections a slice at a time: to tell a hundred thousand of them at once would hold up everything else.
async fn send_away(connections: Vec<Arc<Connection>>, within: Duration) {
    let slices = (within.as_millis() / SLICE_PAUSE.as_millis()).max(1);
    let slices = usize::try_from(slices).unwrap_or(usize::MAX);
    let slice = connections.len().div_ceil(slices).max(SLICE);
    let mut connections = connections.chunks(slice).peekable();
    while let Some(slice) = connections.next() {
        for connection in slice {
            connection.outbox.close(Close::Shutdown);
        }
        if connections.peek().is_some() {
            tokio::time::sleep(SLICE_PAUSE).await;
        }
    }
}

/// Lets the registry tell what gathers, as long as there is something.
async fn pulse(registry: Arc<Registry>, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = registry.stirs() => {}
            () = stopping.cancelled() => return,
        }
        let mut more = true;
        while more {
            more = registry.pulse(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(PULSE) => {}
                () = stopping.cancelled() => return,
            }
        }
    }
}

async fn sample(inner: Arc<Inner>) {
    let registry = inner.log.registry();
    let taking = inner
        .samples
        .take(registry, &inner.metrics, &inner.stopping);
    taking.await;
}

/// Sends those away who are furthest behind, whenever all together are behind by more than there is memory for.
async fn relieve(registry: Arc<Registry>, budget: usize, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RELIEF_PAUSE) => {}
            () = stopping.cancelled() => return,
        }
        if registry.scales().bytes() > budget {
            registry.relieve(budget);
        }
    }
}

async fn end_expired_sessions(log: Log, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRY_PAUSE) => {}
            () = stopping.cancelled() => return,
        }
        if let Err(error) = session::end_expired(&log).await {
            tracing::warn!(%error, "expired sessions could not be ended; it is tried again");
        }
    }
}
