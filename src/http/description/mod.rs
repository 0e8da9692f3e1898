//! What the server says of itself to programs: OpenAPI, made from the routes; AsyncAPI, held to the frames by a test; and
//! a page that shows the former.

mod markup;
mod operation;
mod page;
mod problem;
pub(super) mod shapes;
mod words;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::problem::Problem;
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
        .nest("/api/v1", super::api())
        .merge(super::polls())
        .merge(super::streams())
        .merge(super::health())
        .merge(super::figures());
    let mut openapi = routes.into_openapi();
    operation::complete(&mut openapi);
    openapi
}

/// Frames and channels, by hand: `tests/it/frames.rs` holds it to the code.
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
    .fold(Router::new(), |router, (path, kind, text)| {
        let document = Document::new(kind, text);
        router.route(
            path,
            get(async move |headers: HeaderMap| document.answer(&headers)),
        )
    })
}

/// One text that is the same for as long as the server runs.
#[derive(Clone)]
struct Document {
    kind: HeaderValue,
    text: Bytes,
    etag: HeaderValue,
}

impl Document {
    fn new(kind: &'static str, text: String) -> Self {
        let hash = Sha256::digest(&text);
        let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        // Hex digits in quotes are a header.
        let etag = HeaderValue::try_from(format!("\"{hash}\""));
        Self {
            kind: HeaderValue::from_static(kind),
            text: text.into(),
            etag: etag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        }
    }

    /// The text, unless the client has it.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let about: [(HeaderName, HeaderValue); 4] = [
            (header::CONTENT_TYPE, self.kind.clone()),
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(page::POLICY),
            ),
        ];
        // Tags are compared weakly here (RFC 9110, section 13.1.2); a proxy that compresses weakens ours.
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| {
            let tags = tags.to_str().unwrap_or_default().split(',');
            let mut tags = tags.map(|tag| tag.trim().trim_start_matches("W/"));
            tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
        });
        if known {
            (StatusCode::NOT_MODIFIED, about).into_response()
        } else {
            (about, self.text.clone()).into_response()
        }
    }
}
