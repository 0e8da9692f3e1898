//! Groups: whose members hear what happens in `group:{id}`, and share permissions.

use ::http::StatusCode;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::extract::{Body, Paging, Params, Path, check_name};
use super::permissions::keep_a_writer;
use super::record::{self, Kind};
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::error::Error;
use crate::notify::{Notify, Tx};
use crate::policy;
use crate::realtime::{Channel, User};
use crate::store::groups::{self, Group, Member};
use crate::store::users::{self, user_id};
use crate::store::{Db, Page, access, new_id, rooms};

/// Members that are shown with a group.
const SHOWN_MEMBERS: i64 = 1_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "name": "Editors" })))]
pub(super) struct NewGroup {
    /// Without control characters and white space round it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGroupMember, examples(json!({ "manager": true })))]
pub(super) struct NewMember {
    /// Whether the member decides about the group.
    #[serde(default)]
    manager: bool,
}

/// A group with its members, as it is shown and told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupWithMembers)]
pub(super) struct Shown {
    id: String,
    #[schema(examples("Editors"))]
    name: String,
    /// The first 1,000.
    members: Vec<Member>,
}

/// One's own groups; administrators see all.
#[utoipa::path(
    get, path = "/api/v1/groups", operation_id = "listGroups", tag = "Groups",
    params(Paging),
    responses((status = 200, description = "A page of groups.", body = Page<Group>)),
)]
pub(super) async fn list(
    State(app): State<Roomcast>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Group>>, Error> {
    let limit = paging.limit()?;
    let of = (!caller.user.admin).then_some(&caller.user.id);
    let rows = groups::list(
        &mut *app.store().read().await?,
        of,
        &paging.after,
        limit as i64 + 1,
    )
    .await?;
    Ok(Json(Page::new(rows, limit, |group| group.id.clone())))
}

/// Makes a group.
///
/// Who makes it manages it.
#[utoipa::path(
    post, path = "/api/v1/groups", operation_id = "makeGroup", tag = "Groups",
    request_body = NewGroup,
    responses((status = 201, description = "The group.", body = Shown)),
)]
pub(super) async fn create(
    caller: Caller,
    mut tx: Tx,
    Body(new): Body<NewGroup>,
) -> Result<impl IntoResponse, Error> {
    check_name("name", &new.name)?;
    let group = Group {
        id: new_id(),
        name: new.name,
    };
    groups::insert(tx.db(), &group, OffsetDateTime::now_utc()).await?;
    let at = tx.position();
    let moves = policy::admit(tx.db(), at, &group.id, &caller.user.id, true).await?;
    tx.moves(moves);
    let channel = Channel::group(&group.id);
    let shown = shown(tx.db(), &group).await?;
    let notify = record::new(&caller, Kind::Group, &shown, vec![channel]);
    Ok((StatusCode::CREATED, notify, Json(shown)))
}

/// One group, with its first 1,000 members.
#[utoipa::path(
    get, path = "/api/v1/groups/{id}", operation_id = "showGroup", tag = "Groups",
    responses((status = 200, description = "The group.", body = Shown)),
)]
pub(super) async fn show(
    State(app): State<Roomcast>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Error> {
    let mut db = app.store().read().await?;
    let group = visible(&mut db, &caller.user, &id).await?;
    Ok(Json(shown(&mut db, &group).await?))
}

/// Renames a group.
#[utoipa::path(
    put, path = "/api/v1/groups/{id}", operation_id = "renameGroup", tag = "Groups",
    request_body = NewGroup,
    responses((status = 200, description = "The group, as it is now.", body = Shown)),
)]
pub(super) async fn update(
    caller: Caller,
    Path(id): Path<String>,
    mut tx: Tx,
    Body(new): Body<NewGroup>,
) -> Result<impl IntoResponse, Error> {
    let mut group = managed(tx.db(), &caller.user, &id).await?;
    check_name("name", &new.name)?;
    group.name = new.name;
    groups::rename(tx.db(), &id, &group.name).await?;
    let shown = shown(tx.db(), &group).await?;
    let notify = record::changed(&caller, Kind::Group, &shown, vec![Channel::group(&id)]);
    Ok((notify, Json(shown)))
}

/// Deletes a group, with its chat rooms.
#[utoipa::path(
    delete, path = "/api/v1/groups/{id}", operation_id = "deleteGroup", tag = "Groups",
    responses(
        (status = 204, description = "The group is gone."),
        (status = 409, description = "Nobody could write one of its document roots any more."),
    ),
)]
pub(super) async fn remove(
    caller: Caller,
    Path(id): Path<String>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    managed(tx.db(), &caller.user, &id).await?;
    // Members who are not there now hear of it later, when the group's channel is no more.
    let members = groups::members(tx.db(), &id, SHOWN_MEMBERS).await?;
    let mut to = vec![Channel::group(&id)];
    for member in members {
        to.push(Channel::user(&user_id(&member.id)?));
    }
    let roots = access::roots_of_group(tx.db(), &id).await?;
    let rooms = rooms::ids_of_group(tx.db(), &id).await?;
    let at = tx.position();
    let moves = policy::withdraw_group(tx.db(), at, &id).await?;
    tx.moves(moves);
    for root in &roots {
        keep_a_writer(tx.db(), root).await?;
    }
    let notify = record::deleted(&caller, Kind::Group, &id, to);
    Ok((
        StatusCode::NO_CONTENT,
        record::rooms_gone_with_group(&rooms, &id, notify),
    ))
}

