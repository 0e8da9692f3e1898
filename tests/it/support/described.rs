//! What the descriptions promise of answers and frames. The clients of all tests hold the server to it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::Value;

use super::Answer;
use super::schema::{is_as_described, schema};

pub(crate) static OPENAPI: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap());
pub(crate) static ASYNCAPI: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/asyncapi.json")).unwrap());

/// Methods that have operations.
pub(crate) const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The path of the description that a request goes to: whole words before `{id}` and the like.
fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &&String| {
        let alike = |(ours, theirs): (&str, &str)| {
            ours == theirs || ours.starts_with('{') && !theirs.is_empty()
        };
        template.split('/').count() == path.split('/').count()
            && template.split('/').zip(path.split('/')).all(alike)
    };
    let paths = OPENAPI["paths"].as_object().unwrap().keys();
    paths
        .filter(fits)
        .min_by_key(|template| template.matches('{').count())
        .map(String::as_str)
}

/// The name of the operation that a request is, if there is one.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static str> {
    let method = method.as_str().to_lowercase();
    OPENAPI["paths"][template(path)?][method]["operationId"].as_str()
}

/// Fails unless an answer is one that its operation is described to give. Routes of other applications pass.
#[track_caller]
pub(crate) fn is_described(method: &Method, path: &str, answer: &Answer) {
    let (Some(template), Some(name)) = (template(path), operation(method, path)) else {
        return;
    };
    let what = format!("the {} of {name} ({method} {path})", answer.status);
    let operation = format!(
        "/paths/{}/{}",
        escaped(template),
        method.as_str().to_lowercase()
    );
    // What goes wrong inside is for all of them.
    let status = match answer.status.as_str() {
        "500" => "default",
        status => status,
    };
    let mut place = format!("{operation}/responses/{status}");
    let mut response = OPENAPI
        .pointer(&place)
        .unwrap_or_else(|| panic!("{what} is not described; see its #[utoipa::path]: {answer:?}"));
    if let Some(reference) = response["$ref"].as_str() {
        place = reference[1..].to_owned();
        response = OPENAPI.pointer(&place).unwrap();
    }
    for (header, described) in response["headers"].as_object().into_iter().flatten() {
        // Of what always comes; a change that nobody is told of has no place in the log.
        let always = match header.as_str() {
            "Event-Cursor" => method == Method::GET,
            "X-Request-Id" => path.starts_with("/api/v1/"),
            _ => true,
        };
        assert!(
            !described.is_null() && (!always || answer.headers.contains_key(header)),
            "{what} has no {header}"
        );
    }
    let Some(contents) = response["content"].as_object() else {
        return assert!(
            answer.json.as_str() == Some(""),
            "{what} has a body: {answer:?}"
        );
    };
    let kind = answer.headers["content-type"].to_str().unwrap();
    let kind = kind.split(';').next().unwrap();
    assert!(contents.contains_key(kind), "{what} is {kind}");
    let place = format!("{place}/content/{}/schema", escaped(kind));
    validate(&OPENAPI, &what, place, &answer.json);
}

/// Fails unless a frame from the server is one of those that are described.
#[track_caller]
pub(crate) fn is_a_frame(frame: &Value) {
    let kind = frame["type"].as_str().unwrap_or_default();
    let place = match kind {
        "ack" => return is_an_ack(frame),
        kind => format!("/components/schemas/{kind}"),
    };
    validate(&ASYNCAPI, &format!("the frame {kind}"), place, frame);
}

/// Which command an ack answers is not in it.
#[track_caller]
fn is_an_ack(frame: &Value) {
    let kinds = [
        "joined",
        "left",
        "published",
        "described",
        "renewed",
        "pong",
    ];
    let fits = |kind: &str| {
        let place = format!("/components/schemas/{kind}");
        cached(&ASYNCAPI, place, frame, |schema| schema.is_valid(frame))
    };
    assert!(
        kinds.into_iter().any(fits),
        "no ack is described like this: {frame}"
    );
}

#[track_caller]
fn validate(document: &'static Value, what: &str, place: String, value: &Value) {
    cached(document, place, value, |schema| {
        is_as_described(what, value, schema);
        true
    });
}

/// Things that are held to one schema in one process: looking at each of a million events would take too long.
const LOOKED_AT: usize = 5_000;

/// A schema, and how much has been held to it.
type Made = (&'static Validator, usize);

/// Validators are made once in a process: that takes longer than using them.
fn cached(
    document: &'static Value,
    place: String,
    value: &Value,
    then: impl FnOnce(&Validator) -> bool,
) -> bool {
    static MADE: LazyLock<Mutex<HashMap<(usize, String), Made>>> = LazyLock::new(Mutex::default);
    let things = value.as_object().into_iter().flatten();
    let things = things.map(|(_, field)| field.as_array().map_or(0, Vec::len));
    let things = 1 + things.sum::<usize>();
    let key = (std::ptr::from_ref(document) as usize, place);
    let schema = {
        let mut made = MADE.lock().unwrap();
        let (schema, seen) = made
            .entry(key)
            .or_insert_with_key(|(_, place)| (Box::leak(Box::new(schema(document, place))), 0));
        *seen += things;
        (*seen <= LOOKED_AT + things).then_some(*schema)
    };
    schema.is_none_or(then)
}

/// A name in a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
