//! What a WebSocket client gets wrong is answered and forgotten, or ends its connection with the reason said first.

use serde_json::{Value, json};

use crate::support::{CLOSE, PING, Raw, TEXT, TestApp, WsClient, frame};

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

/// Bytes that break the protocol, the close code, and the word in `disconnect`.
fn broken() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let mut announced = vec![TEXT, 0xff];
    announced.extend((1_u64 << 62).to_be_bytes());
    announced.extend(b"1234some bytes");
    let over = vec![b'x'; 65_537];
    let fragments: Vec<u8> = over
        .chunks(1_024)
        .enumerate()
        .flat_map(|(n, part)| frame(u8::from(n == 0), part))
        .collect();
    let cut = [frame(0x01, b"\xe2\x98"), frame(0x80, b"x")].concat();
    let unmasked = b"\x81\x0f{\"type\":\"ping\"}".to_vec();
    vec![
        ("binary", frame(0x82, b"{}"), 1003, "unsupported-data"),
        ("over the limit", frame(TEXT, &over), 1009, "too-large"),
        ("over the limit in fragments", fragments, 1009, "too-large"),
        ("a length that nothing has", announced, 1009, "too-large"),
        ("no UTF-8", frame(TEXT, b"\xff"), 1007, "invalid-text"),
        (
            "a surrogate",
            frame(TEXT, b"\xed\xa0\x80"),
            1007,
            "invalid-text",
        ),
        ("overlong", frame(TEXT, b"\xc0\xaf"), 1007, "invalid-text"),
        (
            "a character that is cut off by a fragment",
            cut,
            1007,
            "invalid-text",
        ),
        (
            "no UTF-8 in the reason of a close",
            frame(CLOSE, b"\x03\xe8\xff"),
            1007,
            "invalid-text",
        ),
        ("no mask", unmasked, 1002, "protocol-error"),
        (
            "compressed, which nobody agreed to",
            frame(0xc1, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "the second reserved bit",
            frame(0xa1, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "the third reserved bit",
            frame(0x91, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "an unknown kind of data",
            frame(0x83, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "an unknown control frame",
            frame(0x8b, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "a ping in fragments",
            frame(0x09, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "a long ping",
            frame(PING, &[b'x'; 126]),
            1002,
            "protocol-error",
        ),
        (
            "a fragment of nothing",
            frame(0x80, b"x"),
            1002,
            "protocol-error",
        ),
        (
            "a message within a message",
            [frame(0x01, b"x"), frame(TEXT, b"x")].concat(),
            1002,
            "protocol-error",
        ),
        (
            "half a close code",
            frame(CLOSE, b"\x03"),
            1002,
            "protocol-error",
        ),
        (
            "fragments without end",
            [frame(0x01, b""), frame(0x00, b"").repeat(1_100)].concat(),
            1009,
            "too-large",
        ),
    ]
}

#[tokio::test]
async fn what_is_no_websocket_ends_with_the_reason_said_first() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut other = ada.ws("").await;
    for (what, bytes, code, word) in broken() {
        let mut raw = Raw::websocket(&ada).await;
        raw.sends(&bytes).await;
        let ended = raw.end().await;
        assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
        let disconnect = ended
            .disconnect
            .unwrap_or_else(|| panic!("{what}: no disconnect before the close"));
        assert_eq!(
            (&disconnect["code"], &disconnect["reconnect"]),
            (&json!(word), &json!(false)),
            "{what}"
        );
    }
    assert!(other.so_far().await.is_empty(), "nobody else notices");
}

#[tokio::test]
async fn what_is_within_the_bounds_passes() {
    let app = TestApp::start().await;
    let mut raw = Raw::websocket(&app.person("ada").await).await;
    let mut largest = br#"{"type":"ping","id":1}"#.to_vec();
    largest.resize(65_536, b' ');
    raw.sends(frame(TEXT, &largest)).await;
    assert_eq!(raw.text().await["id"], json!(1));
    let mut fragments: Vec<u8> = largest
        .chunks(64)
        .enumerate()
        .flat_map(|(n, part)| frame(u8::from(n == 0), part))
        .collect();
    let last = fragments.len() - 70;
    fragments[last] = 0x80;
    raw.sends(fragments).await;
    assert_eq!(raw.text().await["id"], json!(1), "1,024 fragments");
}

#[tokio::test]
async fn a_close_is_answered_once_with_its_own_code_and_ends() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut raw = Raw::websocket(&ada).await;
    raw.sends(
        [
            frame(CLOSE, b"\x03\xe8bye"),
            frame(CLOSE, b""),
            frame(TEXT, b"{}"),
            b"junk".to_vec(),
        ]
        .concat(),
    )
    .await;
    let ended = raw.end().await;
    assert_eq!((ended.code, ended.disconnect), (Some(1000), None));
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
