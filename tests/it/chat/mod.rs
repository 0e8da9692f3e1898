//! Chat: what people say in rooms reaches whoever is there, stays in the history, and is for nobody else.

mod membership;
mod rooms;

use reqwest::Method;
use serde_json::{Value, json};

use crate::protocol::is_like;
use crate::support::{Client, Person, TestApp, Way};

/// Ada, who has a group with Bob in it and a room of that group; Cy, who is in neither.
struct Story {
    app: TestApp,
    ada: Person,
    bob: Person,
    cy: Person,
    group: String,
    room: String,
    channel: String,
}

impl Story {
    async fn begin() -> Self {
        let app = TestApp::start().await;
        let (ada, bob) = (app.person("ada").await, app.person("bob").await);
        let cy = app.person("cy").await;
        let group = ada.makes_group("writers").await;
        ada.admits(&bob, &group).await;
        let room = ada.makes_room("Writers' room", Some(&group)).await;
        let channel = format!("chat:{room}");
        Self {
            app,
            ada,
            bob,
            cy,
            group,
            room,
            channel,
        }
    }

    /// Somebody listens in the room, both ways.
    async fn listens(&self, person: &Person) -> [Client; 2] {
        let query = format!("channel={}", self.channel);
        [
            person.listens(Way::WebSocket, &query).await,
            person.listens(Way::Sse, &query).await,
        ]
    }

    /// What a client has heard in the room since the last time.
    async fn heard(&self, client: &mut Client) -> Vec<String> {
        client
            .names_before(&self.app.marks().await, &self.channel)
            .await
    }

    /// Nothing of the room reaches somebody who comes back with a cursor from before.
    async fn is_kept_out(&self, person: &Person, cursor: &str) {
        for way in Way::BOTH {
            let query = format!("channel={}&cursor={cursor}", self.channel);
            person
                .is_refused(way, &query)
                .await
                .is_problem(403, "forbidden");
            let mut back = person.listens(way, &format!("cursor={cursor}")).await;
            assert_eq!(self.heard(&mut back).await, [""; 0], "{way:?}");
        }
        let presence = format!("channel=presence:{}", self.channel);
        person.is_refused(Way::Sse, &presence).await.is(403);
        person
            .get(&format!("/rooms/{}/messages", self.room))
            .await
            .is(404);
        person.says(&self.room, "Still here.").await.is(404);
    }

    /// Somebody may be in the room again, but what was said meanwhile is not made up for.
    async fn is_back_without_the_past(&self, person: &Person, cursor: &str) {
        for way in Way::BOTH {
            let query = format!("channel={}&cursor={cursor}", self.channel);
            let mut back = person.listens(way, &query).await;
            assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
            assert_eq!(self.heard(&mut back).await, [""; 0], "{way:?}");
            self.ada.says(&self.room, "Welcome back.").await.is(201);
            assert_eq!(self.heard(&mut back).await, ["chat-message"], "{way:?}");
        }
        let ack = person.ws("").await.joins_since(&self.channel, cursor).await;
        assert_eq!(ack["recovered"], json!(false), "{ack}");
        assert_eq!(ack.get("events"), None, "{ack}");
    }
}

