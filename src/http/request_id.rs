//! Request ids: one for each request, in every line that is logged about it, in its answer, and in the problem document
//! of what failed here.

use std::net::SocketAddr;

use ::http::{HeaderMap, HeaderName};
use axum::extract::{ConnectInfo, Request};

use crate::config::Config;

/// Where it stands, in an answer and in a request that a proxy has named already.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over, in bytes.
const MAX_BYTES: usize = 64;

/// The id that a proxy of ours gave, or a new one. What anybody else sends could pass off one request as another.
pub(super) fn of(request: &Request, config: &Config) -> String {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let trusted = peer.is_some_and(|ConnectInfo(peer)| is_trusted(config, peer));
    let given = if trusted {
        given(request.headers())
    } else {
        None
    };
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), ToOwned::to_owned)
}

fn is_trusted(config: &Config, peer: &SocketAddr) -> bool {
    config.trusted_proxies.contains(&peer.ip().to_canonical())
}

fn given(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let id = given.next()?.to_str().ok()?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_good = (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(good);
    (is_good && given.next().is_none()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(peer: &str, ids: &[&str]) -> String {
        let mut request = Request::builder();
        for id in ids {
            request = request.header(REQUEST_ID, *id);
        }
        let mut request = request.body(axum::body::Body::empty()).unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        request.extensions_mut().insert(ConnectInfo(peer));
        let config = Config {
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Config::default()
        };
        of(&request, &config)
    }

    #[test]
    fn only_a_proxy_of_ours_names_a_request_and_only_well() {
        let long = "x".repeat(65);
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(id(peer, &["req_1.a-B"]), "req_1.a-B");
            assert_eq!(id(peer, &[&long[..64]]).len(), 64);
        }
        for (peer, ids) in [
            ("10.0.0.2", &["one"][..]),
            ("10.0.0.1", &["one", "two"]),
            ("10.0.0.1", &[""]),
            ("10.0.0.1", &["a b"]),
            ("10.0.0.1", &["\"},{\""]),
            ("10.0.0.1", &[&long]),
            ("10.0.0.1", &[]),
        ] {
            assert!(
                uuid::Uuid::parse_str(&id(peer, ids)).is_ok(),
                "{peer} {ids:?}"
            );
        }
    }
}
