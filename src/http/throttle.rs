//! How many changes one user may make: a layer round all that may change something, inside that which finds the caller.

use std::sync::Arc;

use ::http::Method;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::address;
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::limits::Who;
use crate::metrics::Refusal;

/// Refuses changes that are too many, before their bodies are read. A back end with the API key is trusted to know.
pub(super) async fn changes(State(app): State<Roomcast>, request: Request, next: Next) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe || request.extensions().get::<BackEnd>().is_some() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let user = parts
        .extensions
        .get::<Caller>()
        .map(|caller| &caller.user.id);
    let who = match user {
        Some(user) => Some(Who::User(user.clone())),
        None => address::of(&parts, app.config()).map(Who::Address),
    };
    let mut request = Request::from_parts(parts, body);
    // Inside another application nobody may know where requests come from.
    let Some(who) = who else {
        return next.run(request).await;
    };
    let refused = |retry_after| {
        app.metrics().refuse(Refusal::Changes);
        let detail = "That is more than you may change; see Retry-After.";
        Error::RateLimited {
            detail,
            retry_after,
        }
        .into_response()
    };
    if let Err(seconds) = app.limits().changes.take(&who) {
        return refused(seconds);
    }
    let Some(place) = app.limits().changing.take(who) else {
        return refused(1);
    };
    // For the task that makes the change: it goes on when its client hangs up.
    request.extensions_mut().insert(Arc::new(place));
    next.run(request).await
}