/// A page of a list: the texts, and where the next begins.
async fn page(person: &Person, path: &str) -> (Vec<String>, Option<String>) {
    let page = person.get(path).await.is(200).json;
    let texts = page["items"].as_array().unwrap().iter();
    let texts = texts.map(|item| item["text"].as_str().unwrap().to_owned());
    (texts.collect(), page["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn two_people_chat_over_both_transports() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let room = ada.makes_room("Lobby", None).await;
    let query = format!("channel=chat:{room}");
    let mut own = ada.ws(&query).await;
    let mut stream = bob.sse(&query).await;

    let answer = ada.at(own.id()).says(&room, "Hello,\n\tBob. 👋🏽").await;
    let said = answer.json.clone();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(said["text"], "Hello,\n\tBob. 👋🏽");
    assert_eq!(said["roomId"], json!(room));
    assert_eq!(said["user"], json!({ "id": ada.id, "name": "ada" }));
    assert_eq!(said["editedAt"], Value::Null);
    let frame = stream.next_event().await;
    assert_eq!(frame["event"], "chat-message");
    assert_eq!(frame["channel"], json!(format!("chat:{room}")));
    assert_eq!(frame["data"], said);
    assert_eq!(frame["cursor"], json!(answer.cursor()));
    assert!(
        own.so_far().await.is_empty(),
        "the socket that asked is left out"
    );

    let answer = bob.says(&room, "Hello, Ada.").await;
    assert_eq!(own.next_event().await["data"], answer.json);
    assert_eq!(stream.next_event().await["data"], answer.json);
}

#[tokio::test]
async fn what_chat_says_is_as_it_is_told() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let body = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        answer.text().await.unwrap()
    };
    let made = ada.builder(Method::POST, "/api/v1/rooms");
    let made = body(made.json(&json!({ "name": "Lobby" }))).await;
    is_like(&made, "room");
    let made: Value = serde_json::from_str(&made).unwrap();
    let room = made["id"].as_str().unwrap();
    let mut ws = ada.ws(&format!("channel=chat:{room}")).await;
    let said = ada.says(room, "Hello, Bob.").await.id();
    let path = format!("/rooms/{room}/messages");
    let history = ada.builder(Method::GET, &format!("/api/v1{path}"));
    is_like(&body(history).await, "chat-history");
    let path = format!("{path}/{said}");
    let changed = ada.patch(&path, json!({ "text": "Hello, all." })).await;
    ada.delete(&path).await.is(204);
    for name in [
        "chat-message",
        "chat-message-changed",
        "chat-message-deleted",
    ] {
        let text = ws.next_text().await;
        is_like(&text, name);
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["event"], name);
        if name == "chat-message-changed" {
            assert_eq!(frame["data"], changed.json);
        }
    }
}

#[tokio::test]
async fn the_history_is_read_page_by_page_from_either_end() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let room = ada.makes_room("Lobby", None).await;
    let other = ada.makes_room("Other", None).await;
    let path = format!("/rooms/{room}/messages");
    for query in ["", "?before=", "?after=x&limit=1", "?before=x"] {
        let empty = page(&ada, &format!("{path}{query}")).await;
        assert_eq!(empty, (vec![], None), "{query}");
    }
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(ada.says(&room, &n.to_string()).await.id());
        ada.says(&other, "elsewhere").await.is(201);
    }
    let [first, second, _, fourth, last] = ids.as_slice() else {
        unreachable!("there are five")
    };
    for (query, texts, next) in [
        ("", "01234", None),
        ("?limit=5", "01234", None),
        ("?limit=4", "0123", Some(fourth)),
        ("?limit=2", "01", Some(second)),
        (&format!("?limit=2&after={second}"), "23", Some(fourth)),
        (&format!("?limit=2&after={fourth}"), "4", None),
        (&format!("?limit=1&after={fourth}"), "4", None),
        (&format!("?after={last}"), "", None),
        ("?before=", "01234", None),
        ("?before=&limit=5", "01234", None),
        ("?before=&limit=4", "1234", Some(second)),
        ("?before=&limit=2&after=", "34", Some(fourth)),
        (&format!("?limit=2&before={fourth}"), "12", Some(second)),
        (&format!("?limit=2&before={second}"), "0", None),
        (&format!("?limit=1&before={second}"), "0", None),
        (&format!("?before={first}"), "", None),
    ] {
        let texts = texts.chars().map(String::from).collect();
        let found = page(&ada, &format!("{path}{query}")).await;
        assert_eq!(found, (texts, next.cloned()), "{query}");
    }
    for query in [
        "after=a&before=b",
        "before=&limit=0",
        "limit=1001",
        "limit=x",
    ] {
        ada.get(&format!("{path}?{query}"))
            .await
            .is_problem(400, "invalid-query");
    }
    // What is gone is still a place to go on from.
    ada.delete(&format!("{path}/{fourth}")).await.is(204);
    let before = page(&ada, &format!("{path}?limit=2&before={fourth}")).await;
    assert_eq!(before.0, ["1", "2"]);
    let after = page(&ada, &format!("{path}?after={fourth}")).await;
    assert_eq!(after.0, ["4"]);
}

