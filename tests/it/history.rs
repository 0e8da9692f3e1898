//! A channel's past over HTTP: page by page, as it went over the wire, for those who may be there and no further back
//! than they may.

use reqwest::Method;
use roomcast::config::Guests;
use serde_json::{Value, json};

use crate::support::{Person, TestApp, Way, position};

async fn page(person: &Person, channel: &str, query: &str) -> Value {
    let path = format!("/channels/{channel}/history?{query}");
    person.get(&path).await.is(200).json
}

fn numbers(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["data"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_in_both_directions() {
    let (app, back_end) = TestApp::start_with_key().await;
    app.tells("global", 5).await;
    app.tells("order:1", 7).await;
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = page(&back_end, "order:1", &format!("limit=3{query}")).await;
        assert_eq!(page.get("recovered").is_some(), !query.is_empty(), "{page}");
        assert_eq!(page["cursor"], app.app.registry().cursor().to_string());
        seen.push(numbers(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("&after={next}");
    }
    assert_eq!(seen, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);

    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = page(&back_end, "order:1", &format!("limit=3&before={before}")).await;
        assert_eq!(page.get("recovered"), None);
        seen.push(numbers(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        before = next.to_owned();
    }
    assert_eq!(seen, [vec![4, 5, 6], vec![1, 2, 3], vec![0]]);

    // Pages that end with the last event say so.
    assert_eq!(
        page(&back_end, "order:1", "limit=7").await["next"],
        Value::Null
    );
    assert_eq!(
        page(&back_end, "order:1", "limit=7&before=").await["next"],
        Value::Null
    );
    assert_eq!(
        numbers(&page(&back_end, "order:2", "before=").await),
        Vec::<u64>::new()
    );
}

#[tokio::test]
async fn what_it_shows_is_what_went_over_the_wire_and_its_cursor_is_where_to_join() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("new")).await;
    let channel = format!("document:{root}");
    let mut there = ada.listens(Way::Sse, &format!("channel={channel}")).await;
    let from = there.cursor().to_owned();
    ada.changes(&document, json!({ "text": "Hello." })).await;
    let frame = there.next_event().await;
    let path = format!("/api/v1/channels/{channel}/history?after={from}");
    let text = ada.builder(Method::GET, &path).send().await.unwrap();
    let text = text.text().await.unwrap();
    let cursor = frame["cursor"].as_str().unwrap();
    let expected =
        format!(r#"{{"items":[{frame}],"next":null,"cursor":"{cursor}","recovered":true}}"#);
    let (text, expected): (Value, Value) = (
        serde_json::from_str(&text).unwrap(),
        serde_json::from_str(&expected).unwrap(),
    );
    assert_eq!(text, expected);
    let query = format!("channel={channel}&cursor={cursor}");
    let mut joined = ada.listens(Way::WebSocket, &query).await;
    ada.changes(&document, json!(2)).await;
    assert_eq!(joined.next_event().await["data"]["data"], 2);
}

#[tokio::test]
async fn it_is_for_those_who_may_be_there() {
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.guests = Guests::Global;
    })
    .await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let (root, nobody, back_end) = (
        app.administrator("root").await,
        app.nobody(),
        app.back_end(),
    );
    let notes = format!("document:{}", ada.makes_root("notes").await);
    let group = format!("group:{}", ada.makes_group("writers").await);
    let own = format!("user:{}", ada.id);
    let socket = "socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
    for (channel, expected) in [
        ("global", [200, 200, 200, 200, 200]),
        (&*notes, [401, 200, 403, 200, 200]),
        (&group, [401, 200, 403, 200, 200]),
        (&own, [401, 200, 403, 200, 200]),
        ("admin", [401, 403, 403, 200, 200]),
        ("presence:admin", [401, 403, 403, 200, 200]),
        ("presence:lobby", [401, 200, 200, 200, 200]),
        ("order:1", [401, 403, 403, 200, 200]),
        (socket, [401, 403, 403, 403, 403]),
        ("Global", [400, 400, 400, 400, 400]),
        ("presence:presence:x:y:", [401, 403, 403, 403, 200]),
        ("a%00b:1", [400, 400, 400, 400, 400]),
        ("%ff:1", [400, 400, 400, 400, 400]),
    ] {
        let path = format!("/channels/{channel}/history");
        let people = [&nobody, &ada, &bob, &root, &back_end];
        for (n, (person, status)) in people.iter().zip(expected).enumerate() {
            let answer = person.get(&path).await;
            assert_eq!(answer.status, status, "{channel} {n}: {answer:?}");
        }
    }
    let closed = TestApp::start().await;
    let answer = closed.nobody().get("/channels/global/history").await;
    answer.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn what_cannot_be_shown_in_full_is_not_shown() {
    let (app, back_end) = TestApp::start_with_key().await;
    app.tells("order:1", 3).await;
    let now = app.app.registry().cursor().to_string();
    let epoch = now.split_once('-').unwrap().0;
    let other = if epoch == "00000000" {
        "00000001"
    } else {
        "00000000"
    };
    for query in [
        format!("after={other}-1"),
        format!("before={other}-1"),
        format!("after={epoch}-999"),
    ] {
        let page = page(&back_end, "order:1", &query).await;
        let expected = json!({ "items": [], "next": null, "cursor": now, "recovered": false });
        assert_eq!(page, expected, "{query}");
    }
    let ahead = page(&back_end, "order:1", &format!("before={epoch}-999")).await;
    assert_eq!(numbers(&ahead), [0, 1, 2]);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1000000000",
        "limit=x",
        "after=1",
        "before=1",
        "after=5f3a9c21-1&before=5f3a9c21-2",
        "after=5f3a9c21-1&before=",
    ] {
        let path = format!("/channels/order:1/history?{query}");
        assert_eq!(back_end.get(&path).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_is_trimmed_is_gone() {
    let retention = std::time::Duration::from_millis(200);
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.log_retention = retention;
    })
    .await;
    let back_end = app.back_end();
    app.tells("order:1", 3).await;
    let from = page(&back_end, "order:1", "limit=1").await["next"].clone();
    crate::support::eventually("it is gone", async || {
        app.marks().await;
        let page = page(&back_end, "order:1", "before=").await;
        page["items"].as_array().unwrap().is_empty()
    })
    .await;
    if let Some(from) = from.as_str() {
        let page = page(&back_end, "order:1", &format!("after={from}")).await;
        assert_eq!(
            (&page["items"], &page["recovered"]),
            (&json!([]), &json!(false))
        );
    }
}

#[tokio::test]
async fn nobody_reads_what_was_said_while_they_were_out_or_before() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("new")).await;
    let channel = format!("document:{root}");
    ada.lets(&bob, "read", &root).await;
    let first = ada.changes(&document, json!(1)).await;
    // Somebody new reads the past as far as it reaches.
    let seen = page(&bob, &channel, "").await;
    assert_eq!(
        seen["items"].as_array().unwrap().last().unwrap()["cursor"],
        first
    );
    ada.bars(&bob, &root).await;
    let secret = ada.changes(&document, json!("secret")).await;
    bob.get(&format!("/channels/{channel}/history"))
        .await
        .is_problem(403, "forbidden");
    ada.lets(&bob, "read", &root).await;
    let after = ada.changes(&document, json!(3)).await;
    for query in ["", "before=", &format!("before={after}")] {
        let page = page(&bob, &channel, query).await;
        for item in page["items"].as_array().unwrap() {
            assert!(
                position(item["cursor"].as_str().unwrap()) > position(&secret),
                "{query}: {item}"
            );
        }
        assert_eq!(page["next"], Value::Null);
    }
    for before in [&first, &secret] {
        let page = page(&bob, &channel, &format!("after={before}")).await;
        assert_eq!(
            (&page["items"], &page["recovered"]),
            (&json!([]), &json!(false))
        );
    }
    let seen = page(&bob, &channel, "").await;
    assert_eq!(
        seen["items"].as_array().unwrap().last().unwrap()["data"]["data"],
        3
    );
    // Whoever was never out sees all.
    assert!(
        page(&ada, &channel, &format!("after={first}"))
            .await
            .to_string()
            .contains("secret")
    );
}

#[tokio::test]
async fn a_page_has_a_mebibyte_or_one_event_that_is_larger() {
    let (_app, back_end) = TestApp::start_with_key().await;
    for kib in [400, 400, 400, 1_500, 100] {
        let said =
            json!({ "channels": ["order:1"], "event": "note", "data": "x".repeat(kib * 1_024) });
        back_end.post("/publish", said).await.is(200);
    }
    let sizes = |page: &Value| -> Vec<usize> {
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["data"].as_str().unwrap().len() / 1_024)
            .collect()
    };
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&back_end, "order:1", &format!("after={after}")).await;
        seen.push(sizes(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = next.to_owned();
    }
    assert_eq!(seen, [vec![400, 400], vec![400], vec![1_500], vec![100]]);
    let last = page(&back_end, "order:1", "before=").await;
    assert_eq!(sizes(&last), [100]);
}
