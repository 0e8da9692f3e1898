//! Client tokens: JWTs (RFC 7519, signed with HS256) that say who somebody is, until when, and what else they may join.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::accounts::is_unseen;
use crate::config::Secret;
use crate::realtime::channel::Kind;
use crate::realtime::connection::SessionKey;
use crate::realtime::protocol::client::MAX_TOKEN_BYTES;
use crate::realtime::{Channel, User, UserId};

/// The longest name in a token, in characters.
const MAX_NAME_CHARS: usize = 100;
/// The channels that one token may grant.
const MAX_CHANNELS: usize = 128;
/// How far the clock of who made a token may be ahead of ours. The end of a token has no such leeway.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who its holder is: a user of ours, or of an application that has accounts of its own.
    pub user: UserId,
    /// When it ends; parts of a second are left out of a token (see [`end_of`]).
    pub expires: OffsetDateTime,
    /// What people read; of our own users their own name counts.
    pub name: Option<Arc<str>>,
    /// Channels that the holder may join besides what the user may.
    pub channels: Arc<[Channel]>,
    /// The login that it was made for, and ends with.
    pub(crate) session: Option<SessionKey>,
}

/// Why a token is not accepted, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// Too many bytes.
    TooLong,
    /// No JWT.
    Form,
    /// Another algorithm, or a header that asks for more.
    Header,
    /// Signed with another secret.
    Signature,
    /// Claims that are missing, doubled or of a wrong type.
    Claims,
    /// For somebody else.
    Audience,
    /// No user id.
    User,
    /// No end.
    Expires,
    /// It is over.
    Ended,
    /// It has not begun.
    NotYet,
    /// No name.
    Name,
    /// No channels.
    Channels,
}

impl Invalid {
    /// What would be accepted. Nothing of the token is in it.
    pub fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "The token is longer than 8192 bytes.",
            Self::Form => {
                "That is no token of this server; expected a JWT of three parts, signed with HS256."
            }
            Self::Header => {
                "The token's header is not accepted; expected the \"alg\" HS256, perhaps the \"typ\" JWT, and nothing else."
            }
            Self::Signature => "The token was not signed with this server's secret.",
            Self::Claims => {
                "The token's claims are not understood; expected \"sub\" and \"exp\", perhaps \"nbf\", \"name\" and \"channels\", each once."
            }
            Self::Audience => {
                "The token is for another audience; tokens for this server have no \"aud\"."
            }
            Self::User => {
                "The token's \"sub\" is no user id; expected 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ : -"
            }
            Self::Expires => {
                "The token has no \"exp\"; expected seconds since 1970, up to the year 9999."
            }
            Self::Ended => "The token has ended. Get a new one.",
            Self::NotYet => "The token does not hold yet; see its \"nbf\".",
            Self::Name => {
                "The token's \"name\" is not accepted; expected 1 to 100 characters without control characters or white space round them."
            }
            Self::Channels => {
                "The token's \"channels\" are not accepted; expected at most 128 whole names such as document:42, and none of a socket."
            }
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Invalid {}

impl Claims {
    /// What it takes at least.
    pub fn new(user: UserId, expires: OffsetDateTime) -> Self {
        Self {
            user,
            expires,
            name: None,
            channels: Arc::default(),
            session: None,
        }
    }

