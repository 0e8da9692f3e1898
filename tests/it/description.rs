//! The description of the HTTP API is true: each operation is asked for, with the examples that it gives, and answers as
//! it says, which the clients of all tests hold the server to.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use roomcast::config::{Config, Guests};
use serde_json::{Value, json};

use crate::support::described::{METHODS, OPENAPI, operation};
use crate::support::schema::{is_as_described, schema};
use crate::support::{Answer, Application, Person, SseClient, TestApp, jwt};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) async fn text(app: &TestApp, path: &str) -> String {
    let request = app.nobody().builder(Method::GET, path);
    let response = request.send().await.unwrap().error_for_status().unwrap();
    response.text().await.unwrap()
}

#[tokio::test]
async fn the_description_in_the_repository_is_the_one_that_is_served() {
    let app = TestApp::start().await;
    let served = text(&app, "/openapi.json").await;
    let file = format!("{ROOT}/docs/openapi.json");
    if std::env::var_os("RENEW").is_some() {
        fs::write(&file, &served).unwrap();
    }
    assert!(
        served == fs::read_to_string(file).unwrap_or_default(),
        "docs/openapi.json is stale; renew it with RENEW=1 cargo test --test it description::"
    );
    let kept = fs::read_to_string(format!("{ROOT}/docs/asyncapi.json")).unwrap();
    assert_eq!(text(&app, "/asyncapi.json").await, kept);
}

/// The operations, by name: the method, the path and what is said of it.
pub(crate) fn operations()
-> impl Iterator<Item = (&'static str, Method, &'static str, &'static Value)> {
    let paths = OPENAPI["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| {
            let operation = item.get(method)?;
            let name = operation["operationId"].as_str()?;
            Some((
                name,
                method.to_uppercase().parse().unwrap(),
                path.as_str(),
                operation,
            ))
        })
    })
}

/// The body that a description shows, if the operation takes one.
fn example(operation: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let place = schema["$ref"].as_str()?;
    let example = &OPENAPI.pointer(&place[1..]).unwrap()["examples"][0];
    assert!(!example.is_null(), "{place} has no example");
    Some(example.clone())
}

fn has_secrets(config: &mut Config) {
    TestApp::has_key(config);
    config.token_secret = Some(jwt::SECRET.into());
}

/// Somebody who goes through the operations.
struct Reader {
    done: BTreeSet<&'static str>,
}

impl Reader {
    /// Asks for an operation with the body that its description shows, some of it replaced.
    async fn asks(&mut self, who: &Person, method: Method, path: &str, with: Value) -> Answer {
        let plain = path.split('?').next().unwrap();
        let name = operation(&method, plain).unwrap_or_else(|| panic!("no {method} {path}"));
        let (.., described) = operations().find(|(other, ..)| *other == name).unwrap();
        let mut request = who.builder(method.clone(), path);
        if let Some(mut body) = example(described) {
            let fields = with.as_object().cloned().unwrap_or_default();
            body.as_object_mut().unwrap().extend(fields);
            request = request.json(&body);
        }
        let answer = Person::send(request).await;
        assert!(answer.status.is_success(), "{name}: {answer:?}");
        self.done.insert(name);
        answer
    }

    async fn gets(&mut self, who: &Person, path: &str) -> Answer {
        self.asks(who, Method::GET, path, Value::Null).await
    }

    async fn posts(&mut self, who: &Person, path: &str, with: Value) -> Answer {
        self.asks(who, Method::POST, path, with).await
    }

    async fn puts(&mut self, who: &Person, path: &str) -> Answer {
        self.asks(who, Method::PUT, path, Value::Null).await
    }

    async fn patches(&mut self, who: &Person, path: &str) -> Answer {
        self.asks(who, Method::PATCH, path, Value::Null).await
    }

    async fn deletes(&mut self, who: &Person, path: &str) {
        self.asks(who, Method::DELETE, path, Value::Null).await;
    }
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    // Who is in an order is for an application to say; here one takes somebody out of it.
    let rules = Application::start()
        .await
        .rules("[kinds.order]\njoin = \"granted\"", "");
    let app = TestApp::start_with(|config| {
        has_secrets(config);
        config.rules = rules;
    })
    .await;
    let mut reader = Reader {
        done: BTreeSet::new(),
    };
    for path in ["/livez", "/readyz"] {
        reader.gets(&app.nobody(), path).await;
    }
    reader.gets(&app.back_end(), "/metrics").await;
    let bob = app.person("bob").await;
    let ada = reads_about_accounts(&mut reader, &app).await;
    reads_about_groups(&mut reader, &ada, &bob).await;
    reads_about_documents(&mut reader, &ada, &bob).await;
    reads_about_chat(&mut reader, &ada).await;
    reads_about_channels(&mut reader, &app, &ada).await;
    reads_about_administration(&mut reader, &app).await;
    reader.posts(&ada, "/api/v1/auth/logout", Value::Null).await;

