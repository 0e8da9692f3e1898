//! What a WebSocket client relies on: welcome, heartbeats, pings, joins and leaves in their place, and publishing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PING, Person, Raw, TEXT, TestApp, Way, WsClient, frame, position};

/// Ada who writes and Bob who reads a room, both in it.
async fn two_in_a_room(app: &TestApp) -> (Person, Person, String, WsClient, WsClient) {
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    ada.lets(&bob, "read", &root).await;
    let query = format!("channel=document:{root}");
    let (writer, reader) = (ada.ws(&query).await, bob.ws(&query).await);
    (ada, bob, format!("document:{root}"), writer, reader)
}

fn publish(channel: &str, more: Value) -> Value {
    let mut command = json!({ "type": "publish", "channel": channel, "event": "note", "data": 1 });
    command
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    command
}

#[tokio::test]
async fn the_welcome_says_who_one_is_where_and_since_when() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let group = ada.makes_group("writers").await;
    let root = ada.makes_root("notes").await;
    let socket = "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
    for way in Way::BOTH {
        let client = ada
            .listens(way, &format!("channel=document:{root}&socket={socket}"))
            .await;
        let cursor = app.app.registry().cursor().to_string();
        let channels = json!([
            "global",
            format!("user:{}", ada.id),
            format!("group:{group}"),
            format!("document:{root}")
        ]);
        let expected = json!({
            "type": "welcome", "socket": socket, "user": { "id": ada.id, "name": "ada", "admin": false },
            "channels": channels, "cursor": cursor, "heartbeat": 25,
        });
        assert_eq!(client.welcome(), &expected);
        let foreign = ada.listens(way, "cursor=00000000-1").await;
        assert_eq!(foreign.welcome()["recovered"], json!(false));
        assert_eq!(foreign.cursor(), cursor);
    }
    let root = app.administrator("root").await;
    let client = root.listens(Way::WebSocket, "").await;
    assert_eq!(
        client.welcome()["channels"],
        json!(["global", format!("user:{}", root.id), "admin"])
    );
    assert_eq!(client.welcome()["user"]["admin"], json!(true));
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_with_the_cursor() {
    let app = TestApp::start_with(|config| config.heartbeat = Duration::from_millis(100)).await;
    let ada = app.person("ada").await;
    let mut ws = ada.ws("").await;
    let mut sse = ada.sse("").await;
    let cursor = app.says("user:somebody-else", "note", "1").await;
    let mut beats = 0;
    while beats < 2 {
        let frame = ws.next().await;
        assert_eq!(frame["type"], "heartbeat", "{frame}");
        assert!(frame["time"].as_str().unwrap().ends_with('Z'));
        beats += u64::from(frame["cursor"] == json!(cursor));
    }
    loop {
        let event = sse.next().await.expect("a heartbeat");
        assert_eq!(
            (&*event.name, event.json()["type"].as_str()),
            ("heartbeat", Some("heartbeat"))
        );
        assert_eq!(event.id.as_deref(), event.json()["cursor"].as_str());
        if event.id.as_deref() == Some(&cursor) {
            break;
        }
    }
}

#[tokio::test]
async fn who_answers_no_ping_is_given_up_and_who_does_is_not() {
    let app = TestApp::start_with(|config| {
        config.heartbeat = Duration::from_millis(100);
        config.ping_timeout = Duration::from_secs(1);
    })
    .await;
    let ada = app.person("ada").await;
    let mut answering = ada.ws("").await;
    let mut silent = Raw::websocket(&ada).await;
    let reading = async {
        // Reading is answering, for every client there is.
        loop {
            answering.next().await;
        }
    };
    let ended = tokio::select! {
        ended = silent.end() => ended,
        () = reading => unreachable!("it reads for ever"),
    };
    assert_eq!(ended.code, Some(4508));
    let disconnect = ended.disconnect.unwrap();
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!("ping-timeout"), &json!(true))
    );
    assert!(disconnect["retry"].as_u64().unwrap() >= 1_000);
    answering.so_far().await;

    let mut raw = Raw::websocket(&ada).await;
    raw.sends(frame(PING, b"are you there")).await;
    let pong = loop {
        if let (0x8a, payload) = raw.frame().await.expect("a pong") {
            break payload;
        }
    };
    assert_eq!(pong, b"are you there");
}

