//! The pages (chat, editor, dashboards, signing in) and the client for those of others: built from `web`, and a part of
//! the program. A debug build reads them from there each time, so that a change is seen without another build.

use ::http::{HeaderMap, HeaderValue, header};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rust_embed::{Embed, EmbeddedFile};
use serde::Serialize;

use super::entrance::Entrance;
use super::observe::Observe;
use super::text::Text;
use crate::app::Roomcast;
use crate::caller::Caller;
use crate::config::Registration;
use crate::dev;
use crate::error::Error;
use crate::realtime::User;

/// What is there when `npm run build` has been done in `web` before the program was built.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// Where each page is, and its file.
const PAGES: [(&str, &str); 6] = [
    ("/", "index.html"),
    ("/sign-in", "sign-in.html"),
    ("/chat", "chat.html"),
    ("/editor", "editor.html"),
    ("/admin", "admin.html"),
    ("/dashboard", "dashboard.html"),
];

impl Roomcast {
    /// The pages, for the program itself: an application that embeds the server has pages of its own.
    pub fn pages(&self) -> Router {
        let about = Router::new().route("/pages.json", get(settings));
        let about = about.layer(Entrance::new(self));
        let mut routes = about.route("/assets/{file}", get(asset));
        for (path, file) in PAGES {
            routes = routes.route(
                path,
                get(async move |headers: HeaderMap| built(file, &headers)),
            );
        }
        routes
            .layer(Observe::dressed(self))
            .with_state(self.clone())
    }
}

/// The client, as a module and as one for pages without modules.
pub(super) fn client() -> Router<Roomcast> {
    ["client.js", "client.global.js"]
        .into_iter()
        .map(|file| {
            let serve = async move |headers: HeaderMap| built(file, &headers);
            Router::new().route(&format!("/{file}"), get(serve))
        })
        .fold(Router::new(), Router::merge)
}

/// What pages have to know to begin with.
#[derive(Serialize)]
struct Settings {
    /// Who is logged in; to ask that of the API would be a 401 for who is not.
    user: Option<User>,
    /// Whether people may make accounts for themselves.
    registration: bool,
    /// Who may be tried, in `dev`.
    demo: Option<Demo>,
}

#[derive(Serialize)]
struct Demo {
    people: &'static [&'static str],
    password: &'static str,
}

async fn settings(State(app): State<Roomcast>, caller: Option<Caller>) -> impl IntoResponse {
    let demo = app.config().dev.then_some(Demo {
        people: &dev::PEOPLE,
        password: dev::PASSWORD,
    });
    let settings = Settings {
        user: caller.map(|caller| caller.user),
        registration: app.config().registration == Registration::Open,
        demo,
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(settings))
}

/// What pages are made of. Names have a hash in them.
async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    // An escaped slash would lead to another folder.
    let inside = !file.contains(['/', '\\']);
    match inside
        .then(|| found(&format!("assets/{file}"), &headers))
        .flatten()
    {
        Some((text, packed)) => answer(&text.for_ever(), packed, &headers),
        None => Error::NotFound.into_response(),
    }
}

/// One of the files that are there whenever any is.
fn built(file: &'static str, headers: &HeaderMap) -> Response {
    match found(file, headers) {
        Some((text, packed)) => answer(&text, packed, headers),
        None => Error::PagesNotBuilt.into_response(),
    }
}

/// A file, packed where the client can unpack it and the build has packed it.
fn found(file: &str, headers: &HeaderMap) -> Option<(Text, bool)> {
    let kind = match file.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let text = |file: EmbeddedFile| Text::of_file(kind, file.data, &file.metadata.sha256_hash());
    let packed = unpacks(headers).then(|| Built::get(&format!("{file}.gz")));
    if let Some(file) = packed.flatten() {
        return Some((text(file), true));
    }
    Some((text(Built::get(file)?), false))
}

fn answer(text: &Text, packed: bool, headers: &HeaderMap) -> Response {
    let mut response = text.answer(headers);
    let about = response.headers_mut();
    about.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        about.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3). One that gives it no weight does not.
fn unpacks(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = codings.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let none = weight.trim().trim_start_matches("q=").parse::<f32>() == Ok(0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !none
    })
}
