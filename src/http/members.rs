//! The members of a channel of the application's own: the application says who is no longer one.

use ::http::StatusCode;
use axum::extract::State;

use super::admin::Overseer;
use super::extract::Path;
use crate::app::Roomcast;
use crate::error::Error;
use crate::notify::Begin;
use crate::policy;
use crate::realtime::{Channel, UserId};
use crate::rules::Rules;

/// Puts somebody out of a channel of the application's own.
///
/// What the application said of the user counts no more. For administrators and back ends.
#[utoipa::path(
    delete, path = "/api/v1/channels/{channel}/members/{user}", operation_id = "removeMember", tag = "Channels",
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 204, description = "The user is out.")),
)]
pub(super) async fn remove(
    State(app): State<Roomcast>,
    _: Overseer,
    Path((channel, user)): Path<(String, String)>,
    begin: Begin,
) -> Result<StatusCode, Error> {
    let channel: Channel = channel.parse()?;
    check_kind(app.rules(), &channel)?;
    let user = UserId::parse(&user).map_err(|_| Error::NotFound)?;
    let mut tx = begin.begin().await?;
    // Inside the turn: who comes back by an answer from before this finds that out in a turn after it.
    app.asking().forget(&user, &channel);
    let at = tx.position();
    let moves = policy::withdraw_from_channel(tx.db(), at, &channel, &user).await?;
    tx.moves(moves);
    Ok(StatusCode::NO_CONTENT)
}

/// Who is in other channels is for the server to say.
fn check_kind(rules: &Rules, channel: &Channel) -> Result<(), Error> {
    if rules.is_listed(channel) {
        return Ok(());
    }
    let word = channel.as_str().split(':').next().unwrap_or_default();
    Err(Error::forbidden(match word {
        "document" => "Who may join a document root is said by its permissions: DELETE /api/v1/document-roots/{id}/permissions/users/{user}.".to_owned(),
        "group" => "Who is in a group is said by its members: DELETE /api/v1/groups/{id}/members/{user}.".to_owned(),
        "presence" => "Who is out of a channel is out of its presence: name the channel itself.".to_owned(),
        "global" | "admin" | "user" | "socket" | "chat" => format!("Who may join {word} is built in."),
        kind => format!("The rules have no kind {kind}: expected one with a section [kinds.{kind}] in ROOMCAST_CHANNELS."),
    }))
}
