//! A client that comes back with its cursor gets all that it missed, once and in order, or is told that it cannot.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Dice, Follower, Person, SseClient, TestApp, Way, position};

/// Somebody with a document, and the channel of its changes.
async fn ada_with_a_document(app: &TestApp) -> (Person, String, String) {
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    (ada, document, format!("channel=document:{root}"))
}

/// What a document was changed to, as two events of it say.
fn data(frames: &[Value]) -> Vec<&Value> {
    frames.iter().map(|frame| &frame["data"]["data"]).collect()
}

#[tokio::test]
async fn who_has_missed_nothing_is_answered_at_once() {
    // Nothing but the answer breaks the silence.
    let app = TestApp::start_with(|config| config.heartbeat = Duration::from_secs(3_600)).await;
    let (ada, _, _) = ada_with_a_document(&app).await;
    let cursor = ada.get("/auth/me").await.cursor();
    let mut client = ada.ws(&format!("cursor={cursor}")).await;
    assert_eq!(client.welcome["recovered"], true);
    assert_eq!(client.so_far().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_cursor_that_the_log_does_not_know_recovers_nothing() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let cursor = ada.changes(&document, json!(1)).await;
    let (epoch, _) = cursor.split_once('-').unwrap();
    let other_epoch = if epoch == "00000000" {
        "00000001"
    } else {
        "00000000"
    };
    let (foreign, future) = (
        format!("{other_epoch}-{}", position(&cursor)),
        format!("{epoch}-{}", position(&cursor) + 1_000),
    );
    for unknown in [foreign, future, format!("{epoch}-{}", u64::MAX)] {
        for via in Way::ALL {
            let mut follower = Follower::new(&ada, &channel, via);
            follower.cursor = Some(unknown.clone());
            let welcome = follower.connects().await;
            assert_eq!(
                welcome["recovered"], false,
                "{unknown} on {via:?}: {welcome}"
            );
            let now = ada.get("/auth/me").await.cursor();
            assert_eq!(welcome["cursor"], json!(now), "{unknown} on {via:?}");
            ada.changes(&document, json!("live")).await;
            let event = follower.next_event().await.unwrap();
            assert_eq!(event["data"]["data"], "live", "{unknown} on {via:?}");
        }
        let mut client = ada.ws("").await;
        let answer = client
            .joins_since(&channel["channel=".len()..], &unknown)
            .await;
        assert_eq!(answer["recovered"], false, "{unknown}: {answer}");
        assert_eq!(answer.get("events"), None, "{unknown}");
    }
}

#[tokio::test]
async fn who_has_no_cursor_has_nothing_to_recover() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    ada.changes(&document, json!(1)).await;
    for via in Way::ALL {
        let welcome = Follower::new(&ada, &channel, via).connects().await;
        assert_eq!(welcome.get("recovered"), None, "{via:?}");
    }
    let answer = ada.ws("").await.joins(&channel["channel=".len()..]).await;
    assert_eq!(
        (answer.get("recovered"), answer.get("events")),
        (None, None)
    );
}

#[tokio::test]
async fn what_is_no_cursor_is_a_mistake_in_a_query_and_forgotten_in_a_header() {
    let app = TestApp::start().await;
    let (ada, _, channel) = ada_with_a_document(&app).await;
    let huge = "9".repeat(30);
    for malformed in [
        "x",
        "-1",
        "7",
        "0123456-1",
        "0123456789-1",
        "ABCDEF01-1",
        "01234567--1",
        "01234567-",
        &huge,
    ] {
        for way in [
            "/ws?cursor",
            "/sse/events?cursor",
            "/sse/events?lastEventId",
            "/api/v1/events?cursor",
        ] {
            let mut request = ada.builder(Method::GET, &format!("{way}={malformed}&{channel}"));
            if way.starts_with("/ws") {
                request = upgrading(request);
            }
            Person::send(request)
                .await
                .is_problem(400, "invalid-cursor");
        }
        let request = ada.builder(Method::GET, &format!("/sse/events?{channel}"));
        let stream = SseClient::connect(request.header("last-event-id", malformed)).await;
        assert_eq!(
            stream.welcome["recovered"], false,
            "{malformed}: {}",
            stream.welcome
        );
    }
}

