//! Document roots.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Body, Paging, Params, Path, check_name};
use super::record::{self, Kind};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notify, Tx};
use crate::realtime::registry::{Access, Move};
use crate::realtime::{Channel, User};
use crate::store::permissions::{self, Holder};
use crate::store::roots::{self, DocumentRoot};
use crate::store::{Db, Page, new_id};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDocumentRoot, examples(json!({ "name": "Notes" })))]
pub(super) struct NewRoot {
    /// Without control characters and white space round it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// A root, and what the caller may do with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShownDocumentRoot)]
pub(super) struct Shown {
    id: String,
    name: String,
    /// `read` or `write`; nothing, where an administrator sees it by rank alone.
    #[schema(required)]
    access: Option<&'static str>,
}

/// Whether an administrator uses its rank.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Behalf {
    /// For administrators: change what is somebody else's.
    #[serde(default)]
    on_behalf_of: bool,
}

impl Behalf {
    /// Whether the caller acts on behalf of others; refused to whoever may not.
    pub(super) fn check(&self, caller: &Caller) -> Result<bool, Error> {
        if self.on_behalf_of && !caller.user.admin {
            return Err(Error::forbidden(
                "Only administrators act on behalf of others.",
            ));
        }
        if self.on_behalf_of {
            tracing::info!(user.id = %caller.user.id, "an administrator acts on behalf of others");
        }
        Ok(self.on_behalf_of)
    }
}

/// The document roots that one may read; administrators see all.
#[utoipa::path(
    get, path = "/api/v1/document-roots", operation_id = "listDocumentRoots", tag = "Documents",
    params(Paging),
    responses((status = 200, description = "A page of roots.", body = Page<DocumentRoot>)),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<DocumentRoot>>, Error> {
    let limit = paging.limit()?;
    let of = (!caller.user.admin).then_some(&caller.user.id);
    let rows = roots::list(
        &mut *app.store().read().await?,
        of,
        &paging.after,
        limit as i64 + 1,
    )
    .await?;
    Ok(Json(Page::new(rows, limit, |root| root.id.clone())))
}

/// Makes a document root.
///
/// Who makes it may write.
#[utoipa::path(
    post, path = "/api/v1/document-roots", operation_id = "makeDocumentRoot", tag = "Documents",
    request_body = NewRoot,
    responses((status = 201, description = "The root.", body = DocumentRoot)),
)]
pub(super) async fn create(
    caller: Caller,
    mut tx: Tx,
    Body(new): Body<NewRoot>,
) -> Result<impl IntoResponse, Error> {
    check_name("name", &new.name)?;
    let root = DocumentRoot {
        id: new_id(),
        name: new.name,
    };
    roots::insert(tx.db(), &root, OffsetDateTime::now_utc()).await?;
    permissions::put(
        tx.db(),
        new_id(),
        &root.id,
        Holder::User(caller.user.id.as_str()),
        Access::Write,
    )
    .await?;
    let notify = record::new(
        &caller,
        Kind::DocumentRoot,
        &root,
        vec![Channel::user(&caller.user.id)],
    );
    Ok((StatusCode::CREATED, notify, Json(root)))
}

/// One document root.
#[utoipa::path(
    get, path = "/api/v1/document-roots/{id}", operation_id = "showDocumentRoot", tag = "Documents",
    responses((status = 200, description = "The root.", body = Shown)),
)]
pub(super) async fn show(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Error> {
    let mut db = app.store().read().await?;
    let (root, access) = readable(&mut db, &caller.user, &id).await?;
    let access = access.map(|access| match access {
        Access::Read => "read",
        Access::Write => "write",
    });
    let DocumentRoot { id, name } = root;
    Ok(Json(Shown { id, name, access }))
}

/// Deletes a document root, with all that is under it.
#[utoipa::path(
    delete, path = "/api/v1/document-roots/{id}", operation_id = "deleteDocumentRoot", tag = "Documents",
    params(Behalf),
    responses((status = 204, description = "The root is gone.")),
)]
pub(super) async fn remove(
    caller: Caller,
    Path(id): Path<String>,
    Params(behalf): Params<Behalf>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    writable(tx.db(), &caller, &id, &behalf).await?;
    let channel = Channel::document(&id);
    roots::delete(tx.db(), &id).await?;
    tx.moves([Move::Dissolve {
        channel: channel.clone(),
    }]);
    Ok((
        StatusCode::NO_CONTENT,
        record::deleted(&caller, Kind::DocumentRoot, &id, vec![channel]),
    ))
}

/// A root that the user may read, and what else it may, administrators' rights aside.
pub(super) async fn readable(
    db: &mut Db,
    user: &User,
    id: &str,
) -> Result<(DocumentRoot, Option<Access>), Error> {
    let found = roots::find(db, id, &user.id).await?;
    found
        .filter(|(_, access)| user.admin || access.is_some())
        .ok_or(Error::NotFound)
}

/// A root that the caller may write, by itself or on behalf of others.
pub(super) async fn writable(
    db: &mut Db,
    caller: &Caller,
    id: &str,
    behalf: &Behalf,
) -> Result<DocumentRoot, Error> {
    // Looked up first: who may not know of the root is told the same whether there is one or not.
    let (root, access) = readable(db, &caller.user, id).await?;
    check_writable(caller, access, behalf)?;
    Ok(root)
}

/// Refuses whoever may know of a root, but not write it.
pub(super) fn check_writable(
    caller: &Caller,
    access: Option<Access>,
    behalf: &Behalf,
) -> Result<(), Error> {
    let by_rank = behalf.check(caller)?;
    if by_rank || access == Some(Access::Write) {
        return Ok(());
    }
    Err(Error::forbidden(if caller.user.admin {
        "You may read this, but not write it; administrators do that with ?onBehalfOf=true."
    } else {
        "You may read this, but not write it."
    }))
}
