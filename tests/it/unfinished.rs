//! Clients that begin something and never end it: each is let go in its time, and nobody else waits for them.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Person, Raw, TestApp, eventually};

/// How each of them behaves: what is sent, and what is dripped after it, a byte at a time.
struct Kind {
    name: &'static str,
    sends: String,
    drips: &'static str,
    /// What the answer begins with; nothing, where the connection just ends.
    answer: &'static str,
}

fn kinds(app: &TestApp, cookie: &str) -> Vec<Kind> {
    let host = app.address;
    let kind = |name, sends: &str, drips, answer| Kind {
        name,
        sends: sends.to_owned(),
        drips,
        answer,
    };
    let post = format!(
        "POST /api/v1/groups HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    vec![
        kind("silent", "", "", ""),
        kind("half a line", "GET /livez", "", ""),
        kind(
            "half a head",
            &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nX-A: b"),
            "",
            "",
        ),
        kind(
            "a dripped head",
            &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nX-A: b"),
            "b",
            "",
        ),
        kind("a dripped line", "GET /", "a", ""),
        kind(
            "an answer, and then nothing",
            &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "",
            "HTTP/1.1 200 ",
        ),
        kind("half a body", &post, "", "HTTP/1.1 408 "),
        kind("a dripped body", &post, " ", "HTTP/1.1 408 "),
        kind(
            "a chunk that never ends",
            &post
                .replace("Content-Length: 1000", "Transfer-Encoding: chunked")
                .replace("\r\n\r\n{", "\r\n\r\nffff\r\n{"),
            " ",
            "HTTP/1.1 408 ",
        ),
    ]
}

/// What comes back until the end.
async fn behaves(app: std::net::SocketAddr, kind: &Kind) -> String {
    let stream = TcpStream::connect(app).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(kind.sends.as_bytes()).await.unwrap();
    let drips = kind.drips.as_bytes();
    let dripping = async {
        // Slow on purpose: that is how it attacks.
        while !drips.is_empty() && writer.write_all(drips).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 1024];
        // A reset is an end as well.
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(PATIENCE, reading) => ended.unwrap_or_else(|_| panic!("{}: it does not end", kind.name)),
        () = dripping => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn who_never_ends_what_it_began_is_let_go_and_others_are_answered() {
    let app = TestApp::start_with(|config| {
        config.header_timeout = Duration::from_millis(400);
        config.body_timeout = Duration::from_millis(400);
    })
    .await;
    let ada = app.person("ada").await;
    let kinds = kinds(&app, ada.cookie.as_deref().unwrap());
    // Many of each at once, and somebody who just asks.
    let behaving = kinds.iter().flat_map(|kind| (0..20).map(move |_| kind));
    let behaving = behaving.map(async |kind| (kind, behaves(app.address, kind).await));
    let behaving = futures_util::future::join_all(behaving);
    let asking = async {
        for _ in 0..20 {
            ada.get("/auth/me").await.is(200);
        }
    };
    let (answers, ()) = tokio::join!(behaving, asking);
    for (kind, answer) in answers {
        assert!(answer.starts_with(kind.answer), "{}: {answer:?}", kind.name);
        if kind.answer.is_empty() {
            // 408 says the same, where there is somebody to say it to.
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
                "{}: {answer:?}",
                kind.name
            );
        }
    }
    eventually("nothing of them is left", async || {
        app.app.running_tasks() < 20
    })
    .await;
}

#[tokio::test]
async fn who_sends_no_more_and_goes_on_reading_is_out_of_its_rooms() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let cookie = ada.cookie.clone().unwrap();
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let request = format!(
        "GET /sse/events HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n",
        app.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually("it is in", async || app.app.registry().counts().0 == 1).await;
    // Half of the connection is closed: browsers that go away do that, and nobody else.
    stream.shutdown().await.unwrap();
    eventually("it is out", async || app.app.registry().counts().0 == 0).await;
    let answer = Person::send(ada.builder(Method::GET, "/api/v1/auth/me")).await;
    answer.is(200);
}

#[tokio::test]
async fn who_sends_too_much_is_told_so_while_it_still_sends() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let (cookie, body) = (ada.cookie.clone().unwrap(), vec![b' '; 4 << 20]);
    for length in ["Content-Length: 4194304", "Transfer-Encoding: chunked"] {
        for _ in 0..3 {
            let mut raw = Raw::connect(app.address).await;
            raw.sends(format!(
                "POST /api/v1/groups HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n{length}\r\n\r\n",
                app.address
            ))
            .await;
            if length.ends_with("chunked") {
                raw.sends("400000\r\n").await;
            }
            raw.sends(&body).await;
            let head = raw.head().await;
            assert!(head.starts_with("HTTP/1.1 413 "), "{length}: {head:?}");
        }
    }
}
