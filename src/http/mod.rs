//! The HTTP API: every route and the order of the layers, on one screen.
//!
//! From the outside in: a request id; foreign pages are refused; the session; the caller; the notification layer round
//! whatever may change something; the handler. The streaming routes have no notification layer: it would wait for
//! their end.

pub(crate) mod attempts;
mod auth;
mod documents;
mod extract;
mod groups;
mod health;
mod permissions;
mod record;
pub(crate) mod request_id;
mod roots;
mod users;

use std::any::Any;

use ::http::{HeaderValue, header};
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::Roomcast;
use crate::error::Error;
use crate::transport::{sse, upgrade};

/// The whole server.
pub(crate) fn router(app: &Roomcast) -> Router {
    let api = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/logout", post(auth::logout))
        .route("/auth/me", get(auth::me))
        .route("/users", get(users::list))
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
        .route("/status", get(health::status))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed);
    let streams = Router::new()
        .route("/ws", any(upgrade::upgrade))
        .route("/sse/events", get(sse::channels))
        .route("/sse/events/{channel}", get(sse::channel));
    let private = HeaderValue::from_static("no-store");
    let api = app.notifying(Router::new().nest("/api/v1", api)).layer(
        SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, private),
    );
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .merge(api)
        .merge(app.identifying(streams))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app.clone())
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
