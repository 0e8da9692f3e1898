//! Frames that are none, that never end, or whose sender is gone: each ends with its own code, and nobody else notices.

use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use crate::support::{CLOSE, Dice, PING, Person, Raw, TEXT, TestApp, eventually, frame};

const PONG: u8 = 0x8a;

/// What breaks the protocol, the close code, and the word in `disconnect`.
struct Broken {
    what: String,
    bytes: Vec<u8>,
    code: u16,
    word: &'static str,
}

/// Every kind of frame that is illegal, and of message that no frame may carry.
fn broken() -> Vec<Broken> {
    let mut all = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>, (code, word): (u16, &'static str)| {
        all.push(Broken {
            what,
            bytes,
            code,
            word,
        });
    };
    let protocol = (1002, "protocol-error");
    for reserved in 1..8_u8 {
        for kind in [TEXT, PING] {
            let bytes = frame(kind | reserved << 4, b"x");
            add(
                format!("reserved bits {reserved:03b} of {kind:x}"),
                bytes,
                protocol,
            );
        }
    }
    let compressed = [frame(0x01, b"{"), frame(0xc0, b"}")].concat();
    add("a reserved bit later".into(), compressed, protocol);
    for kind in (0x3..=0x7).chain(0xb..=0xf) {
        add(
            format!("the unknown kind {kind:x}"),
            frame(0x80 | kind, b"x"),
            protocol,
        );
    }
    for kind in [0x80, TEXT, 0x82, CLOSE, PING, PONG] {
        add(
            format!("no mask on {kind:x}"),
            vec![kind, 2, 0x03, 0xe8],
            protocol,
        );
    }
    for kind in [CLOSE, PING, PONG] {
        let (part, long) = (frame(kind & 0x0f, b"\x03\xe8"), frame(kind, &[b'x'; 126]));
        add(format!("{kind:x} in fragments"), part, protocol);
        add(format!("{kind:x} that is long"), long, protocol);
    }
    for first in [0x80, 0x00] {
        add(
            format!("a fragment of nothing, {first:x}"),
            frame(first, b"x"),
            protocol,
        );
    }
    for within in [TEXT, 0x01, 0x82, 0x02] {
        let bytes = [frame(0x01, b"x"), frame(within, b"x")].concat();
        add(
            format!("{within:x} within another message"),
            bytes,
            protocol,
        );
    }
    add("half a close code".into(), frame(CLOSE, b"\x03"), protocol);
    let unsupported = (1003, "unsupported-data");
    add("binary".into(), frame(0x82, b"{}"), unsupported);
    let parts = [frame(0x02, b"{"), frame(0x80, b"}")].concat();
    add("binary in fragments".into(), parts, unsupported);

    let text = (1007, "invalid-text");
    for bytes in [
        &b"\xff"[..],
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"{\"type\":\"ping\"}\xe2\x98",
    ] {
        add(format!("the text {bytes:?}"), frame(TEXT, bytes), text);
    }
    let cut = [frame(0x01, b"\xe2\x98"), frame(0x80, b"x")].concat();
    add("a character cut off by a fragment".into(), cut, text);
    let reason = frame(CLOSE, b"\x03\xe8\xff");
    add("a reason that is no text".into(), reason, text);

    let large = (1009, "too-large");
    for length in [65_537, 1 << 30, 1 << 60, 1 << 62, 1 << 63, u64::MAX] {
        let mut bytes = vec![TEXT, 0xff];
        bytes.extend(u64::to_be_bytes(length));
        bytes.extend(b"1234some bytes");
        add(format!("{length} bytes announced"), bytes, large);
    }
    let over = vec![b'x'; 65_537];
    add("over the limit".into(), frame(TEXT, &over), large);
    add(
        "over the limit in fragments".into(),
        fragments(&over, 1_024),
        large,
    );
    for part in [&b""[..], b"x"] {
        let bytes = [frame(0x01, part), frame(0x00, part).repeat(1_100)].concat();
        let ended = [&*bytes, &frame(0x80, part)].concat();
        let what = format!("fragments of {} bytes", part.len());
        add(format!("{what} without end"), bytes, large);
        add(format!("too many {what}, and the end"), ended, large);
    }
    all
}

