//! `/client.js`: the client for browsers as one file, for pages without a build.

use axum::Router;
use axum::routing::get;

use super::text::Text;
use crate::app::Roomcast;
use crate::error::Error;

/// Built from `web/sdk`; empty where that was not done before the program was.
const CLIENT: &str = include_str!(concat!(env!("OUT_DIR"), "/client.js"));

/// The client, or how to get it.
pub(super) fn routes() -> Router<Roomcast> {
    if CLIENT.is_empty() {
        return Router::new().route("/client.js", get(async || Error::ClientNotBuilt));
    }
    Text::new("text/javascript; charset=utf-8", CLIENT).at("/client.js")
}
