//! How many changes one user may make, before the notification layer reads what they are.

use std::sync::Arc;

use ::http::Method;
use axum::extract::Request;

use crate::address;
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller};
use crate::error::Error;
use crate::limits::Who;
use crate::metrics::Refusal;

/// Takes a place for a request that may change something, as long as it goes on. A back end with the API key is trusted
/// to know.
///
/// # Errors
/// When there are too many changes.
pub(super) fn take_place(app: &Roomcast, request: &mut Request) -> Result<(), Error> {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe || request.extensions().get::<BackEnd>().is_some() {
        return Ok(());
    }
    let who = match request.extensions().get::<Caller>() {
        Some(caller) => Some(Who::User(caller.user.id.clone())),
        None => {
            address::of(request.headers(), request.extensions(), app.config()).map(Who::Address)
        }
    };
    // Inside another application nobody may know where requests come from.
    let Some(who) = who else {
        return Ok(());
    };
    let refused = |retry_after| {
        app.metrics().refuse(Refusal::Changes);
        let detail = "That is more than you may change; see Retry-After.";
        Error::RateLimited {
            detail,
            retry_after,
        }
    };
    app.limits().changes.take(&who).map_err(refused)?;
    let place = app.limits().changing.take(who);
    let place = place.ok_or_else(|| refused(1))?;
    // For the task that makes the change: it goes on when its client hangs up.
    request.extensions_mut().insert(Arc::new(place));
    Ok(())
}
