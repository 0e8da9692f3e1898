//! The application: everything that lives as long as the server, made in one place, and ended in the right order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller::identify;
use crate::config::{Config, Origin};
use crate::log::Log;
use crate::notify::{Notifier, notify};
use crate::password::Passwords;
use crate::realtime::registry::Limits;
use crate::realtime::{Close, Registry};
use crate::store::{OpenError, Store};
use crate::{http, origin, session};

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// How often sessions that have expired are looked for.
const EXPIRY_PAUSE: Duration = Duration::from_secs(10);

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
    tasks: TaskTracker,
    stopping: CancellationToken,
    started: Instant,
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
        };
        let store = Store::open(&config.database_url, config.durability).await?;
        let log = Log::open(&store, config.durability, limits).await?;
        log.trim_after(config.log_retention);
        let inner = Inner {
            config: Arc::new(config),
            store,
            log,
            passwords: Passwords::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            started: Instant::now(),
        };
        let app = Self(Arc::new(inner));
        app.0.tasks.spawn(end_expired_sessions(app.0.log.clone(), app.0.stopping.clone()));
        Ok(app)
    }

    /// The whole server: the HTTP API, WebSocket and SSE.
    pub fn router(&self) -> Router {
        http::router(self)
    }

    /// Gives routes of another application what ours have: they know the [`Caller`](crate::caller::Caller), may take a
    /// [`Tx`](crate::notify::Tx), and what they attach with [`Notify`](crate::notify::Notify) is told if they succeed.
    ///
    /// An application with its own accounts puts a [`Caller`](crate::caller::Caller) into the request's extensions in a layer around this.
    pub fn notifying<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        self.identifying(routes.layer(from_fn_with_state(self.notifier(), notify)))
    }

    /// Gives routes the caller, from the session's cookie.
    pub(crate) fn identifying<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let secure = self.0.config.public_url.as_ref().is_some_and(Origin::is_secure);
        routes
            .layer(from_fn_with_state(self.0.store.clone(), identify))
            .layer(session::layer(self.0.store.clone(), self.0.log.clone(), secure))
            .layer(map_response(move |response| async move { session::complete_removal(response, secure) }))
            .layer(from_fn_with_state(Arc::clone(&self.0.config), origin::guard))
            .layer(from_fn(http::request_id::assign))
    }

    fn notifier(&self) -> Notifier {
        Notifier { log: self.0.log.clone(), tasks: self.0.tasks.clone(), max_body_bytes: MAX_BODY_BYTES }
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

    /// Tasks that a shutdown waits for.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
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

    /// Begins the shutdown: nobody new is let in, and every connection is told why it ends and when to come back.
    pub fn stop(&self) {
        self.0.stopping.cancel();
        self.registry().close_all(Close::Shutdown);
    }

    /// Waits until requests and connections have ended, at most as long as the configuration says, and closes the
    /// log. False when some had to be left behind.
    pub async fn wait(&self) -> bool {
        self.0.tasks.close();
        let ended = tokio::time::timeout(self.0.config.shutdown_timeout, self.0.tasks.wait()).await.is_ok();
        self.0.log.close().await;
        self.0.store.close().await;
        ended
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