/// A text in fragments that are not the last.
fn fragments(text: &[u8], size: usize) -> Vec<u8> {
    let fragment = |(n, part): (usize, &[u8])| frame(u8::from(n == 0), part);
    text.chunks(size).enumerate().flat_map(fragment).collect()
}

#[tokio::test]
async fn what_is_no_websocket_ends_with_the_reason_said_first() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut other = ada.ws("").await;
    let broken = broken();
    assert!(broken.len() >= 62, "{}", broken.len());
    for Broken {
        what,
        bytes,
        code,
        word,
    } in broken
    {
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
async fn a_close_with_a_code_that_nobody_may_send_is_answered_with_what_that_is() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
    ] {
        let mut raw = Raw::websocket(&ada).await;
        raw.sends(frame(CLOSE, &code.to_be_bytes())).await;
        let ended = raw.end().await;
        // It has said itself that it ends, so there is nothing left to tell it.
        assert_eq!((ended.code, ended.disconnect), (Some(1002), None), "{code}");
    }
}

#[tokio::test]
async fn what_is_within_the_bounds_passes() {
    let app = TestApp::start().await;
    let mut raw = Raw::websocket(&app.person("ada").await).await;
    let mut largest = br#"{"type":"ping","id":1}"#.to_vec();
    largest.resize(65_536, b' ');
    raw.sends(frame(TEXT, &largest)).await;
    assert_eq!(raw.text().await["id"], json!(1));
    let mut fragments = fragments(&largest, 64);
    let last = fragments.len() - 70;
    fragments[last] = 0x80;
    raw.sends(fragments).await;
    assert_eq!(raw.text().await["id"], json!(1), "1,024 fragments");
}

#[tokio::test]
async fn a_close_is_answered_once_with_its_own_code_and_ends_whatever_comes_after_it() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let longest = [b"\x13\x87".to_vec(), vec![b'x'; 123]].concat();
    let after = [
        frame(CLOSE, b""),
        frame(TEXT, b"{}"),
        frame(TEXT, &[b'x'; 60_000]).repeat(10),
        b"junk".to_vec(),
    ]
    .concat();
    for (close, code) in [
        (&b"\x03\xe8bye"[..], 1000),
        (b"\x03\xe9", 1001),
        (b"\x0b\xb8", 3000),
        (&longest, 4999),
    ] {
        for after in [&b""[..], &after] {
            let mut raw = Raw::websocket(&ada).await;
            raw.sends([&frame(CLOSE, close), after].concat()).await;
            // The client never ends its side of the line; the server does.
            let ended = raw.end().await;
            assert_eq!(
                (ended.code, ended.disconnect),
                (Some(code), None),
                "{close:?}"
            );
        }
    }
    let mut raw = Raw::websocket(&ada).await;
    raw.sends(frame(CLOSE, b"")).await;
    assert_eq!(raw.frame().await, Some((CLOSE, Vec::new())));
    assert_eq!(raw.frame().await, None);
}

/// A server that soon asks whether somebody is there.
async fn impatient() -> TestApp {
    TestApp::start_with(|config| {
        (config.heartbeat, config.ping_timeout) =
            (Duration::from_millis(200), Duration::from_millis(200));
    })
    .await
}

/// Says one of these whenever it hears something, answers every ping that it can, and says how it ended, if it did before
/// all was said.
async fn drips(raw: &mut Raw, pieces: &[Vec<u8>], answers_pings: bool) -> Option<u16> {
    let mut pieces = pieces.iter();
    while let Some((kind, payload)) = raw.frame().await {
        match kind {
            CLOSE => return Some(u16::from_be_bytes([payload[0], payload[1]])),
            PING if answers_pings => raw.sends(frame(PONG, &payload)).await,
            _ => {}
        }
        raw.sends(pieces.next()?).await;
    }
    None
}

