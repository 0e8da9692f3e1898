//! The caller of a request: who is logged in, found once per request and handed on.

use ::http::request::Parts;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use tower_sessions::Session;

use crate::error::Error;
use crate::realtime::User;
use crate::realtime::connection::SessionKey;
use crate::session;
use crate::store::{Db, Store, sessions, users};

/// Somebody who is logged in. An application with its own accounts puts one into the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: User,
    /// With which login; sockets close when it ends.
    pub session: Option<SessionKey>,
}

impl Caller {
    /// A caller whom the application itself has found out.
    pub fn new(user: User) -> Self {
        Self {
            user,
            session: None,
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
            session: Some(session.clone()),
        }))
    }
}

/// The layer that finds the caller. It stands inside the session layer.
pub(crate) async fn identify(
    State(store): State<Store>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.extensions().get::<Caller>().is_none() {
        match find(&store, request.extensions().get::<Session>()).await {
            Ok(Some(caller)) => {
                request.extensions_mut().insert(caller);
            }
            Ok(None) => {}
            Err(error) => return error.into_response(),
        }
    }
    next.run(request).await
}

async fn find(store: &Store, session: Option<&Session>) -> Result<Option<Caller>, Error> {
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
        user,
        session: Some(session::key(id)),
    }))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(Error::Unauthorized("Log in first."))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}
