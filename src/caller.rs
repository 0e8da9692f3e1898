//! The caller of a request: who is logged in or holds a token, found once per request and handed on; or a back end with
//! the API key.

use std::sync::Arc;

use ::http::request::Parts;
use ::http::{HeaderMap, Uri, header};
use axum::extract::{FromRequestParts, OptionalFromRequestParts, Query, Request};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tower_sessions::Session;

use crate::config::Config;
use crate::error::Error;
use crate::realtime::connection::SessionKey;
use crate::realtime::{Channel, Registry, User};
use crate::session;
use crate::store::{Db, Store, sessions, users};
use crate::token::{self, Claims, Invalid};

/// What somebody reads whose login or token was good a moment ago.
pub(crate) const ENDED: &str = "Your session or token has ended.";

/// Somebody who is logged in. An application with its own accounts puts one into the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: User,
    /// With which login; sockets close when it ends.
    pub session: Option<SessionKey>,
    /// Channels that the caller may join besides what the user may.
    pub(crate) grants: Arc<[Channel]>,
    /// What the token says that the caller came with, if it was one.
    pub(crate) token: Option<Arc<Claims>>,
    /// How many moves there had been when it was looked up ([`Registry::moves`]); nothing, if the application said so.
    pub(crate) moves: Option<u64>,
}

impl Caller {
    /// A caller whom the application itself has found out.
    pub fn new(user: User) -> Self {
        Self {
            user,
            session: None,
            grants: Arc::default(),
            token: None,
            moves: None,
        }
    }

    /// Whoever holds a token: nobody, if it has ended, or the login that it was made for has. A user of ours is what
    /// its row says; anybody else is a user of the application that made the token, and no administrator.
    pub(crate) async fn of_token(db: &mut Db, claims: Arc<Claims>) -> sqlx::Result<Option<Self>> {
        let now = OffsetDateTime::now_utc();
        if claims.expires <= now {
            return Ok(None);
        }
        let user = match &claims.session {
            Some(session) => {
                let user = sessions::user(db, &session.0, now).await?;
                let Some(user) = user.filter(|user| user.id == claims.user) else {
                    return Ok(None);
                };
                user
            }
            None => {
                let user = users::find(db, claims.user.as_str()).await?;
                user.unwrap_or_else(|| claims.stranger())
            }
        };
        Ok(Some(Self {
            user,
            session: claims.session.clone(),
            grants: Arc::clone(&claims.channels),
            token: Some(claims),
            moves: None,
        }))
    }

    /// Whoever is logged in with a session.
    async fn of_session(db: &mut Db, session: SessionKey) -> sqlx::Result<Option<Self>> {
        let user = sessions::user(db, &session.0, OffsetDateTime::now_utc()).await?;
        Ok(user.map(|user| Self {
            session: Some(session),
            ..Self::new(user)
        }))
    }

    /// When the caller's token ends, if it came with one.
    pub(crate) fn expires(&self) -> Option<OffsetDateTime> {
        self.token.as_ref().map(|claims| claims.expires)
    }

    /// Looks the same caller up again: nobody, if the login or token has ended meanwhile.
    pub(crate) async fn again(&self, db: &mut Db) -> sqlx::Result<Option<Self>> {
        if let Some(claims) = &self.token {
            return Self::of_token(db, Arc::clone(claims)).await;
        }
        match &self.session {
            Some(session) => Self::of_session(db, session.clone()).await,
            None => Ok(Some(self.clone())),
        }
    }
}

/// A back end that showed the API key. It is no user: it publishes, and reads what is said and who is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackEnd;

/// What finding the caller needs.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Arc<Registry>,
}

/// Puts into a request who asks, unless an application with its own accounts has said so.
pub(crate) async fn announce(identity: &Identity, request: &mut Request) -> Result<(), Error> {
    if request.extensions().get::<Caller>().is_some() {
        return Ok(());
    }
    let (headers, uri) = (request.headers(), request.uri());
    let moves = Some(identity.registry.moves());
    match find(identity, headers, uri, request.extensions().get()).await? {
        Some(Found::Caller(caller)) => {
            request.extensions_mut().insert(Caller { moves, ..caller });
        }
        Some(Found::BackEnd) => {
            request.extensions_mut().insert(BackEnd);
        }
        None => {}
    }
    Ok(())
}

