//! The caller of a request: who is logged in, found once per request and handed on; or a back end with the API key.

use std::sync::Arc;

use ::http::request::Parts;
use ::http::{HeaderMap, header};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tower_sessions::Session;

use crate::config::Config;
use crate::error::Error;
use crate::realtime::connection::SessionKey;
use crate::realtime::{Channel, User};
use crate::session;
use crate::store::{Db, Store, sessions, users};

/// Somebody who is logged in. An application with its own accounts puts one into the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: User,
    /// With which login; sockets close when it ends.
    pub session: Option<SessionKey>,
    /// Channels that the caller may join besides what the user may.
    pub(crate) grants: Arc<[Channel]>,
}

impl Caller {
    /// A caller whom the application itself has found out.
    pub fn new(user: User) -> Self {
        Self {
            user,
            session: None,
            grants: Arc::default(),
        }
    }

    /// Looks the same caller up again: nobody, if the login has ended meanwhile.
    pub(crate) async fn again(&self, db: &mut Db) -> sqlx::Result<Option<Self>> {
        let Some(session) = &self.session else {
            return Ok(Some(self.clone()));
        };
        let user = sessions::user(db, &session.0, OffsetDateTime::now_utc()).await?;
        Ok(user.map(|user| Self {
            user,
            ..self.clone()
        }))
    }
}

/// A back end that showed the API key. It is no user: it publishes, and reads what is said and who is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackEnd;

/// What the layer that finds the caller needs.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
}

/// The layer that finds the caller. It stands inside the session layer.
pub(crate) async fn identify(
    State(identity): State<Identity>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.extensions().get::<Caller>().is_none() {
        let found = find(&identity, request.headers(), request.extensions().get()).await;
        match found {
            Ok(Some(Found::Caller(caller))) => {
                request.extensions_mut().insert(caller);
            }
            Ok(Some(Found::BackEnd)) => {
                request.extensions_mut().insert(BackEnd);
            }
            Ok(None) => {}
            Err(error) => return error.into_response(),
        }
    }
    next.run(request).await
}

enum Found {
    Caller(Caller),
    BackEnd,
}

/// Whoever shows a bearer credential is whom that says, or nobody: it is never mixed with a cookie.
async fn find(
    identity: &Identity,
    headers: &HeaderMap,
    session: Option<&Session>,
) -> Result<Option<Found>, Error> {
    let Identity { store, config } = identity;
    if let Some(bearer) = bearer(headers) {
        return match &config.api_key {
            Some(key) if same(key.expose().as_bytes(), bearer) => Ok(Some(Found::BackEnd)),
            _ => Err(Error::Unauthorized("That is no credential of this server.")),
        };
    }
    Ok(by_session(store, session).await?.map(Found::Caller))
}

/// What stands behind `Authorization: Bearer`; other schemes are for a proxy in between.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let credentials = headers.get(header::AUTHORIZATION)?.as_bytes();
    let scheme = credentials.get(..7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| credentials[7..].trim_ascii())
}

/// Compares hashes, so that the time it takes says nothing of the key.
fn same(key: &[u8], shown: &[u8]) -> bool {
    Sha256::digest(key) == Sha256::digest(shown)
}

async fn by_session(store: &Store, session: Option<&Session>) -> Result<Option<Caller>, Error> {
    let Some(session) = session else {
        return Ok(None);
    };
    let user: Option<String> = session
        .get(session::USER)
        .await
        .map_err(session::unavailable)?;
    let (Some(user), Some(id)) = (user, session.id()) else {
        return Ok(None);
    };
    let user = users::find(&mut *store.read().await?, &user).await?;
    Ok(user.map(|user| Caller {
        session: Some(session::key(id)),
        ..Caller::new(user)
    }))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or(Error::Unauthorized("Log in first."))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BackEnd {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let back_end = parts.extensions.get::<Self>().copied();
        back_end.ok_or(Error::Unauthorized(
            "Expected the API key: Authorization: Bearer <ROOMCAST_API_KEY>.",
        ))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for BackEnd {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().copied())
    }
}
