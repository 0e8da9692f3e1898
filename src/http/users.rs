//! Users: who there is, and changing oneself.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Account, check_password, check_username, name_taken, shown};
use super::extract::{Address, Body, Paging, Params, Path};
use super::record::{self, Kind};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::metrics::Refusal;
use crate::notify::{Begin, Notify};
use crate::realtime::Channel;
use crate::realtime::connection::SessionKey;
use crate::realtime::registry::Move;
use crate::store::{Page, access, sessions, users};

/// All users.
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "listUsers", tag = "Accounts",
    params(Paging),
    responses((status = 200, description = "A page of users.", body = Page<Account>)),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    _: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Account>>, Error> {
    let limit = paging.limit()?;
    let rows = users::list(
        &mut *app.store().read().await?,
        &paging.after,
        limit as i64 + 1,
    )
    .await?;
    let page = Page::new(rows, limit, |user| user.id.to_string());
    Ok(Json(Page {
        items: page.items.iter().map(shown).collect(),
        next: page.next,
    }))
}

/// One user.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", operation_id = "showUser", tag = "Accounts",
    responses((status = 200, description = "The user.", body = Account)),
)]
pub(super) async fn show(
    State(app): State<Roomcast>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<Account>, Error> {
    let user = users::find(&mut *app.store().read().await?, &id)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(Json(shown(&user)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = UserChanges, examples(json!({ "username": "ada-lovelace" })))]
pub(super) struct Changes {
    #[schema(min_length = 1, max_length = 64)]
    username: Option<String>,
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: Option<String>,
    /// With a new password of one's own.
    #[schema(format = Password)]
    current_password: Option<String>,
    /// For administrators.
    admin: Option<bool>,
}

/// Changes a user.
///
/// One's own name and password; administrators everybody's, and who is one. A new password ends the user's other
/// sessions.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", operation_id = "changeUser", tag = "Accounts",
    request_body = Changes,
    responses(
        (status = 200, description = "The user, as it is now.", body = Account),
        (status = 409, description = "The name is taken, or that is the last administrator."),
    ),
)]
pub(super) async fn update(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
    Address(address): Address,
    begin: Begin,
    Body(changes): Body<Changes>,
) -> Result<(Notify, Json<Account>), Error> {
    let own = id == caller.user.id.as_str();
    if !own && !caller.user.admin {
        return Err(Error::forbidden("You may change yourself only."));
    }
    if changes.admin.is_some() && !caller.user.admin {
        return Err(Error::forbidden("Only administrators say who is one."));
    }
    let password_hash = match changes.password {
        Some(password) => {
            check_password(&password)?;
            if own {
                confirm(&app, &caller, address, changes.current_password).await?;
            }
            Some(app.passwords().hash(password).await?)
        }
        None => None,
    };
    let mut tx = begin.begin().await?;
    let mut user = users::find(tx.db(), &id).await?.ok_or(Error::NotFound)?;
    let was_admin = user.admin;
    if let Some(username) = changes.username {
        check_username(&username)?;
        user.name = username.into();
    }
    user.admin = changes.admin.unwrap_or(user.admin);
    if was_admin && !user.admin && users::count_admins(tx.db()).await? == 1 {
        return Err(Error::Conflict("That is the last administrator.".into()));
    }
    users::update(tx.db(), &user).await.map_err(name_taken)?;
    if let Some(password_hash) = password_hash {
        users::set_password(tx.db(), &user.id, &password_hash).await?;
        let this = caller
            .session
            .as_ref()
            .filter(|_| own)
            .map(|session| session.0.to_string());
        for ended in sessions::delete_others(tx.db(), &user.id, this.as_deref()).await? {
            tx.moves([Move::EndSession {
                user: user.id.clone(),
                session: SessionKey(ended.into()),
            }]);
        }
    }
    if was_admin != user.admin {
        let at = tx.position();
        if was_admin {
            access::withdrawing_rank(tx.db(), at, &user.id).await?;
        } else {
            access::returned_to_rank(tx.db(), at, &user.id).await?;
        }
        tx.moves([Move::Restart {
            user: user.id.clone(),
        }]);
    }
    let notify = record::changed(
        &caller,
        Kind::User,
        &shown(&user),
        vec![Channel::user(&user.id)],
    );
    Ok((notify, Json(shown(&user))))
}

/// A new password needs the old one: a page left open is no key to the account.
async fn confirm(
    app: &Roomcast,
    caller: &Caller,
    address: Option<IpAddr>,
    current: Option<String>,
) -> Result<(), Error> {
    let id = &caller.user.id;
    let current = current
        .ok_or_else(|| Error::field("currentPassword", "expected the password up to now"))?;
    // By the id, which stays: a new name is no new beginning.
    let begun = app.attempts().begin(id.as_str(), address);
    begun.inspect_err(|_| app.metrics().refuse(Refusal::LoginAttempts))?;
    let hash = users::password_hash(&mut *app.store().read().await?, id).await?;
    if !app.passwords().verify(current, hash).await? {
        return Err(Error::forbidden("The current password is wrong."));
    }
    app.attempts().succeeded(id.as_str(), address);
    Ok(())
}
