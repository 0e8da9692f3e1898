//! What a back end publishes with the API key: to whom, once or in batches, and with the same answer when it asks again.

use reqwest::Method;
use roomcast::config::Secret;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::protocol::{fixture, is_like};
use crate::support::{API_KEY, Answer, Person, TestApp, Way, position};

/// Everything of a channel that is kept.
async fn kept(back_end: &Person, channel: &str) -> Vec<Value> {
    let path = format!("/channels/{channel}/history?limit=1000");
    let answer = back_end.get(&path).await.is(200);
    answer.json["items"].as_array().unwrap().clone()
}

async fn publish(back_end: &Person, body: Value) -> Answer {
    back_end.post("/publish", body).await
}

#[tokio::test]
async fn whoever_is_in_one_of_the_channels_hears_it_once_at_the_cursor_of_the_answer() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let bob = app.person("bob").await;
    for way in Way::BOTH {
        let mut ada_hears = ada.listens(way, "").await;
        let mut bob_hears = bob.listens(way, "").await;
        // Digits, escapes and the order of keys are the back end's own.
        let data = r#"{"b": 1.50, "a": [12345678901234567890123, -0, "\u00e9"]}"#;
        let body = format!(
            r#"{{"channels":["user:{}","global","global"],"event":"order.paid","data":{data}}}"#,
            ada.id
        );
        let request = back_end
            .builder(Method::POST, "/api/v1/publish")
            .header("content-type", "application/json")
            .body(body);
        let answer = Person::send(request).await.is(200);
        let cursor = answer.cursor();
        assert_eq!(answer.json, json!({ "cursor": cursor }));
        for (client, channel) in [
            (&mut ada_hears, format!("user:{}", ada.id)),
            (&mut bob_hears, "global".to_owned()),
        ] {
            let event = client.next_event().await;
            assert_eq!(
                (&event["channel"], &event["event"], &event["cursor"]),
                (&json!(channel), &json!("order.paid"), &json!(cursor))
            );
        }
        let mark = app.marks().await;
        assert_eq!(ada_hears.before(&mark).await, Vec::<Value>::new());
        let text = back_end
            .builder(Method::GET, "/api/v1/channels/global/history?before=")
            .send()
            .await
            .unwrap();
        let text = text.text().await.unwrap();
        let expected = r#""data":{"b":1.50,"a":[12345678901234567890123,-0,"\u00e9"]},"cursor":"#;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn nobody_else_publishes() {
    let (app, back_end) = TestApp::start_with_key().await;
    let root = app.administrator("root").await;
    let said = json!({ "channels": ["global"], "event": "note", "data": 1 });
    let batch = json!({ "events": [said] });
    let nobody = app.nobody();
    let prefix = &API_KEY[..API_KEY.len() - 1];
    for (person, status, code) in [
        (nobody.clone(), 401, "unauthorized"),
        (nobody.showing("wrong"), 401, "unauthorized"),
        (nobody.showing(prefix), 401, "unauthorized"),
        (nobody.showing(&format!("{API_KEY}x")), 401, "unauthorized"),
        (root.clone(), 403, "forbidden"),
        // A credential is never mixed with a cookie.
        (root.showing("wrong"), 401, "unauthorized"),
    ] {
        for (path, body) in [("/publish", &said), ("/publish/batch", &batch)] {
            person
                .post(path, body.clone())
                .await
                .is_problem(status, code);
        }
        let id = "/publish/0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
        person.delete(id).await.is_problem(status, code);
    }
    let path = format!("/publish?token={API_KEY}&key={API_KEY}");
    nobody.post(&path, said.clone()).await.is(401);
    assert_eq!(kept(&back_end, "global").await, Vec::<Value>::new());

    let off = TestApp::start().await;
    for person in [off.nobody(), off.administrator("root").await] {
        let answer = person.post("/publish", said.clone()).await;
        let answer = answer.is_problem(403, "forbidden");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains("ROOMCAST_API_KEY"), "{detail}");
    }
    off.back_end().post("/publish", said).await.is(401);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (_app, back_end) = TestApp::start_with_key().await;
    let good = json!({ "channels": ["global"], "event": "note" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let many: Vec<String> = (0..1_001).map(|n| format!("order:{n}")).collect();
    let sockets = vec!["0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11"; 1_001];
    let both = json!({ "channels": ["global"], "event": "note", "delayMs": 1, "deliverAt": "2026-11-21T05:20:11Z" });
    for (body, field) in [
        (with("channels", json!([])), "channels"),
        (with("channels", json!(many)), "channels"),
        (with("channels", json!("global")), "channels"),
        (with("channels", json!(["global", "Global"])), "channels[1]"),
        (with("channels", json!(["socket:1"])), "channels[0]"),
        (with("event", json!("welcome")), "event"),
        (with("event", json!("a b")), "event"),
        (with("event", json!("")), "event"),
        (with("volatile", json!("yes")), "volatile"),
        (with("exceptSockets", json!(["me"])), "exceptSockets[0]"),
        (with("exceptSockets", json!(sockets)), "exceptSockets"),
        (with("delayMs", json!(-1)), "delayMs"),
        (with("delayMs", json!(2_592_000_001_u64)), "delayMs"),
        (with("delayMs", json!(u64::MAX)), "delayMs"),
        (with("delayMs", json!(1.5)), "delayMs"),
        (with("deliverAt", json!("tomorrow")), "deliverAt"),
        (
            with("deliverAt", json!("2020-01-01T00:00:00Z")),
            "deliverAt",
        ),
        (
            with("deliverAt", json!("2999-01-01T00:00:00Z")),
            "deliverAt",
        ),
        (with("idempotencyKey", json!("")), "idempotencyKey"),
        (
            with("idempotencyKey", json!("k".repeat(129))),
            "idempotencyKey",
        ),
        (both, "deliverAt"),
        (with("toSelf", json!(true)), "toSelf"),
    ] {
        let answer = publish(&back_end, body.clone()).await;
        let answer = answer.is_problem(400, "invalid-body");
        assert_eq!(answer.json["errors"][0]["field"], field, "{answer:?}");
        let batch = json!({ "events": [good, good, good, body] });
        let answer = back_end.post("/publish/batch", batch).await;
        let answer = answer.is_problem(400, "invalid-body");
        let field = format!("events[3].{field}");
        assert_eq!(answer.json["errors"][0]["field"], field, "{answer:?}");
    }
    for events in [json!([]), json!(vec![&good; 1_001])] {
        let answer = back_end.post("/publish/batch", json!({ "events": events }));
        let answer = answer.await.is_problem(400, "invalid-body");
        assert_eq!(answer.json["errors"][0]["field"], "events");
    }
    let deep = format!(
        r#"{{"channels":["global"],"event":"note","data":{}{}}}"#,
        "[".repeat(121),
        "]".repeat(121)
    );
    let request = back_end
        .builder(Method::POST, "/api/v1/publish")
        .header("content-type", "application/json")
        .body(deep);
    let answer = Person::send(request).await.is_problem(400, "invalid-body");
    assert_eq!(answer.json["errors"][0]["field"], "data");
    assert_eq!(kept(&back_end, "global").await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_the_server_alone_says_to_clients_a_back_end_may_say_too() {
    let (_app, back_end) = TestApp::start_with_key().await;
    for event in ["changed-document", "chat-message", "user-joined"] {
        let said = json!({ "channels": ["presence:lobby", "admin"], "event": event });
        publish(&back_end, said).await.is(200);
    }
    let names: Vec<Value> = kept(&back_end, "admin").await;
    assert_eq!(names.len(), 3);
    assert_eq!(names[0]["data"], Value::Null);
}

#[tokio::test]
async fn a_volatile_event_is_for_whoever_is_there() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::Sse, "").await;
    let said = json!({ "channels": ["global"], "event": "typing", "data": 1, "volatile": true });
    for said in [said.clone(), {
        let mut keyed = said;
        keyed["idempotencyKey"] = json!("once");
        keyed
    }] {
        for _ in 0..2 {
            let answer = publish(&back_end, said.clone()).await.is(200);
            assert_eq!(answer.json, json!({}));
        }
    }
    let mark = app.marks().await;
    let heard = there.before(&mark).await;
    // Twice without a key, once with.
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard.iter().all(|event| event.get("cursor").is_none()));
    assert_eq!(kept(&back_end, "global").await.len(), 1, "the mark alone");
}