/// What makes a request ask for a WebSocket.
fn upgrading(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn the_header_of_a_browser_wins_over_the_query_of_its_page() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let first = ada.changes(&document, json!(1)).await;
    let second = ada.changes(&document, json!(2)).await;
    ada.changes(&document, json!(3)).await;
    for name in ["cursor", "lastEventId"] {
        let request = ada.builder(
            Method::GET,
            &format!("/sse/events?{channel}&{name}={first}"),
        );
        let mut stream = SseClient::connect(request.header("last-event-id", &second)).await;
        assert_eq!(stream.welcome["recovered"], true);
        assert_eq!(
            stream.next_event().await["data"]["data"],
            3,
            "beside {name}"
        );
    }
    // An empty one is what a browser has that has seen no id yet.
    let request = ada.builder(
        Method::GET,
        &format!("/sse/events?{channel}&cursor={second}"),
    );
    let mut stream = SseClient::connect(request.header("last-event-id", "")).await;
    assert_eq!(stream.next_event().await["data"]["data"], 3);
}

#[tokio::test]
async fn a_join_with_a_cursor_is_answered_with_what_the_channel_said_since() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let channel = &channel["channel=".len()..];
    let rendered = ada.get(&format!("/documents/{document}")).await.cursor();
    for n in 1..=3 {
        ada.changes(&document, json!(n)).await;
    }
    let mut client = ada.ws("").await;
    let answer = client.joins_since(channel, &rendered).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    assert_eq!(data(answer["events"].as_array().unwrap()), [1, 2, 3]);
    let last = ada.changes(&document, json!("live")).await;
    assert_eq!(client.next_event().await["cursor"], json!(last));

    let answer = ada.ws("").await.joins_since(channel, &last).await;
    assert_eq!(
        (&answer["recovered"], &answer["events"]),
        (&json!(true), &json!([]))
    );
}

#[tokio::test]
async fn a_join_that_missed_more_than_a_thousand_events_recovers_none() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let channel = &channel["channel=".len()..];
    let before = ada.get("/auth/me").await.cursor();
    let first = ada.changes(&document, json!(0)).await;
    app.tells(channel, 1_000).await;
    let answer = ada.ws("").await.joins_since(channel, &first).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    assert_eq!(answer["events"].as_array().unwrap().len(), 1_000);
    let answer = ada.ws("").await.joins_since(channel, &before).await;
    assert_eq!(answer["recovered"], false);
    assert_eq!(answer.get("events"), None);
}

#[tokio::test]
async fn being_cut_off_again_and_again_in_a_long_replay_loses_nothing() {
    const EVENTS: u64 = 5_000;
    let app = TestApp::start().await;
    let (ada, _, channel) = ada_with_a_document(&app).await;
    let mut follower = Follower::new(&ada, &channel, Way::WebSocket);
    let welcome = follower.connects().await;
    let from = position(welcome["cursor"].as_str().unwrap());
    app.tells(&channel["channel=".len()..], EVENTS).await;

    let mut dice = Dice(7);
    let (mut seen, mut cuts) = (Vec::new(), 0);
    while seen.len() < EVENTS as usize {
        let welcome = follower.swaps().await;
        assert_eq!(
            welcome["recovered"],
            true,
            "after {} events: {welcome}",
            seen.len()
        );
        cuts += 1;
        let wanted = seen.len() + dice.roll(400) as usize;
        while seen.len() < wanted.min(EVENTS as usize) {
            let event = follower.next_event().await.expect("an event, not the end");
            seen.push(position(event["cursor"].as_str().unwrap()));
        }
    }
    assert!(cuts > 10, "{cuts}");
    let expected: Vec<u64> = (from + 1..=from + EVENTS).collect();
    assert_eq!(seen, expected);
}
