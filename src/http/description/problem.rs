//! What every refusal says: a problem document, and the words in its `code`.

use utoipa::ToSchema;

use crate::error::FieldError;

/// A problem document (RFC 9457).
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written by hand in error.rs, and described here"
)]
pub(super) struct Problem {
    /// What a program reads.
    code: Code,
    /// What a person reads.
    #[schema(examples("You may not join user:12."))]
    detail: String,
    /// The fields of the body that are wrong.
    #[schema(required = false, nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// Names the request in the server's log, where that says more: of faults of the server.
    #[schema(required = false, nullable = false, rename = "requestId")]
    request_id: Option<String>,
    #[schema(minimum = 400, maximum = 599, examples(403))]
    status: u16,
    #[schema(examples("Forbidden"))]
    title: String,
    #[schema(examples("about:blank"))]
    r#type: String,
}

/// What went wrong, in one word. It does not change.
#[derive(ToSchema)]
#[schema(as = ProblemCode, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the words are said where they are used")]
enum Code {
    InvalidBody,
    InvalidQuery,
    InvalidChannel,
    InvalidCursor,
    InvalidSocket,
    InvalidFormat,
    InvalidWait,
    InvalidRequest,
    InvalidUpgrade,
    TooManyChannels,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Conflict,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    RateLimited,
    Unavailable,
    Internal,
}