    /// The holder, where the user is none of ours.
    pub(crate) fn stranger(&self) -> User {
        let name = self.name.as_deref().unwrap_or(self.user.as_str());
        User {
            id: self.user.clone(),
            name: name.into(),
            admin: false,
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        let is_name = |name: &str| {
            (1..=MAX_NAME_CHARS).contains(&name.chars().count())
                && !name.chars().any(is_unseen)
                && name.trim() == name
        };
        if !self.name.as_deref().is_none_or(is_name) {
            return Err(Invalid::Name);
        }
        let is_socket = |channel: &Channel| matches!(channel.kind(), Kind::Socket(_));
        if self.channels.len() > MAX_CHANNELS || self.channels.iter().any(is_socket) {
            return Err(Invalid::Channels);
        }
        Ok(())
    }
}

/// The claims as they stand in a token.
#[derive(Serialize)]
struct Written<'a> {
    sub: &'a UserId,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Channel]>::is_empty")]
    channels: &'a [Channel],
    #[serde(rename = "roomcast:session", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

/// The claims as they come. A claim that stands twice is an error of serde's.
#[derive(Deserialize)]
struct Read {
    sub: Option<String>,
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    aud: Option<IgnoredAny>,
    name: Option<String>,
    channels: Option<Vec<String>>,
    #[serde(rename = "roomcast:session")]
    session: Option<String>,
}

/// Makes a token.
///
/// # Errors
/// When it would not be accepted.
pub fn mint(secret: &Secret, claims: &Claims) -> Result<String, Invalid> {
    claims.check()?;
    let written = Written {
        sub: &claims.user,
        exp: claims.expires.unix_timestamp(),
        name: claims.name.as_deref(),
        channels: &claims.channels,
        session: claims.session.as_ref().map(|session| &*session.0),
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let token = encode(&Header::new(Algorithm::HS256), &written, &key);
    let token = token.map_err(|_| Invalid::Form)?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Invalid::TooLong);
    }
    Ok(token)
}

/// When a token ends that is to hold for so long: at the end of a second, because tokens know no parts of one.
pub fn end_of(now: OffsetDateTime, ttl: Duration) -> Option<OffsetDateTime> {
    let exact = now.checked_add(ttl.try_into().ok()?)?;
    let whole = exact.replace_nanosecond(0).ok()?;
    if whole == exact {
        Some(whole)
    } else {
        whole.checked_add(time::Duration::SECOND)
    }
}

/// Reads a token.
///
/// # Errors
/// When it is not accepted.
pub(crate) fn verify(
    secret: &Secret,
    token: &[u8],
    now: OffsetDateTime,
) -> Result<Claims, Invalid> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Invalid::TooLong);
    }
    let key = DecodingKey::from_secret(secret.expose().as_bytes());
    // The signature alone: what the claims must be like is said below, without the library's leeway and coercions.
    let mut signature = Validation::new(Algorithm::HS256);
    signature.required_spec_claims.clear();
    (signature.validate_exp, signature.validate_nbf) = (false, false);
    signature.validate_aud = false;
    let decoded = decode::<Box<RawValue>>(token, &key, &signature);
    let decoded = decoded.map_err(|error| match error.kind() {
        ErrorKind::InvalidAlgorithm => Invalid::Header,
        ErrorKind::InvalidSignature => Invalid::Signature,
        _ => Invalid::Form,
    })?;
    check_header(&decoded.header)?;
    // An array would do for serde, its items taken for the claims in their order.
    let claims = decoded.claims.get();
    if !claims.starts_with('{') {
        return Err(Invalid::Claims);
    }
    let claims = serde_json::from_str(claims).map_err(|_| Invalid::Claims)?;
    read(claims, now)
}

/// A header that names a key, a certificate or an extension is none of ours (RFC 8725, section 3.10).
fn check_header(header: &Header) -> Result<(), Invalid> {
    let typ = header.typ.as_deref();
    let plain = Header {
        typ: header.typ.clone(),
        ..Header::new(Algorithm::HS256)
    };
    if *header == plain && typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")) {
        Ok(())
    } else {
        Err(Invalid::Header)
    }
}

fn read(read: Read, now: OffsetDateTime) -> Result<Claims, Invalid> {
    if read.aud.is_some() {
        return Err(Invalid::Audience);
    }
    let user = read.sub.ok_or(Invalid::Claims)?;
    let user = UserId::parse(&user).map_err(|_| Invalid::User)?;
    let expires = read
        .exp
        .as_ref()
        .and_then(instant)
        .ok_or(Invalid::Expires)?;
    if expires <= now {
        return Err(Invalid::Ended);
    }
    if let Some(begins) = &read.nbf {
        let begins = instant(begins).ok_or(Invalid::Claims)?;
        if begins > now + NOT_BEFORE_LEEWAY {
            return Err(Invalid::NotYet);
        }
    }
    let names = read.channels.unwrap_or_default();
    if names.len() > MAX_CHANNELS {
        return Err(Invalid::Channels);
    }
    let channels: Result<Arc<[Channel]>, _> = names.iter().map(|name| name.parse()).collect();
    let claims = Claims {
        user,
        expires,
        name: read.name.map(Into::into),
        channels: channels.map_err(|_| Invalid::Channels)?,
        session: read.session.map(|session| SessionKey(session.into())),
    };
    claims.check()?;
    Ok(claims)
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, perhaps with a fraction.
fn instant(seconds: &serde_json::Number) -> Option<OffsetDateTime> {
    if let Some(seconds) = seconds.as_i64() {
        return OffsetDateTime::from_unix_timestamp(seconds).ok();
    }
    let nanoseconds = seconds.as_f64()? * 1e9;
    // Casting a number that is too large gives the largest there is, which is no time either.
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds as i128).ok()
}

#[cfg(test)]
mod tests;
