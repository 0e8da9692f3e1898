//! Sessions in our own database: ids only as hashes, the user beside them, and an end that stays an end.
//!
//! A middleware that saves late must not bring a finished login back to life, so saving is an update of a row that is
//! there. Ending one closes the sockets that came with it, at its own place in the log.

use ::http::header::{COOKIE, Entry, SET_COOKIE};
use ::http::{HeaderMap, HeaderValue};
use async_trait::async_trait;
use axum::response::Response;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Expiry, SessionManagerLayer, SessionStore};

use crate::log::Log;
use crate::realtime::connection::SessionKey;
use crate::realtime::registry::Move;
use crate::store::{self, Store, sessions, users};

/// Where a session's data has the id of its user.
pub(crate) const USER: &str = "user";

/// How long a login lasts.
const LIFETIME: Duration = Duration::days(14);

/// What a session is known by outside its cookie.
pub(crate) fn key(id: Id) -> SessionKey {
    let hash = Sha256::digest(id.to_string());
    SessionKey(
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
    )
}

fn cookie_name(secure: bool) -> &'static str {
    if secure {
        "__Host-roomcast"
    } else {
        "roomcast"
    }
}

/// The session that a request's cookie names, as [`layer`] reads it, whether or not there is one.
pub(crate) fn shown(headers: &HeaderMap, secure: bool) -> Option<SessionKey> {
    let name = cookie_name(secure);
    let lines = headers.get_all(COOKIE).iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut values = cookies.filter_map(|cookie| {
        let (named, value) = cookie.split_once('=')?;
        (named.trim() == name).then(|| value.trim())
    });
    let value = values.next()?;
    // Which of several counts is for the layer to say.
    if values.next().is_some() {
        return None;
    }
    value.parse().ok().map(key)
}

/// The layer that reads the cookie. `secure` is for servers that are reached over TLS.
pub(crate) fn layer(store: Store, log: Log, secure: bool) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions { store, log })
        .with_name(cookie_name(secure))
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(LIFETIME))
}

/// Gives the cookie that takes the session's away the flags that it was set with, which tower-sessions leaves out: a
/// browser ignores what touches a `__Host-` cookie without `Secure`, and would keep it.
pub(crate) fn complete_removal(mut response: Response, secure: bool) -> Response {
    let removal = format!("{}=;", cookie_name(secure));
    let flags = if secure {
        "HttpOnly; SameSite=Lax; Secure"
    } else {
        "HttpOnly; SameSite=Lax"
    };
    if let Entry::Occupied(mut cookies) = response.headers_mut().entry(SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            let removing = cookie
                .to_str()
                .ok()
                .filter(|cookie| cookie.starts_with(&removal));
            if let Some(Ok(complete)) =
                removing.map(|cookie| HeaderValue::from_str(&format!("{cookie}; {flags}")))
            {
                *cookie = complete;
            }
        }
    }
    response
}

/// The store of sessions.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    store: Store,
    log: Log,
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

/// A session that cannot be read or written now. Logged, because the layer above keeps no cause.
pub(crate) fn unavailable(error: tower_sessions::session::Error) -> crate::error::Error {
    tracing::warn!(%error, "a session could not be read or written");
    crate::error::Error::Unavailable {
        detail: "Sessions cannot be looked up now.",
        retry_after: 1,
    }
}

fn encode(record: &Record) -> Result<String> {
    serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let user = record
            .data
            .get(USER)
            .and_then(|user| user.as_str())
            .map(str::to_owned);
        let (id, data) = (key(record.id), encode(record)?);
        let mut turn = self.log.begin().await.map_err(backend)?;
        // 128 random bits do not collide; if they ever did, this fails, and overwrites nobody's login.
        sessions::insert(
            turn.db(),
            &id.0,
            user.as_deref(),
            &data,
            OffsetDateTime::now_utc(),
            record.expiry_date,
        )
        .await
        .map_err(backend)?;
        turn.commit(Vec::new()).await.map_err(backend)?;
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let (id, data) = (key(record.id), encode(record)?);
        let mut turn = self.log.begin().await.map_err(backend)?;
        sessions::update(turn.db(), &id.0, &data, record.expiry_date)
            .await
            .map_err(backend)?;
        turn.commit(Vec::new()).await.map_err(backend)?;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let mut db = self.store.read().await.map_err(backend)?;
        let found = sessions::find(&mut db, &key(*id).0, OffsetDateTime::now_utc())
            .await
            .map_err(backend)?;
        let Some((data, expires_at)) = found else {
            return Ok(None);
        };
        let data = serde_json::from_str(&data).map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record {
            id: *id,
            data,
            expiry_date: store::from_millis(expires_at),
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let session = key(*id);
        let mut turn = self.log.begin().await.map_err(backend)?;
        let user = sessions::delete(turn.db(), &session.0)
            .await
            .map_err(backend)?;
        turn.moves(user.map(|user| Move::EndSession { user, session }));
        turn.commit(Vec::new()).await.map_err(backend)?;
        Ok(())
    }
}

/// Ends sessions that have expired, and closes their sockets. Returns how many there were, at most 500.
pub(crate) async fn end_expired(log: &Log) -> anyhow::Result<usize> {
    let mut turn = log.begin().await?;
    let expired = sessions::delete_expired(turn.db(), OffsetDateTime::now_utc(), 500).await?;
    let count = expired.len();
    for (user, id) in expired {
        let Some(user) = user else { continue };
        let (user, session) = (users::user_id(&user)?, SessionKey(id.into()));
        turn.moves([Move::EndSession { user, session }]);
    }
    turn.commit(Vec::new()).await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_shown_by_one_cookie_of_its_name() {
        let id = Id::default();
        let shown_by = |cookies: &[&str], secure| {
            let mut headers = HeaderMap::new();
            for line in cookies {
                headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
            }
            shown(&headers, secure)
        };
        let (plain, prefixed) = (format!("roomcast={id}"), format!("__Host-roomcast={id}"));
        let other = format!("theme=dark; {plain} ;a=b");

        assert_eq!(shown_by(&[&plain], false), Some(key(id)));
        assert_eq!(shown_by(&["a=b", &other], false), Some(key(id)));
        assert_eq!(shown_by(&[&prefixed, &plain], true), Some(key(id)));
        // None, one that is no id, one of another name, and two: none of them is for us to tell.
        for cookies in [
            &[][..],
            &["roomcast=x"],
            &["roomcast="],
            &[&prefixed],
            &[&plain, &plain],
        ] {
            assert_eq!(shown_by(cookies, false), None, "{cookies:?}");
        }
    }
}
