//! The description of the frames (AsyncAPI) is true: every fixture is as it says, and it names what the code names.

use std::collections::BTreeSet;
use std::fs;

use jsonschema::Validator;
use roomcast::realtime::Close;
use roomcast::realtime::protocol::{ClientFrame, Command, ErrorCode};
use serde_json::{Value, json};

use crate::protocol::fixture;
use crate::support::described::{ASYNCAPI, OPENAPI};
use crate::support::schema::{is_as_described, schema};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn payload(message: &str) -> Validator {
    schema(
        &ASYNCAPI,
        &format!("/components/messages/{message}/payload"),
    )
}

/// The key of the message that is called like this.
fn message(name: &str) -> String {
    let messages = ASYNCAPI["components"]["messages"].as_object().unwrap();
    let found = messages.iter().find(|(_, message)| message["name"] == name);
    found
        .unwrap_or_else(|| panic!("no message is called {name}"))
        .0
        .clone()
}

/// What a fixture is described by.
fn described_by(file: &str, value: &Value) -> Validator {
    let http = |name: &str| schema(&OPENAPI, &format!("/components/schemas/{name}"));
    let word = |field: &str| value[field].as_str().unwrap_or_default();
    match (file.split('-').next().unwrap(), word("type")) {
        ("ack", "ack") => payload(match file.split('-').nth(1).unwrap() {
            "join" => "joined",
            "leave" => "left",
            "publish" => "published",
            "presence" => "described",
            "token" => "renewed",
            "ping" => "pong",
            other => panic!("{file}: no command is called {other}"),
        }),
        (_, "event") if file == "event-volatile" => payload("event"),
        (_, "event") => payload(&message(word("event"))),
        (_, kind @ ("welcome" | "heartbeat" | "disconnect" | "error")) => payload(kind),
        ("client", kind) => payload(&message(kind)),
        ("poll", _) => payload("poll"),
        ("history", _) => http("History"),
        ("room", _) => http("Room"),
        ("problem", _) => http("Problem"),
        ("token", _) => http("Token"),
        ("chat", _) => http("Page_Message"),
        ("publish", _) => http(match file {
            "publish-conflict" | "publish-invalid" => "Problem",
            "publish-batch" => "NewEvents",
            "publish-batch-answer" => "PublishedBatch",
            "publish-delayed-answer" => "Waiting",
            "publish-answer" | "publish-volatile-answer" => "Published",
            _ => "NewEvent",
        }),
        _ => panic!("{file}.json is described nowhere"),
    }
}

#[test]
fn every_fixture_is_as_it_is_described() {
    let folder = format!("{ROOT}/tests/fixtures/protocol");
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    for name in names.map(|name| name.into_string().unwrap()) {
        let Some(file) = name.strip_suffix(".json") else {
            continue;
        };
        // Lists of what there is, compared below.
        if !file.ends_with("-codes") {
            let value = serde_json::from_str(&fixture(&name)).unwrap();
            is_as_described(&name, &value, &described_by(file, &value));
        }
    }
}

#[test]
fn every_message_has_an_example_that_is_as_it_says() {
    for (key, message) in ASYNCAPI["components"]["messages"].as_object().unwrap() {
        let schema = payload(key);
        for example in message["examples"].as_array().into_iter().flatten() {
            is_as_described(key, &example["payload"], &schema);
        }
    }
}

/// The values that a schema says one by one.
fn constants(schema: &str) -> Vec<&'static str> {
    let schema = &ASYNCAPI["components"]["schemas"][schema]["oneOf"];
    let values = schema.as_array().unwrap().iter();
    values
        .map(|value| value["const"].as_str().unwrap())
        .collect()
}

#[test]
fn every_code_is_described_and_no_other() {
    assert_eq!(constants("errorCode"), ErrorCode::ALL.map(ErrorCode::word));
    assert_eq!(constants("closeWord"), Close::ALL.map(Close::word));
    let close = |close: Close| json!({ "code": close.code(), "word": close.word(), "reconnect": close.reconnect() });
    let codes = &ASYNCAPI["channels"]["webSocket"]["x-close-codes"];
    assert_eq!(codes, &json!(Close::ALL.map(close)));
    assert_eq!(ASYNCAPI["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// The word of a command on the wire. A new one does not compile here until it is described.
fn word(frame: &ClientFrame) -> &'static str {
    match frame {
        ClientFrame::Join { .. } => "join",
        ClientFrame::Leave { .. } => "leave",
        ClientFrame::Publish { .. } => "publish",
        ClientFrame::Presence { .. } => "presence",
        ClientFrame::Token { .. } => "token",
        ClientFrame::Ping => "ping",
    }
}

#[test]
fn commands_are_described_as_they_are_read() {
    let operations = ASYNCAPI["operations"].as_object().unwrap().iter();
    let received = operations.filter(|(_, operation)| operation["action"] == "receive");
    let received: BTreeSet<&str> = received.map(|(name, _)| name.as_str()).collect();
    let mut read = BTreeSet::new();
    for name in &received {
        let example = &ASYNCAPI["components"]["messages"][*name]["examples"][0]["payload"];
        let command = Command::parse(&example.to_string()).unwrap();
        read.insert(word(&command.frame));
        // Without what is required, and with the wrong kinds of values, neither takes it.
        let described = payload(name);
        for field in example.as_object().unwrap().keys() {
            let mut mutant = example.clone();
            mutant[field] = json!([]);
            // Data may be anything.
            if field != "data" && field != "meta" {
                assert!(Command::parse(&mutant.to_string()).is_err(), "{mutant}");
                assert!(!described.is_valid(&mutant), "{mutant}");
            }
            mutant.as_object_mut().unwrap().remove(field);
            let is_read = Command::parse(&mutant.to_string()).is_ok();
            assert_eq!(described.is_valid(&mutant), is_read, "{mutant}");
        }
    }
    assert_eq!(received, read);
}

#[test]
fn every_event_of_the_server_is_described() {
    let source = fs::read_to_string(format!("{ROOT}/src/realtime/event.rs")).unwrap();
    let (_, list) = source.split_once("const SERVER_ONLY").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let names: BTreeSet<_> = list.split('"').skip(1).step_by(2).collect();
    let frames = ["welcome", "event", "heartbeat", "disconnect"];
    let listed = ASYNCAPI["operations"]["tellOverWebSocket"]["messages"]
        .as_array()
        .unwrap();
    let told: BTreeSet<_> = listed
        .iter()
        .map(|message| {
            message["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
        })
        .map(|key| {
            ASYNCAPI["components"]["messages"][key]["name"]
                .as_str()
                .unwrap()
        })
        .filter(|name| !frames.contains(name))
        .collect();
    assert_eq!(told, names);
}
