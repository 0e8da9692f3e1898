//! What holds for many operations, said once: credentials, headers, refusals, and what stands in paths.

use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayItems, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, PathItem, Ref, RefOr, Required, Response};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;
use crate::realtime::{Channel, Cursor, SocketId};

/// The refusals that are the same everywhere: status, name, and when.
const REFUSALS: [(u16, &str, &str); 10] = [
    (
        400,
        "BadRequest",
        "The request is malformed; `errors` names the fields of a body that are wrong.",
    ),
    (
        401,
        "Unauthorized",
        "Not logged in, or the token or key is not accepted.",
    ),
    (
        403,
        "Forbidden",
        "You may not, or pages of that origin may not.",
    ),
    (
        404,
        "NotFound",
        "There is nothing here, or nothing for you.",
    ),
    (408, "Timeout", "The body did not come in time."),
    (413, "TooLarge", "The body is over the limit."),
    (
        415,
        "UnsupportedMediaType",
        "The body is not JSON, or does not say so.",
    ),
    (429, "RateLimited", "Too much at once; come back later."),
    (503, "Unavailable", "Not now; come back later."),
    (0, "Problem", "Something else went wrong."),
];

/// Adds what the annotations leave out.
pub(super) fn complete(openapi: &mut OpenApi) {
    let components = openapi.components.get_or_insert_default();
    add_components(components);
    name_what_is_on_pages(components);
    for (path, item) in &mut openapi.paths.paths {
        for (changes, operation) in operations(item) {
            Completing {
                path,
                changes,
                operation,
            }
            .complete();
        }
    }
}

/// The operations of a path, and whether they change something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let get = item.get.iter_mut().map(|operation| (false, operation));
    let rest = [
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ];
    get.chain(
        rest.into_iter()
            .flatten()
            .map(|operation| (true, operation)),
    )
}

fn add_components(components: &mut Components) {
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    for (name, description, schema) in [
        (
            "RequestId",
            "Names the request in the server's logs.",
            SocketId::schema(),
        ),
        (
            "RetryAfter",
            "In how many seconds to come back.",
            Object::with_type(Type::Integer).into(),
        ),
        (
            "EventCursor",
            "Of a GET, a position from before the data was read. Of a change, that of its own last \
            notification; absent where it has none.",
            Cursor::schema(),
        ),
    ] {
        let mut header = Header::new(schema);
        header.description = Some(description.into());
        components.headers.insert(name.into(), header.into());
    }
    for (status, name, description) in REFUSALS {
        let mut response = Response::new(description);
        be_problem(&mut response);
        response
            .headers
            .insert("X-Request-Id".into(), header("RequestId"));
        if matches!(status, 429 | 503) {
            let header = header("RetryAfter");
            response.headers.insert("Retry-After".into(), header);
        }
        components.responses.insert(name.into(), response.into());
    }
    let socket = ParameterBuilder::new()
        .name("X-Socket-Id")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The socket of one's own to leave out, live and whenever it resumes. What names none is ignored.",
        ))
        .schema(Some(string()));
    components
        .parameters
        .insert("SocketId".into(), socket.build().into());
}

/// A page of documents is one of `Document`: utoipa writes out what a type is generic over.
fn name_what_is_on_pages(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        let (Some((_, item)), RefOr::T(Schema::Object(page))) = (name.split_once('_'), schema)
        else {
            continue;
        };
        if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}

fn schemes() -> [(&'static str, SecurityScheme); 4] {
    let bearer = |description: &str| {
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(description))
    };
    [
        (
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "roomcast",
                "The session's cookie, from `POST /api/v1/auth/login`. Over TLS it is called `__Host-roomcast`.",
            ))),
        ),
        (
            "token",
            SecurityScheme::Http(
                bearer("A client token, from `POST /api/v1/auth/token` or a back end of your own. It wins over a cookie.")
                    .bearer_format("JWT")
                    .build(),
            ),
        ),
        (
            "tokenInQuery",
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
                "token",
                "The same, where headers cannot be sent.",
            ))),
        ),
        (
            "apiKey",
            SecurityScheme::Http(bearer("The server's `ROOMCAST_API_KEY`, for back ends.").build()),
        ),
    ]
}