#[tokio::test]
async fn what_is_volatile_waits_for_nobody_who_writes() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::WebSocket, "").await;
    let writing = app.app.log().begin().await.unwrap();
    let said = json!({ "channels": ["global"], "event": "typing", "volatile": true });
    publish(&back_end, said.clone()).await.is(200);
    let both = json!({ "events": [said, said] });
    let answer = back_end.post("/publish/batch", both).await.is(200);
    assert_eq!(answer.json, json!({ "items": [{}, {}] }));
    for _ in 0..3 {
        assert_eq!(there.next_event().await["event"], "typing");
    }
    drop(writing);
}

#[tokio::test]
async fn sockets_are_left_out_live_and_when_they_come_back() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    for way in Way::BOTH {
        let mut left_out = ada.listens(way, "").await;
        let mut other = ada.listens(way.other(), "").await;
        let (socket, from) = (left_out.id().to_owned(), left_out.cursor().to_owned());
        let said =
            json!({ "channels": ["global"], "event": "note", "exceptSockets": [socket, socket] });
        publish(&back_end, said).await.is(200);
        assert_eq!(other.next_event().await["event"], "note");
        let mark = app.marks().await;
        assert_eq!(left_out.before(&mark).await, Vec::<Value>::new());
        drop(left_out);
        let back = format!("socket={socket}&cursor={from}");
        let mut left_out = ada.listens(way.other(), &back).await;
        assert_eq!(left_out.welcome()["recovered"], true);
        assert_eq!(left_out.before(&mark).await, Vec::<Value>::new());
        // A back end has no socket of its own that a header could name.
        let other_id = other.id().to_owned();
        let said = json!({ "channels": ["global"], "event": "note" });
        publish(&back_end.at(&other_id), said).await.is(200);
        other.before(&mark).await;
        assert_eq!(other.next_event().await["event"], "note");
    }
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_says_nothing_twice() {
    let (app, back_end) = TestApp::start_with_key().await;
    let said = json!({ "channels": ["order:1"], "event": "paid", "data": { "n": 1.0 }, "idempotencyKey": "order-1" });
    let asking = (0..20).map(|_| {
        let (back_end, said) = (back_end.clone(), said.clone());
        tokio::spawn(async move { publish(&back_end, said).await.is(200).json })
    });
    let asking: Vec<_> = asking.collect();
    let mut answers = Vec::new();
    for answer in asking {
        answers.push(answer.await.unwrap());
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(kept(&back_end, "order:1").await.len(), 1);

    for (field, value) in [
        ("event", json!("unpaid")),
        ("data", json!({ "n": 1 })),
        ("channels", json!(["order:1", "order:2"])),
        ("volatile", json!(true)),
        ("delayMs", json!(0)),
        (
            "exceptSockets",
            json!(["0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11"]),
        ),
    ] {
        let mut other = said.clone();
        other[field] = value;
        let answer = publish(&back_end, other).await.is_problem(409, "conflict");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.starts_with("idempotencyKey was used"), "{detail}");
    }

    // Also of another server on the same database, until it has expired.
    let app = TestApp::start_in(app.stop().await, TestApp::has_key).await;
    let back_end = app.back_end();
    assert_eq!(
        publish(&back_end, said.clone()).await.is(200).json,
        answers[0]
    );
    let url = format!("sqlite://{}", app.folder.path().join("test.db").display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    let aged = "update answers set expires = expires - 300001";
    sqlx::query(aged).execute(&mut db).await.unwrap();
    let anew = publish(&back_end, said).await.is(200).json;
    assert_ne!(anew, answers[0]);
    assert_eq!(kept(&back_end, "order:1").await.len(), 2);
}

#[tokio::test]
async fn what_failed_is_not_remembered() {
    let (_app, back_end) = TestApp::start_with_key().await;
    let late = json!({ "channels": ["global"], "event": "note", "idempotencyKey": "k", "deliverAt": "2020-01-01T00:00:00Z" });
    publish(&back_end, late).await.is(400);
    let said = json!({ "channels": ["global"], "event": "note", "idempotencyKey": "k" });
    publish(&back_end, said).await.is(200);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_in_its_order() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::WebSocket, "").await;
    let note = |n: u64| json!({ "channels": ["global"], "event": "note", "data": n });
    let with = |mut said: Value, field: &str, value: Value| {
        said[field] = value;
        said
    };
    let events = vec![
        note(0),
        with(note(1), "volatile", json!(true)),
        with(note(2), "idempotencyKey", json!("two")),
        with(note(3), "delayMs", json!(600_000)),
        with(note(2), "idempotencyKey", json!("two")),
        note(4),
    ];
    let answer = back_end.post("/publish/batch", json!({ "events": events }));
    let answer = answer.await.is(200);
    let items = answer.json["items"].as_array().unwrap();
    let at = |n: usize| position(items[n]["cursor"].as_str().unwrap());
    assert_eq!(items.len(), 6);
    assert_eq!(items[1], json!({}));
    assert_eq!(items[2], items[4]);
    assert!(items[3]["id"].is_string() && items[3]["deliverAt"].is_string());
    assert_eq!((at(2), at(5)), (at(0) + 1, at(0) + 2));
    assert_eq!(items[5]["cursor"], answer.cursor());
    let mark = app.marks().await;
    let mut heard: Vec<_> = there.before(&mark).await;
    heard.retain(|event| event.get("cursor").is_some());
    let heard: Vec<_> = heard.iter().map(|event| &event["data"]).collect();
    assert_eq!(heard, [&json!(0), &json!(2), &json!(4)]);

    let spoilt = json!({ "events": [
        note(5),
        with(note(6), "idempotencyKey", json!("six")),
        with(note(7), "idempotencyKey", json!("two")),
    ] });
    let answer = back_end.post("/publish/batch", spoilt).await;
    let answer = answer.is_problem(409, "conflict");
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(detail.starts_with("events[2].idempotencyKey"), "{detail}");
    assert_eq!(kept(&back_end, "global").await.len(), 4, "and the mark");
    let free = with(note(8), "idempotencyKey", json!("six"));
    publish(&back_end, free).await.is(200);
}