#[tokio::test]
async fn a_page_of_long_messages_is_shorter_and_none_is_left_out() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let room = ada.makes_room("Lobby", None).await;
    let text = |n: usize| format!("{n:04}{}", "🦀".repeat(3_996));
    for n in 0..70 {
        ada.says(&room, &text(n)).await.is(201);
    }
    let path = format!("/rooms/{room}/messages?limit=1000");
    let (first, next) = page(&ada, &path).await;
    assert!(first.len() < 70, "{}", first.len());
    let (rest, end) = page(&ada, &format!("{path}&after={}", next.unwrap())).await;
    assert_eq!(end, None);
    let forward: Vec<_> = first.into_iter().chain(rest).collect();
    assert!(forward.iter().eq(&(0..70).map(text).collect::<Vec<_>>()));
    let (last, next) = page(&ada, &format!("{path}&before=")).await;
    let (rest, end) = page(&ada, &format!("{path}&before={}", next.unwrap())).await;
    assert_eq!(end, None);
    assert!(rest.iter().chain(&last).eq(&forward));
}

#[tokio::test]
async fn a_message_is_changed_by_its_author_and_deleted_by_those_who_may() {
    let story = Story::begin().await;
    let (ada, bob) = (&story.ada, &story.bob);
    let root = story.app.administrator("root").await;
    let dee = story.app.person("dee").await;
    ada.admits(&dee, &story.group).await;
    let mut clients = story.listens(bob).await;
    let said = bob.says(&story.room, "Helo.").await.id();
    let path = format!("/rooms/{}/messages/{said}", story.room);

    let text = json!({ "text": "Hello." });
    for other in [ada, &root, &dee] {
        other
            .patch(&path, text.clone())
            .await
            .is_problem(403, "forbidden");
    }
    let changed = bob.patch(&path, text.clone()).await.is(200).json;
    assert_eq!(changed["text"], "Hello.");
    assert!(changed["editedAt"].is_string(), "{changed}");
    bob.patch(
        &format!("/users/{}", bob.id),
        json!({ "username": "bobby" }),
    )
    .await
    .is(200);
    let history = ada.get(&format!("/rooms/{}/messages", story.room)).await;
    let mut shown = changed.clone();
    shown["user"]["name"] = json!("bobby");
    assert_eq!(history.json["items"], json!([shown]));

    dee.delete(&path).await.is_problem(403, "forbidden");
    story.cy.delete(&path).await.is(404);
    // By its author, the room's owner, an administrator.
    bob.delete(&path).await.is(204);
    bob.patch(&path, text).await.is(404);
    bob.delete(&path).await.is(404);
    for person in [ada, &root] {
        let said = bob.says(&story.room, "Hello again.").await.id();
        let path = format!("/rooms/{}/messages/{said}", story.room);
        person.delete(&path).await.is(204);
    }
    // By a manager of the group, who did not make the room.
    let bobs = bob.makes_room("Bob's", Some(&story.group)).await;
    let said = bob.says(&bobs, "Mine.").await.id();
    let path = format!("/rooms/{bobs}/messages/{said}");
    dee.delete(&path).await.is(403);
    ada.delete(&path).await.is(204);

    for client in &mut clients {
        let told = [
            "chat-message",
            "chat-message-changed",
            "chat-message-deleted",
            "chat-message",
            "chat-message-deleted",
            "chat-message",
            "chat-message-deleted",
        ];
        assert_eq!(story.heard(client).await, told);
    }
    let empty = page(ada, &format!("/rooms/{}/messages", story.room)).await;
    assert_eq!(empty, (vec![], None));
}

#[tokio::test]
async fn typing_reaches_who_is_there_and_is_not_kept() {
    let story = Story::begin().await;
    let query = format!("channel={}", story.channel);
    let mut clients = story.listens(&story.bob).await;
    let mut ada = story.ada.ws(&query).await;
    let before = ada.welcome["cursor"].clone();
    let publish = |event: &str, volatile: bool| json!({ "type": "publish", "channel": story.channel, "event": event, "data": { "name": "ada" }, "volatile": volatile });
    let ack = ada.call(publish("typing", true)).await;
    assert_eq!(ack, json!({ "type": "ack", "id": ack["id"] }));
    for client in &mut clients {
        let frame = client.next_event().await;
        assert_eq!(
            (&frame["event"], &frame["data"], frame.get("cursor")),
            (&json!("typing"), &json!({ "name": "ada" }), None)
        );
    }

    let mut boss = story.app.administrator("boss").await.ws(&query).await;
    for ws in [&mut ada, &mut boss] {
        let error = ws.call(publish("typing", false)).await;
        assert_eq!(error["code"], "forbidden", "{error}");
        let path = format!("POST /api/v1/rooms/{}/messages", story.room);
        assert!(
            error["message"].as_str().unwrap().contains(&path),
            "{error}"
        );
        for event in [
            "chat-message",
            "chat-message-changed",
            "chat-message-deleted",
        ] {
            let error = ws.call(publish(event, true)).await;
            assert_eq!(error["code"], "invalid-event", "{error}");
        }
        let pong = ws.call(json!({ "type": "ping" })).await;
        assert_eq!(pong["cursor"], before, "nothing of it is in the log");
    }
    let mut cy = story.cy.ws("").await;
    assert_eq!(cy.call(publish("typing", true)).await["code"], "not-joined");
    for client in &mut clients {
        assert_eq!(story.heard(client).await, [""; 0]);
    }
}