fn header(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

fn be_problem(response: &mut Response) {
    let problem = Ref::from_schema_name(Problem::name());
    response.content.insert(
        "application/problem+json".into(),
        Content::new(Some(problem)).into(),
    );
}

/// An operation, as far as its annotation goes.
struct Completing<'a> {
    path: &'a str,
    changes: bool,
    operation: &'a mut Operation,
}

impl Completing<'_> {
    fn complete(mut self) {
        self.say_what_stands_in_the_path();
        self.say_what_is_refused();
        self.say_which_headers_come();
    }

    fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether credentials are looked at, whatever they are.
    fn identifies(&self) -> bool {
        self.is_below("/api/v1/") || self.is_below("/sse/") || self.path == "/ws"
    }

    /// Whether it asks for a credential of this kind, or would read one.
    fn takes(&self, scheme: &str) -> bool {
        let Some(security) = &self.operation.security else {
            return scheme != "apiKey";
        };
        let json = serde_json::to_string(security).unwrap_or_default();
        json.contains(&format!("\"{scheme}\""))
    }

    fn say_what_stands_in_the_path(&mut self) {
        let names = self.path.split('{').skip(1);
        let names: Vec<&str> = names.filter_map(|rest| rest.split('}').next()).collect();
        for name in names {
            let (description, schema) = match name {
                "channel" => ("The channel.", Channel::schema()),
                "user" => ("The id of a user.", string()),
                "group" => ("The id of a group.", string()),
                "message" => ("The id of a message.", string()),
                "socket" => ("The socket id.", string()),
                _ => ("The id.", string()),
            };
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(description))
                .schema(Some(schema));
            self.parameters().push(parameter.build().into());
        }
        if self.changes && self.takes("cookie") && self.is_below("/api/v1/") {
            let socket = Ref::new("#/components/parameters/SocketId");
            self.parameters().push(RefOr::Ref(socket));
        }
    }

    fn parameters(&mut self) -> &mut Vec<RefOr<Parameter>> {
        self.operation.parameters.get_or_insert_default()
    }

    fn say_what_is_refused(&mut self) {
        let has_body = self.operation.request_body.is_some();
        let is_secured = ["cookie", "token", "apiKey"]
            .iter()
            .any(|scheme| self.takes(scheme));
        let is_stream = self.is_below("/sse/");
        let listens = is_stream || self.path == "/ws" || self.path == "/api/v1/events";
        for (status, name, _) in REFUSALS {
            let is_refused = match status {
                // Two tokens are one too many everywhere.
                400 => self.identifies(),
                401 => is_secured,
                403 => self.changes || self.takes("apiKey"),
                404 => {
                    self.path.contains('{') && !self.path.contains("{channel}")
                        || self.path.contains("/members/")
                }
                // A body is read, also where none is asked for.
                408 | 413 => self.changes,
                415 => has_body,
                // An event stream says it in the stream.
                429 => self.changes || listens && !is_stream,
                503 => self.path != "/livez" && !is_stream,
                _ => true,
            };
            if is_refused {
                let key = if status == 0 {
                    "default".to_owned()
                } else {
                    status.to_string()
                };
                let refusal = Ref::new(format!("#/components/responses/{name}"));
                let responses = &mut self.operation.responses.responses;
                responses.entry(key).or_insert(RefOr::Ref(refusal));
            }
        }
    }

    fn say_which_headers_come(&mut self) {
        let identifies = self.identifies();
        let notifies = self.is_below("/api/v1/") && self.path != "/api/v1/events";
        for (status, response) in &mut self.operation.responses.responses {
            let RefOr::T(response) = response else {
                continue;
            };
            if status.starts_with(['4', '5']) {
                if response.content.is_empty() {
                    be_problem(response);
                }
            } else if notifies {
                response
                    .headers
                    .insert("Event-Cursor".into(), header("EventCursor"));
            }
            if identifies {
                response
                    .headers
                    .insert("X-Request-Id".into(), header("RequestId"));
            }
        }
    }
}

fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}
