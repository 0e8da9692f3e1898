//! The HTTP API: every route and the order of the layers, on one screen.
//!
//! From the outside in: a request id, a line and a count; what pages of other origins may read; foreign pages are
//! refused; the session; the caller; the notification layer round whatever may change something; the handler. They are
//! two layers ([`observe`], [`entrance`]) and not one for each. The streaming routes and polls have no notification
//! layer: it would wait for their end.

mod admin;
mod auth;
mod channels;
mod description;
mod documents;
mod entrance;
mod extract;
mod groups;
mod headers;
mod health;
mod members;
mod messages;
mod new_event;
mod observe;
mod ops;
mod pages;
mod permissions;
mod presence;
mod publish;
mod record;
mod request_id;
mod rooms;
mod roots;
mod samples;
mod text;
mod throttle;
mod token;
mod users;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::any;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::entrance::Entrance;
use self::observe::Observe;
use crate::app::Roomcast;
use crate::error::Error;
use crate::transport::{poll, sse, upgrade};

impl Roomcast {
    /// The whole server: the HTTP API, WebSocket, SSE and long polling. It has `/api/v1`, `/ws`, `/sse`, `/livez` and
    /// `/readyz`, and to describe itself `/openapi.json`, `/asyncapi.json` and `/docs`: routes beside it go elsewhere.
    pub fn router(&self) -> Router {
        let entrance = Entrance::new(self);
        let changing = Router::from(api())
            .method_not_allowed_fallback(async || Error::MethodNotAllowed)
            .layer(entrance.clone().changing());
        let accounts = Router::from(accounts()).layer(entrance.clone().with_sessions().changing());
        let streams =
            Router::from(streams()).layer((map_response(sse::refuse_softly), entrance.clone()));
        let readable = Router::new()
            .merge(changing)
            .merge(accounts)
            .merge(Router::from(polls()).layer(entrance.clone()))
            .merge(streams)
            .merge(description::routes())
            .merge(pages::client())
            .fallback(async || Error::NotFound)
            .method_not_allowed_fallback(async || Error::MethodNotAllowed)
            .layer(Observe::readable(self));
        // A WebSocket needs none of that: its page reads what comes whatever its origin, so that is checked.
        let others = Router::from(health())
            .merge(sockets().layer(entrance.clone()))
            .merge(Router::from(figures()).layer(entrance))
            .method_not_allowed_fallback(async || Error::MethodNotAllowed)
            .layer(Observe::dressed(self));
        readable.merge(others).with_state(self.clone())
    }

    /// Gives routes of another application what ours have: they know the [`Caller`](crate::caller::Caller), may take a
    /// [`Tx`](crate::notify::Tx), and what they attach with [`Notify`](crate::notify::Notify) is told if they succeed.
    ///
    /// An application with its own accounts puts a [`Caller`](crate::caller::Caller) into the request's extensions in
    /// a layer around this. Otherwise `Authorization: Bearer` and `?token=` are read as ours, and refused where they
    /// are not.
    pub fn notifying<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        routes
            .layer(Entrance::new(self).with_sessions().changing())
            .layer(Observe::new(self))
    }
}

/// Where each stands is said beside its handler, so that the description is made from the routes that are served.
fn api() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new()
        .routes(routes!(auth::me))
        .routes(routes!(token::create))
        .routes(routes!(users::list))
        .routes(routes!(presence::online))
        .routes(routes!(users::show, users::update))
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::show, groups::update, groups::remove))
        .routes(routes!(groups::put_member, groups::remove_member))
        .routes(routes!(roots::list, roots::create))
        .routes(routes!(roots::show, roots::remove))
        .routes(routes!(permissions::put_user, permissions::remove_user))
        .routes(routes!(permissions::put_group, permissions::remove_group))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(
            documents::show,
            documents::update,
            documents::remove
        ))
        .routes(routes!(presence::members))
        .routes(routes!(admin::rooms))
        .routes(routes!(admin::connections))
        .routes(routes!(admin::remove))
        .routes(routes!(samples::list))
        .routes(routes!(rooms::list, rooms::create))
        .routes(routes!(rooms::show, rooms::update, rooms::remove))
        .routes(routes!(messages::list, messages::create))
        .routes(routes!(messages::update, messages::remove))
        .routes(routes!(publish::one))
        .routes(routes!(publish::batch))
        .routes(routes!(publish::cancel))
        .routes(routes!(channels::history))
        .routes(routes!(members::remove))
        .routes(routes!(health::status))
}

/// Those that begin and end sessions.
fn accounts() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new()
        .routes(routes!(auth::register))
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
}

/// The description names it by itself: `any` is no method.
fn sockets() -> Router<Roomcast> {
    Router::new().route("/ws", any(upgrade::upgrade))
}

fn streams() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new()
        .routes(routes!(sse::channels))
        .routes(routes!(sse::channel))
}

/// Below `/api/v1`, but no part of [`api`]: what waits is not to stand in the notification layer.
fn polls() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new().routes(routes!(poll::poll))
}

fn health() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}

fn figures() -> OpenApiRouter<Roomcast> {
    OpenApiRouter::new().routes(routes!(ops::guarded))
}
