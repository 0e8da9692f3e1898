//! A connection stays as long as its token: it hears of the end ahead, goes on with a new token, and has what that one
//! grants.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::protocol::{fixture, is_like, is_like_block, raw};
use crate::support::jwt::{SECRET, claims, token};
use crate::support::{Application, Person, Reply, Shown, TestApp, Way, WsClient, eventually};
use crate::tokens::app;

const HOUR: i64 = 3_600_000;
/// Long enough to connect, short enough to wait for.
const SOON: i64 = 1_800;

fn holder(app: &TestApp, user: &str, milliseconds: i64, further: Value) -> Person {
    app.nobody()
        .with_token(Shown::Query, &token(user, milliseconds, &further))
}

/// Asks to go on with another token.
async fn renews(ws: &mut WsClient, token: &str) -> Value {
    ws.call(json!({ "type": "token", "token": token })).await
}

#[track_caller]
fn is_error(answer: &Value, code: &str) {
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!(code)),
        "{answer}"
    );
}

fn instant(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn a_connection_ends_with_its_token_and_only_it_hears_of_that_ahead() {
    let app = app().await;
    for way in Way::BOTH {
        let mut other = holder(&app, "app~7", HOUR, json!({}))
            .listens(way, "")
            .await;
        let short = token("app~7", SOON, &json!({}));
        let person = app.nobody().with_token(Shown::Header, &short);
        let mut client = person.listens(way, "").await;
        let word = client.next_event().await;
        assert_eq!(
            (&word["channel"], &word["event"], word.get("cursor")),
            (&json!("user:app~7"), &json!("token-expiring"), None)
        );
        let in_ms = word["data"]["inMs"].as_i64().unwrap();
        assert!((1..=SOON / 3).contains(&in_ms), "{word}");
        let ends = instant(&word["data"]["expiresAt"]);
        let told = claims(&short)["exp"].as_f64().unwrap();
        let seconds = ends.unix_timestamp_nanos() as f64 / 1e9;
        assert!((seconds - told).abs() < 0.002, "{word}");
        assert!(OffsetDateTime::now_utc() < ends, "it came too late");

        let (disconnect, code) = client.end().await;
        assert_eq!(
            (&disconnect["code"], &disconnect["reconnect"]),
            (&json!("token-ended"), &json!(false))
        );
        assert_eq!(code, (way == Way::WebSocket).then_some(4401));
        let late = OffsetDateTime::now_utc() - ends;
        assert!(late.is_positive(), "it ended too soon: {late}");
        assert!(
            late < time::Duration::seconds(5),
            "it ended too late: {late}"
        );
        eventually("it is out of its rooms", async || {
            app.app.registry().counts().0 == 1
        })
        .await;

        // What it missed it gets with its cursor and a new token.
        app.says("user:app~7", "note", "1").await;
        let back = format!("cursor={}", client.cursor());
        let mut back = holder(&app, "app~7", HOUR, json!({}))
            .listens(way, &back)
            .await;
        assert_eq!(back.next_event().await["event"], "note");
        let mark = app.marks().await;
        assert_eq!(other.names_before(&mark, "user:app~7").await, ["note"]);
        drop((other, back));
        eventually("they are gone", async || app.app.registry().counts().0 == 0).await;
    }
}

#[tokio::test]
async fn who_reads_slowly_gets_nothing_that_was_said_after_the_end() {
    let app = TestApp::start_with(|config| {
        config.token_secret = Some(SECRET.into());
        config.outbox_bytes = 64 * 1024 * 1024;
        config.ping_timeout = Duration::from_secs(60);
    })
    .await;
    let person = holder(&app, "app~7", 2 * SOON, json!({}));
    let mut other = person.ws("").await;
    let mut slow = person.ws("").await;
    let much = format!("\"{}\"", "x".repeat(1024 * 1024));
    for _ in 0..24 {
        app.says("user:app~7", "much", &much).await;
    }
    assert_eq!(other.end().await.code, Some(4401));
    // A moment after the end is still in time; this is later.
    let ended = tokio::time::Instant::now();
    eventually("it is late", async || {
        ended.elapsed() > Duration::from_millis(1_500)
    })
    .await;
    app.says("user:app~7", "late", "1").await;
    loop {
        match slow.try_next().await {
            Ok(frame) => assert_ne!(frame["event"], "late"),
            Err(ended) => {
                assert_eq!(ended.code, Some(4401), "{ended:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_token_may_end_with_the_calendar() {
    let app = app().await;
    let last = json!({ "exp": 253_402_300_799_u64 });
    for way in Way::BOTH {
        let mut client = holder(&app, "ada", HOUR, last.clone())
            .listens(way, "")
            .await;
        let mark = app.marks().await;
        assert!(client.before(&mark).await.is_empty());
    }
    let mut ws = holder(&app, "ada", HOUR, json!({})).ws("").await;
    let answer = renews(&mut ws, &token("ada", HOUR, &last)).await;
    assert_eq!(answer["expiresAt"], "9999-12-31T23:59:59.000Z");
    assert!(ws.so_far().await.is_empty());
}

#[tokio::test]
async fn a_new_token_lets_a_websocket_go_on() {
    let app = app().await;
    let mut ws = holder(&app, "ada", SOON, json!({})).ws("").await;
    let mut without = holder(&app, "ada", SOON, json!({})).ws("").await;
    assert_eq!(ws.next_event().await["event"], "token-expiring");
    let answer = renews(&mut ws, &token("ada", HOUR, &json!({}))).await;
    let left = instant(&answer["expiresAt"]) - OffsetDateTime::now_utc();
    assert!(left > time::Duration::minutes(59), "{answer}");
    // The old one is over when the other connection ends.
    assert_eq!(without.end().await.code, Some(4401));
    assert!(ws.so_far().await.is_empty());

    // A new one may end sooner too, and is told of anew.
    renews(&mut ws, &token("ada", SOON, &json!({}))).await;
    assert_eq!(ws.next_event().await["event"], "token-expiring");
    assert_eq!(ws.end().await.code, Some(4401));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_changes_nothing() {
    let app = app().await;
    let grants = json!({ "channels": ["order:1"] });
    let person = holder(&app, "ada", SOON, grants.clone());
    let mut ws = person.ws("channel=order:1").await;
    for bad in [
        token("bob", HOUR, &json!({})),
        token("ada", 0, &json!({})),
        token("ada", HOUR, &json!({ "channels": ["*"] })),
        token("ada", HOUR, &json!({ "roomcast:session": "0" })),
        "abc".to_owned(),
        String::new(),
    ] {
        let answer = renews(&mut ws, &bad).await;
        is_error(&answer, "unauthorized");
        assert!(bad.is_empty() || !answer.to_string().contains(&bad));
    }
    is_error(&renews(&mut ws, &"x".repeat(8_193)).await, "too-large");
    is_error(
        &ws.call(json!({ "type": "token" })).await,
        "invalid-message",
    );
    app.says("order:1", "note", "1").await;
    let came = ws.so_far().await;
    assert!(
        came.iter().any(|event| event["event"] == "note"),
        "{came:?}"
    );
    assert_eq!(ws.end().await.code, Some(4401));

    // Who came with a cookie has that, and a token adds nothing to it.
    let ada = app.person("ada").await;
    let mut ws = ada.ws("").await;
    let answer = renews(&mut ws, &token(&ada.id, HOUR, &grants)).await;
    is_error(&answer, "unauthorized");
    let join = json!({ "type": "join", "channel": "order:1" });
    is_error(&ws.call(join).await, "forbidden");
}

#[tokio::test]
async fn a_token_grants_the_channels_that_it_names_and_who_is_in_them_to_listen() {
    let app = app().await;
    let root = app.person("ada").await.makes_root("notes").await;
    let document = format!("document:{root}");
    let further = json!({ "channels": [&document, "order:1", "presence:order:3"] });
    for way in Way::BOTH {
        let person = holder(&app, "app~7", HOUR, further.clone());
        let query = format!(
            "channel={document}&channel=order:1&channel=presence:order:1&channel=presence:{document}"
        );
        let mut client = person.listens(way, &query).await;
        app.says(&document, "note", "1").await;
        app.says("order:1", "note", "2").await;
        let mark = app.marks().await;
        assert_eq!(client.before(&mark).await.len(), 2);
        for other in [
            "order:2",
            "presence:order:2",
            "order:11",
            "presence:presence:order:3",
            "order:3",
            "admin",
            "user:ada",
        ] {
            person
                .is_refused(way, &format!("channel=order:1&channel={other}"))
                .await
                .is_problem(403, "forbidden");
        }
    }
    // To listen, not to speak; and to join later as well as at once.
    let mut ws = holder(&app, "app~7", HOUR, further).ws("").await;
    for channel in ["order:1", &document] {
        ws.joins(channel).await;
        let publish = json!({ "type": "publish", "channel": channel, "event": "note" });
        is_error(&ws.call(publish).await, "forbidden");
    }
    // Over HTTP a grant is no right.
    let person = holder(&app, "app~7", HOUR, json!({ "channels": [&document] }));
    person.get(&format!("/document-roots/{root}")).await.is(404);
}

#[tokio::test]
async fn a_new_token_has_its_own_grants() {
    let app = app().await;
    let grants = |names: &[&str]| json!({ "channels": names });
    let person = holder(
        &app,
        "app~7",
        HOUR,
        grants(&["order:1", "order:2", "user:ada"]),
    );
    let query = "channel=order:1&channel=presence:order:1&channel=order:2&channel=user:ada";
    let mut ws = person.ws(query).await;
    let answer = renews(
        &mut ws,
        &token("app~7", HOUR, &grants(&["order:2", "order:3"])),
    )
    .await;
    assert_eq!(
        answer["left"],
        json!(["order:1", "presence:order:1", "user:ada"])
    );
    for channel in [
        "order:1",
        "presence:order:1",
        "order:2",
        "user:ada",
        "global",
    ] {
        app.says(channel, "note", "1").await;
    }
    let came = ws.so_far().await;
    let came: Vec<_> = came.iter().map(|event| &event["channel"]).collect();
    assert_eq!(came, ["order:2", "global"]);
    let join = json!({ "type": "join", "channel": "order:1" });
    is_error(&ws.call(join).await, "forbidden");
    ws.joins("order:3").await;

    // What the user may join without a grant is not left.
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let own = format!("document:{root}");
    let person = holder(&app, &ada.id, HOUR, grants(&[&own, "order:1"]));
    let mut ws = person.ws(&format!("channel={own}&channel=order:1")).await;
    let answer = renews(&mut ws, &token(&ada.id, HOUR, &json!({}))).await;
    assert_eq!(answer["left"], json!(["order:1"]));
    let publish = json!({ "type": "publish", "channel": own, "event": "note" });
    assert_eq!(ws.call(publish).await["type"], "ack");
}

#[tokio::test]
async fn a_connection_belongs_to_the_login_of_its_last_token() {
    let app = app().await;
    let (first, mut second) = (app.person("ada").await, app.nobody());
    second.log_in("ada").await;
    let made = async |person: &Person| {
        let made = person.post("/auth/token", json!({})).await.is(201);
        made.json["token"].as_str().unwrap().to_owned()
    };
    let (one, two) = (made(&first).await, made(&second).await);
    let mut ws = app.nobody().with_token(Shown::Header, &one).ws("").await;
    assert_eq!(renews(&mut ws, &two).await["type"], "ack");
    first.post("/auth/logout", json!({})).await.is(204);
    assert!(ws.so_far().await.is_empty());
    is_error(&renews(&mut ws, &one).await, "unauthorized");
    second.post("/auth/logout", json!({})).await.is(204);
    let ended = ws.end().await.disconnect.unwrap();
    assert_eq!(ended["code"], "session-ended");
}

#[tokio::test]
async fn a_rank_that_is_lost_is_lost_with_a_token_too() {
    let app = app().await;
    let (root, other) = (
        app.administrator("root").await,
        app.administrator("other").await,
    );
    let person = holder(&app, &other.id, HOUR, json!({}));
    let mut ws = person.ws("channel=order:1").await;
    assert_eq!(ws.welcome["user"]["admin"], true);
    root.patch(&format!("/users/{}", other.id), json!({ "admin": false }))
        .await
        .is(200);
    assert_eq!(ws.end().await.code, Some(1012));
    person
        .is_refused(Way::WebSocket, "channel=order:1")
        .await
        .is_problem(403, "forbidden");
    person.listens(Way::Sse, "").await;
}

#[tokio::test]
async fn tokens_are_as_they_are_told() {
    let app = app().await;
    let ada = app.person("ada").await;
    let made = ada.builder(Method::POST, "/api/v1/auth/token");
    let made = made.json(&json!({ "ttlSeconds": 600 })).send().await;
    is_like(&made.unwrap().text().await.unwrap(), "token-made");

    let person = holder(&app, &ada.id, HOUR, json!({ "channels": ["order:42"] }));
    let mut ws = person.ws("channel=order:42").await;
    let told: Value = serde_json::from_str(&fixture("client-token.json")).unwrap();
    let with = |milliseconds| {
        let new = token(&ada.id, milliseconds, &json!({}));
        fixture("client-token.json").replace(told["token"].as_str().unwrap(), &new)
    };
    ws.send_text(with(HOUR)).await;
    is_like(&raw(&mut ws).await.unwrap(), "ack-token-left");
    ws.send_text(with(SOON)).await;
    is_like(&raw(&mut ws).await.unwrap(), "ack-token");
    is_like(&raw(&mut ws).await.unwrap(), "event-token-expiring");
    let last = raw(&mut ws).await.unwrap();
    assert_eq!(last + "\n", fixture("disconnect-token-ended.json"));

    let stream = holder(&app, &ada.id, SOON, json!({}));
    let mut stream = crate::protocol::Blocks::open(&stream, "").await;
    stream.next().await.unwrap();
    is_like_block(&stream.next().await.unwrap(), "event-token-expiring");
    is_like_block(&stream.next().await.unwrap(), "disconnect-token-ended");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn what_a_token_granted_counts_anew_with_the_next_one() {
    let application = Application::start().await;
    let kinds = "[kinds.order]\njoin = \"ask\"\npublish = \"members\"";
    let rules = application.rules(kinds, "cache = \"0s\"");
    let app = TestApp::start_with(|config| {
        (config.rules, config.token_secret) = (rules, Some(SECRET.into()));
    })
    .await;
    let ada = app.person("ada").await;
    application.gives(&ada, "write", "order:7");
    // What a token grants is for reading; without it the application says what ada may do.
    let person = holder(&app, &ada.id, HOUR, json!({ "channels": ["order:7"] }));
    let mut ws = person.ws("channel=order:7").await;
    for may in [false, true] {
        for volatile in [true, false] {
            let note = json!({ "type": "publish", "channel": "order:7", "event": "note", "volatile": volatile });
            let answer = ws.call(note).await;
            assert_eq!(answer["type"] == "ack", may, "{answer}");
        }
        let answer = renews(&mut ws, &token(&ada.id, HOUR, &json!({}))).await;
        assert_eq!((&answer["type"], answer.get("left")), (&json!("ack"), None));
    }
}

#[tokio::test]
async fn the_application_is_not_asked_again_about_what_no_token_granted() {
    let application = Application::start().await;
    let rules = application.rules("[kinds.order]\njoin = \"ask\"", "cache = \"0s\"");
    let app = TestApp::start_with(|config| {
        config.token_secret = Some(SECRET.into());
        config.rules = rules;
    })
    .await;
    let mut ada = holder(&app, "app~7", HOUR, json!({ "channels": ["order:8"] }));
    ada.id = "app~7".into();
    application.gives(&ada, "read", "order:7");
    let mut ws = ada.ws("channel=order:7&channel=order:8").await;
    application.says(&ada, "order:7", Reply::Status(500));
    let next = token("app~7", HOUR, &json!({}));
    let answer = renews(&mut ws, &next).await;
    assert_eq!(
        (&answer["type"], &answer["left"]),
        (&json!("ack"), &json!(["order:8"])),
        "{answer}"
    );
    app.says("order:7", "note", "1").await;
    assert_eq!(ws.next_event().await["event"], "note");
}
