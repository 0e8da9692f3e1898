//! Who may not connect hears of it before any stream starts, in a way that each transport's clients understand.

use reqwest::Method;
use roomcast::config::{Config, Guests, Program};
use serde_json::json;

use crate::support::{Answer, Person, Raw, SseClient, TestApp, Way, eventually};

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let app = TestApp::start().await;
    let cookie = app.person("ada").await.cookie.unwrap();
    let good = [
        ("Host", "x"),
        ("Cookie", &cookie),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    // The request line, the header to change, its value (none: left out), and the status.
    let key = "Sec-WebSocket-Key";
    let version = "Sec-WebSocket-Version";
    let cases: [(&str, &str, Option<&str>, u16); 30] = [
        ("GET /ws HTTP/1.1", "X", Some("x"), 101),
        (
            "GET /ws HTTP/1.1",
            "Connection",
            Some("keep-alive, upgrade"),
            101,
        ),
        (
            "GET /ws HTTP/1.1",
            "Sec-WebSocket-Protocol",
            Some("a, b"),
            101,
        ),
        (
            "GET /ws HTTP/1.1",
            "Sec-WebSocket-Extensions",
            Some("permessage-deflate"),
            101,
        ),
        ("POST /ws HTTP/1.1", "X", None, 405),
        ("PUT /ws HTTP/1.1", "X", None, 405),
        ("PATCH /ws HTTP/1.1", "X", None, 405),
        ("DELETE /ws HTTP/1.1", "X", None, 405),
        ("HEAD /ws HTTP/1.1", "X", None, 405),
        ("OPTIONS /ws HTTP/1.1", "X", None, 405),
        ("TRACE /ws HTTP/1.1", "X", None, 405),
        ("GET /ws HTTP/1.0", "X", None, 426),
        ("GET /ws HTTP/1.1", "Upgrade", None, 426),
        ("GET /ws HTTP/1.1", "Upgrade", Some("h2c"), 426),
        ("GET /ws HTTP/1.1", "Connection", None, 400),
        ("GET /ws HTTP/1.1", "Connection", Some("close"), 400),
        ("GET /ws HTTP/1.1", version, None, 426),
        ("GET /ws HTTP/1.1", version, Some("0"), 426),
        ("GET /ws HTTP/1.1", version, Some("8"), 426),
        ("GET /ws HTTP/1.1", version, Some("13, 8"), 426),
        ("GET /ws HTTP/1.1", key, None, 400),
        ("GET /ws HTTP/1.1", key, Some(""), 400),
        ("GET /ws HTTP/1.1", key, Some("dGhlIHNhbQ=="), 400),
        (
            "GET /ws HTTP/1.1",
            key,
            Some("!!!!IHNhbXBsZSBub25jZQ=="),
            400,
        ),
        (
            "GET /ws HTTP/1.1",
            key,
            Some("dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
        ),
        ("GET /ws HTTP/1.1", "Content-Length", Some("3"), 400),
        (
            "GET /ws HTTP/1.1",
            "Transfer-Encoding",
            Some("chunked"),
            400,
        ),
        ("GET /ws/ HTTP/1.1", "X", None, 404),
        ("GET /%77s HTTP/1.1", "X", None, 404),
        ("GET //ws HTTP/1.1", "X", None, 404),
    ];
    for (line, changed, value, status) in cases {
        let mut request = format!("{line}\r\n");
        let kept = good.iter().filter(|(name, _)| *name != changed).copied();
        for (name, value) in kept.chain(value.map(|value| (changed, value))) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut raw = Raw::connect(app.address).await;
        raw.sends(format!("{request}\r\n")).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert_eq!(
            head.get(9..12),
            Some(&*status.to_string()),
            "{request}\n{head}"
        );
        assert_eq!(
            head.contains("sec-websocket-version: 13"),
            changed == version,
            "{request}\n{head}"
        );
        assert_eq!(
            head.contains("allow: get"),
            status == 405,
            "{request}\n{head}"
        );
        assert!(
            !head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"),
            "{head}"
        );
    }
    eventually("all of them are gone", async || {
        app.app.registry().counts() == (0, 0)
    })
    .await;
    let plain = reqwest::get(format!("http://{}/ws", app.address)).await;
    let problem: serde_json::Value = plain.unwrap().json().await.unwrap();
    assert_eq!(problem["status"], 426, "it says the status that it has");
}

#[tokio::test]
async fn bytes_that_are_no_request_are_answered_with_400_or_an_end() {
    let app = TestApp::start().await;
    let long = format!("GET /ws HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    for bytes in [
        b"junk\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: a\0b\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut raw = Raw::connect(app.address).await;
        raw.sends(bytes).await;
        let head = raw.head().await;
        let refused =
            head.is_empty() || head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 5");
        assert!(
            refused,
            "{:?}\n{head}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        );
    }
    app.nobody()
        .builder(Method::GET, "/livez")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_may_not_be_asked_for_refuses_the_whole_connect_on_every_transport() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let group = ada.makes_group("writers").await;
    let many: String = (0..129).map(|n| format!("channel=document:{n}&")).collect();
    let foreign = format!("user:{}", ada.id);
    for way in Way::ALL {
        for who in ["user:1", "global", "document:1"] {
            app.nobody()
                .is_refused(way, &format!("channel={who}"))
                .await
                .is_problem(401, "unauthorized");
        }
        bob.is_refused(way, "token=abc")
            .await
            .is_problem(401, "unauthorized");
        for forbidden in [
            &foreign,
            "admin",
            "presence:admin",
            &format!("presence:{foreign}"),
            "presence:presence:x",
            "shop:1",
            "socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11",
            &format!("document:{root}"),
            &format!("group:{group}"),
            &format!("presence:document:{root}"),
        ] {
            let query = format!("channel=global&channel={forbidden}");
            bob.is_refused(way, &query)
                .await
                .is_problem(403, "forbidden");
        }
        for malformed in [
            "",
            "USER:1",
            "user:",
            ":1",
            "user:1%20",
            "user:%2531",
            "user:%EF%BC%91",
            "us%D0%B5r:1",
            "a/b:c",
            "lobby",
            "document:a%0Ab",
            "document:a%00",
            "*",
            "socket:1",
            "presence::x",
        ] {
            let answer = bob
                .is_refused(way, &format!("channel=global&channel={malformed}"))
                .await;
            answer.is_problem(400, "invalid-channel");
        }
        for (query, code) in [
            ("socket=1", "invalid-socket"),
            (
                "socket=00000000-0000-0000-0000-000000000000",
                "invalid-socket",
            ),
            ("cursor=-1", "invalid-cursor"),
            ("lastEventId=x", "invalid-cursor"),
            ("format=xml", "invalid-format"),
            (&many, "too-many-channels"),
        ] {
            // A poll has no socket id, so it does not look at one.
            if way != Way::Poll || !query.starts_with("socket") {
                bob.is_refused(way, query).await.is_problem(400, code);
            }
        }
    }
    let path = async |channel: &str| {
        Person::send(bob.builder(Method::GET, &format!("/sse/events/{channel}"))).await
    };
    path("admin").await.is_problem(403, "forbidden");
    path("USER:1").await.is_problem(400, "invalid-channel");
    assert_eq!(app.app.registry().counts(), (0, 0), "nobody was let in");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_on_every_transport() {
    let allow = |config: &mut Config| {
        let allowed = [(
            "ROOMCAST_ALLOWED_ORIGINS".to_owned(),
            "https://good.example".to_owned(),
        )]
        .into();
        config.allowed_origins = Program::parse_from_parts(["roomcast".into()], &allowed)
            .unwrap()
            .config
            .allowed_origins;
    };
    let app = TestApp::start_with(allow).await;
    let ada = app.person("ada").await;
    let own = format!("http://{}", app.address);
    let connect = async |way: Way, name: &str, value: &str| {
        let request = match way {
            Way::WebSocket => ada.upgrade(""),
            Way::Sse => ada.builder(Method::GET, "/sse/events"),
            Way::Poll => ada.poll(""),
        };
        request.header(name, value).send().await.unwrap()
    };
    for (way, status) in [(Way::WebSocket, 101), (Way::Sse, 200), (Way::Poll, 200)] {
        for good in [&own, "https://good.example"] {
            assert_eq!(
                connect(way, "origin", good).await.status(),
                status,
                "{good}"
            );
        }
        assert_eq!(
            connect(way, "sec-fetch-site", "same-origin").await.status(),
            status
        );
        for evil in [
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://good.example",
            "https://good.example:444",
            "https://evilgood.example",
            "https://good.example.evil",
            "https://a@good.example",
            "https://good.example/",
            "https://good.example.",
            &format!("https://{}", app.address),
            "http://127.0.0.1",
            &format!("{own}1"),
        ] {
            let refused = connect(way, "origin", evil).await;
            assert_eq!(refused.status(), 403, "{way:?} {evil}");
            assert_eq!(refused.headers().get("access-control-allow-origin"), None);
            assert_eq!(
                refused.headers()["content-type"],
                "application/problem+json"
            );
        }
        assert_eq!(
            connect(way, "sec-fetch-site", "cross-site").await.status(),
            403
        );
    }
    // Nor may they change anything: log somebody in or out, for example.
    let logout = ada
        .builder(Method::POST, "/api/v1/auth/logout")
        .header("origin", "http://evil.example");
    Person::send(logout).await.is_problem(403, "forbidden");
    ada.get("/auth/me").await.is(200);
}

/// What a full server says on each transport: each in the way that its clients come back from.
async fn is_full(person: &Person, status: u16, code: &str) {
    for way in [Way::WebSocket, Way::Poll] {
        let refused: Answer = person.is_refused(way, "").await.is_problem(status, code);
        assert!(
            refused.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
    }
    let mut stream = SseClient::open(person.builder(Method::GET, "/sse/events")).await;
    let disconnect = stream.end().await;
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!(code), &json!(true))
    );
    assert_eq!(stream.retry, disconnect["retry"].as_u64());
    assert!(stream.retry.is_some() && stream.last_id.is_none());
}

#[tokio::test]
async fn limits_refuse_for_now_and_places_come_back() {
    type Limit = fn(&mut Config);
    let limits: [(Limit, u16, &str); 3] = [
        (|config| config.max_connections = 2, 503, "unavailable"),
        (
            |config| config.max_connections_per_ip = 2,
            429,
            "rate-limited",
        ),
        (
            |config| config.max_connections_per_user = 2,
            429,
            "rate-limited",
        ),
    ];
    for (limit, status, code) in limits {
        let app = TestApp::start_with(limit).await;
        let ada = app.person("ada").await;
        let ws = ada.ws("").await;
        let sse = ada.sse("").await;
        is_full(&ada, status, code).await;
        drop(sse);
        eventually("the stream's place is free", async || {
            app.app.registry().counts().0 == 1
        })
        .await;
        let raw = Raw::websocket(&ada).await;
        is_full(&ada, status, code).await;
        raw.stream.set_zero_linger().unwrap();
        drop((raw, ws));
        eventually("all places are free", async || {
            app.app.registry().counts() == (0, 0)
        })
        .await;
        ada.ws("").await;
    }
}

#[tokio::test]
async fn who_comes_back_with_its_socket_needs_no_second_place() {
    let app = TestApp::start_with(|config| config.max_connections_per_user = 1).await;
    let ada = app.person("ada").await;
    let mut first = ada.ws("").await;
    let second = ada.sse(&format!("socket={}", first.id())).await;
    assert_eq!(first.end().await.code, Some(4409));
    assert_eq!(second.welcome["socket"].as_str(), Some(first.id()));
}

#[tokio::test]
async fn guests_are_in_global_alone_where_they_are_let_in() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    for way in Way::BOTH {
        let mut guest = app.nobody().listens(way, "channel=global").await;
        assert_eq!(
            (&guest.welcome()["channels"], &guest.welcome()["user"]),
            (&json!(["global"]), &json!(null))
        );
        assert!(guest.before(&app.marks().await).await.is_empty());
        app.nobody()
            .is_refused(way, "channel=document:1")
            .await
            .is_problem(401, "unauthorized");
    }
    let mut ws = app.nobody().ws("").await;
    let join = json!({ "type": "join", "channel": "presence:lobby" });
    assert_eq!(ws.call(join).await["code"], "unauthorized");
}
