//! Records: what is said of a changed row, to whom it concerns, and to administrators where it was none of them.

use serde::Serialize;
use serde_json::json;

use crate::caller::Caller;
use crate::notify::{Notification, Notify};
use crate::realtime::Channel;

/// What kinds of rows are spoken of.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Kind {
    Document,
    DocumentRoot,
    Group,
    User,
    UserPermission,
    GroupPermission,
    Room,
}

/// `new-record`.
pub(super) fn new(
    caller: &Caller,
    kind: Kind,
    record: &impl Serialize,
    to: Vec<Channel>,
) -> Notify {
    told(caller, kind, "new-record", record, to)
}

/// `changed-record`.
pub(super) fn changed(
    caller: &Caller,
    kind: Kind,
    record: &impl Serialize,
    to: Vec<Channel>,
) -> Notify {
    told(caller, kind, "changed-record", record, to)
}

/// `deleted-record`: of what is gone only the id is said.
pub(super) fn deleted(caller: &Caller, kind: Kind, id: &str, to: Vec<Channel>) -> Notify {
    told(caller, kind, "deleted-record", &json!({ "id": id }), to)
}

fn told(
    caller: &Caller,
    kind: Kind,
    name: &str,
    record: &impl Serialize,
    to: Vec<Channel>,
) -> Notify {
    let said = Notification::new(name, &Said { kind, record });
    for_admins(caller, kind, record).and(to.into_iter().fold(said, Notification::to))
}

/// Administrators hear of every change by somebody who is none. Said first: the position that the caller is answered
/// with is then one that the caller's own stream reaches.
pub(super) fn for_admins(caller: &Caller, kind: Kind, record: &impl Serialize) -> Notify {
    if caller.user.admin {
        return Notify::default();
    }
    Notify::of(Notification::new("changed-record", &Said { kind, record }).to(Channel::admin()))
}

/// What a notification of a record says. Not a `Value`: documents are passed on digit for digit.
#[derive(Serialize)]
struct Said<'a, T> {
    #[serde(rename = "type")]
    kind: Kind,
    record: &'a T,
}

/// That rooms went with their group, for whoever is in one of them or in the group.
pub(super) fn rooms_gone_with_group(room_ids: &[String], group_id: &str, notify: Notify) -> Notify {
    room_ids.iter().fold(notify, |notify, id| {
        let said = json!({ "type": Kind::Room, "record": { "id": id } });
        let told = Notification::new("deleted-record", &said);
        notify.and(told.to(Channel::chat(id)).to(Channel::group(group_id)))
    })
}
