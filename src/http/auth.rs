//! Registering, logging in and out.

use std::net::IpAddr;

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tower_sessions::Session;
use utoipa::ToSchema;

use super::extract::{Address, Body};
use super::record;
use crate::accounts;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::config::Registration;
use crate::error::Error;
use crate::limits::Who;
use crate::metrics::Refusal;
use crate::notify::Begin;
use crate::password::MAX_BYTES;
use crate::realtime::{Channel, User, UserId};
use crate::session;
use crate::store::users;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "username": "ada", "password": "roomcast-demo" })))]
pub(super) struct Login {
    /// Without white space and control characters.
    #[schema(min_length = 1, max_length = 64)]
    username: String,
    /// At most 1,024 bytes.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: String,
}

/// Makes an account.
///
/// It does not log in. On a server with closed registration administrators do it.
#[utoipa::path(
    post, path = "/api/v1/auth/register", operation_id = "register", tag = "Accounts",
    security((), ("cookie" = []), ("token" = []), ("tokenInQuery" = [])),
    request_body = Login,
    responses(
        (status = 201, description = "The account.", body = Account),
        (status = 409, description = "The name is taken."),
    ),
)]
pub(super) async fn register(
    State(app): State<Roomcast>,
    begin: Begin,
    caller: Option<Caller>,
    Address(address): Address,
    Body(login): Body<Login>,
) -> Result<Response, Error> {
    if app.config().registration == Registration::Closed
        && !caller.as_ref().is_some_and(|caller| caller.user.admin)
    {
        return Err(Error::forbidden(
            "Registration is closed; an administrator makes accounts.",
        ));
    }
    check_username(&login.username)?;
    check_password(&login.password)?;
    throttle(&app, address)?;
    let password_hash = app.passwords().hash(login.password).await?;
    let user = accounts::new_user(&login.username, false);
    let mut tx = begin.begin().await?;
    users::insert(tx.db(), &user, &password_hash, OffsetDateTime::now_utc())
        .await
        .map_err(name_taken)?;
    // Who registers is told of as the new user; who is registered by an administrator, as by that.
    let caller = caller.unwrap_or_else(|| Caller::new(user.clone()));
    let notify = record::new(
        &caller,
        record::Kind::User,
        &shown(&user),
        vec![Channel::user(&user.id)],
    );
    Ok((StatusCode::CREATED, notify, Json(shown(&user))).into_response())
}

/// Logs in: the answer has the session's cookie.
///
/// Failed logins of one account from one address are limited, and so are logins of one address.
#[utoipa::path(
    post, path = "/api/v1/auth/login", operation_id = "logIn", tag = "Accounts",
    security(()),
    request_body = Login,
    responses(
        (
            status = 200,
            description = "Who you are now. `Set-Cookie` has the session.",
            body = Account,
        ),
        (status = 401, description = "Wrong username or password."),
    ),
)]
pub(super) async fn login(
    State(app): State<Roomcast>,
    session: Session,
    Address(address): Address,
    Body(login): Body<Login>,
) -> Result<Json<Account>, Error> {
    if login.password.len() > MAX_BYTES {
        return Err(Error::field(
            "password",
            format!("expected at most {MAX_BYTES} bytes"),
        ));
    }
    throttle(&app, address)?;
    let begun = app.attempts().begin(&login.username, address);
    begun.inspect_err(|_| app.metrics().refuse(Refusal::LoginAttempts))?;
    let known = users::credentials(&mut *app.store().read().await?, &login.username).await?;
    let (id, hash) = known.map(|known| (known.id, known.password_hash)).unzip();
    // An unknown user is checked too, against nothing: what there is must not show in the time it takes.
    if !app.passwords().verify(login.password, hash.clone()).await? {
        return Err(Error::Unauthorized("Wrong username or password."));
    }
    let id = id.ok_or(Error::Unauthorized("Wrong username or password."))?;
    let user = users::find(&mut *app.store().read().await?, id.as_str()).await?;
    let user = user.ok_or(Error::Unauthorized("Wrong username or password."))?;
    app.attempts().succeeded(&login.username, address);
    // A new id for a new login: nobody can have planted it, and what was logged in before is so no more.
    session.cycle_id().await.map_err(session::unavailable)?;
    session
        .insert(session::USER, user.id.as_str())
        .await
        .map_err(session::unavailable)?;
    session.save().await.map_err(session::unavailable)?;
    // A password that was changed since it was looked at has ended all sessions but this one.
    let now = users::password_hash(&mut *app.store().read().await?, &user.id).await?;
    if now != hash {
        session.flush().await.map_err(session::unavailable)?;
        return Err(Error::Unauthorized("Wrong username or password."));
    }
    Ok(Json(shown(&user)))
}

/// Refuses what an address tries too often, before it costs a hash.
fn throttle(app: &Roomcast, address: Option<IpAddr>) -> Result<(), Error> {
    let Some(address) = address else {
        return Ok(());
    };
    let taken = app.limits().logins.take(&Who::Address(address));
    taken.map_err(|retry_after| {
        app.metrics().refuse(Refusal::Logins);
        Error::RateLimited {
            detail: "Your address tries to log in too often.",
            retry_after,
        }
    })
}

/// Ends this session, and closes its sockets.
///
/// Who shows a token speaks for no session, and is refused.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", operation_id = "logOut", tag = "Accounts",
    security((), ("cookie" = [])),
    responses((status = 204, description = "There is no session any more.")),
)]
pub(super) async fn logout(session: Session, caller: Option<Caller>) -> Result<StatusCode, Error> {
    if caller.is_some_and(|caller| caller.token.is_some()) {
        return Err(Error::forbidden(
            "A token ends by itself; log out with the session's cookie, and without a token.",
        ));
    }
    session.flush().await.map_err(session::unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who you are.
#[utoipa::path(
    get, path = "/api/v1/auth/me", operation_id = "showMe", tag = "Accounts",
    responses((status = 200, description = "You.", body = Account)),
)]
pub(super) async fn me(caller: Caller) -> Json<Account> {
    Json(shown(&caller.user))
}

/// A user, as it is shown to anybody who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Account {
    id: UserId,
    #[schema(examples("ada"))]
    username: String,
    /// Administrators see all rooms, and act on behalf of others.
    admin: bool,
}

pub(super) fn shown(user: &User) -> Account {
    Account {
        id: user.id.clone(),
        username: user.name.to_string(),
        admin: user.admin,
    }
}

/// Refuses what cannot be a name.
pub(super) fn check_username(username: &str) -> Result<(), Error> {
    accounts::check_username(username).map_err(|expected| Error::field("username", expected))
}

/// Refuses what cannot be a password.
pub(super) fn check_password(password: &str) -> Result<(), Error> {
    accounts::check_password(password).map_err(|expected| Error::field("password", expected))
}

pub(super) fn name_taken(error: sqlx::Error) -> Error {
    if accounts::is_taken(&error) {
        Error::Conflict("That username is taken.".into())
    } else {
        error.into()
    }
}
