//! Tokens for who is logged in: what a page gives to a client that has no cookies.

use std::time::Duration;

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::extract::Body;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::realtime::protocol::server::timestamp;
use crate::token::{self, Claims};

/// How long a token holds where nothing is said, and at most, in seconds.
const DEFAULT_TTL: u64 = 3_600;
const MAX_TTL: u64 = 24 * 3_600;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(examples(json!({ "ttlSeconds": 600 })))]
pub(super) struct NewToken {
    /// How long it holds.
    #[schema(minimum = 1, maximum = 86_400, default = 3_600)]
    ttl_seconds: Option<u64>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
pub(super) struct Made {
    #[schema(format = DateTime)]
    expires_at: String,
    token: String,
}

/// Makes a token for a client without cookies.
///
/// It is for the session of the cookie, and ends with it. Not for a token: it would never end.
#[utoipa::path(
    post, path = "/api/v1/auth/token", operation_id = "makeToken", tag = "Accounts",
    security(("cookie" = [])),
    request_body = NewToken,
    responses((status = 201, description = "The token.", body = Made)),
)]
pub(super) async fn create(
    State(app): State<Roomcast>,
    caller: Caller,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Made>), Error> {
    let session = caller.session.filter(|_| caller.token.is_none());
    let session = session.ok_or(Error::forbidden(
        "A token is made for a login: ask with the session's cookie, and without a token.",
    ))?;
    let secret = app.config().token_secret.as_ref().ok_or(Error::forbidden(
        "This server makes no tokens: it has no ROOMCAST_TOKEN_SECRET.",
    ))?;
    let ttl = new.ttl_seconds.unwrap_or(DEFAULT_TTL);
    if !(1..=MAX_TTL).contains(&ttl) {
        let expected = format!("expected a whole number of seconds from 1 to {MAX_TTL}");
        return Err(Error::field("ttlSeconds", expected));
    }
    let expires = token::end_of(OffsetDateTime::now_utc(), Duration::from_secs(ttl))
        .ok_or_else(|| anyhow::anyhow!("the clock is at the end of time"))?;
    let mut claims = Claims::new(caller.user.id, expires);
    claims.session = Some(session);
    let token = token::mint(secret, &claims).map_err(anyhow::Error::from)?;
    let expires_at = timestamp(expires);
    Ok((StatusCode::CREATED, Json(Made { expires_at, token })))
}
