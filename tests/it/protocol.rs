//! The wire protocol as it is told: every example in `docs/protocol.md` is a file in `tests/fixtures/protocol`, and what
//! a running server sends has the same keys, in the same order, with the same kinds of values.

use std::fs;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use roomcast::config::Guests;
use roomcast::realtime::Close;
use roomcast::realtime::protocol::ErrorCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::readme::blocks;
use crate::support::{PATIENCE, Person, Shape, TestApp, WsClient};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/protocol");

/// How many are in a room is told between other things, whenever that changes.
const COUNTS: &str = r#""event":"connected-clients""#;

pub(crate) fn fixture(name: &str) -> String {
    fs::read_to_string(format!("{FOLDER}/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Fails unless a frame from the server is like the fixture of its kind.
#[track_caller]
pub(crate) fn is_like(frame: &str, name: &str) {
    let expected = fixture(&format!("{name}.json"));
    assert!(
        Shape::of(&expected).is_like(&Shape::of(frame)),
        "not like {name}.json:\n{frame}\n{expected}"
    );
}

/// Fails unless a block of an event stream is like the fixture of its kind: the same fields in the same order, and
/// alike where they are JSON.
#[track_caller]
pub(crate) fn is_like_block(block: &str, name: &str) {
    let expected = fixture(&format!("{name}.sse"));
    let fields = |block: &str| {
        block
            .split_terminator('\n')
            .map(shape_of_field)
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (fields(&expected), fields(block));
    let alike = ours.len() == theirs.len()
        && ours
            .iter()
            .zip(&theirs)
            .all(|((a, ours), (b, theirs))| a == b && ours.is_like(theirs));
    assert!(alike, "not like {name}.sse:\n{block}\n{expected}");
}

fn shape_of_field(line: &str) -> (String, Shape) {
    let (field, value) = line.split_once(": ").unwrap_or((line, ""));
    let shape = match field {
        "retry" => Shape::of(value),
        "data" => serde_json::from_str(value).unwrap_or_else(|_| Shape::of_string(value)),
        _ => Shape::of_string(value),
    };
    (field.to_owned(), shape)
}

/// The next text frame, as it came; nothing, once the close frame has come.
pub(crate) async fn raw(ws: &mut WsClient) -> Option<String> {
    loop {
        let message = tokio::time::timeout(PATIENCE, ws.socket.next())
            .await
            .expect("nothing came");
        match message.expect("a frame, not the end").unwrap() {
            Message::Text(text) if text.contains(COUNTS) => {}
            Message::Text(text) => return Some(text.to_string()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn silently(person: &Person, query: &str) -> WsClient {
    WsClient::connect_silently(person.address, query, person.cookie.as_deref())
        .await
        .unwrap()
}

/// The blocks of an event stream, as they came.
pub(crate) struct Blocks {
    response: reqwest::Response,
    read: String,
}

impl Blocks {
    pub(crate) async fn open(person: &Person, query: &str) -> Self {
        let response = person
            .builder(Method::GET, &format!("/sse/events?{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            read: String::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let rest = self.read.split_off(end + 2);
                let block = std::mem::replace(&mut self.read, rest);
                if block.contains("event: connected-clients\n") {
                    continue;
                }
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .expect("nothing came");
            self.read
                .push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }
}

/// What is below `data:` in a block.
fn data(block: &str) -> String {
    let lines: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    lines.join("\n")
}

/// A person with a document, and the channel it speaks on.
async fn ada_with_a_document(app: &TestApp) -> (Person, String, String) {
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("new")).await;
    (ada, format!("document:{root}"), document)
}

#[test]
fn every_example_is_a_fixture_and_every_fixture_an_example() {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let examples = blocks(&document);
    let mut left: Vec<_> = examples
        .iter()
        .filter(|block| matches!(&*block.language, "json" | "sse"))
        .map(|block| &block.text)
        .collect();
    for entry in fs::read_dir(FOLDER).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = fixture(&name);
        let before = left.len();
        left.retain(|example| **example != text);
        assert!(
            left.len() < before,
            "docs/protocol.md does not show {name} as it is"
        );
    }
    assert!(
        left.is_empty(),
        "docs/protocol.md shows what is no fixture: {left:#?}"
    );
}

#[test]
fn a_block_carries_its_frame_byte_for_byte() {
    for name in [
        "welcome",
        "event",
        "event-volatile",
        "heartbeat",
        "disconnect",
        "disconnect-refused",
        "event-token-expiring",
        "disconnect-token-ended",
    ] {
        let block = fixture(&format!("{name}.sse"));
        assert_eq!(data(&block) + "\n", fixture(&format!("{name}.json")));
        assert!(
            block.ends_with("\n\n") && !block[..block.len() - 2].contains("\n\n"),
            "{name}.sse is not one block"
        );
    }
}

#[test]
fn every_code_is_listed() {
    let listed: Value = serde_json::from_str(&fixture("close-codes.json")).unwrap();
    let close = |close: &Close| json!({ "code": close.code(), "word": close.word(), "reconnect": close.reconnect() });
    assert_eq!(listed, Close::ALL.iter().map(close).collect::<Value>());

    let listed: Vec<Value> = serde_json::from_str(&fixture("error-codes.json")).unwrap();
    let codes: Vec<&str> = listed
        .iter()
        .map(|entry| entry["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ErrorCode::ALL.map(ErrorCode::word));
    assert!(
        listed
            .iter()
            .all(|entry| !entry["when"].as_str().unwrap().is_empty())
    );
}

#[tokio::test]
async fn frames_are_as_they_are_told() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    let (ada, channel, document) = ada_with_a_document(&app).await;
    let asked = format!("channel={channel}");

    let mut ws = silently(&ada, &asked).await;
    let mut stream = Blocks::open(&ada, &asked).await;
    let mut bare = Blocks::open(&ada, &format!("{asked}&format=data")).await;
    let welcome = raw(&mut ws).await.unwrap();
    is_like(&welcome, "welcome");
    is_like_block(&stream.next().await.unwrap(), "welcome");
    is_like_block(&bare.next().await.unwrap(), "welcome");
    is_like(
        &raw(&mut silently(&app.nobody(), "").await).await.unwrap(),
        "welcome-guest",
    );

    ada.changes(&document, json!({ "text": "Hello." })).await;
    let event = raw(&mut ws).await.unwrap();
    is_like(&event, "event");
    let block = stream.next().await.unwrap();
    is_like_block(&block, "event");
    assert_eq!(data(&block), event);
    is_like_block(&bare.next().await.unwrap(), "data-json");

    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    let resume = format!("{asked}&cursor={}", welcome["cursor"].as_str().unwrap());
    let mut resumed = silently(&ada, &resume).await;
    is_like(&raw(&mut resumed).await.unwrap(), "welcome-resumed");
    assert_eq!(raw(&mut resumed).await.unwrap(), event);

    let mut other = ada.ws(&asked).await;
    let said = json!({ "type": "publish", "channel": channel, "event": "typing", "data": { "name": "ada" }, "volatile": true });
    other.call(said).await;
    is_like(&raw(&mut ws).await.unwrap(), "event-volatile");
    is_like_block(&stream.next().await.unwrap(), "event-volatile");
    bare.next().await.unwrap();
    let note = json!({ "type": "publish", "channel": channel, "event": "note", "data": "one line\nand another" });
    other.call(note).await;
    is_like_block(&bare.next().await.unwrap(), "data-text");
    raw(&mut ws).await.unwrap();
    stream.next().await.unwrap();

    app.app.stop();
    is_like(&raw(&mut ws).await.unwrap(), "disconnect");
    assert_eq!(raw(&mut ws).await, None);
    is_like_block(&stream.next().await.unwrap(), "disconnect");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn silence_and_refusals_are_as_they_are_told() {
    let app = TestApp::start_with(|config| {
        config.heartbeat = Duration::from_millis(50);
        config.max_connections_per_user = 2;
    })
    .await;
    let ada = app.person("ada").await;
    let (mut ws, mut stream) = (silently(&ada, "").await, Blocks::open(&ada, "").await);
    raw(&mut ws).await.unwrap();
    stream.next().await.unwrap();
    is_like(&raw(&mut ws).await.unwrap(), "heartbeat");
    is_like_block(&stream.next().await.unwrap(), "heartbeat");

    let mut refused = Blocks::open(&ada, "").await;
    is_like_block(&refused.next().await.unwrap(), "disconnect-refused");
    assert_eq!(refused.next().await, None);
    let refused = ada
        .builder(Method::GET, "/sse/events/user:12")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    let problem = refused.text().await.unwrap();
    is_like(&problem, "problem");
    assert_eq!(problem + "\n", fixture("problem.json"));

    ada.post("/auth/logout", json!({})).await.is(204);
    let last = loop {
        let frame = raw(&mut ws).await.unwrap();
        if !frame.contains("\"heartbeat\"") {
            break frame;
        }
    };
    assert_eq!(last + "\n", fixture("disconnect-final.json"));
    assert_eq!(raw(&mut ws).await, None);
}

#[tokio::test]
async fn polls_are_answered_as_it_is_told() {
    let app = TestApp::start().await;
    let (ada, channel, document) = ada_with_a_document(&app).await;
    let mut ws = silently(&ada, &format!("channel={channel}")).await;
    raw(&mut ws).await.unwrap();
    let poll = async |cursor: &str| {
        let request = ada.poll(&format!("channel={channel}&cursor={cursor}"));
        request.send().await.unwrap().text().await.unwrap()
    };
    let first = poll("").await;
    is_like(&first, "poll-first");
    ada.changes(&document, json!({ "text": "Hello." })).await;
    let first: Value = serde_json::from_str(&first).unwrap();
    let answer = poll(first["cursor"].as_str().unwrap()).await;
    is_like(&answer, "poll");
    let event = raw(&mut ws).await.unwrap();
    assert!(
        answer.starts_with(&format!("{{\"events\":[{event}],\"")),
        "{answer}"
    );
    is_like(&poll("00000000-0").await, "poll-not-recovered");
}

#[tokio::test]
async fn commands_are_taken_as_they_are_told_and_answered_as_they_are_told() {
    let app = TestApp::start().await;
    // An administrator may be in any channel, so the fixtures go out as they stand.
    let root = app.administrator("root").await;
    let mut ws = silently(&root, "").await;
    let welcome = raw(&mut ws).await.unwrap();
    for (command, answer) in [
        ("client-join", "ack-join"),
        ("client-join-recover", "ack-join-not-recovered"),
        ("client-publish", "ack-publish"),
        ("client-ping", "ack-ping"),
        ("client-leave", "ack-leave"),
    ] {
        ws.send_text(fixture(&format!("{command}.json"))).await;
        is_like(&raw(&mut ws).await.unwrap(), answer);
    }

    // What was published above is what a join with the cursor from before it gets.
    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    let mut again = silently(&root, "").await;
    raw(&mut again).await.unwrap();
    let join: Value = serde_json::from_str(&fixture("client-join-recover.json")).unwrap();
    let join = fixture("client-join-recover.json").replace(
        join["cursor"].as_str().unwrap(),
        welcome["cursor"].as_str().unwrap(),
    );
    again.send_text(join).await;
    let answer: Value = serde_json::from_str(&raw(&mut again).await.unwrap()).unwrap();
    assert_eq!(
        answer["events"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    again
        .send_text(fixture("client-publish-volatile.json"))
        .await;
    let (event, answer) = (
        raw(&mut again).await.unwrap(),
        raw(&mut again).await.unwrap(),
    );
    is_like(&event, "event-volatile");
    is_like(&answer, "ack-publish-volatile");
}

#[tokio::test]
async fn answers_of_what_was_missed_and_errors_are_as_they_are_told() {
    let app = TestApp::start().await;
    let (ada, channel, document) = ada_with_a_document(&app).await;
    let mut ws = silently(&ada, "").await;
    let welcome: Value = serde_json::from_str(&raw(&mut ws).await.unwrap()).unwrap();
    ada.changes(&document, json!({ "text": "Hello." })).await;
    let join =
        json!({ "type": "join", "id": "a-2", "channel": channel, "cursor": welcome["cursor"] });
    ws.send(join).await;
    is_like(&raw(&mut ws).await.unwrap(), "ack-join-recovered");

    ws.send(json!({ "type": "join", "id": 7, "channel": "user:12" }))
        .await;
    assert_eq!(raw(&mut ws).await.unwrap() + "\n", fixture("error.json"));
    ws.send(json!({ "type": "fly" })).await;
    assert_eq!(
        raw(&mut ws).await.unwrap() + "\n",
        fixture("error-without-id.json")
    );
}

#[tokio::test]
async fn who_is_here_is_as_it_is_told() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = app.administrator("root").await;
    let mut ws = silently(&ada, "").await;
    raw(&mut ws).await.unwrap();
    let _bob = bob.ws("channel=presence:lobby").await;
    ws.send_text(fixture("client-join-presence.json")).await;
    is_like(&raw(&mut ws).await.unwrap(), "ack-join-presence");
    ws.send_text(fixture("client-presence.json")).await;
    is_like(&raw(&mut ws).await.unwrap(), "ack-presence");
    let mut again = silently(&ada, "channel=presence:lobby").await;
    let welcome = raw(&mut again).await.unwrap();
    let lists: Value = serde_json::from_str(&welcome).unwrap();
    assert_eq!(
        lists["presence"]["presence:lobby"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let carl = app.person("carl").await;
    let mut first = silently(&carl, "channel=presence:lobby").await;
    let welcome = raw(&mut first).await.unwrap();
    let keys = |text: &str| match Shape::of(text) {
        Shape::Object(fields) => fields.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(&welcome), keys(&fixture("welcome-presence.json")));
    let joined = loop {
        let frame = raw(&mut ws).await.unwrap();
        if frame.contains("user-joined") {
            break frame;
        }
    };
    is_like(&joined, "event-user-joined");

    let mut watch = silently(&root, "").await;
    watch.hears_counts = true;
    watch.next_text().await;
    is_like(&watch.next_text().await, "event-connected-clients-full");
    let mut own = silently(&root, "channel=document:42").await;
    own.hears_counts = true;
    let counted = loop {
        let text = own.next_text().await;
        if text.contains(COUNTS) && text.contains(r#""channel":"document:42""#) {
            break text;
        }
    };
    is_like(&counted, "event-connected-clients");
}
