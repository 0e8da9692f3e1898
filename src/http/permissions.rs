//! Permissions for document roots: whoever may write may also say who else may.

use ::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Body, Path};
use super::groups::visible;
use super::record::{self, Kind};
use super::roots::readable;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notify, Tx};
use crate::policy;
use crate::realtime::registry::Access;
use crate::realtime::{Channel, User};
use crate::store::permissions::{self, Holder};
use crate::store::{Db, groups, new_id, users};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "access": "read" })))]
pub(super) struct NewPermission {
    access: Word,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Access)]
enum Word {
    Read,
    Write,
}

impl From<Word> for Access {
    fn from(word: Word) -> Self {
        match word {
            Word::Read => Self::Read,
            Word::Write => Self::Write,
        }
    }
}

/// Lets a user read or write a root.
#[utoipa::path(
    put, path = "/api/v1/document-roots/{id}/permissions/users/{user}",
    operation_id = "putUserPermission", tag = "Documents",
    request_body = NewPermission,
    responses(
        (status = 204, description = "The user has that permission."),
        (status = 409, description = "Nobody could write any more."),
    ),
)]
pub(super) async fn put_user(
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    mut tx: Tx,
    Body(new): Body<NewPermission>,
) -> Result<(StatusCode, Notify), Error> {
    give(
        &caller,
        &mut tx,
        &id,
        Holder::User(&user),
        new.access.into(),
    )
    .await
}

/// Lets the members of a group read or write a root.
#[utoipa::path(
    put, path = "/api/v1/document-roots/{id}/permissions/groups/{group}",
    operation_id = "putGroupPermission", tag = "Documents",
    request_body = NewPermission,
    responses(
        (status = 204, description = "The group has that permission."),
        (status = 409, description = "Nobody could write any more."),
    ),
)]
pub(super) async fn put_group(
    caller: Caller,
    Path((id, group)): Path<(String, String)>,
    mut tx: Tx,
    Body(new): Body<NewPermission>,
) -> Result<(StatusCode, Notify), Error> {
    give(
        &caller,
        &mut tx,
        &id,
        Holder::Group(&group),
        new.access.into(),
    )
    .await
}

/// Takes a user's own permission away.
#[utoipa::path(
    delete, path = "/api/v1/document-roots/{id}/permissions/users/{user}",
    operation_id = "removeUserPermission", tag = "Documents",
    responses(
        (status = 204, description = "The permission is gone."),
        (status = 409, description = "Nobody could write any more."),
    ),
)]
pub(super) async fn remove_user(
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    withdraw(&caller, &mut tx, &id, Holder::User(&user)).await
}

/// Takes a group's permission away.
#[utoipa::path(
    delete, path = "/api/v1/document-roots/{id}/permissions/groups/{group}",
    operation_id = "removeGroupPermission", tag = "Documents",
    responses(
        (status = 204, description = "The permission is gone."),
        (status = 409, description = "Nobody could write any more."),
    ),
)]
pub(super) async fn remove_group(
    caller: Caller,
    Path((id, group)): Path<(String, String)>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    withdraw(&caller, &mut tx, &id, Holder::Group(&group)).await
}

async fn give(
    caller: &Caller,
    tx: &mut Tx,
    id: &str,
    holder: Holder<'_>,
    access: Access,
) -> Result<(StatusCode, Notify), Error> {
    governed(tx.db(), &caller.user, id).await?;
    if let Holder::Group(group) = holder {
        // Nobody can be sure to name a group that they may not know of, or speak in it.
        visible(tx.db(), &caller.user, group).await?;
    }
    let (kind, holders) = concerned(tx.db(), holder).await?.ok_or(Error::NotFound)?;
    let is_new = permissions::find(tx.db(), id, holder).await?.is_none();
    let permission = permissions::put(tx.db(), new_id(), id, holder, access).await?;
    keep_a_writer(tx.db(), id).await?;
    let at = tx.position();
    let moves = policy::changed(tx.db(), at, &[id.to_owned()]).await?;
    tx.moves(moves);
    let to = vec![Channel::document(id), holders];
    let notify = if is_new {
        record::new(caller, kind, &permission, to)
    } else {
        record::changed(caller, kind, &permission, to)
    };
    Ok((StatusCode::NO_CONTENT, notify))
}

async fn withdraw(
    caller: &Caller,
    tx: &mut Tx,
    id: &str,
    holder: Holder<'_>,
) -> Result<(StatusCode, Notify), Error> {
    governed(tx.db(), &caller.user, id).await?;
    let permission = permissions::find(tx.db(), id, holder)
        .await?
        .ok_or(Error::NotFound)?;
    let (kind, holders) = concerned(tx.db(), holder).await?.ok_or(Error::NotFound)?;
    let at = tx.position();
    let moves = policy::withdraw_permission(tx.db(), at, id, holder).await?;
    keep_a_writer(tx.db(), id).await?;
    tx.moves(moves);
    let notify = record::deleted(
        caller,
        kind,
        &permission,
        vec![Channel::document(id), holders],
    );
    Ok((StatusCode::NO_CONTENT, notify))
}

/// A root whose permissions the user may change.
async fn governed(db: &mut Db, user: &User, id: &str) -> Result<(), Error> {
    let (_, access) = readable(db, user, id).await?;
    if user.admin || access == Some(Access::Write) {
        return Ok(());
    }
    Err(Error::forbidden("Only who may write may say who else may."))
}

/// What kind of permission it is, and where those it is for are told; nothing, if there is nobody.
async fn concerned(db: &mut Db, holder: Holder<'_>) -> Result<Option<(Kind, Channel)>, Error> {
    Ok(match holder {
        Holder::User(id) => users::find(db, id)
            .await?
            .map(|user| (Kind::UserPermission, Channel::user(&user.id))),
        Holder::Group(id) => groups::find(db, id)
            .await?
            .map(|group| (Kind::GroupPermission, Channel::group(&group.id))),
    })
}

/// A root that nobody can change any more would be lost to its people.
pub(super) async fn keep_a_writer(db: &mut Db, id: &str) -> Result<(), Error> {
    if permissions::has_writer(db, id).await? {
        return Ok(());
    }
    Err(Error::Conflict(
        "Nobody could write any more; give somebody else that right first.".into(),
    ))
}
