//! How the server was in the last minutes, second by second.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::admin::Overseer;
use crate::app::Roomcast;
use crate::metrics::samples::Sample;

/// The last ten minutes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Samples {
    /// The oldest first.
    items: Vec<Sample>,
}

/// How the server was in each of the last seconds, up to ten minutes.
///
/// Who is in `server:metrics`, as administrators may be, hears each new one as the event `metrics`. It is not kept.
#[utoipa::path(
    get, path = "/api/v1/admin/metrics", operation_id = "listSamples", tag = "Administration",
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = []), ("apiKey" = [])),
    responses((status = 200, description = "A sample a second.", body = Samples)),
)]
pub(super) async fn list(State(app): State<Roomcast>, _: Overseer) -> Json<Samples> {
    Json(Samples {
        items: app.samples().all(),
    })
}
