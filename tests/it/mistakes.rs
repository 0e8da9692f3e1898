//! What a WebSocket client says wrong is answered and forgotten; too much of it ends the connection, the reason said first.

use serde_json::{Value, json};

use crate::support::{PING, Raw, TestApp, WsClient, frame};

#[tokio::test]
async fn a_malformed_message_is_an_error_and_the_connection_lives() {
    let app = TestApp::start().await;
    let mut ws = app.person("ada").await.ws("").await;
    let nested = format!(
        r#"{{"type":"publish","channel":"a:b","event":"e","data":{}}}"#,
        "[".repeat(30_000)
    );
    for (text, code) in [
        ("", "invalid-message"),
        ("null", "invalid-message"),
        ("[]", "invalid-message"),
        ("{}", "invalid-message"),
        (r#"{"type":1}"#, "invalid-message"),
        (r#"{"type":"ping"} {}"#, "invalid-message"),
        ("{'type':'ping'}", "invalid-message"),
        (
            r#"{"type":"leave","type":"join","channel":"global"}"#,
            "invalid-message",
        ),
        (r#"{"type":"join"}"#, "invalid-message"),
        (r#"{"type":"join","channel":1}"#, "invalid-message"),
        (
            r#"{"type":"join","channel":"global","cursor":"x"}"#,
            "invalid-message",
        ),
        (r#"{"type":"ping","id":1.5}"#, "invalid-message"),
        (r#"{"type":"ping","id":{}}"#, "invalid-message"),
        (
            r#"{"type":"publish","channel":"a:b","event":"e","volatile":"yes"}"#,
            "invalid-message",
        ),
        (
            r#"{"type":"publish","channel":"a:b","event":"e","data":1e400}"#,
            "invalid-message",
        ),
        (&nested, "invalid-message"),
        (r#"{"type":"fly"}"#, "unknown-type"),
        (r#"{"type":"join","channel":"USER:1"}"#, "invalid-channel"),
        (r#"{"type":"join","channel":""}"#, "invalid-channel"),
        (
            r#"{"type":"publish","channel":"a:b","event":"welcome"}"#,
            "invalid-event",
        ),
        (
            r#"{"type":"publish","channel":"a:b","event":"e"}"#,
            "not-joined",
        ),
        (r#"{"type":"join","channel":"admin"}"#, "forbidden"),
    ] {
        ws.send_text(text.to_owned()).await;
        let error = ws.next().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{text}: {error}"
        );
        assert!(
            !error["message"].as_str().unwrap().is_empty() && error.get("id").is_none(),
            "{text}: {error}"
        );
    }
    let meta = json!({ "type": "join", "channel": "presence:x", "meta": "x".repeat(2049) });
    assert_eq!(ws.call(meta).await["code"], "too-large");
    for id in [json!("a-1"), json!(7), json!(u64::MAX)] {
        ws.send(json!({ "type": "join", "channel": "admin", "id": id }))
            .await;
        assert_eq!(ws.next().await["id"], id);
        ws.send(json!({ "type": "ping", "id": id })).await;
        assert_eq!(ws.next().await["id"], id);
    }
    ws.send_text(r#"{"type":"ping"}"#.to_owned()).await;
    assert_eq!(
        ws.next().await.get("id"),
        None,
        "who names none is answered without one"
    );
}

#[tokio::test]
async fn a_cursor_that_is_none_of_ours_is_not_recovered_from() {
    let app = TestApp::start().await;
    let mut ws = app.person("ada").await.ws("").await;
    let cursor = ws.welcome["cursor"].as_str().unwrap().to_owned();
    let epoch = cursor.split_once('-').unwrap().0;
    for unknown in [
        "00000000-0".to_owned(),
        format!("{epoch}-999999"),
        format!("{epoch}-{}", u64::MAX),
    ] {
        let ack = ws
            .call(json!({ "type": "join", "channel": "global", "cursor": unknown }))
            .await;
        assert_eq!(
            (&ack["type"], &ack["recovered"]),
            (&json!("ack"), &json!(false)),
            "{unknown}"
        );
    }
    let too_large = json!({ "type": "join", "channel": "global", "cursor": format!("{epoch}-18446744073709551616") });
    assert_eq!(ws.call(too_large).await["code"], "invalid-message");
}

#[tokio::test]
async fn who_sends_too_much_is_told_and_for_long_put_out() {
    let app = TestApp::start_with(|config| config.messages_per_second = 5).await;
    let ada = app.person("ada").await;
    let mut ws = ada.ws("").await;
    for n in 1..=700 {
        ws.send(json!({ "type": "ping", "id": n })).await;
    }
    let (mut answered, mut over) = (0, Vec::new());
    let ended = loop {
        match ws.try_next().await {
            Ok(frame) if frame["type"] == "ack" => answered += 1,
            Ok(frame) => over.push(frame),
            Err(ended) => break ended,
        }
    };
    // A second's worth at once, and what the test's own slowness lets pass.
    assert!((5..50).contains(&answered), "{answered}");
    assert!(!over.is_empty());
    assert!(
        over.iter()
            .all(|frame| frame["code"] == "rate-limited" && frame["id"].is_u64())
    );
    assert_eq!(ended.code, Some(1013));
    let disconnect = ended.disconnect.unwrap();
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!("rate-limited"), &json!(true))
    );

    let mut raw = Raw::websocket(&ada).await;
    raw.sends(frame(PING, b"").repeat(1_000)).await;
    assert_eq!(raw.end().await.code, Some(1013), "pings count too");
}

#[tokio::test]
async fn one_channel_too_many_is_refused_and_the_others_stay() {
    let app = TestApp::start_with(|config| config.max_channels = 2).await;
    let ada = app.person("ada").await;
    let mut ws: WsClient = ada.ws("channel=presence:a").await;
    ws.joins("presence:b").await;
    let refused: Value = ws
        .call(json!({ "type": "join", "channel": "presence:c" }))
        .await;
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("too-many-channels"))
    );
    ws.joins("presence:b").await;
    ws.call(json!({ "type": "leave", "channel": "presence:a" }))
        .await;
    ws.joins("presence:c").await;
    app.says("presence:b", "note", "1").await;
    assert_eq!(ws.so_far().await.len(), 1);
}
