//! Event streams as browsers read them: fields, resuming by Last-Event-ID, and plain data for pages that know no frames.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, SseClient, TestApp, Way};

#[tokio::test]
async fn a_stream_is_for_no_cache_and_says_when_to_come_back() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut response = ada
        .builder(Method::GET, "/sse/events")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let cache_control = response.headers()["cache-control"].to_str().unwrap();
    assert!(
        cache_control.contains("no-cache") && cache_control.contains("no-transform"),
        "{cache_control}"
    );
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert!(
        !response.headers().contains_key("set-cookie")
            && !response.headers().contains_key("content-length")
    );
    let first = response.chunk().await.unwrap().unwrap();
    let text = std::str::from_utf8(&first).unwrap();
    let retry: u64 = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("retry: ")
        .expect("when to come back")
        .parse()
        .unwrap();
    assert!((1_000..5_000).contains(&retry));
    let [_, event, id, data, empty] = *text.split('\n').take(5).collect::<Vec<_>>() else {
        panic!("{text}")
    };
    assert_eq!((event, empty), ("event: welcome", ""));
    let welcome: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(id.strip_prefix("id: "), welcome["cursor"].as_str());
    let other = ada.sse("").await;
    assert!(
        other.retry.is_some() && other.retry != Some(retry),
        "different for each, so no stampede"
    );
}

#[tokio::test]
async fn an_event_has_its_name_its_cursor_and_the_same_json_as_over_websocket() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let channel = format!("document:{root}");
    let mut ws = ada.ws(&format!("channel={channel}")).await;
    let request = ada.builder(Method::GET, &format!("/sse/events/{channel}"));
    let mut by_path = SseClient::connect(request).await;
    let mut by_query = ada.sse(&format!("channel={channel}")).await;
    assert_eq!(by_path.welcome["channels"], by_query.welcome["channels"]);

    let cursor = app
        .says(&channel, "note", r#"{"n":1.50,"text":"a\r\nb\u2028"}"#)
        .await;
    let event = by_path.next().await.unwrap();
    assert_eq!(
        (&*event.name, event.id.as_deref()),
        ("note", Some(&*cursor))
    );
    assert_eq!(by_query.next().await.unwrap(), event);
    assert!(
        event
            .data
            .contains(r#""data":{"n":1.50,"text":"a\r\nb\u2028"}"#),
        "{}",
        event.data
    );
    assert_eq!(ws.next().await, event.json());

    let publish =
        json!({ "type": "publish", "channel": channel, "event": "typing", "volatile": true });
    ws.call(publish).await;
    let volatile = by_path.next().await.unwrap();
    assert_eq!(
        (&*volatile.name, volatile.id),
        ("typing", None),
        "what is not kept cannot be resumed from"
    );
    assert_eq!(
        by_path.last_id,
        Some(cursor),
        "and leaves the place where it was"
    );
}

#[tokio::test]
async fn many_channels_are_one_stream_in_the_order_of_the_log() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let roots = [ada.makes_root("one").await, ada.makes_root("two").await];
    let channels = roots.map(|root| format!("document:{root}"));
    let mut stream = ada
        .sse(&format!(
            "channel={0}&channel={1}&channel={0}",
            channels[0], channels[1]
        ))
        .await;
    assert_eq!(
        stream.welcome["channels"].as_array().unwrap().len(),
        4,
        "the same channel twice counts once"
    );
    let mut said = Vec::new();
    for n in 0..20 {
        said.push(app.says(&channels[n % 2], "note", &n.to_string()).await);
    }
    for (n, cursor) in said.iter().enumerate() {
        let event = stream.next_event().await;
        assert_eq!(
            (&event["channel"], &event["cursor"]),
            (&json!(channels[n % 2]), &json!(cursor))
        );
    }
}

#[tokio::test]
async fn plain_data_arrives_as_it_was_said_and_breaks_out_of_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut stream = ada.sse("format=data").await;
    for text in [
        "",
        " ",
        "one",
        "one\ntwo",
        "\n",
        "one\n\ntwo\n",
        " leading",
        ": colon",
        "data: x\n\nid: 9\nevent: evil",
        "retry: 1",
        "null\0",
        "\u{85}\u{2028}\u{feff}",
        "☂ 🦀",
        "<b>\"&\"</b>",
    ] {
        let cursor = app.says("global", "text", &json!(text).to_string()).await;
        let event = stream.next().await.unwrap();
        assert_eq!(
            (&*event.name, &*event.data, event.id),
            ("text", text, Some(cursor)),
            "{text:?}"
        );
    }
    // An event stream has one end of a line: the others arrive as that.
    for text in ["one\r\ntwo\rthree", "\r", "\r\n\r\n", "a\r\rb\n\r"] {
        app.says("global", "text", &json!(text).to_string()).await;
        let expected = text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(stream.next().await.unwrap().data, expected, "{text:?}");
    }
    for data in [
        r#"{"a":[1.50,12345678901234567890]}"#,
        "[]",
        "7",
        "true",
        "null",
    ] {
        app.says("global", "json", data).await;
        assert_eq!(stream.next().await.unwrap().data, data);
    }
}