#[tokio::test]
async fn who_was_away_gets_what_was_said_meanwhile() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let room = ada.makes_room("Lobby", None).await;
    let query = format!("channel=chat:{room}");
    let tab = "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
    for way in Way::BOTH {
        let before = bob.listens(way, &query).await;
        let cursor = before.cursor().to_owned();
        drop(before);
        let said = ada.says(&room, "Are you there?").await.id();
        bob.at(tab).says(&room, "From this tab.").await.is(201);
        let path = format!("/rooms/{room}/messages/{said}");
        ada.patch(&path, json!({ "text": "Where are you?" }))
            .await
            .is(200);
        ada.delete(&path).await.is(204);

        let query = format!("{query}&cursor={cursor}&socket={tab}");
        let mut back = bob.listens(way.other(), &query).await;
        assert_eq!(back.welcome()["recovered"], json!(true));
        let mark = app.marks().await;
        let names = back.names_before(&mark, &format!("chat:{room}")).await;
        assert_eq!(
            names,
            [
                "chat-message",
                "chat-message-changed",
                "chat-message-deleted"
            ],
            "and not what was said at this socket"
        );
        let ack = ada
            .ws("")
            .await
            .joins_since(&format!("chat:{room}"), &cursor)
            .await;
        assert_eq!(ack["events"].as_array().map(Vec::len), Some(4), "{ack}");
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_with_the_reason() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let room = ada.makes_room("Lobby", None).await;
    let said = ada.says(&room, "Hello.").await.id();
    let (path, one) = (
        format!("/rooms/{room}/messages"),
        format!("/rooms/{room}/messages/{said}"),
    );
    let mut ws = ada.ws(&format!("channel=chat:{room}")).await;
    let text = |text: &str| json!({ "text": text });
    for body in [
        json!({}),
        json!({ "text": null }),
        json!({ "text": 1 }),
        json!({ "text": "x", "user": { "id": "somebody else" } }),
        json!(["x"]),
        text(""),
        text(" \n\t\u{a0}\u{3000}"),
        text("\u{200b}\u{2060}\u{feff}"),
        text("a\0b"),
        text("a\u{7}"),
        text("a\r\nb"),
        text("\u{9b}31m"),
        text(&"é".repeat(4_001)),
    ] {
        ada.post(&path, body.clone())
            .await
            .is_problem(400, "invalid-body");
        ada.patch(&one, body).await.is_problem(400, "invalid-body");
    }
    for name in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": " x" }),
        json!({ "name": "x".repeat(101) }),
        json!({ "name": "x", "id": "y" }),
    ] {
        ada.post("/rooms", name.clone())
            .await
            .is_problem(400, "invalid-body");
        ada.put(&format!("/rooms/{room}"), name)
            .await
            .is_problem(400, "invalid-body");
    }
    ada.post("/rooms", json!({ "name": "x", "groupId": 1 }))
        .await
        .is_problem(400, "invalid-body");
    ada.put(
        &format!("/rooms/{room}"),
        json!({ "name": "x", "groupId": null }),
    )
    .await
    .is_problem(400, "invalid-body");
    ada.get(&one).await.is_problem(405, "method-not-allowed");
    assert!(ws.so_far().await.is_empty(), "nothing of it was told");
    assert_eq!(page(&ada, &path).await.0, ["Hello."]);

    let most = "é".repeat(4_000);
    for fine in [
        &most,
        "<b onclick=alert(1)>'; drop table messages; --",
        "👩‍👩‍👧 \u{202b}שלום\u{202c}",
        "\n\ta\n",
    ] {
        let answer = ada.says(&room, fine).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json["text"], fine);
    }
}
