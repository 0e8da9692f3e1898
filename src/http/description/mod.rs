//! What the server says of itself to programs: OpenAPI, made from the routes; AsyncAPI, held to the frames by a test; and
//! a page that shows the former.

mod markup;
mod operation;
mod page;
mod problem;
pub(super) mod shapes;
mod words;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::problem::Problem;
use super::text::Text;
use crate::app::Roomcast;
use crate::transport::shapes::EventFrame;
use crate::transport::upgrade;

/// What holds for all of it. The routes are added from the routers that serve them.
#[derive(OpenApi)]
#[openapi(
    info(title = "Roomcast", description = include_str!("overview.md")),
    paths(upgrade::upgrade),
    components(schemas(Problem, EventFrame)),
    // What an operation asks for, unless it says otherwise.
    security(("cookie" = []), ("token" = []), ("tokenInQuery" = [])),
    tags(
        (name = "Accounts", description = "Logging in, tokens, and users."),
        (name = "Groups", description = "Whose members hear what happens in `group:{id}`, and share permissions."),
        (name = "Documents", description = "Any JSON under a root, and who may read and write it. \
            Whoever is in `document:{rootId}` hears of each change."),
        (name = "Chat", description = "Rooms, and what is said in them. It is told in `chat:{id}`."),
        (name = "Publishing", description = "Back ends tell channels something, now or later."),
        (name = "Channels", description = "The past of a channel, and who is there."),
        (name = "Listening", description = "WebSocket, event streams and long polling: one cursor resumes on any. \
            Their frames are described with AsyncAPI, in `/asyncapi.json`."),
        (name = "Administration", description = "Rooms and connections, for administrators and back ends."),
        (name = "Operation", description = "How the server is, for load balancers and people who run it."),
    ),
)]
struct Base;

/// The whole description.
fn openapi() -> utoipa::openapi::OpenApi {
    let routes: OpenApiRouter<Roomcast> = OpenApiRouter::with_openapi(Base::openapi());
    let routes = routes
        .merge(super::accounts())
        .merge(super::api())
        .merge(super::polls())
        .merge(super::streams())
        .merge(super::health())
        .merge(super::figures());
    let mut openapi = routes.into_openapi();
    operation::complete(&mut openapi);
    openapi
}

/// Frames and channels, by hand: `tests/it/asyncapi.rs` holds it to the code.
const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.json");

/// The descriptions, and the page. They say the same to everybody, and nothing of this server's own.
pub(super) fn routes() -> Router<Roomcast> {
    let openapi = openapi();
    // A map of strings and trees of them: nothing that cannot be JSON.
    let json = openapi.to_pretty_json().unwrap_or_default() + "\n";
    let page = page::of(&openapi);
    [
        ("/openapi.json", "application/json", json),
        ("/asyncapi.json", "application/json", ASYNCAPI.to_owned()),
        ("/docs", "text/html; charset=utf-8", page),
        (
            "/docs.css",
            "text/css; charset=utf-8",
            page::STYLE.to_owned(),
        ),
        (
            "/docs.js",
            "text/javascript; charset=utf-8",
            page::SCRIPT.to_owned(),
        ),
    ]
    .into_iter()
    .map(|(path, kind, text)| Text::new(kind, text).at(path))
    .fold(Router::new(), Router::merge)
}