#[tokio::test]
async fn a_large_batch_is_one_turn_and_a_larger_one_is_refused() {
    let (_app, back_end) = TestApp::start_with_key().await;
    let channels: Vec<String> = (0..20).map(|n| format!("order:{n}")).collect();
    let said = json!({ "channels": channels, "event": "note", "data": "x" });
    let mut events = vec![said; 1_000];
    let all = json!({ "events": events });
    let answer = back_end.post("/publish/batch", all).await.is(200);
    let items = answer.json["items"].as_array().unwrap();
    let mut cursors = items
        .iter()
        .map(|item| position(item["cursor"].as_str().unwrap()));
    assert!(cursors.by_ref().eq(1..=1_000));
    assert_eq!(kept(&back_end, "order:19").await.len(), 1_000);
    events[0]["channels"]
        .as_array_mut()
        .unwrap()
        .push(json!("global"));
    let answer = back_end.post("/publish/batch", json!({ "events": events }));
    answer.await.is_problem(400, "invalid-body");
}

#[tokio::test]
async fn old_events_of_a_thousand_channels_go_too() {
    let app = TestApp::start_with(|config| {
        config.api_key = Some(Secret::new(API_KEY));
        config.log_retention = std::time::Duration::from_millis(200);
    })
    .await;
    let back_end = app.back_end();
    let channels: Vec<String> = (0..1_000).map(|n| format!("order:{n}")).collect();
    let said = json!({ "channels": channels, "event": "note" });
    for _ in 0..5 {
        publish(&back_end, said.clone()).await.is(200);
    }
    crate::support::eventually("all but the last are gone", async || {
        app.marks().await;
        kept(&back_end, "order:999").await.is_empty()
    })
    .await;
}

