//! Which pages may use this server: the login is a cookie, which browsers send along for any page that asks.
//!
//! An upgrade and an event stream are GETs, which protections against forged requests let pass, so they ask here too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use axum::extract::Request;

use time::OffsetDateTime;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{Config, value};
use crate::error::Error;
use crate::telemetry::shown;

/// Refuses a request that a foreign page caused. Programs that are no browsers send no `Origin`, and pass.
pub(crate) fn check(headers: &HeaderMap, config: &Config) -> Result<(), Error> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        let cross_site = headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
        return if cross_site {
            Err(refusal("a foreign site"))
        } else {
            Ok(())
        };
    };
    let origin = origin.to_str().unwrap_or_default();
    if origins.next().is_none() && is_allowed(origin, headers, config) {
        Ok(())
    } else {
        Err(refusal(origin))
    }
}

fn is_allowed(origin: &str, headers: &HeaderMap, config: &Config) -> bool {
    if config
        .allowed_origins
        .iter()
        .any(|allowed| allowed.as_str() == origin)
    {
        return true;
    }
    if config.dev && is_local(origin) {
        return true;
    }
    match &config.public_url {
        Some(public) => public.as_str() == origin,
        // Reached directly: the page comes from the very address that the request goes to.
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .is_some_and(|host| {
                origin
                    .strip_prefix(config.scheme())
                    .and_then(|rest| rest.strip_prefix("://"))
                    .is_some_and(|of| of.eq_ignore_ascii_case(host))
            }),
    }
}

/// What an answer depends on that only some origins may read, also one that none has asked for: caches are not to give
/// it to others (Fetch standard, "CORS protocol and HTTP caches").
pub(crate) const VARY: HeaderValue = HeaderValue::from_static("origin");

/// Whether a page may have made a request for another origin than its own, so that [`cors`] has to see it. Most are of
/// programs, which have none.
pub(crate) fn is_shown(request: &Request) -> bool {
    request.headers().contains_key(header::ORIGIN) || *request.method() == Method::OPTIONS
}

/// The layer that lets pages of the allowed origins read what they are answered (Fetch standard, CORS protocol), cookies
/// included. Pages of other origins may not even ask.
pub(crate) fn cors(config: &Arc<Config>) -> CorsLayer {
    let config = Arc::clone(config);
    let allowed = move |origin: &HeaderValue, parts: &Parts| {
        let origin = origin.to_str().unwrap_or_default();
        is_allowed(origin, &parts.headers, &config)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods(METHODS)
        .allow_headers(SENT)
        .expose_headers(READ)
        .max_age(PREFLIGHT_AGE)
}

/// How pages may ask.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// Headers that pages may send.
const SENT: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-socket-id"),
    HeaderName::from_static("x-metadata-socketid"),
];
/// Headers that pages may read, beside those that every page may.
const READ: [HeaderName; 4] = [
    header::ETAG,
    header::RETRY_AFTER,
    HeaderName::from_static("event-cursor"),
    HeaderName::from_static("x-request-id"),
];
/// How long a browser need not ask again whether it may.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Whether a page comes from this machine, from whichever port.
fn is_local(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://") else {
        return false;
    };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    matches!(name, "localhost" | "127.0.0.1" | "[::1]") && port.bytes().all(|b| b.is_ascii_digit())
}

fn refusal(origin: &str) -> Error {
    static COMPLAINTS: Mutex<Complaints> = Mutex::new(Complaints::new());
    let second = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
    let origin = shown(origin);
    match COMPLAINTS.lock().unwrap().about(origin, second / 60) {
        Complaint::New if is_one(origin) => tracing::warn!(
            "origin \"{origin}\" refused; add it with ROOMCAST_ALLOWED_ORIGINS={origin}"
        ),
        Complaint::New => tracing::warn!(
            origin = ?origin,
            "an origin was refused that no setting can allow; pages of files have none"
        ),
        Complaint::OneTooMany => {
            tracing::warn!(
                "more origins were refused; they are not named for the rest of this minute"
            );
        }
        Complaint::Known => {}
    }
    Error::ForeignOrigin
}

/// Whether a text can stand in `ROOMCAST_ALLOWED_ORIGINS`.
fn is_one(origin: &str) -> bool {
    let one = value::origin(origin);
    one.is_ok_and(|one| one.as_str() == origin) && !origin.contains(',')
}

/// Origins that are named in one minute; who makes up more fills no disk with them, and no memory.
const MAX_NAMED: usize = 20;

