//! The one error that becomes an HTTP answer: a problem document (RFC 9457) with a stable `code`.

use std::borrow::Cow;

use ::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::log::{CommitError, ReadError};
use crate::metrics::Refusal;
use crate::realtime::channel::InvalidChannel;

/// What went wrong with one field of a body or query.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Its path, for example `members[2].name`.
    pub field: String,
    /// What would be accepted.
    pub message: String,
}

/// Why a request was not answered as asked. What a variant holds is for the client to read, but for `Internal`.
#[derive(Debug)]
pub enum Error {
    /// The request is malformed: 400.
    Invalid {
        /// Which kind of mistake.
        code: &'static str,
        /// What is wrong and what would be accepted.
        detail: Cow<'static, str>,
        /// The fields of the body that are wrong.
        errors: Vec<FieldError>,
    },
    /// Nobody is logged in, or the login failed: 401.
    Unauthorized(&'static str),
    /// The caller may not: 403.
    Forbidden(Cow<'static, str>),
    /// A page of a foreign origin: 403.
    ForeignOrigin,
    /// There is no such thing, or the caller may not know of it: 404.
    NotFound,
    /// The program was built without the client for browsers and the pages: 404.
    PagesNotBuilt,
    /// Not with this method: 405.
    MethodNotAllowed,
    /// The body did not come in time: 408.
    Timeout,
    /// The thing is in the way: 409.
    Conflict(Cow<'static, str>),
    /// The thing has changed meanwhile: 412.
    PreconditionFailed(&'static str),
    /// The body is over the limit: 413.
    TooLarge(String),
    /// The body is not JSON: 415.
    UnsupportedMediaType,
    /// Too much at once: 429.
    RateLimited {
        /// What there is too much of.
        detail: &'static str,
        /// Seconds.
        retry_after: u64,
    },
    /// Not now: 503.
    Unavailable {
        /// Why.
        detail: &'static str,
        /// Seconds.
        retry_after: u64,
    },
    /// Not a handshake of WebSocket's: 426.
    UpgradeRequired(&'static str),
    /// Our fault: 500. Logged, never shown.
    Internal(anyhow::Error),
}

impl Error {
    /// A malformed request.
    pub fn invalid(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// A body with one wrong field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let errors = vec![FieldError {
            field: field.into(),
            message: message.into(),
        }];
        Self::Invalid {
            code: "invalid-body",
            detail: "The body has a wrong field.".into(),
            errors,
        }
    }

    /// Not allowed.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Forbidden(detail.into())
    }

    fn parts(&self) -> (StatusCode, &'static str, Cow<'_, str>) {
        match self {
            Self::Invalid { code, detail, .. } => {
                (StatusCode::BAD_REQUEST, code, Cow::Borrowed(detail))
            }
            Self::Unauthorized(detail) => {
                (StatusCode::UNAUTHORIZED, "unauthorized", (*detail).into())
            }
            Self::Forbidden(detail) => (StatusCode::FORBIDDEN, "forbidden", Cow::Borrowed(detail)),
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "Pages of this origin may not use this server; see ROOMCAST_ALLOWED_ORIGINS."
                    .into(),
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not-found",
                "There is nothing here, or nothing for you.".into(),
            ),
            Self::PagesNotBuilt => (
                StatusCode::NOT_FOUND,
                "not-found",
                "This program was built without its pages: run npm ci and npm run build in web, and build it again."
                    .into(),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Not with this method; see Allow.".into(),
            ),
            Self::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The body did not come in time.".into(),
            ),
            Self::Conflict(detail) => (StatusCode::CONFLICT, "conflict", Cow::Borrowed(detail)),
            Self::PreconditionFailed(detail) => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                (*detail).into(),
            ),
            Self::TooLarge(detail) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                Cow::Borrowed(detail),
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON, with Content-Type: application/json.".into(),
            ),
            Self::RateLimited { detail, .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate-limited",
                (*detail).into(),
            ),
            Self::Unavailable { detail, .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                (*detail).into(),
            ),
            Self::UpgradeRequired(detail) => (
                StatusCode::UPGRADE_REQUIRED,
                "invalid-upgrade",
                (*detail).into(),
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The server had a problem. It has been logged.".into(),
            ),
        }
    }

    /// What it counts as, where nobody else counts it.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Unauthorized(_) => Some(Refusal::Unauthorized),
            Self::Forbidden(_) => Some(Refusal::Forbidden),
            Self::ForeignOrigin => Some(Refusal::Origin),
            Self::TooLarge(_) => Some(Refusal::TooLarge),
            _ => None,
        }
    }
}

/// The problem document of what failed here, beside its response, for the layer that knows the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Problem(String);

impl Problem {
    /// The document, with the id of the request that it answers.
    pub(crate) fn of_request(&self, id: &str) -> String {
        // An id has no character that JSON escapes.
        let open = self.0.strip_suffix('}').unwrap_or(&self.0);
        format!(r#"{open},"requestId":"{id}"}}"#)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Internal(error) = &self {
            tracing::error!(error = format!("{error:#}"), "a request failed");
        }
        let (status, code, detail) = self.parts();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        if let Self::Invalid { errors, .. } = &self
            && !errors.is_empty()
        {
            body["errors"] = json!(errors);
        }
        let body = body.to_string();
        let mut response = (status, body.clone()).into_response();
        // Of what failed here the log says more. Other refusals stay alike to the byte, because some of them must not be
        // told apart.
        if status.is_server_error() {
            response.extensions_mut().insert(Problem(body));
        }
        if let Some(refusal) = self.refusal() {
            response.extensions_mut().insert(refusal);
        }
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } = self
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        response
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Unavailable {
                detail: "The database is busy.",
                retry_after: 1,
            },
            // All other references are looked up before they are written.
            sqlx::Error::Database(error) if error.is_foreign_key_violation() => Self::forbidden(
                "What this makes belongs to an account of this server, and you have none here.",
            ),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Database(error) => Self::from(error),
            CommitError::Busy => Self::Unavailable {
                detail: "Too many changes at once.",
                retry_after: 1,
            },
            CommitError::Closed => Self::Unavailable {
                detail: "The server shuts down.",
                retry_after: 5,
            },
            CommitError::NotCommitted => Self::Unavailable {
                detail: "The change could not be kept. Nothing of it was.",
                retry_after: 1,
            },
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<InvalidChannel> for Error {
    fn from(error: InvalidChannel) -> Self {
        Self::invalid("invalid-channel", format!("The channel is {error}."))
    }
}

impl From<crate::password::Busy> for Error {
    fn from(_: crate::password::Busy) -> Self {
        Self::Unavailable {
            detail: "Too many logins at once.",
            retry_after: 2,
        }
    }
}