/// Sends a body as it stands in a fixture, and gives the answer's text.
async fn as_told(back_end: &Person, path: &str, body: String) -> (u16, String) {
    let request = back_end.builder(Method::POST, &format!("/api/v1{path}"));
    let request = request
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn requests_and_answers_are_as_they_are_told() {
    let (_app, back_end) = TestApp::start_with_key().await;
    for (path, name, status) in [
        ("/publish", "publish", 200),
        ("/publish", "publish-volatile", 200),
        ("/publish", "publish-delayed", 202),
        ("/publish/batch", "publish-batch", 200),
    ] {
        let answer = as_told(&back_end, path, fixture(&format!("{name}.json"))).await;
        assert_eq!(answer.0, status, "{answer:?}");
        is_like(&answer.1, &format!("{name}-answer"));
    }
    let other = fixture("publish.json").replace("42", "43");
    let other = other.replace("order-43-paid", "order-42-paid");
    let answer = as_told(&back_end, "/publish", other).await;
    assert_eq!(
        answer,
        (409, fixture("publish-conflict.json").trim_end().to_owned())
    );
    let wrong = fixture("publish-batch.json").replace(
        r#"43"],"event":"changed-order""#,
        r#"43"],"event":"welcome""#,
    );
    let answer = as_told(&back_end, "/publish/batch", wrong).await;
    assert_eq!(
        answer,
        (400, fixture("publish-invalid.json").trim_end().to_owned())
    );

    let past = async |query: &str| {
        let path = format!("/api/v1/channels/order:42/history?{query}");
        let answer = back_end.builder(Method::GET, &path).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let first = past("limit=1").await;
    is_like(&first, "history");
    let first: Value = serde_json::from_str(&first).unwrap();
    let after = format!("after={}", first["next"].as_str().unwrap());
    is_like(&past(&after).await, "history-recovered");
    is_like(&past("after=00000000-1").await, "history-not-recovered");
}