#[tokio::test]
async fn as_a_message_an_event_has_no_name_and_the_server_s_own_frames_have_theirs() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut stream = ada.sse("format=message").await;
    assert_eq!(stream.welcome["type"], "welcome");
    let cursor = app
        .says("global", "html", &json!("<p>one\n<p>two").to_string())
        .await;
    let event = stream.next().await.unwrap();
    assert_eq!(
        (&*event.name, &*event.data, event.id),
        ("message", "<p>one\n<p>two", Some(cursor))
    );
    app.stop().await;
    assert_eq!(stream.next().await.unwrap().name, "disconnect");
}

#[tokio::test]
async fn last_event_id_resumes_and_wins_over_the_query() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut said = Vec::new();
    for n in 0..4 {
        said.push(app.says("global", "note", &n.to_string()).await);
    }
    let resume = async |header: Option<&str>, query: &str| {
        let mut request = ada.builder(Method::GET, &format!("/sse/events?{query}"));
        if let Some(id) = header {
            request = request.header("last-event-id", id);
        }
        SseClient::connect(request).await
    };
    for (header, query, next) in [
        (Some(&*said[1]), String::new(), 2),
        (Some(&*said[1]), format!("lastEventId={}", said[0]), 2),
        (Some(&*said[1]), format!("cursor={}", said[2]), 2),
        (Some(""), format!("cursor={}", said[0]), 1),
        (None, format!("lastEventId={}", said[2]), 3),
        (None, format!("cursor={}", said[0]), 1),
    ] {
        let mut stream = resume(header, &query).await;
        assert_eq!(stream.welcome["recovered"], json!(true));
        for expected in next..4 {
            assert_eq!(
                stream.next_event().await["data"],
                json!(expected),
                "{header:?} {query}"
            );
        }
    }
    let epoch = said[0].split_once('-').unwrap().0;
    let (future, huge) = (
        format!("{epoch}-999999"),
        format!("{epoch}-{}", "9".repeat(30)),
    );
    for unknown in [
        "-1",
        "x",
        "00000000-1",
        "' OR 1=1--",
        "../../etc/passwd",
        "é",
        &future,
        &huge,
        &"9".repeat(8_000),
    ] {
        let mut stream = resume(Some(unknown), &format!("cursor={}", said[0])).await;
        assert_eq!(stream.welcome["recovered"], json!(false), "{unknown}");
        let cursor = app.says("global", "note", "null").await;
        assert_eq!(
            stream.next_event().await["cursor"],
            json!(cursor),
            "{unknown}: nothing of the past"
        );
    }
}

#[tokio::test]
async fn every_tab_is_a_connection_of_its_own() {
    let app = TestApp::start_with(|config| config.heartbeat = Duration::from_millis(200)).await;
    let ada = app.person("ada").await;
    let document = ada
        .makes_document(&ada.makes_root("notes").await, json!(0))
        .await;
    let root = ada.get(&format!("/documents/{document}")).await.json["rootId"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut tabs = Vec::new();
    for _ in 0..5 {
        tabs.push(
            ada.listens(Way::Sse, &format!("channel=document:{root}"))
                .await,
        );
    }
    let first = tabs[0].id().to_owned();
    let cursor = ada.at(&first).changes(&document, json!(1)).await;
    let mark = app.marks().await;
    for (n, tab) in tabs.iter_mut().enumerate() {
        let heard = tab.before(&mark).await;
        let cursors: Vec<_> = heard
            .iter()
            .map(|event| event["cursor"].as_str().unwrap())
            .collect();
        let expected: &[&str] = if n == 0 { &[] } else { &[&cursor] };
        assert_eq!(cursors, expected, "tab {n}");
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_none() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (method, path, status, code) in [
        (Method::POST, "/sse/events", 405, "method-not-allowed"),
        (
            Method::DELETE,
            "/sse/events/global",
            405,
            "method-not-allowed",
        ),
        (Method::GET, "/sse", 404, "not-found"),
        (Method::GET, "/sse/events/global/more", 404, "not-found"),
    ] {
        Person::send(ada.builder(method, path))
            .await
            .is_problem(status, code);
    }
}
