//! The way in: no request is ambiguous or forged, and of each it is known who asks.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use crate::app::Roomcast;
use crate::caller::{Identity, announce, identify, shows_credential};
use crate::{origin, session};

/// The layer.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    app: Roomcast,
    /// Handlers have to do with sessions themselves.
    sessions: bool,
}

impl Entrance {
    /// For routes that only want to know who asks: who shows a credential goes past the sessions, which are never mixed
    /// with one. Back ends above all do so, with every request.
    pub(super) fn new(app: &Roomcast) -> Self {
        Self {
            app: app.clone(),
            sessions: false,
        }
    }

    /// For routes that begin and end sessions.
    pub(super) fn with_sessions(app: &Roomcast) -> Self {
        Self {
            app: app.clone(),
            sessions: true,
        }
    }
}

impl Layer<Route> for Entrance {
    type Service = Enter;

    fn layer(&self, route: Route) -> Enter {
        let app = &self.app;
        let identity = Identity {
            store: app.store().clone(),
            config: Arc::clone(app.shared_config()),
        };
        let secure = app.config().is_secure();
        let sessions = session::layer(app.store().clone(), app.log().clone(), secure);
        let identified = from_fn_with_state(identity.clone(), identify).layer(route.clone());
        Enter(Arc::new(Ways {
            identity,
            secure,
            direct: (!self.sessions).then_some(route),
            through_sessions: BoxCloneSyncService::new(sessions.layer(identified)),
        }))
    }
}

/// The ways in. Cheap to clone, as each request does.
#[derive(Debug, Clone)]
pub(super) struct Enter(Arc<Ways>);

#[derive(Debug)]
struct Ways {
    identity: Identity,
    secure: bool,
    direct: Option<Route>,
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
        if let Err(error) = origin::guard(&request, &ways.identity.config) {
            return Box::pin(ready(Ok(error.into_response())));
        }
        let direct = ways.direct.clone();
        match direct.filter(|_| shows_credential(request.headers(), request.uri())) {
            Some(mut direct) => Box::pin(async move {
                match announce(&ways.identity, &mut request).await {
                    Ok(()) => direct.call(request).await,
                    Err(error) => Ok(error.into_response()),
                }
            }),
            None => {
                let mut through = ways.through_sessions.clone();
                let secure = ways.secure;
                Box::pin(through.call(request).map(move |answered| {
                    answered.map(|response| session::complete_removal(response, secure))
                }))
            }
        }
    }
}