#[tokio::test]
async fn the_ack_of_a_join_comes_before_the_rooms_events_and_that_of_a_leave_after() {
    let app = TestApp::start().await;
    let (_ada, bob, channel, mut writer, _reader) = two_in_a_room(&app).await;
    let mut joiner = bob.ws("").await;
    // Ada publishes as fast as she can while Bob goes in and out.
    let writing = async {
        for n in 0..400 {
            let volatile = n % 2 == 0;
            writer
                .call(publish(
                    &channel,
                    json!({ "data": n, "volatile": volatile }),
                ))
                .await;
        }
    };
    let moving = async {
        for _ in 0..25 {
            joiner
                .send(json!({ "type": "join", "channel": channel, "id": "in" }))
                .await;
            joiner
                .send(json!({ "type": "leave", "channel": channel, "id": "out" }))
                .await;
        }
        joiner.send(json!({ "type": "ping", "id": "done" })).await;
        let (mut inside, mut at) = (false, 0);
        loop {
            let frame = joiner.next().await;
            match (frame["type"].as_str().unwrap(), frame["id"].as_str()) {
                ("ack", Some("in")) => {
                    inside = true;
                    at = position(frame["cursor"].as_str().unwrap());
                }
                ("ack", Some("out")) => inside = false,
                ("ack", Some("done")) => return,
                ("event", None) => {
                    assert!(inside, "outside, yet it came: {frame}");
                    let after = frame["cursor"]
                        .as_str()
                        .is_none_or(|cursor| position(cursor) > at);
                    assert!(after, "from before the join at {at}: {frame}");
                }
                _ => panic!("{frame}"),
            }
        }
    };
    tokio::join!(writing, moving);
}

