//! A storm of frames and requests that make no sense: the program lives, holds no more than before, and does not panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    CLOSE, Dice, PING, Person, Raw, Server, TEXT, comes_to_be, eventually, frame,
};

/// Frames in all.
const FRAMES: u64 = 1_000_000;
/// Requests in all, counted by their answers.
const REQUESTS: u64 = 100_000;
/// Clients at a time.
const CLIENTS: u64 = 8;
/// Frames of one connection, before the one that ends it.
const FRAMES_EACH: u64 = 300;
/// Requests of one connection, before the one that ends it.
const REQUESTS_EACH: u64 = 20;
/// Descriptors and threads of connections to the database that a storm may open, and that stay for the next.
const POOL: usize = 24;
/// What the server may hold more afterwards, in kibibytes: 8 bytes for a frame, and the allocator varies by as much; and
/// the socket ids of some 7,000 connections, which are their owners' for two minutes.
const GROWTH: u64 = 10 * 1024;

/// Lets clients do something again and again until it has been done often enough, each with dice of its own.
async fn storm<F: Future<Output = u64> + Send>(
    total: u64,
    once: impl Fn(Dice) -> F + Send + Sync + 'static,
) {
    let (done, once) = (Arc::new(AtomicU64::new(0)), Arc::new(once));
    let clients = (0..CLIENTS).map(|client| {
        let (done, once) = (Arc::clone(&done), Arc::clone(&once));
        async move {
            let mut seed = client * 1_000_000_007;
            while done.load(Ordering::Relaxed) < total {
                seed += 1;
                done.fetch_add(once(Dice(seed)).await, Ordering::Relaxed);
            }
        }
    });
    futures_util::future::join_all(clients).await;
}

/// A server with somebody in it, the same after a storm as before.
struct Calm {
    server: Server,
    ada: Person,
}

impl Calm {
    async fn begins() -> Self {
        let settings = [
            ("ROOMCAST_CHANGES_PER_SECOND", "1000000"),
            ("ROOMCAST_LOGINS_PER_SECOND", "1000000"),
            ("ROOMCAST_JOINS_PER_SECOND", "1000000"),
        ];
        let server = Server::start_with(tempfile::tempdir().unwrap(), &settings).await;
        let ada = server.person("ada").await;
        Self { server, ada }
    }

