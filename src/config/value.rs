//! Values of settings: what people write, and what it means.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::realtime::UserId;

/// Something that must not be seen: it is left out of every output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// One that nobody can guess.
    pub(crate) fn random() -> Self {
        // 244 random bits.
        let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Self(format!("{}{}", one.simple(), two.simple()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<S: Into<String>> From<S> for Secret {
    fn from(secret: S) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

pub(super) fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// Scheme, host and port of a page (RFC 6454), as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// `https://app.example.org`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether pages of it are reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }
}

pub(crate) fn origin(text: &str) -> Result<Origin, String> {
    const EXPECTED: &str = "is not an origin; expected http:// or https://, a host and perhaps a port, and nothing after it";
    let text = text.trim();
    let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| EXPECTED)?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority())
    else {
        return Err(EXPECTED.into());
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@')
    {
        return Err(EXPECTED.into());
    }
    // Browsers leave out the port that goes without saying.
    let default = if scheme == "https" { 443 } else { 80 };
    let host = authority.host().to_ascii_lowercase();
    let port = authority
        .port_u16()
        .filter(|port| *port != default)
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Ok(Origin(format!("{scheme}://{host}{port}")))
}

/// Where a server is reached; behind a proxy perhaps below a path.
pub(super) fn server(text: &str) -> Result<String, String> {
    const EXPECTED: &str =
        "is not an address of a server; expected for example http://127.0.0.1:3000";
    let uri: http::Uri = text.parse().map_err(|_| EXPECTED)?;
    let has_host = uri
        .authority()
        .is_some_and(|host| !host.as_str().contains('@'));
    match uri.scheme_str() {
        Some("http" | "https") if has_host && uri.query().is_none() => Ok(text.to_owned()),
        _ => Err(EXPECTED.into()),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "is not a duration; expected a whole number above 0 and ms, s, m or h";
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let number: u64 = text[..digits].parse().map_err(|_| EXPECTED)?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED.into()),
    };
    let millis = number
        .checked_mul(millis)
        .filter(|millis| *millis > 0)
        .ok_or(EXPECTED)?;
    if millis > 3650 * 24 * 3_600_000 {
        return Err("is longer than ten years".into());
    }
    Ok(Duration::from_millis(millis))
}

pub(super) fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|_| {
        "is no user id; expected 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ : -".into()
    })
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "is not an IP address and a port (names such as localhost are not looked up)".into()
    })
}

pub(super) fn up_to_a_million(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= 1_000_000);
    number.ok_or_else(|| "is not a whole number from 0 to 1000000".into())
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=1_000_000_000).contains(number));
    number.ok_or_else(|| "is not a whole number from 1 to 1000000000".into())
}

pub(super) fn at_least_1k(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1_024..=1_073_741_824).contains(number));
    number.ok_or_else(|| "is not a whole number of bytes from 1024 to 1073741824".into())
}

/// More than a body of 64 MiB is no message any more, and a slow reader would hold several of them.
pub(super) fn body(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1_024..=67_108_864).contains(number));
    number.ok_or_else(|| "is not a whole number of bytes from 1024 to 67108864".into())
}