/// Which refused origins the log has named in this minute. Of the whole process, as the log is.
#[derive(Debug)]
struct Complaints {
    minute: u64,
    named: Vec<String>,
    left_out: bool,
}

/// What the log says of a refused origin.
#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    New,
    OneTooMany,
    Known,
}

impl Complaints {
    const fn new() -> Self {
        Self {
            minute: 0,
            named: Vec::new(),
            left_out: false,
        }
    }

    fn about(&mut self, origin: &str, minute: u64) -> Complaint {
        if self.minute != minute {
            *self = Self {
                minute,
                ..Self::new()
            };
        }
        if self.named.iter().any(|named| named == origin) {
            Complaint::Known
        } else if self.named.len() < MAX_NAMED {
            self.named.push(origin.to_owned());
            Complaint::New
        } else if self.left_out {
            Complaint::Known
        } else {
            self.left_out = true;
            Complaint::OneTooMany
        }
    }
}

/// Refuses a request whose host two servers could read in two ways (RFC 9112, section 3.2).
fn check_form(request: &Request) -> Result<(), Error> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts != 1 {
        return Err(Error::invalid(
            "invalid-request",
            "Expected one Host header.",
        ));
    }
    Ok(())
}

/// For all requests: none is ambiguous, and no page of another site causes one that changes something.
pub(crate) fn guard(request: &Request, config: &Config) -> Result<(), Error> {
    check_form(request)?;
    match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
        _ => check(request.headers(), config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(config: &Config, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(&map, config).is_ok()
    }

    #[test]
    fn only_exact_origins_pass() {
        let config = Config::default();
        let host = ("host", "chat.example.org:3000");
        assert!(allowed(&config, &[host]));
        assert!(allowed(
            &config,
            &[host, ("origin", "http://chat.example.org:3000")]
        ));
        for evil in [
            "null",
            "",
            "http://evil.org",
            "https://chat.example.org:3000",
            "http://chat.example.org",
            "file://",
            "http://chat.example.org:30001",
            "http://evilchat.example.org:3000",
            "http://chat.example.org:3000.evil.org",
            "http://good@chat.example.org:3000",
            "http://chat.example.org:3000/",
            "http://chat.example.org.:3000",
        ] {
            assert!(!allowed(&config, &[host, ("origin", evil)]), "{evil}");
        }
        let same = ("origin", "http://chat.example.org:3000");
        assert!(!allowed(&config, &[host, same, same]));
        assert!(!allowed(&config, &[host, ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn behind_a_proxy_the_public_origin_counts_and_nothing_else() {
        let environment = [(
            "ROOMCAST_PUBLIC_URL".to_owned(),
            "https://app.example.org".to_owned(),
        )]
        .into();
        let config = crate::config::Program::parse_from_parts(["roomcast".into()], &environment)
            .unwrap()
            .config;
        let host = ("host", "127.0.0.1:3000");
        assert!(allowed(
            &config,
            &[host, ("origin", "https://app.example.org")]
        ));
        assert!(!allowed(
            &config,
            &[host, ("origin", "http://127.0.0.1:3000")]
        ));
        assert!(!allowed(
            &config,
            &[host, ("origin", "http://app.example.org")]
        ));
    }

    #[test]
    fn a_refused_origin_is_named_once_a_minute_and_not_without_end() {
        let mut complaints = Complaints::new();
        assert_eq!(complaints.about("https://a.example", 1), Complaint::New);
        assert_eq!(complaints.about("https://a.example", 1), Complaint::Known);
        let told = (0..1_000).map(|n| complaints.about(&n.to_string(), 1));
        let told: Vec<_> = told.filter(|told| *told != Complaint::Known).collect();
        assert_eq!(told.len(), MAX_NAMED, "{told:?}");
        assert_eq!(told.last(), Some(&Complaint::OneTooMany));
        assert_eq!(complaints.named.len(), MAX_NAMED);
        assert_eq!(complaints.about("https://a.example", 2), Complaint::New);
    }

    #[test]
    fn in_dev_every_local_port_passes_and_nothing_that_looks_like_one() {
        let config = Config {
            dev: true,
            ..Config::default()
        };
        let host = ("host", "127.0.0.1:3000");
        assert!(allowed(
            &config,
            &[host, ("origin", "http://localhost:5173")]
        ));
        assert!(!allowed(
            &config,
            &[host, ("origin", "http://localhost.evil.org")]
        ));
        assert!(!allowed(
            &config,
            &[host, ("origin", "http://localhost:5173.evil.org")]
        ));
    }
}