    /// Once what is kept for good has been made, the storm may make the server hold nothing more. Gives the figures.
    async fn stands<F, Storm>(self, what: &str, total: u64, storm: Storm) -> String
    where
        F: Future<Output = ()>,
        Storm: Fn(Person, u64) -> F,
    {
        storm(self.ada.clone(), total / 4).await;
        self.is_empty().await;
        let mut figures = Vec::new();
        // What the allocator has needed once it keeps, and how much that is depends on who came together; but what is
        // lost grows with each storm.
        for is_last in [false, true] {
            let (before, began) = (self.server.holds(), Instant::now());
            storm(self.ada.clone(), total).await;
            let took = began.elapsed();
            self.is_empty().await;
            let after = self.server.holds();
            figures.push(format!(
                "{total} {what} in {took:?}: {before:?}, then {after:?}"
            ));
            // The allocator and tokio's threads let go after a while.
            let has_let_go = comes_to_be(async || {
                let after = self.server.holds();
                after.descriptors <= before.descriptors + POOL
                    && after.threads <= before.threads + POOL as u64
                    && after.memory <= before.memory + GROWTH
            })
            .await;
            if has_let_go {
                break;
            }
            assert!(!is_last, "it holds more after each storm: {figures:?}");
        }
        let log = self.server.log();
        assert!(!log.contains("panic"), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
        let mut ws = self.ada.ws("").await;
        assert!(ws.so_far().await.is_empty());
        figures.join("\n")
    }

    /// Nobody is left in any room.
    async fn is_empty(&self) {
        eventually("everybody has left", async || {
            // A connection that nothing went over meanwhile may be closed at the very moment.
            let asked = self.ada.builder(Method::GET, "/api/v1/status");
            let status = Person::try_send(asked).await;
            status.is_ok_and(|status| status.is(200).json["connections"] == json!(0))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_make_no_sense_leave_nothing_behind() {
    let frames = |ada: Person, total| storm(total, move |dice| says_nonsense(ada.clone(), dice));
    let figures = Calm::begins().await.stands("frames", FRAMES, frames).await;
    println!("{figures}");
}

/// Opens a WebSocket, sends frames that make no sense, ends somehow, and says how many they were.
async fn says_nonsense(ada: Person, mut dice: Dice) -> u64 {
    let raw = Raw::websocket(&ada).await;
    let mut bytes = Vec::new();
    let frames = dice.roll(FRAMES_EACH);
    for _ in 0..frames {
        bytes.extend(nonsense(&mut dice));
    }
    bytes.extend(last(&mut dice));
    sends_and_reads(raw.stream, &bytes).await;
    frames + 1
}

/// Sends all, then that it is all, and meanwhile reads to the end.
async fn sends_and_reads(stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let mut heard = Vec::new();
    let sends = async {
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let _ = tokio::join!(sends, reader.read_to_end(&mut heard));
    heard
}

/// A frame that RFC 6455 knows, with a text that means nothing or little.
fn nonsense(dice: &mut Dice) -> Vec<u8> {
    const TEXTS: [&str; 14] = [
        "",
        "null",
        "[]",
        "{}",
        "{\"type\":",
        r#"{"type":1}"#,
        r#"{"type":"fly","id":7}"#,
        r#"{"type":"join","channel":"USER:1"}"#,
        r#"{"type":"join","channel":"user:9","id":"a"}"#,
        r#"{"type":"join","channel":"global","cursor":"00000000-7"}"#,
        r#"{"type":"leave","channel":"presence:x"}"#,
        r#"{"type":"publish","channel":"a:b","event":"e","data":[1,{"a":1e400}]}"#,
        r#"{"type":"presence","channel":"presence:x","meta":[]}"#,
        r#"{"type":"token","token":"a.b.c"}"#,
    ];
    let text = TEXTS[dice.roll(TEXTS.len() as u64) as usize];
    match dice.roll(8) {
        0 => frame(PING, &random(dice, 126)),
        1 => frame(0x8a, &random(dice, 126)),
        2 => {
            // In two fragments, cut anywhere that is no character's middle.
            let at = dice.roll(text.len() as u64 + 1) as usize;
            [
                frame(0x01, &text.as_bytes()[..at]),
                frame(0x80, &text.as_bytes()[at..]),
            ]
            .concat()
        }
        3 => {
            // A byte of it is another one, as long as it is ASCII.
            let mut bytes = text.as_bytes().to_vec();
            if !bytes.is_empty() {
                let at = dice.roll(bytes.len() as u64) as usize;
                bytes[at] = dice.roll(128) as u8;
            }
            frame(TEXT, &bytes)
        }
        4 => {
            let depth = dice.roll(300) as usize;
            frame(TEXT, "[{\"a\":".repeat(depth).as_bytes())
        }
        5 => {
            let random: Vec<u8> = random(dice, 200).iter().map(|byte| byte & 0x7f).collect();
            frame(TEXT, &random)
        }
        _ => frame(TEXT, text.as_bytes()),
    }
}

/// What a connection does not outlive.
fn last(dice: &mut Dice) -> Vec<u8> {
    match dice.roll(8) {
        0 => frame(CLOSE, &random(dice, 126)),
        1 => frame(0x82, &random(dice, 300)),
        2 => frame(TEXT, &[b"\xff", &*random(dice, 300)].concat()),
        3 => {
            let mut announced = vec![0x80 | dice.roll(3) as u8, 0xff];
            announced.extend(dice.roll(u64::MAX).to_be_bytes());
            announced
        }
        4 => vec![dice.roll(256) as u8, dice.roll(256) as u8],
        5 => Vec::new(),
        _ => random(dice, 2_000),
    }
}

/// Fewer than so many bytes.
fn random(dice: &mut Dice, below: u64) -> Vec<u8> {
    (0..dice.roll(below))
        .map(|_| dice.roll(256) as u8)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_are_refused_and_leave_nothing_behind() {
    let requests = |ada: Person, total| storm(total, move |dice| asks_nonsense(ada.clone(), dice));
    let calm = Calm::begins().await;
    let figures = calm.stands("requests", REQUESTS, requests).await;
    println!("{figures}");
}

/// Sends requests on one connection, the last of which is none, and says how many were answered.
async fn asks_nonsense(ada: Person, mut dice: Dice) -> u64 {
    let mut bytes = Vec::new();
    let requests = dice.roll(REQUESTS_EACH);
    for _ in 0..requests {
        bytes.extend(odd_request(&ada, &mut dice));
    }
    bytes.extend(no_request(&ada, &mut dice));
    let heard = sends_and_reads(Raw::connect(ada.address).await.stream, &bytes).await;
    let heard = String::from_utf8_lossy(&heard);
    let mut answers = 0;
    for answer in heard.split("HTTP/1.1 ").skip(1) {
        answers += 1;
        assert!(
            !answer.starts_with('5') || answer.starts_with("503"),
            "{answer}\nfor\n{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    answers
}

const PATHS: [&str; 26] = [
    "auth/register",
    "auth/login",
    "auth/token",
    "users",
    "users/online",
    "users/x",
    "groups",
    "groups/1",
    "groups/1/members/2",
    "document-roots",
    "document-roots/1",
    "document-roots/1/permissions/users/x",
    "documents",
    "documents/7",
    "documents/7?after=x&limit=y",
    "channels/global/presence",
    "channels/user:1/history?limit=-1",
    "channels/global/history?after=00000000-1&limit=1e3",
    "admin/rooms",
    "admin/connections/x",
    "rooms",
    "rooms/1/messages?before=%ff",
    "rooms/1/messages/2",
    "publish",
    "publish/batch",
    "publish/x",
];

/// A request that HTTP knows, of which we know little.
fn odd_request(ada: &Person, dice: &mut Dice) -> Vec<u8> {
    const METHODS: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FLY",
    ];
    const BODIES: [&str; 10] = [
        "",
        "{}",
        "null",
        "[",
        "{\"name\":7}",
        "{\"username\":\"\\u0000\",\"password\":\"x\"}",
        "{\"data\":1e999}",
        "{\"type\":\"x\",\"data\":[[[[",
        "{\"channels\":[\"USER:1\"],\"event\":\"\",\"data\":{}}",
        "\"\\ud800\"",
    ];
    const TYPES: [&str; 4] = ["application/json", "text/plain", "application/json;;=", ""];
    let method = METHODS[dice.roll(9) as usize];
    let mut path = PATHS[dice.roll(PATHS.len() as u64) as usize].to_owned();
    if dice.roll(4) == 0 {
        path.extend(random(dice, 20).iter().map(|byte| format!("%{byte:02x}")));
    }
    let mut body = BODIES[dice.roll(10) as usize].as_bytes().to_vec();
    if dice.roll(4) == 0 {
        body = random(dice, 500);
    }
    let kind = TYPES[dice.roll(4) as usize];
    let cookie = match dice.roll(3) {
        0 => String::new(),
        1 => String::from_utf8_lossy(&random(dice, 40)).replace(['\r', '\n', '\0'], ""),
        _ => ada.cookie.clone().unwrap_or_default(),
    };
    let head = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nContent-Type: {kind}\r\n",
        ada.address
    );
    let mut bytes = head.into_bytes();
    if dice.roll(5) == 0 {
        bytes.extend(b"X-Odd: ");
        bytes.extend(random(dice, 60).into_iter().filter(|byte| *byte >= b' '));
        bytes.extend(b"\r\n");
    }
    if dice.roll(3) == 0 {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        if !body.is_empty() {
            bytes.extend(format!("{:x}\r\n", body.len()).bytes());
            bytes.extend(body);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
    }
    bytes
}

/// What HTTP does not know, or a stream's door with an odd question.
fn no_request(ada: &Person, dice: &mut Dice) -> Vec<u8> {
    const WHOLE: [&str; 14] = [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "POST /api/v1/rooms HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1/rooms HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /api/v1/rooms HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /api/v1/rooms HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /api/v1/rooms HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "POST /api/v1/rooms HTTP/1.1\r\nTransfer-Encoding: gzip, chunked, x\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    const DOORS: [&str; 4] = ["ws", "sse/events", "api/v1/events", "sse/events/user:1"];
    match dice.roll(4) {
        0 => random(dice, 300),
        1 => {
            let door = DOORS[dice.roll(4) as usize];
            let query: String = random(dice, 40)
                .iter()
                .map(|byte| format!("%{byte:02x}"))
                .collect();
            let name = ["channel", "cursor", "socket", "token", "x"][dice.roll(5) as usize];
            format!(
                "GET /{door}?{name}={query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                ada.address
            )
            .into_bytes()
        }
        2 => {
            let headers = dice.roll(300) as usize;
            let many = "X: y\r\n".repeat(headers);
            format!("GET /livez HTTP/1.1\r\n{many}Connection: close\r\n\r\n").into_bytes()
        }
        _ => WHOLE[dice.roll(14) as usize].as_bytes().to_vec(),
    }
}
