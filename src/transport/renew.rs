//! A new token for a WebSocket that is there already: it goes on, with what the new one grants and for as long.

use std::fmt::Debug;
use std::sync::Arc;

use time::OffsetDateTime;

use super::command::count;
use super::term::Standing;
use crate::app::Roomcast;
use crate::caller::{Caller, ENDED};
use crate::policy;
use crate::realtime::protocol::client::Token;
use crate::realtime::protocol::server::timestamp;
use crate::realtime::protocol::{CommandId, ErrorCode, Frame};
use crate::realtime::registry::Refusal;
use crate::realtime::{Channel, Connection, Data};
use crate::token::{self, Claims};

/// How often rights may change under a renewal before it is refused.
const ATTEMPTS: usize = 20;

/// Takes a new token and answers. What is refused changes nothing.
pub(super) async fn renew(
    app: Roomcast,
    connection: Arc<Connection>,
    standing: Standing,
    id: Option<CommandId>,
    token: Token,
) {
    let answer = match take_up(&app, &connection, &standing, &token).await {
        Ok((ends, left)) => {
            let (ends, left) = (Data::from_value(&timestamp(ends)), Data::from_value(&left));
            let mut fields = vec![("expiresAt", ends.as_str())];
            if left.as_str() != "[]" {
                fields.push(("left", left.as_str()));
            }
            Frame::ack(id.as_ref(), &fields)
        }
        Err((code, message)) => {
            count(&app, code);
            Frame::error(id.as_ref(), code, message)
        }
    };
    connection.outbox.push(answer);
    // Its own task counts the time.
    connection.outbox.stir();
}

/// Until when the connection may stay, and which channels it is out of.
async fn take_up(
    app: &Roomcast,
    connection: &Connection,
    standing: &Standing,
    token: &Token,
) -> Result<(OffsetDateTime, Vec<Channel>), (ErrorCode, &'static str)> {
    let claims = accept(app, standing, token).map_err(|why| (ErrorCode::Unauthorized, why))?;
    let (ends, claims) = (claims.expires, Arc::new(claims));
    let unavailable = |error: &dyn Debug| {
        tracing::error!(?error, "a new token could not be taken up");
        (
            ErrorCode::Unavailable,
            "The server cannot look up your rights now. Try again.",
        )
    };
    for _ in 0..ATTEMPTS {
        let access_version = app.registry().access_version(connection.user_id());
        let mut db = app
            .store()
            .read()
            .await
            .map_err(|error| unavailable(&error))?;
        let caller = Caller::of_token(&mut db, Arc::clone(&claims)).await;
        let caller = caller
            .map_err(|error| unavailable(&error))?
            .ok_or((ErrorCode::Unauthorized, ENDED))?;
        drop(db);
        let held = standing.caller();
        let grants = held.map(|held| Arc::clone(&held.grants));
        let grants = grants.unwrap_or_default();
        let mut rights = Vec::new();
        for (channel, membership) in app.registry().channels(connection) {
            // What the old token did not grant does not hang on it: the application, above all, is not asked again.
            if membership.automatic || !policy::is_granted(&grants, &channel) {
                continue;
            }
            let access = app.admits(Some(&caller), &channel).await;
            rights.push((channel, access.map_err(|error| unavailable(&error))?));
        }
        let session = caller.session.clone();
        match app
            .registry()
            .renew(connection, session, &rights, access_version)
        {
            Err(Refusal::Stale) => {}
            _ => {
                standing.renew(caller);
                let left = rights.into_iter().filter(|(_, access)| access.is_none());
                return Ok((ends, left.map(|(channel, _)| channel).collect()));
            }
        }
    }
    Err((ErrorCode::Unavailable, "Rights change too fast. Try again."))
}

/// What a token says that the connection may go on with, or why it may not.
fn accept(app: &Roomcast, standing: &Standing, token: &Token) -> Result<Claims, &'static str> {
    let held = standing.caller();
    let held = held.filter(|caller| caller.expires().is_some()).ok_or(
        "This connection did not come with a token, and does not go on with one. Connect anew.",
    )?;
    let secret = app.config().token_secret.as_ref();
    let secret = secret.ok_or("This server takes no tokens.")?;
    let now = OffsetDateTime::now_utc();
    let claims = token::verify(secret, token.expose().as_bytes(), now)
        .map_err(|invalid| invalid.detail())?;
    if claims.user != held.user.id {
        return Err("That token is somebody else's. Connect anew with it.");
    }
    Ok(claims)
}
