//! Extractors that refuse with problem documents: bodies, ids in paths, pages of lists.

use std::convert::Infallible;
use std::net::IpAddr;

use ::http::header;
use ::http::request::Parts;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::accounts::is_unseen;
use crate::address;
use crate::app::Roomcast;
use crate::error::{Error, FieldError};

/// A JSON body. Unknown fields are refused by the types themselves.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if !is_json(&request) {
            return Err(Error::UnsupportedMediaType);
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes =
            bytes.map_err(|_| Error::invalid("invalid-body", "The body did not arrive whole."))?;
        // An array would do for serde, its items taken for the fields in their order.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(Error::field("(body)", "expected a JSON object"));
        }
        // Which field is wrong is only asked if one is: to know it all the way costs as much again.
        serde_json::from_slice(&bytes)
            .or_else(|_| with_path(&bytes))
            .map(Self)
    }
}

/// Understands a body, or says which field cannot be.
fn with_path<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| wrong_field(&error))?;
    json.end().map_err(|error| {
        Error::invalid(
            "invalid-body",
            format!("The body is not one JSON value: {error}."),
        )
    })?;
    Ok(value)
}

fn is_json(request: &Request) -> bool {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    essence.eq_ignore_ascii_case("application/json")
        && !request.headers().contains_key(header::CONTENT_ENCODING)
}

fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let inner = error.inner();
    if !inner.is_data() {
        return Error::invalid("invalid-body", format!("The body is not JSON: {inner}."));
    }
    let field = match error.path().to_string() {
        path if path == "." => "(body)".to_owned(),
        path => path,
    };
    let errors = vec![FieldError {
        field,
        message: inner.to_string(),
    }];
    Error::Invalid {
        code: "invalid-body",
        detail: "The body has a wrong field.".into(),
        errors,
    }
}

/// Ids in a path. One that is not of the form of ours is of nothing.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| Error::NotFound)
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// The `next` of the page before.
    #[serde(default)]
    pub(super) after: String,
    /// How many things at most.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u16>,
}

/// Things on a page where nothing is said, and at most.
const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1_000;

impl Paging {
    pub(super) fn limit(&self) -> Result<usize, Error> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit.into()),
            _ => Err(Error::invalid(
                "invalid-query",
                "\"limit\" is from 1 to 1000.",
            )),
        }
    }
}

/// A query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| {
            use std::error::Error as _;
            let reason = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            Error::invalid(
                "invalid-query",
                format!("The query is not understood: {reason}."),
            )
        })
    }
}

/// Where the request came from.
pub(super) struct Address(pub(super) Option<IpAddr>);

impl FromRequestParts<Roomcast> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Roomcast) -> Result<Self, Infallible> {
        Ok(Self(address::of(
            &parts.headers,
            &parts.extensions,
            app.config(),
        )))
    }
}

/// A name that people read: 1 to 100 characters, none of them a control character, no space round it.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=100).contains(&length) && !name.chars().any(is_unseen) && name.trim() == name {
        Ok(())
    } else {
        Err(Error::field(
            field,
            "expected 1 to 100 characters without control characters or white space round them",
        ))
    }
}
