//! The HTTP API: every route and the order of the layers, on one screen.
//!
//! From the outside in: a request id, a line and a count; what pages of other origins may read; foreign pages are
//! refused; the session; the caller; the notification layer round whatever may change something; the handler. The streaming routes and polls have
//! no notification layer: it would wait for their end.

mod admin;
mod auth;
mod channels;
mod documents;
mod extract;
mod groups;
mod health;
mod members;
mod messages;
mod observe;
mod ops;
mod permissions;
mod presence;
mod publish;
mod record;
mod request_id;
mod rooms;
mod roots;
mod throttle;
mod token;
mod users;

use std::any::Any;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, header};
use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post, put};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::Roomcast;
use crate::caller::{Identity, identify};
use crate::error::Error;
use crate::notify::{Notifier, notify};
use crate::transport::{poll, sse, upgrade};
use crate::{origin, session};

impl Roomcast {
    /// The whole server: the HTTP API, WebSocket, SSE and long polling.
    pub fn router(&self) -> Router {
        let no_store = HeaderValue::from_static("no-store");
        let no_sniff = HeaderValue::from_static("nosniff");
        let api = self
            .changing(Router::new().nest("/api/v1", api()))
            .merge(self.identifying(polls()))
            .layer(SetResponseHeaderLayer::if_not_present(
                header::CACHE_CONTROL,
                no_store,
            ));
        let (streams, secure) = (self.identifying(streams()), self.config().is_secure());
        let streams = streams.layer(map_response(sse::refuse_softly));
        Router::new()
            .merge(api)
            .merge(streams)
            // A WebSocket needs none of it: its page reads what comes whatever its origin, so that is checked.
            .layer(origin::cors(self.shared_config()))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .merge(self.identifying(sockets()))
            .merge(self.identifying(Router::new().route("/metrics", get(ops::guarded))))
            .fallback(async || Error::NotFound)
            .method_not_allowed_fallback(async || Error::MethodNotAllowed)
            .layer(SetResponseHeaderLayer::if_not_present(
                header::X_CONTENT_TYPE_OPTIONS,
                no_sniff,
            ))
            // What is answered is data: nothing in it is to be run, framed, or read by a page of another site.
            .layer(SetResponseHeaderLayer::if_not_present(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
                ),
            ))
            .layer(SetResponseHeaderLayer::if_not_present(
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("same-origin"),
            ))
            // An address may have a token in it.
            .layer(SetResponseHeaderLayer::if_not_present(
                header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            ))
            // For a year no browser goes to the same name without TLS (RFC 6797).
            .layer(option_layer(secure.then(|| {
                SetResponseHeaderLayer::if_not_present(
                    header::STRICT_TRANSPORT_SECURITY,
                    HeaderValue::from_static("max-age=31536000"),
                )
            })))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(self.clone(), observe::observe))
            .with_state(self.clone())
    }

    /// Gives routes of another application what ours have: they know the [`Caller`](crate::caller::Caller), may take a
    /// [`Tx`](crate::notify::Tx), and what they attach with [`Notify`](crate::notify::Notify) is told if they succeed.
    ///
    /// An application with its own accounts puts a [`Caller`](crate::caller::Caller) into the request's extensions in
    /// a layer around this. Otherwise `Authorization: Bearer` and `?token=` are read as ours, and refused where they
    /// are not.
    pub fn notifying<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let observed = from_fn_with_state(self.clone(), observe::observe);
        self.changing(routes).layer(observed)
    }

    /// Gives routes the caller and the notification layer.
    fn changing<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let (log, tasks) = (self.log().clone(), self.tasks().clone());
        let notifier = Notifier {
            log,
            tasks,
            max_body_bytes: self.config().max_body_bytes,
            body_timeout: self.config().body_timeout,
        };
        let throttled = from_fn_with_state(self.clone(), throttle::changes);
        let routes = routes.layer(from_fn_with_state(notifier, notify));
        self.identifying(routes.layer(throttled))
    }

    /// Gives routes the caller, from the credentials or the session's cookie.
    fn identifying<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let (store, log) = (self.store().clone(), self.log().clone());
        let identity = Identity {
            store: store.clone(),
            config: Arc::clone(self.shared_config()),
        };
        let secure = self.config().is_secure();
        routes
            .layer(from_fn_with_state(identity, identify))
            .layer(session::layer(store, log, secure))
            .layer(map_response(move |response| async move {
                session::complete_removal(response, secure)
            }))
            .layer(from_fn_with_state(
                Arc::clone(self.shared_config()),
                origin::guard,
            ))
    }
}

fn api() -> Router<Roomcast> {
    Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/logout", post(auth::logout))
        .route("/auth/me", get(auth::me))
        .route("/auth/token", post(token::create))
        .route("/users", get(users::list))
        .route("/users/online", post(presence::online))
        .route("/users/{id}", get(users::show).patch(users::update))
        .route("/groups", get(groups::list).post(groups::create))
        .route(
            "/groups/{id}",
            get(groups::show).put(groups::update).delete(groups::remove),
        )
        .route(
            "/groups/{id}/members/{user}",
            put(groups::put_member).delete(groups::remove_member),
        )
        .route("/document-roots", get(roots::list).post(roots::create))
        .route(
            "/document-roots/{id}",
            get(roots::show).delete(roots::remove),
        )
        .route(
            "/document-roots/{id}/permissions/users/{user}",
            put(permissions::put_user).delete(permissions::remove_user),
        )
        .route(
            "/document-roots/{id}/permissions/groups/{group}",
            put(permissions::put_group).delete(permissions::remove_group),
        )
        .route("/documents", get(documents::list).post(documents::create))
        .route(
            "/documents/{id}",
            get(documents::show)
                .put(documents::update)
                .merge(delete(documents::remove)),
        )
        .route("/channels/{channel}/presence", get(presence::members))
        .route("/admin/rooms", get(admin::rooms))
        .route("/admin/connections", get(admin::connections))
        .route("/admin/connections/{socket}", delete(admin::remove))
        .route("/rooms", get(rooms::list).post(rooms::create))
        .route(
            "/rooms/{id}",
            get(rooms::show).put(rooms::update).delete(rooms::remove),
        )
        .route(
            "/rooms/{id}/messages",
            get(messages::list).post(messages::create),
        )
        .route(
            "/rooms/{id}/messages/{message}",
            patch(messages::update).delete(messages::remove),
        )
        .route("/publish", post(publish::one))
        .route("/publish/batch", post(publish::batch))
        .route("/publish/{id}", delete(publish::cancel))
        .route("/channels/{channel}/history", get(channels::history))
        .route(
            "/channels/{channel}/members/{user}",
            delete(members::remove),
        )
        .route("/status", get(health::status))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
}

fn sockets() -> Router<Roomcast> {
    Router::new().route("/ws", any(upgrade::upgrade))
}

fn streams() -> Router<Roomcast> {
    Router::new()
        .route("/sse/events", get(sse::channels))
        .route("/sse/events/{channel}", get(sse::channel))
}

/// Below `/api/v1`, but no part of [`api`]: what waits is not to stand in the notification layer.
fn polls() -> Router<Roomcast> {
    Router::new().route("/api/v1/events", get(poll::poll))
}

/// A panic ends its own request only.
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
