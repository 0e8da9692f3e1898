//! What the program logs: lines that nobody from outside can forge, flood or read secrets in, each with its request.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use reqwest::Method;
use roomcast::error::Error;
use serde_json::{Value, json};

use crate::support::{API_KEY, CLOSE, PASSWORD, Person, Program, Raw, TEXT, TestApp};
use crate::support::{eventually, frame, roomcast};

/// A server as a program, and what it logs.
struct Logging {
    folder: tempfile::TempDir,
    server: Program,
}

impl Logging {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ours = [
            ("ROOMCAST_LISTEN", "127.0.0.1:0"),
            ("ROOMCAST_REGISTRATION", "open"),
            ("ROOMCAST_API_KEY", API_KEY),
        ];
        let settings = [&ours[..], settings].concat();
        let mut command = roomcast(folder.path(), &["serve"], &settings);
        let file = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = Program::start_logging(&mut command, Stdio::from(file)).await;
        Self { folder, server }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    async fn person(&self, name: &str) -> Person {
        let mut person = self.server.nobody();
        person.register(name).await;
        person.log_in(name).await;
        person
    }

    /// All that it logged, once it has ended.
    async fn end(self) -> String {
        let file = self.file();
        self.server.signal("TERM").await;
        assert_eq!(self.server.end().await, Some(0));
        String::from_utf8(std::fs::read(file).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_said() {
    for (level, expected) in [("warn", 0), ("info", 0), ("info,tungstenite=debug", 1)] {
        let logging = Logging::start(&[("ROOMCAST_LOG_FORMAT", "json"), ("RUST_LOG", level)]).await;
        let ada = logging.person("ada").await;
        let mut socket = ada.ws("").await;
        socket.socket.close(None).await.unwrap();
        socket.end().await;
        let log = logging.end().await;
        let closely = log
            .lines()
            .filter(|line| line.contains("\"DEBUG\""))
            .count();
        assert!((closely > 0) == (expected > 0), "{level}: {log}");
    }
}

/// What would be another line, another colour, or text turned round.
const EVIL: &str =
    "x\r\n{\"level\":\"FORGED\",\"message\":\"FORGED\"}\x1b[31m\u{202e}\u{2028}\u{85}";

#[tokio::test]
async fn whatever_is_sent_a_line_of_the_log_is_one_line_and_short() {
    for format in ["json", "pretty"] {
        let logging = Logging::start(&[
            ("ROOMCAST_LOG_FORMAT", format),
            ("RUST_LOG", "debug,sqlx=info"),
        ])
        .await;
        let ada = logging.person("ada").await;
        let address = ada.address;
        for request in [
            "GET /a\u{202e}b\u{2028}c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "é".repeat(4_000)),
            "GET /a%0d%0a%1b%5b31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            format!("{} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "BREW".repeat(2_000)),
            format!("GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: {}\r\nConnection: close\r\n\r\n", "é".repeat(5_000)),
            "GET /ws HTTP/1.1\r\nHost: x\r\nX-Request-Id: FORGED\r\nOrigin: https://x\",\"level\":\"FORGED\r\nConnection: close\r\n\r\n".to_owned(),
            format!("GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: https://{}.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "a".repeat(5_000)),
            format!("GET / HTTP/1.1\r\n{EVIL}: x\r\n\r\n"),
        ] {
            let mut raw = Raw::connect(address).await;
            raw.sends(request).await;
            raw.head().await;
        }
        let nobody = logging.server.nobody();
        for name in [EVIL, "é\u{202e}"] {
            let login = json!({ "username": name, "password": EVIL });
            nobody.post("/auth/login", login.clone()).await;
            nobody.post("/auth/register", login).await;
        }
        let mut socket = Raw::websocket(&ada).await;
        for command in [
            json!({ "type": "join", "id": 1, "channel": EVIL }),
            json!({ "type": "join", "id": EVIL, "channel": format!("document:{EVIL}") }),
            json!({ "type": "publish", "channel": "global", "event": EVIL, "data": EVIL }),
            json!({ "type": EVIL }),
        ] {
            socket
                .sends(frame(TEXT, command.to_string().as_bytes()))
                .await;
            socket.text().await;
        }
        let reason = [&1000_u16.to_be_bytes()[..], EVIL.as_bytes()].concat();
        socket.sends(frame(CLOSE, &reason)).await;
        socket.end().await;
        let log = logging.end().await;

        assert!(log.lines().count() > 20, "{log}");
        for letter in ['\r', '\x1b', '\u{202e}', '\u{2028}', '\u{85}'] {
            assert!(!log.contains(letter), "{letter:?} in {log}");
        }
        for line in log.lines() {
            assert!(line.len() < 1_500, "{} bytes: {line}", line.len());
            if format == "json" {
                let line: Value = serde_json::from_str(line).expect(line);
                assert!(
                    ["DEBUG", "INFO", "WARN"].contains(&line["level"].as_str().unwrap()),
                    "{line}"
                );
                assert_ne!(line["spans"][0]["id"], "FORGED", "{line}");
            } else {
                assert!(line.starts_with("20"), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_origin_is_named_once_with_the_line_that_allows_it() {
    let logging = Logging::start(&[("ROOMCAST_LOG_FORMAT", "json")]).await;
    let ada = logging.person("ada").await;
    for _ in 0..20 {
        let request = ada.upgrade("").header("origin", "https://app.example.org");
        let refused = Person::send(request).await.is_problem(403, "forbidden");
        assert!(
            refused.json["detail"]
                .as_str()
                .unwrap()
                .contains("ROOMCAST_ALLOWED_ORIGINS")
        );
    }
    for n in 0..500 {
        let request = ada.builder(Method::POST, "/api/v1/groups");
        let request = request.header("origin", format!("https://evil-{n}.example"));
        Person::send(request).await.is(403);
    }
    let log = logging.end().await;
    let line = "origin \\\"https://app.example.org\\\" refused; add it with ROOMCAST_ALLOWED_ORIGINS=https://app.example.org";
    // Twice, where a minute ended meanwhile.
    assert!((1..=2).contains(&log.matches(line).count()), "{log}");
    let named = log.matches("add it with").count();
    assert!((20..=40).contains(&named), "{named}");
}

#[tokio::test]
async fn mistakes_of_clients_fill_no_disk() {
    let logging = Logging::start(&[
        ("ROOMCAST_MESSAGES_PER_SECOND", "1000000"),
        ("ROOMCAST_OUTBOX_BYTES", "100000000"),
    ])
    .await;
    let ada = logging.person("ada").await;
    let mut socket = ada.ws("").await;
    for n in 0..10_000 {
        socket.send_text(format!("not a command {n}")).await;
    }
    socket.so_far().await;
    for _ in 0..200 {
        let mut raw = Raw::websocket(&ada).await;
        // A frame that is not masked.
        raw.sends([0x81, 1, b'x']).await;
        raw.end().await;
        let mut raw = Raw::connect(ada.address).await;
        raw.sends("GET / HTTP/9.9\r\n\r\n").await;
        raw.head().await;
        let cookie = ada
            .builder(Method::GET, "/api/v1/auth/me")
            .header("cookie", "roomcast=junk");
        Person::send(cookie).await;
        ada.showing("no.such.token").get("/auth/me").await.is(401);
        ada.get("/no/such").await.is(404);
        ada.post("/groups", json!({ "name": 7 })).await.is(400);
    }
    let log = logging.end().await;
    assert!(log.len() < 2_000, "{} bytes: {log}", log.len());
}

#[tokio::test]
async fn no_secret_and_nothing_that_is_said_is_ever_logged() {
    let logging = Logging::start(&[("RUST_LOG", "trace")]).await;
    let ada = logging.person("ada").await;
    let secret = "what-nobody-else-is-to-read";
    let group = ada.makes_group("friends").await;
    let room = ada.makes_room("talk", Some(&group)).await;
    ada.says(&room, secret).await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!({ "text": secret })).await;
    let mut socket = ada.ws(&format!("channel=document:{root}")).await;
    ada.changes(&document, json!(secret)).await;
    socket.next_event().await;
    let publish = json!({ "type": "publish", "channel": format!("document:{root}"), "event": "typing", "data": secret, "volatile": true });
    socket.call(publish).await;
    ada.get(&format!("/channels/document:{root}/history?{secret}=1"))
        .await;
    let back_end = ada.showing(API_KEY);
    let body = json!({ "channels": ["global"], "event": "news", "data": secret });
    back_end.post("/publish", body).await.is(200);
    let cookie = ada.cookie.clone().unwrap();
    let (_, session) = cookie.split_once('=').unwrap();
    let log = logging.end().await;
    assert!(log.contains("TRACE"), "{log}");
    for kept in [PASSWORD, session, API_KEY, secret] {
        let line = log.lines().find(|line| line.contains(kept));
        assert_eq!(line, None, "{kept}");
    }
}

#[tokio::test]
async fn a_request_is_known_by_one_id_everywhere() {
    let log = Buffer::default();
    let writer = log.clone();
    let logs = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone());
    let _guard =
        tracing::subscriber::set_default(logs.with_max_level(tracing::Level::DEBUG).finish());
    let fails = async || Error::Internal(anyhow::anyhow!("of the handler"));
    let app = TestApp::start_beside(Router::new().route("/fails", post(fails))).await;
    let ada = app.person("ada").await;
    let answer = Person::send(ada.builder(Method::POST, "/fails"))
        .await
        .is(500);
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(answer.json["requestId"], id);
    assert_eq!(
        answer.json["detail"],
        "The server had a problem. It has been logged."
    );
    // What the handler said in a task of its own, and how it was answered.
    for (message, level) in [("a request failed", "ERROR"), ("answered", "INFO")] {
        let line = log.line(message, id);
        assert_eq!(line["level"], level, "{line}");
    }
    assert_eq!(log.line("answered", id)["fields"]["route"], "/fails");
    let answer = ada.get("/no/such").await.is_problem(404, "not-found");
    let id = answer.headers["x-request-id"].to_str().unwrap();
    // Who made a mistake needs no log, and refusals that must not be told apart are alike.
    assert_eq!(answer.json.get("requestId"), None);
    let line = log.line("answered", id);
    assert_eq!(
        (&line["level"], &line["fields"]["status"]),
        (&json!("DEBUG"), &json!(404))
    );
    // Of a connection, too.
    let mut socket = ada.ws("").await;
    socket.so_far().await;
    let id = socket.id().to_owned();
    drop(socket);
    eventually("its end is logged", async || {
        let text = log.text();
        text.lines()
            .any(|line| line.contains("a connection ended") && line.contains(&id))
    })
    .await;
}

#[tokio::test]
async fn a_proxy_of_ours_may_name_a_request() {
    let proxied =
        TestApp::start_with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()])
            .await;
    for (app, taken) in [(proxied, true), (TestApp::start().await, false)] {
        let request = app.nobody().builder(Method::GET, "/api/v1/auth/me");
        let answer = Person::send(request.header("x-request-id", "req-42"))
            .await
            .is(401);
        assert_eq!(answer.headers["x-request-id"] == "req-42", taken);
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The line that says something of a request.
    fn line(&self, message: &str, request: &str) -> Value {
        let text = self.text();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .find(|line| line["fields"]["message"] == message && line["spans"][0]["id"] == request)
            .unwrap_or_else(|| panic!("no {message:?} of {request} in {text}"))
    }
}