#[tokio::test]
async fn a_frame_or_a_message_that_never_ends_is_given_up() {
    let app = impatient().await;
    let ada = app.person("ada").await;
    let one = frame(TEXT, &[b' '; 30]);
    let bytes: Vec<_> = one.iter().map(|byte| vec![*byte]).collect();
    let mut raw = Raw::websocket(&ada).await;
    let code = drips(&mut raw, &bytes, false).await;
    assert_eq!(code, Some(4508), "a frame byte by byte");

    // Between two fragments a pong may stand, and proves that somebody is there; but the message has to end.
    let pieces: Vec<_> = std::iter::once(frame(0x01, b" "))
        .chain(vec![frame(0x00, b" "); 30])
        .collect();
    let mut raw = Raw::websocket(&ada).await;
    let code = drips(&mut raw, &pieces, true).await;
    assert_eq!(code, Some(4508), "a message fragment by fragment");
    eventually("nobody is left", async || {
        app.app.registry().counts() == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_message_that_ends_in_time_is_heard_whatever_stands_between_its_fragments() {
    let app = impatient().await;
    let mut raw = Raw::websocket(&app.person("ada").await).await;
    for id in 1..=5 {
        while raw.frame().await.unwrap().0 != PING {}
        let bytes = [
            frame(0x01, br#"{"type":"ping","#),
            frame(PONG, b""),
            frame(PING, b"?"),
            frame(0x80, format!(r#""id":{id}}}"#).as_bytes()),
        ];
        raw.sends(bytes.concat()).await;
        let mut answers = Vec::new();
        while answers.len() < 2 {
            match raw.frame().await.unwrap() {
                (PONG, payload) => assert_eq!(payload, b"?"),
                (TEXT, text) if text.starts_with(br#"{"type":"ack""#) => {}
                _ => continue,
            }
            answers.push(());
        }
    }
}

/// Where a connection breaks, and how.
async fn breaks(ada: &Person, bytes: &[u8], at: usize, by: Break) {
    let mut raw = Raw::websocket(ada).await;
    raw.sends(&bytes[..at]).await;
    match by {
        // A socket that does not linger is reset.
        Break::Reset => SockRef::from(&raw.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap(),
        Break::End => raw.stream.shutdown().await.unwrap(),
    }
}

#[derive(Debug, Clone, Copy)]
enum Break {
    Reset,
    End,
}

#[tokio::test]
async fn whoever_is_gone_in_the_middle_of_anything_leaves_nothing_behind() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut dice = Dice(4);
    let join = br#"{"type":"join","channel":"presence:a","id":1}"#;
    let frames = [
        frame(TEXT, join),
        frame(0x01, b"{"),
        frame(PING, b"ping"),
        frame(0x80, &[b' '; 300]),
        frame(TEXT, &[b' '; 65_536]),
        frame(CLOSE, b"\x03\xe8bye"),
    ]
    .concat();
    let heads = (0..80).chain((0..40).map(|_| 80 + usize::try_from(dice.roll(66_000)).unwrap()));
    for at in heads.map(|at| at.min(frames.len())) {
        for by in [Break::Reset, Break::End] {
            breaks(&ada, &frames, at, by).await;
        }
    }
    // Before the answer to the handshake has been read.
    for _ in 0..50 {
        let mut raw = Raw::connect(app.address).await;
        raw.sends(Raw::handshake(&ada)).await;
        SockRef::from(&raw.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    eventually("all of them have left", async || {
        app.app.registry().counts() == (0, 0)
    })
    .await;
    let mut ws = ada.ws("").await;
    assert!(ws.so_far().await.is_empty());
}