#[tokio::test]
async fn a_join_with_a_cursor_brings_what_came_since() {
    let app = TestApp::start().await;
    let (ada, bob, channel, _writer, _reader) = two_in_a_room(&app).await;
    let mut ws = bob.ws("").await;
    let document = ada
        .makes_document(channel.trim_start_matches("document:"), json!(0))
        .await;
    let read_at = bob
        .get(&format!("/documents/{document}"))
        .await
        .is(200)
        .cursor();
    let first = ada.changes(&document, json!(1)).await;
    let second = ada.changes(&document, json!(2)).await;
    let ack = ws
        .call(json!({ "type": "join", "channel": channel, "cursor": read_at }))
        .await;
    assert_eq!(
        (&ack["recovered"], &ack["channel"]),
        (&json!(true), &json!(channel)),
        "{ack}"
    );
    let cursors: Vec<_> = ack["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["cursor"].clone())
        .collect();
    assert_eq!(cursors, [json!(first), json!(second)]);
    assert_eq!(ack["cursor"], json!(second));
    let again = ws
        .call(json!({ "type": "join", "channel": channel, "cursor": second }))
        .await;
    assert_eq!(
        (&again["recovered"], &again["events"]),
        (&json!(true), &json!([])),
        "twice is the same as once"
    );
    assert_eq!(
        ws.call(json!({ "type": "ping" })).await["cursor"],
        json!(second)
    );
    // More than an answer may hold: the client reloads instead.
    for n in 0..1_001 {
        app.says(&channel, "note", &n.to_string()).await;
    }
    let ack = ws
        .call(json!({ "type": "join", "channel": channel, "cursor": read_at }))
        .await;
    assert_eq!(
        (&ack["recovered"], ack.get("events")),
        (&json!(false), None)
    );
}

#[tokio::test]
async fn leaving_is_always_fine_but_for_what_the_server_joined() {
    let app = TestApp::start().await;
    let (ada, bob, channel, _writer, mut reader) = two_in_a_room(&app).await;
    for _ in 0..2 {
        let ack = reader
            .call(json!({ "type": "leave", "channel": channel }))
            .await;
        assert_eq!(
            (&ack["type"], &ack["channel"]),
            (&json!("ack"), &json!(channel))
        );
    }
    for automatic in ["global".to_owned(), format!("user:{}", bob.id)] {
        let answer = reader
            .call(json!({ "type": "leave", "channel": automatic }))
            .await;
        assert_eq!(answer["code"], "forbidden");
        assert_eq!(reader.joins(&automatic).await["channel"], json!(automatic));
    }
    for foreign in [
        format!("user:{}", ada.id),
        "admin".to_owned(),
        "shop:1".to_owned(),
        format!("socket:{}", reader.id()),
    ] {
        assert_eq!(
            reader
                .call(json!({ "type": "join", "channel": foreign }))
                .await["code"],
            "forbidden",
            "{foreign}"
        );
    }
    app.says(&channel, "note", "1").await;
    assert!(reader.so_far().await.is_empty());
}

#[tokio::test]
async fn publishing_needs_a_join_a_right_and_an_own_event_and_spares_the_sender() {
    let app = TestApp::start().await;
    let (_ada, _bob, channel, mut writer, mut reader) = two_in_a_room(&app).await;
    let code = async |client: &mut WsClient, channel: &str, more: Value| {
        client.call(publish(channel, more)).await["code"].clone()
    };
    assert_eq!(code(&mut reader, &channel, json!({})).await, "forbidden");
    assert_eq!(code(&mut writer, "global", json!({})).await, "forbidden");
    assert_eq!(
        code(&mut writer, "document:other", json!({})).await,
        "not-joined"
    );
    for event in [
        "welcome",
        "message",
        "changed-document",
        "user-joined",
        "",
        "a b",
        "é",
    ] {
        assert_eq!(
            code(&mut writer, &channel, json!({ "event": event })).await,
            "invalid-event",
            "{event}"
        );
    }

    let kept = writer
        .call(publish(&channel, json!({ "data": { "n": 1.50 } })))
        .await;
    assert_eq!(kept["type"], "ack");
    let volatile = writer
        .call(publish(&channel, json!({ "volatile": true })))
        .await;
    assert_eq!(
        (&volatile["type"], volatile.get("cursor")),
        (&json!("ack"), None)
    );
    let own = writer
        .call(publish(&channel, json!({ "toSelf": true, "data": null })))
        .await;
    let heard = reader.so_far().await;
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(
        (&heard[0]["cursor"], &heard[0]["event"]),
        (&kept["cursor"], &json!("note"))
    );
    assert_eq!(heard[1].get("cursor"), None, "volatile");
    let echo = writer.so_far().await;
    assert_eq!(
        echo,
        [heard[2].clone()],
        "its own, because it asked for that"
    );
    assert_eq!(
        (&echo[0]["cursor"], &echo[0]["data"]),
        (&own["cursor"], &json!(null))
    );
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut raw = Raw::connect(app.address).await;
    let mut request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ada.cookie.as_deref().unwrap()
    )
    .into_bytes();
    request.extend(frame(TEXT, br#"{"type":"ping","id":1}"#));
    request.extend(frame(0x01, br#"{"type":"pi"#));
    request.extend(frame(0x80, br#"ng","id":2}"#));
    raw.sends(request).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.text().await["type"], "welcome");
    assert_eq!(raw.text().await["id"], json!(1));
    assert_eq!(raw.text().await["id"], json!(2));
}

#[tokio::test]
async fn a_socket_id_belongs_to_the_newest_connection_of_its_user() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    for (older, newer) in [(Way::WebSocket, Way::Sse), (Way::Sse, Way::WebSocket)] {
        let mut first = ada.listens(older, "").await;
        let query = format!("socket={}", first.id());
        let mut foreign = bob.listens(newer, &query).await;
        let mut second = ada.listens(newer, &query).await;
        let (disconnect, code) = first.end().await;
        assert_eq!(
            (&disconnect["code"], &disconnect["reconnect"]),
            (&json!("replaced"), &json!(false))
        );
        assert!(code.is_none_or(|code| code == 4409), "{code:?}");
        let mark = app.marks().await;
        assert!(second.before(&mark).await.is_empty() && foreign.before(&mark).await.is_empty());
        assert_eq!(second.id(), foreign.id());
    }
}
