//! Documents: any JSON under a root. Whoever is in `document:{rootId}` hears of each change.

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::description::shapes::IfMatch;
use super::extract::{Body, Paging, Params, Path};
use super::record::{self, Kind};
use super::roots::{Behalf, check_writable, readable, writable};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notification, Notify, Tx};
use crate::realtime::protocol::server::timestamp;
use crate::realtime::registry::Access;
use crate::realtime::{Channel, Data};
use crate::store::documents::{self, Document};
use crate::store::{Db, Page, new_id};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(
    examples(json!({ "rootId": "0190a6d3-41c8-7f5e-9b07-2a6e8d1c4f93", "type": "text", "data": { "text": "Hello." } }))
)]
pub(super) struct NewDocument {
    root_id: String,
    /// A document of the same root.
    #[serde(default)]
    parent_id: Option<String>,
    /// A word of one's own.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 100)]
    kind: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDocumentData, examples(json!({ "data": { "text": "Hello, Bob." } })))]
pub(super) struct NewData {
    /// Any JSON.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct OfRoot {
    /// The id of the root.
    root_id: String,
}

/// A document, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Document)]
pub(super) struct Shown {
    id: String,
    root_id: String,
    #[schema(required)]
    parent_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
    /// Counts the changes; the `ETag` has it in quotes.
    version: i64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl Shown {
    fn new(document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            root_id: document.root_id.clone(),
            parent_id: document.parent_id.clone(),
            kind: document.kind.clone(),
            data: document.data.raw(),
            version: document.version,
            created_at: timestamp(document.created_at),
            updated_at: timestamp(document.updated_at),
        }
    }
}

/// What `changed-document` says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    id: &'a str,
    data: &'a RawValue,
    updated_at: &'a str,
}

/// The documents under a root.
#[utoipa::path(
    get, path = "/api/v1/documents", operation_id = "listDocuments", tag = "Documents",
    params(OfRoot, Paging),
    responses(
        (status = 200, description = "A page of documents.", body = Page<Shown>),
        (status = 404, description = "There is no such root, or none for you."),
    ),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    caller: Caller,
    Params(of): Params<OfRoot>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Shown>>, Error> {
    let limit = paging.limit()?;
    let mut db = app.store().read().await?;
    readable(&mut db, &caller.user, &of.root_id).await?;
    let page = documents::list(&mut db, &of.root_id, &paging.after, limit).await?;
    Ok(Json(Page {
        items: page.items.iter().map(Shown::new).collect(),
        next: page.next,
    }))
}

/// Makes a document.
#[utoipa::path(
    post, path = "/api/v1/documents", operation_id = "makeDocument", tag = "Documents",
    params(Behalf),
    request_body = NewDocument,
    responses(
        (
            status = 201,
            description = "The document.",
            body = Shown,
            headers(("ETag", description = "The version, for `If-Match`.")),
        ),
        (status = 404, description = "There is no such root, or none for you."),
    ),
)]
pub(super) async fn create(
    caller: Caller,
    Params(behalf): Params<Behalf>,
    mut tx: Tx,
    Body(new): Body<NewDocument>,
) -> Result<Response, Error> {
    writable(tx.db(), &caller, &new.root_id, &behalf).await?;
    if let Some(parent) = &new.parent_id {
        let root = documents::root(tx.db(), parent).await?;
        if root.is_none_or(|root| root != new.root_id) {
            return Err(Error::field(
                "parentId",
                "expected a document of the same root",
            ));
        }
    }
    super::extract::check_name("type", &new.kind)?;
    let now = OffsetDateTime::now_utc();
    let document = Document {
        id: new_id(),
        root_id: new.root_id,
        parent_id: new.parent_id,
        kind: new.kind,
        data: checked(&new.data)?,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    documents::insert(tx.db(), &document).await?;
    let shown = Shown::new(&document);
    let notify = record::new(
        &caller,
        Kind::Document,
        &shown,
        vec![Channel::document(&document.root_id)],
    );
    Ok((StatusCode::CREATED, notify, etag(&document), Json(shown)).into_response())
}

/// One document, with its `ETag`.
#[utoipa::path(
    get, path = "/api/v1/documents/{id}", operation_id = "showDocument", tag = "Documents",
    responses(
        (
            status = 200,
            description = "The document.",
            body = Shown,
            headers(("ETag", description = "The version, for `If-Match`.")),
        ),
    ),
)]
pub(super) async fn show(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Error> {
    let mut db = app.store().read().await?;
    let (document, _) = visible(&mut db, &caller, &id).await?;
    Ok((etag(&document), Json(Shown::new(&document))))
}

/// Changes the data of a document.
///
/// With `If-Match` only where nobody else was faster. Everybody in `document:{rootId}` hears of it.
#[utoipa::path(
    put, path = "/api/v1/documents/{id}", operation_id = "changeDocument", tag = "Documents",
    params(Behalf, IfMatch),
    request_body = NewData,
    responses(
        (
            status = 204,
            description = "The change is kept.",
            headers(("ETag", description = "The version, for `If-Match`.")),
        ),
        (status = 412, description = "The document has moved on; get it again."),
    ),
)]
pub(super) async fn update(
    caller: Caller,
    Path(id): Path<String>,
    Params(behalf): Params<Behalf>,
    headers: HeaderMap,
    mut tx: Tx,
    Body(new): Body<NewData>,
) -> Result<Response, Error> {
    let mut document = changeable(tx.db(), &caller, &id, &behalf, &headers).await?;
    document.data = checked(&new.data)?;
    document.version += 1;
    document.updated_at = OffsetDateTime::now_utc();
    documents::update(tx.db(), &document).await?;
    let shown = Shown::new(&document);
    let changed = Changed {
        id: &shown.id,
        data: &shown.data,
        updated_at: &shown.updated_at,
    };
    let notification =
        Notification::new("changed-document", &changed).to(Channel::document(&document.root_id));
    let notify = record::for_admins(&caller, Kind::Document, &shown).and(notification);
    Ok((StatusCode::NO_CONTENT, notify, etag(&document)).into_response())
}