/// Puts into a request whose session its cookie names. Whether there is such a session, and somebody's.
pub(crate) async fn announce_session(
    identity: &Identity,
    request: &mut Request,
    session: SessionKey,
) -> Result<bool, Error> {
    let moves = Some(identity.registry.moves());
    let found = Caller::of_session(&mut *identity.store.read().await?, session).await?;
    let is_somebody = found.is_some();
    if let Some(caller) = found {
        request.extensions_mut().insert(Caller { moves, ..caller });
    }
    Ok(is_somebody)
}

/// Whether a request shows a credential, good or not: then no cookie counts.
pub(crate) fn shows_credential(headers: &HeaderMap, uri: &Uri) -> bool {
    bearers(headers).next().is_some() || tokens(uri).is_ok_and(|tokens| !tokens.is_empty())
}

enum Found {
    Caller(Caller),
    BackEnd,
}

const NO_KEY: &str = "That is not the API key of this server, and it takes no tokens: it has no ROOMCAST_TOKEN_SECRET.";
const NEITHER: &str = "That is neither the API key of this server nor a token; expected the key, or a JWT of three parts, signed with HS256.";
const NO_TOKENS: &str =
    "This server takes no tokens: it has no ROOMCAST_TOKEN_SECRET. Log in for a session cookie.";

/// Whoever shows a credential is whom that says, or nobody: it is never mixed with a cookie.
async fn find(
    identity: &Identity,
    headers: &HeaderMap,
    uri: &Uri,
    session: Option<&Session>,
) -> Result<Option<Found>, Error> {
    let Identity { store, config, .. } = identity;
    let in_query = tokens(uri)?;
    let in_header: Vec<&[u8]> = bearers(headers).collect();
    if in_query.len() + in_header.len() > 1 {
        return Err(Error::invalid(
            "invalid-request",
            "Show one credential: a header Authorization: Bearer, or ?token=, once.",
        ));
    }
    let is_key = |shown: &[u8]| {
        let key = config.api_key.as_ref();
        key.is_some_and(|key| same(key.expose().as_bytes(), shown))
    };
    let token = match (in_header.first(), in_query.first()) {
        // The key itself is for back ends, which can send headers; an address is written down in many places.
        (Some(shown), _) if is_key(shown) => return Ok(Some(Found::BackEnd)),
        (Some(shown), _) => shown,
        (None, Some(shown)) => shown.as_bytes(),
        (None, None) => return Ok(by_session(store, session).await?.map(Found::Caller)),
    };
    // It may have been meant for the key.
    let keyed = config.api_key.is_some() && in_query.is_empty();
    let Some(secret) = &config.token_secret else {
        return Err(Error::Unauthorized(if keyed { NO_KEY } else { NO_TOKENS }));
    };
    let claims = token::verify(secret, token, OffsetDateTime::now_utc()).map_err(|invalid| {
        Error::Unauthorized(match invalid {
            Invalid::Form if keyed => NEITHER,
            _ => invalid.detail(),
        })
    })?;
    let caller = Caller::of_token(&mut *store.read().await?, Arc::new(claims)).await?;
    let caller = caller.ok_or(Error::Unauthorized(ENDED))?;
    Ok(Some(Found::Caller(caller)))
}

/// What stands behind `Authorization: Bearer`, were it nothing; other schemes are for a proxy in between.
fn bearers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let credentials = headers.get_all(header::AUTHORIZATION).iter();
    credentials.filter_map(|credentials| {
        let credentials = credentials.as_bytes().trim_ascii();
        let end = credentials.iter().position(u8::is_ascii_whitespace);
        let (scheme, shown) = credentials.split_at(end.unwrap_or(credentials.len()));
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer");
        is_bearer.then(|| shown.trim_ascii())
    })
}

/// What stands behind `?token=`, for browsers, whose WebSocket and EventSource send no headers of one's own.
fn tokens(uri: &Uri) -> Result<Vec<String>, Error> {
    if uri.query().is_none() {
        return Ok(Vec::new());
    }
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Error::invalid("invalid-query", "The query is not one of form fields."))?;
    let tokens = query.0.into_iter().filter(|(name, _)| name == "token");
    Ok(tokens.map(|(_, token)| token).collect())
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