/// Takes somebody into a group, or gives another rank.
#[utoipa::path(
    put, path = "/api/v1/groups/{id}/members/{user}", operation_id = "putGroupMember", tag = "Groups",
    request_body = NewMember,
    responses(
        (status = 204, description = "The user is a member."),
        (status = 409, description = "That is the last manager of the group."),
    ),
)]
pub(super) async fn put_member(
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    mut tx: Tx,
    Body(new): Body<NewMember>,
) -> Result<(StatusCode, Notify), Error> {
    let group = managed(tx.db(), &caller.user, &id).await?;
    let user = users::find(tx.db(), &user).await?.ok_or(Error::NotFound)?;
    if !new.manager {
        keep_a_manager(
            tx.db(),
            &id,
            &user,
            "That is the group's last manager; make another one first.",
        )
        .await?;
    }
    let at = tx.position();
    let moves = policy::admit(tx.db(), at, &id, &user.id, new.manager).await?;
    tx.moves(moves);
    let channel = Channel::group(&id);
    let shown = shown(tx.db(), &group).await?;
    Ok((
        StatusCode::NO_CONTENT,
        record::changed(
            &caller,
            Kind::Group,
            &shown,
            vec![channel, Channel::user(&user.id)],
        ),
    ))
}

/// Puts somebody out of a group.
///
/// Managers anybody, everybody oneself.
#[utoipa::path(
    delete, path = "/api/v1/groups/{id}/members/{user}", operation_id = "removeGroupMember", tag = "Groups",
    responses(
        (status = 204, description = "The user is no member any more."),
        (
            status = 409,
            description = "That is the last manager, or the last who may write a document root.",
        ),
    ),
)]
pub(super) async fn remove_member(
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    mut tx: Tx,
) -> Result<(StatusCode, Notify), Error> {
    let own = user == caller.user.id.as_str();
    let group = if own {
        visible(tx.db(), &caller.user, &id).await?
    } else {
        managed(tx.db(), &caller.user, &id).await?
    };
    let user = users::find(tx.db(), &user).await?.ok_or(Error::NotFound)?;
    groups::membership(tx.db(), &id, &user.id)
        .await?
        .ok_or(Error::NotFound)?;
    keep_a_manager(
        tx.db(),
        &id,
        &user,
        "That is the group's last manager; make another one first, or delete the group.",
    )
    .await?;
    let at = tx.position();
    let moves = policy::withdraw_membership(tx.db(), at, &id, &user.id).await?;
    tx.moves(moves);
    for root in &access::roots_of_group(tx.db(), &id).await? {
        keep_a_writer(tx.db(), root).await?;
    }
    let shown = shown(tx.db(), &group).await?;
    let notify = record::changed(&caller, Kind::Group, &shown, vec![Channel::group(&id)]);
    // Who is out hears of that, but no more of who is in.
    let told = crate::notify::Notification::new(
        "deleted-record",
        &json!({ "type": Kind::Group, "record": { "id": id } }),
    );
    Ok((
        StatusCode::NO_CONTENT,
        notify.and(told.to(Channel::user(&user.id))),
    ))
}

async fn keep_a_manager(
    db: &mut Db,
    id: &str,
    user: &User,
    detail: &'static str,
) -> Result<(), Error> {
    let is_manager = groups::membership(db, id, &user.id).await? == Some(true);
    if is_manager && groups::count_managers(db, id).await? == 1 {
        return Err(Error::Conflict(detail.into()));
    }
    Ok(())
}

/// A group that the user may know of.
pub(super) async fn visible(db: &mut Db, user: &User, id: &str) -> Result<Group, Error> {
    let group = groups::find(db, id).await?.ok_or(Error::NotFound)?;
    if user.admin || groups::membership(db, id, &user.id).await?.is_some() {
        Ok(group)
    } else {
        Err(Error::NotFound)
    }
}

/// A group that the user may change.
async fn managed(db: &mut Db, user: &User, id: &str) -> Result<Group, Error> {
    let group = visible(db, user, id).await?;
    if user.admin || groups::membership(db, id, &user.id).await? == Some(true) {
        return Ok(group);
    }
    Err(Error::forbidden("Only a manager of the group may do that."))
}

async fn shown(db: &mut Db, group: &Group) -> Result<Shown, Error> {
    let members = groups::members(db, &group.id, SHOWN_MEMBERS).await?;
    Ok(Shown {
        id: group.id.clone(),
        name: group.name.clone(),
        members,
    })
}