/// Deletes a document.
#[utoipa::path(
    delete, path = "/api/v1/documents/{id}", operation_id = "deleteDocument", tag = "Documents",
    params(Behalf, IfMatch),
    responses(
        (status = 204, description = "The document is gone."),
        (status = 409, description = "Other documents are under this one."),
        (status = 412, description = "The document has moved on; get it again."),
    ),
)]
pub(super) async fn remove(
    caller: Caller,
    Path(id): Path<String>,
    Params(behalf): Params<Behalf>,
    headers: HeaderMap,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    let document = changeable(tx.db(), &caller, &id, &behalf, &headers).await?;
    if documents::has_children(tx.db(), &id).await? {
        return Err(Error::Conflict(
            "Other documents are under this one; delete them first.".into(),
        ));
    }
    documents::delete(tx.db(), &id).await?;
    let to = vec![Channel::document(&document.root_id)];
    Ok((
        StatusCode::NO_CONTENT,
        record::deleted(&caller, Kind::Document, &id, to),
    ))
}

/// A document that the caller may know of, and what it may do with its root by itself.
async fn visible(
    db: &mut Db,
    caller: &Caller,
    id: &str,
) -> Result<(Document, Option<Access>), Error> {
    let found = documents::find(db, id, &caller.user.id).await?;
    found
        .filter(|(_, access)| caller.user.admin || access.is_some())
        .ok_or(Error::NotFound)
}

/// A document that the caller may change, in the version that it means.
async fn changeable(
    db: &mut Db,
    caller: &Caller,
    id: &str,
    behalf: &Behalf,
    headers: &HeaderMap,
) -> Result<Document, Error> {
    let (document, access) = visible(db, caller, id).await?;
    check_writable(caller, access, behalf)?;
    let version = format!("\"{}\"", document.version);
    let matches = |tags: &str| {
        tags.split(',')
            .any(|tag| matches!(tag.trim(), "*") || tag.trim() == version)
    };
    match headers.get(header::IF_MATCH) {
        Some(tags) if !tags.to_str().is_ok_and(matches) => Err(Error::PreconditionFailed(
            "The document has moved on; get it again, and change that.",
        )),
        _ => Ok(document),
    }
}

fn checked(data: &RawValue) -> Result<Data, Error> {
    Data::of(data).map_err(|error| Error::field("data", error.to_string()))
}

fn etag(document: &Document) -> [(header::HeaderName, HeaderValue); 1] {
    // A number in quotes is a header.
    let value = HeaderValue::from_str(&format!("\"{}\"", document.version));
    [(
        header::ETAG,
        value.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
    )]
}