    let all: BTreeSet<_> = operations().map(|(name, ..)| name).collect();
    let left: Vec<_> = all.difference(&reader.done).collect();
    assert!(left.is_empty(), "nobody has asked for {left:?}");
}

async fn reads_about_accounts(reader: &mut Reader, app: &TestApp) -> Person {
    let mut ada = app.nobody();
    reader
        .posts(&ada, "/api/v1/auth/register", Value::Null)
        .await;
    let login = reader.posts(&ada, "/api/v1/auth/login", Value::Null).await;
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    ada.cookie = cookie.split(';').next().map(str::to_owned);
    ada.id = reader.gets(&ada, "/api/v1/auth/me").await.json["id"]
        .as_str()
        .unwrap()
        .to_owned();
    reader.posts(&ada, "/api/v1/auth/token", Value::Null).await;
    reader.gets(&ada, "/api/v1/users?limit=1").await;
    reader
        .gets(&ada, &format!("/api/v1/users/{}", ada.id))
        .await;
    reader
        .patches(&ada, &format!("/api/v1/users/{}", ada.id))
        .await;
    let asked = json!({ "users": [ada.id, "nobody"] });
    reader.posts(&ada, "/api/v1/users/online", asked).await;
    reader.gets(&ada, "/api/v1/status").await;
    ada
}

async fn reads_about_groups(reader: &mut Reader, ada: &Person, bob: &Person) {
    let group = reader.posts(ada, "/api/v1/groups", Value::Null).await.id();
    let path = format!("/api/v1/groups/{group}");
    let member = format!("{path}/members/{}", bob.id);
    reader.puts(ada, &member).await;
    reader.gets(ada, "/api/v1/groups").await;
    reader.gets(ada, &path).await;
    reader.puts(ada, &path).await;
    reader.deletes(ada, &member).await;
    reader.deletes(ada, &path).await;
}

async fn reads_about_documents(reader: &mut Reader, ada: &Person, bob: &Person) {
    let root = reader
        .posts(ada, "/api/v1/document-roots", Value::Null)
        .await
        .id();
    let group = ada.makes_group("readers").await;
    let path = format!("/api/v1/document-roots/{root}");
    reader.gets(ada, "/api/v1/document-roots").await;
    reader.gets(ada, &path).await;
    for holder in [format!("users/{}", bob.id), format!("groups/{group}")] {
        let permission = format!("{path}/permissions/{holder}");
        reader.puts(ada, &permission).await;
        reader.deletes(ada, &permission).await;
    }
    let with = json!({ "rootId": root });
    let document = reader.posts(ada, "/api/v1/documents", with).await.id();
    let one = format!("/api/v1/documents/{document}");
    reader
        .gets(ada, &format!("/api/v1/documents?rootId={root}"))
        .await;
    reader.gets(ada, &one).await;
    reader.puts(ada, &one).await;
    reader.deletes(ada, &one).await;
    reader.deletes(ada, &path).await;
}

async fn reads_about_chat(reader: &mut Reader, ada: &Person) {
    let room = reader.posts(ada, "/api/v1/rooms", Value::Null).await.id();
    let path = format!("/api/v1/rooms/{room}");
    reader.gets(ada, "/api/v1/rooms").await;
    reader.gets(ada, &path).await;
    reader.puts(ada, &path).await;
    let messages = format!("{path}/messages");
    let message = reader.posts(ada, &messages, Value::Null).await.id();
    let one = format!("{messages}/{message}");
    reader.patches(ada, &one).await;
    reader.gets(ada, &format!("{messages}?before=")).await;
    reader.deletes(ada, &one).await;
    reader.deletes(ada, &path).await;
}

async fn reads_about_channels(reader: &mut Reader, app: &TestApp, ada: &Person) {
    let back_end = app.back_end();
    let first = reader
        .posts(&back_end, "/api/v1/publish", Value::Null)
        .await;
    let later = json!({ "delayMs": 60_000, "idempotencyKey": null });
    let later = reader
        .posts(&back_end, "/api/v1/publish", later)
        .await
        .is(202);
    let id = later.json["id"].as_str().unwrap();
    reader
        .deletes(&back_end, &format!("/api/v1/publish/{id}"))
        .await;
    reader
        .posts(&back_end, "/api/v1/publish/batch", Value::Null)
        .await;

    let cursor = first.json["cursor"].as_str().unwrap();
    for query in ["", "?before=&limit=1", &format!("?after={cursor}")] {
        let path = format!("/api/v1/channels/order:42/history{query}");
        reader.gets(&back_end, &path).await;
    }
    let listening = ada.ws("channel=presence:lobby").await;
    reader.done.insert("openWebSocket");
    reader
        .gets(ada, "/api/v1/channels/presence:lobby/presence")
        .await;
    drop(listening);
    ada.sse("channel=presence:lobby").await;
    SseClient::connect(ada.builder(Method::GET, "/sse/events/presence:lobby")).await;
    reader.done.extend(["streamChannels", "streamChannel"]);
    reader
        .gets(ada, "/api/v1/events?channel=presence:lobby&wait=0")
        .await;
}

