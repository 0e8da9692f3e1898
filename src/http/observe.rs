//! The outermost layer: every request has an id, is counted with how long it took, and leaves a line in the log. A panic
//! ends its own request only.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{HeaderValue, Method, StatusCode, header};
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::Cors;
use tracing::Instrument;
use tracing::field::Empty;

use super::headers;
use super::request_id::{self, REQUEST_ID};
use crate::app::Roomcast;
use crate::error::{Error, Problem};
use crate::metrics::Refusal;
use crate::origin;
#[cfg(feature = "otel")]
use crate::telemetry;
use crate::telemetry::shown;

/// What is said of a request to no route: its path is whatever somebody made up.
const UNMATCHED: &str = "unmatched";

/// The layer. It is one, because each costs every request: boxes, and moves of all that it has.
#[derive(Debug, Clone)]
pub(super) struct Observe {
    app: Roomcast,
    /// What pages of the allowed origins ask for is answered so that they may read it.
    readable: bool,
    /// Answers have the headers that all of ours have.
    dressed: bool,
}

impl Observe {
    /// For routes of another application.
    pub(super) fn new(app: &Roomcast) -> Self {
        Self {
            app: app.clone(),
            readable: false,
            dressed: false,
        }
    }

    /// For routes of ours.
    pub(super) fn dressed(app: &Roomcast) -> Self {
        Self {
            dressed: true,
            ..Self::new(app)
        }
    }

    /// For those that pages use.
    pub(super) fn readable(app: &Roomcast) -> Self {
        Self {
            readable: true,
            ..Self::dressed(app)
        }
    }
}

impl Layer<Route> for Observe {
    type Service = Observed;

    fn layer(&self, route: Route) -> Observed {
        let Self {
            app,
            readable,
            dressed,
        } = self.clone();
        let cors = readable.then(|| origin::cors(app.shared_config()).layer(route.clone()));
        Observed(Arc::new(Behind {
            app,
            dressed,
            cors,
            route,
        }))
    }
}

/// What it makes.
#[derive(Debug, Clone)]
pub(super) struct Observed(Arc<Behind>);

#[derive(Debug)]
struct Behind {
    app: Roomcast,
    dressed: bool,
    cors: Option<Cors<Route>>,
    route: Route,
}

impl Service<Request> for Observed {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let behind = Arc::clone(&self.0);
        Box::pin(async move { Ok(behind.observe(request).await) })
    }
}

impl Behind {
    /// Sees a request through. The path is logged without its query, which may hold a token.
    async fn observe(&self, request: Request) -> Response {
        let app = &self.app;
        let (began, method) = (Instant::now(), request.method().clone());
        let id = request_id::of(&request, app.config());
        let is_api = headers::is_api(&request);
        let route = request.extensions().get::<MatchedPath>().cloned();
        let route = route.as_ref().map_or(UNMATCHED, route_of);
        let span = tracing::info_span!(
            "request",
            id,
            method = shown(method.as_str()),
            path = shown(request.uri().path()),
            otel.name = Empty,
            otel.kind = Empty,
        );
        #[cfg(feature = "otel")]
        telemetry::continue_trace(&span, request.headers(), shown(method.as_str()), route);
        let answering = AssertUnwindSafe(self.answer(request)).catch_unwind();
        let answered = answering.instrument(span.clone()).await;
        let mut response = answered.unwrap_or_else(|panic| span.in_scope(|| panicked(panic)));
        let (status, took) = (response.status(), began.elapsed());
        // With every method that somebody tries, a route would have a series of its own.
        let route = if status == StatusCode::METHOD_NOT_ALLOWED {
            UNMATCHED
        } else {
            route
        };
        app.metrics().answered(&method, route, status, took);
        if let Some(reason) = response.extensions_mut().remove::<Refusal>() {
            app.metrics().refuse(reason);
        }
        let (code, ms) = (status.as_u16(), took.as_micros() as f64 / 1_000.0);
        // Of what failed here everybody wants to know; of all the rest there is too much.
        if status.is_server_error() {
            span.in_scope(|| tracing::info!(status = code, ms, route, "answered"));
        } else if tracing::enabled!(tracing::Level::DEBUG) {
            span.in_scope(|| tracing::debug!(status = code, ms, route, "answered"));
        }
        if let Some(problem) = response.extensions_mut().remove::<Problem>()
            && method != Method::HEAD
        {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(problem.of_request(&id));
        }
        if self.dressed {
            headers::dress(response.headers_mut(), is_api, app.config().is_secure());
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    async fn answer(&self, request: Request) -> Response {
        let Some(cors) = &self.cors else {
            let Ok(response) = self.route.clone().call(request).await;
            return response;
        };
        if origin::is_shown(&request) {
            let Ok(response) = cors.clone().oneshot(request).await;
            return response;
        }
        let Ok(mut response) = self.route.clone().call(request).await;
        // Beside what it depends on otherwise; 32,768 headers leave no place for it.
        let _ = response
            .headers_mut()
            .try_append(header::VARY, origin::VARY);
        response
    }
}

/// The pattern that a request matched. That of axum's own for a fallback is no route.
fn route_of(matched: &MatchedPath) -> &str {
    let route = matched.as_str();
    if route.contains("__private") {
        UNMATCHED
    } else {
        route
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Internal(anyhow::anyhow!(
        "a handler panicked: {}",
        message.unwrap_or("without a message")
    ))
    .into_response()
}
