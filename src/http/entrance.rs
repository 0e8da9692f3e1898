//! The way in: no request is ambiguous or forged, of each it is known who asks, and what may change something goes
//! through the notification layer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, service_fn};

use super::throttle;
use crate::app::Roomcast;
use crate::caller::{Caller, Identity, announce, announce_session, shows_credential};
use crate::error::Error;
use crate::notify::{Notifier, notify};
use crate::{origin, session};

/// The layer. It is one, because each costs every request.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    app: Roomcast,
    /// Handlers have to do with sessions themselves.
    sessions: bool,
    /// They may change something.
    changing: bool,
}

impl Entrance {
    /// For routes that only want to know who asks: who shows a credential goes past the sessions' own layer, which is
    /// never mixed with one, and so does who has a session, which is only looked at.
    pub(super) fn new(app: &Roomcast) -> Self {
        Self {
            app: app.clone(),
            sessions: false,
            changing: false,
        }
    }

    /// For routes that begin and end sessions.
    pub(super) fn with_sessions(self) -> Self {
        Self {
            sessions: true,
            ..self
        }
    }

    /// For routes with the notification layer round them.
    pub(super) fn changing(self) -> Self {
        Self {
            changing: true,
            ..self
        }
    }
}

impl Layer<Route> for Entrance {
    type Service = Enter;

    fn layer(&self, route: Route) -> Enter {
        let app = self.app.clone();
        let identity = Identity {
            store: app.store().clone(),
            config: Arc::clone(app.shared_config()),
            registry: Arc::clone(app.registry()),
        };
        let secure = app.config().is_secure();
        let sessions = session::layer(app.store().clone(), app.log().clone(), secure);
        let notifier = self.changing.then(|| Notifier {
            log: app.log().clone(),
            tasks: app.tasks().clone(),
            max_body_bytes: app.config().max_body_bytes,
            body_timeout: app.config().body_timeout,
        });
        let hall = Arc::new(Hall {
            app,
            identity,
            notifier,
            route,
        });
        let behind = Arc::clone(&hall);
        let inside = service_fn(move |request| {
            let hall = Arc::clone(&behind);
            async move { hall.enter(request).await }
        });
        Enter(Arc::new(Ways {
            secure,
            direct: !self.sessions,
            hall,
            through_sessions: BoxCloneSyncService::new(sessions.layer(inside)),
        }))
    }
}

/// The ways in. Cheap to clone, as each request does.
#[derive(Debug, Clone)]
pub(super) struct Enter(Arc<Ways>);

#[derive(Debug)]
struct Ways {
    secure: bool,
    /// Who is known goes past the sessions.
    direct: bool,
    hall: Arc<Hall>,
    through_sessions: BoxCloneSyncService<Request, Response, Infallible>,
}

impl Service<Request> for Enter {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let ways = Arc::clone(&self.0);
        Box::pin(async move {
            if let Err(error) = origin::guard(&request, ways.hall.app.config()) {
                return Ok(error.into_response());
            }
            if ways.direct {
                match ways.hall.knows(&mut request, ways.secure).await {
                    Ok(true) => return ways.hall.enter(request).await,
                    // Where a cookie names no session, it is taken away.
                    Ok(false) => {}
                    Err(error) => return Ok(error.into_response()),
                }
            }
            let answered = ways.through_sessions.clone().call(request).await;
            answered.map(|response| session::complete_removal(response, ways.secure))
        })
    }
}

/// What is behind both.
#[derive(Debug)]
struct Hall {
    app: Roomcast,
    identity: Identity,
    notifier: Option<Notifier>,
    route: Route,
}

impl Hall {
    /// Whether sessions have nothing to do with the request but to be looked at: it shows a credential, or its cookie
    /// names a session of somebody's, who is then its caller. Where an application with its own accounts has said who
    /// that is, no cookie counts.
    async fn knows(&self, request: &mut Request, secure: bool) -> Result<bool, Error> {
        if shows_credential(request.headers(), request.uri()) {
            return Ok(true);
        }
        if request.extensions().get::<Caller>().is_some() {
            return Ok(false);
        }
        match session::shown(request.headers(), secure) {
            Some(session) => announce_session(&self.identity, request, session).await,
            None => Ok(false),
        }
    }

    async fn enter(&self, mut request: Request) -> Result<Response, Infallible> {
        if let Err(error) = announce(&self.identity, &mut request).await {
            return Ok(error.into_response());
        }
        let mut route = self.route.clone();
        let Some(notifier) = &self.notifier else {
            return route.call(request).await;
        };
        if let Err(error) = throttle::take_place(&self.app, &mut request) {
            return Ok(error.into_response());
        }
        Ok(notify(notifier, request, route).await)
    }
}
