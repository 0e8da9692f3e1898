//! Where the application is asked who may join, and the key that the questions are signed with.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

/// The shortest secret, in bytes: what Standard Webhooks asks for.
const MIN_SECRET_BYTES: usize = 24;
/// What stands before a secret in base64.
const PREFIX: &str = "whsec_";
/// How long the application may take to answer.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
/// How long an answer counts.
const CACHE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

/// An endpoint of the application's own that says who may join. Nothing of the secret is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    key: Vec<u8>,
    timeout: Duration,
    cache: Duration,
}

/// Why that is no endpoint. What was given is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not an address of a web server.
    #[error(
        "is not an address; expected https://, a host and a path, without a user, a password or a #fragment"
    )]
    Url,
    /// The network would see who is asked about.
    #[error("is not https; http is accepted to this machine alone, or with allow_http = true")]
    Http,
    /// Can be guessed.
    #[error("is shorter than 24 bytes")]
    SecretTooShort,
    /// Says that it is base64, and is not.
    #[error("is not base64 after whsec_")]
    SecretNotBase64,
    /// Too short to be answered in, or so long that people wait.
    #[error("is not from 100ms to 10s")]
    Timeout,
    /// Too long for rights that change.
    #[error("is not from 0s to 1h")]
    Cache,
}

impl InvalidEndpoint {
    /// The setting that is wrong.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Url | Self::Http => "url",
            Self::SecretTooShort | Self::SecretNotBase64 => "secret",
            Self::Timeout => "timeout",
            Self::Cache => "cache",
        }
    }
}

impl Endpoint {
    /// An endpoint that has two seconds to answer, and whose answers count for half a minute. The secret is base64
    /// after `whsec_`, and is taken as it is otherwise.
    ///
    /// # Errors
    /// When the address is not one of https (or of http on this machine), or the secret is too short.
    pub fn new(url: &str, secret: &str) -> Result<Self, InvalidEndpoint> {
        let endpoint = Self::plain(url, secret)?;
        if endpoint.url.scheme() == "http" && !is_here(&endpoint.url) {
            return Err(InvalidEndpoint::Http);
        }
        Ok(endpoint)
    }

    /// The same, also for http to another machine, in a network that can be trusted.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn plain(url: &str, secret: &str) -> Result<Self, InvalidEndpoint> {
        let url: Url = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let has_more =
            !url.username().is_empty() || url.password().is_some() || url.fragment().is_some();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || has_more {
            return Err(InvalidEndpoint::Url);
        }
        let key = match secret.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| InvalidEndpoint::SecretNotBase64)?,
            None => secret.as_bytes().to_vec(),
        };
        if key.len() < MIN_SECRET_BYTES {
            return Err(InvalidEndpoint::SecretTooShort);
        }
        Ok(Self {
            url,
            key,
            timeout: Duration::from_secs(2),
            cache: Duration::from_secs(30),
        })
    }

    /// How long the application may take: 100 milliseconds to 10 seconds.
    ///
    /// # Errors
    /// When it is another time.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, InvalidEndpoint> {
        if !TIMEOUT.contains(&timeout) {
            return Err(InvalidEndpoint::Timeout);
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// How long an answer counts: not at all, to an hour.
    ///
    /// # Errors
    /// When it is another time.
    pub fn with_cache(mut self, cache: Duration) -> Result<Self, InvalidEndpoint> {
        if !CACHE.contains(&cache) {
            return Err(InvalidEndpoint::Cache);
        }
        self.cache = cache;
        Ok(self)
    }

    /// Where questions go.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What they are signed with.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long it counts.
    pub fn cache(&self) -> Duration {
        self.cache
    }
}

/// Whether an address never leaves this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a key too.
        f.debug_struct("Endpoint")
            .field("host", &self.url.host_str())
            .field("timeout", &self.timeout)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