async fn reads_about_administration(reader: &mut Reader, app: &TestApp) {
    let root = app.administrator("root").await;
    let ws = root.ws("channel=document:42").await;
    reader.gets(&root, "/api/v1/admin/rooms?limit=1").await;
    reader.gets(&root, "/api/v1/admin/connections").await;
    reader.gets(&root, "/api/v1/admin/metrics").await;
    reader
        .deletes(&root, "/api/v1/channels/order:42/members/app-7")
        .await;
    reader
        .deletes(&root, &format!("/api/v1/admin/connections/{}", ws.id()))
        .await;
}

/// A path of an operation, with ids of nothing; guests may be in global.
fn filled(template: &str) -> String {
    let words = template.split('/').map(|word| match word {
        "{channel}" => "global",
        word if word.starts_with('{') => "0190a6d1-0c5e-7a41-9d0b-6a1f5e2c7b30",
        word => word,
    });
    words.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn who_shows_no_credentials_gets_what_the_description_lets_anybody_have() {
    let app = TestApp::start_with(|config| {
        has_secrets(config);
        config.guests = Guests::Global;
    })
    .await;
    let mut wrong = Vec::new();
    for (name, method, path, described) in operations() {
        let mut request = app.nobody().builder(method, &filled(path));
        if let Some(body) = example(described) {
            request = request.json(&body);
        }
        let status = request.send().await.unwrap().status();
        let security = described.get("security").unwrap_or(&OPENAPI["security"]);
        let is_open = security.as_array().unwrap().contains(&json!({}));
        // That of a login is about the password.
        let is_asked = status == 401 && name != "logIn";
        if is_open == is_asked {
            wrong.push(format!(
                "{name}: {status}, and it is described as open: {is_open}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_as_it_is_described() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut tried = 0;
    for (name, method, path, described) in operations() {
        let Some(mut body) = example(described) else {
            continue;
        };
        let who = if name.starts_with("publish") {
            &back_end
        } else {
            &ada
        };
        let path = filled(path);
        let send = |body: &Value| Person::send(who.builder(method.clone(), &path).json(body));
        body["unheard-of"] = json!(1);
        send(&body).await.is_problem(400, "invalid-body");
        let text = who.builder(method.clone(), &path).body("hello");
        Person::send(text)
            .await
            .is_problem(415, "unsupported-media-type");
        tried += 1;
    }
    assert!(tried > 15, "only {tried} operations take a body");
}

#[test]
fn nothing_is_called_the_same_twice() {
    let mut names = BTreeSet::new();
    for (name, .., described) in operations() {
        assert!(names.insert(name), "two operations are called {name}");
        let mut parameters = BTreeSet::new();
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let called = [&parameter["in"], &parameter["name"], &parameter["$ref"]];
            assert!(
                parameters.insert(json!(called).to_string()),
                "{name} has two {called:?}"
            );
        }
    }
}

#[test]
fn examples_are_as_the_schemas_say() {
    let schemas = OPENAPI["components"]["schemas"].as_object().unwrap();
    for (name, described) in schemas {
        let schema = schema(&OPENAPI, &format!("/components/schemas/{name}"));
        for example in described["examples"].as_array().into_iter().flatten() {
            is_as_described(name, example, &schema);
        }
    }
}

/// Every `"code"` that is written in the sources: in calls of `Error::invalid`, and in error.rs.
fn codes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "src/http", "src/transport"] {
        for entry in fs::read_dir(format!("{ROOT}/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let calls = source.split("::invalid(").skip(1);
            found.extend(
                calls
                    .filter_map(|rest| rest.split('"').nth(1))
                    .map(str::to_owned),
            );
        }
    }
    let source = fs::read_to_string(format!("{ROOT}/src/error.rs")).unwrap();
    let (_, parts) = source.split_once("fn parts(").unwrap();
    let (parts, _) = parts.split_once("\nimpl ").unwrap();
    let literals = parts.split('"').skip(1).step_by(2);
    let is_word = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    found.extend(literals.filter(is_word).map(str::to_owned));
    found.insert("invalid-body".to_owned());
    found
}

#[test]
fn every_code_of_a_problem_is_described() {
    let described = OPENAPI["components"]["schemas"]["ProblemCode"]["enum"]
        .as_array()
        .unwrap();
    let described: BTreeSet<_> = described
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        described,
        codes(),
        "src/http/description/problem.rs against the sources"
    );
}
