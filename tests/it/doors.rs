//! Every door to a channel is shut alike: whoever may not be in it is refused in the same words, whichever way is tried.
//!
//! A new way to hear of a channel, or to speak in it, is a line in `DOORS`.

use std::pin::Pin;

use reqwest::Method;
use serde_json::json;

use crate::support::{Person, TestApp, eventually};

/// What a door says to somebody who comes with the name of a channel: a code, or `let in`.
type Said = Pin<Box<dyn Future<Output = String> + Send>>;

/// What it is, what it says to those who may not, and how it is tried.
type Door = (&'static str, &'static str, fn(Person, &str) -> Said);

const DOORS: [Door; 8] = [
    ("?channel= of a WebSocket", "forbidden", |who, name| {
        asks(who.upgrade(&format!("channel={}", encoded(name))))
    }),
    ("?channel= of a stream", "forbidden", |who, name| {
        gets(&who, format!("/sse/events?channel={}", encoded(name)))
    }),
    ("the path of a stream", "forbidden", |who, name| {
        gets(&who, format!("/sse/events/{}", encoded(name)))
    }),
    ("?channel= of a poll", "forbidden", |who, name| {
        gets(&who, format!("/api/v1/events?channel={}", encoded(name)))
    }),
    ("the past of a channel", "forbidden", |who, name| {
        gets(&who, format!("/api/v1/channels/{}/history", encoded(name)))
    }),
    ("who is in a channel", "forbidden", |who, name| {
        gets(&who, format!("/api/v1/channels/{}/presence", encoded(name)))
    }),
    ("join", "forbidden", |who, name| {
        commands(who, name, &["join"])
    }),
    ("publish", "not-joined", |who, name| {
        commands(who, name, &["join", "publish"])
    }),
];

/// The answer to a request; what is let in is not read.
fn asks(request: reqwest::RequestBuilder) -> Said {
    Box::pin(async move {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        if status < 400 {
            return "let in".to_owned();
        }
        let problem: serde_json::Value = response.json().await.unwrap();
        let code = problem["code"].as_str().unwrap();
        let expected = match code {
            "forbidden" => 403,
            "invalid-channel" => 400,
            _ => panic!("{status}: {problem}"),
        };
        assert_eq!(status, expected, "{problem}");
        code.to_owned()
    })
}

fn gets(who: &Person, path: String) -> Said {
    asks(who.builder(Method::GET, &path))
}

/// The answer to the last of some commands over a WebSocket.
fn commands(who: Person, name: &str, commands: &'static [&str]) -> Said {
    let name = name.to_owned();
    Box::pin(async move {
        let (mut ws, mut said) = (who.ws("").await, String::new());
        for command in commands {
            let command = json!({ "type": command, "channel": name, "event": "note" });
            let answer = ws.call(command).await;
            said = answer["code"].as_str().unwrap_or("let in").to_owned();
        }
        said
    })
}

/// Every byte that is not a letter or digit as `%XX`.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

/// What each door says to each of these names that is not what it should, nothing hidden by the first.
async fn wrong(
    who: &Person,
    names: &[String],
    expected: impl Fn(&Door) -> &'static str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in names {
        for door in &DOORS {
            let said = (door.2)(who.clone(), name).await;
            if said != expected(door) {
                wrong.push(format!("{} with {name:?}: {said}", door.0));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn what_is_not_ones_own_is_shut_at_every_door_alike() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.person("ada").await, app.person("eve").await);
    let (root, group) = (ada.makes_root("notes").await, ada.makes_group("us").await);
    let socket = ada.ws("").await;
    let names = [
        format!("user:{}", ada.id),
        format!("user:{}", eve.id.to_uppercase()),
        format!("user:0{}", eve.id),
        "user:x".to_owned(),
        format!("group:{group}"),
        "group:x".to_owned(),
        "admin".to_owned(),
        format!("document:{root}"),
        "document:x".to_owned(),
        "document:..".to_owned(),
        "presence:admin".to_owned(),
        format!("presence:user:{}", ada.id),
        format!("presence:group:{group}"),
        format!("presence:document:{root}"),
        "presence:presence:x".to_owned(),
        "presence:presence:global".to_owned(),
        format!("presence:socket:{}", socket.id()),
        format!("socket:{}", socket.id()),
        "socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11".to_owned(),
        "shop:1".to_owned(),
        "a:b:c".to_owned(),
        "shop::1".to_owned(),
    ];
    let wrong = wrong(&eve, &names, |(_, refusal, _)| refusal).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    eventually("nobody but ada is there", async || {
        app.app.registry().counts().0 == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_no_name_is_a_mistake_at_every_door_alike() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    let names = [
        "USER:1",
        "Global",
        "user:1 ",
        " user:1",
        "user:%31",
        "%75ser:1",
        "user:\u{ff11}",
        "user:1\u{200b}",
        "us\u{435}r:1",
        "user:\u{e9}",
        "user:e\u{301}",
        "user:\u{202e}1",
        "user:",
        ":1",
        "lobby",
        "1:1",
        &format!("{}:1", "k".repeat(33)),
        &format!("document:{}", "i".repeat(129)),
        &format!("document:{}", "i".repeat(3_000)),
        "document:\0",
        "document:a\n",
        "document:a/b",
        "../admin",
        "*",
        "document:*",
        "document:#",
        "document:?",
        "document:{}",
        "socket:1",
        "presence::x",
    ];
    let names = names.map(str::to_owned);
    let wrong = wrong(&eve, &names, |_| "invalid-channel").await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_is_ones_own_is_open_at_every_door() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    let names = [
        format!("document:{}", eve.makes_root("notes").await),
        format!("group:{}", eve.makes_group("us").await),
    ];
    let wrong = wrong(&eve, &names, |_| "let in").await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}
