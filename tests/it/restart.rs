//! The end of a server: who is told what, what is waited for and how long, and everybody back afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::{
    PATIENCE, Person, Program, Raw, Server, SseClient, Way, WsClient, eventually, roomcast,
};

/// Clients that are there when the server is restarted.
const CROWD: usize = 5_000;

async fn start(folder: &TempDir, settings: &[(&str, &str)]) -> Program {
    let environment = [
        &[
            ("ROOMCAST_LISTEN", "127.0.0.1:0"),
            ("ROOMCAST_REGISTRATION", "open"),
        ],
        settings,
    ]
    .concat();
    Program::start(roomcast(folder.path(), &["serve"], &environment)).await
}

async fn ada_of(server: &Program) -> Person {
    let mut ada = server.nobody();
    ada.register("ada").await;
    ada.log_in("ada").await;
    ada
}

/// A request whose body is not whole yet.
async fn begins_a_request(person: &Person) -> Raw {
    let mut raw = Raw::connect(person.address).await;
    raw.sends(format!(
        "POST /api/v1/document-roots HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: 15\r\n\r\n",
        person.address,
        person.cookie.as_deref().unwrap(),
    ))
    .await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    raw
}

#[tokio::test]
async fn it_is_not_ready_any_more_before_anybody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, &[("ROOMCAST_DRAIN_DELAY", "1h")]).await;
    let ada = ada_of(&server).await;
    let mut before = ada.ws("").await;
    server.signal("TERM").await;
    let url = format!("http://{}/readyz", server.address);
    eventually("it says that it is not ready", async || {
        reqwest::get(&url).await.unwrap().status() == 503
    })
    .await;
    // For those who have not noticed everything goes on.
    let root = ada.makes_root("late").await;
    let mut late = ada.ws(&format!("channel=document:{root}")).await;
    ada.makes_document(&root, json!(1)).await;
    assert_eq!(late.next_event().await["event"], "new-record");
    assert_eq!(before.call(json!({ "type": "ping" })).await["type"], "ack");
    // Asked again, it waits no longer.
    server.signal("TERM").await;
    for client in [&mut before, &mut late] {
        let ended = client.end().await;
        assert_eq!(ended.code, Some(1001), "{ended:?}");
    }
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_who_comes_late_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, &[]).await;
    let ada = ada_of(&server).await;
    let mut client = ada.ws("").await;
    let mut request = begins_a_request(&ada).await;
    server.signal("TERM").await;
    let disconnect = client.end().await.disconnect.expect("a disconnect");
    assert_eq!(disconnect["code"], "shutdown");
    // The request holds the end up; meanwhile others come, on connections that nobody has had before.
    let mut late = Person::nobody(ada.address);
    late.cookie.clone_from(&ada.cookie);
    for way in [Way::WebSocket, Way::Poll] {
        let refused = late.is_refused(way, "").await;
        let refused = refused.is_problem(503, "unavailable");
        assert!(refused.headers.contains_key("retry-after"), "{way:?}");
    }
    let mut stream = SseClient::open(late.builder(Method::GET, "/sse/events")).await;
    assert_eq!(stream.end().await["code"], "unavailable");
    request.sends(br#"{"name":"late"}"#).await;
    let head = request.head().await;
    assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    assert_eq!(server.end().await, Some(0));
    // What was answered is kept.
    let server = start(&folder, &[]).await;
    let roots = ada.moved_to(server.address.parse().unwrap());
    let roots = roots.get("/document-roots").await;
    assert_eq!(roots.json["items"][0]["name"], "late");
}

#[tokio::test]
async fn who_does_not_go_is_left_behind_when_the_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, &[("ROOMCAST_SHUTDOWN_TIMEOUT", "1s")]).await;
    let ada = ada_of(&server).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let socket = WsClient::connect_silently(ada.address, "", ada.cookie.as_deref()).await;
        silent.push(socket.unwrap());
    }
    let _request = begins_a_request(&ada).await;
    let _stream = ada.sse("").await;
    let _silence = Raw::connect(ada.address).await;
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn asked_twice_it_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, &[("ROOMCAST_SHUTDOWN_TIMEOUT", "1h")]).await;
    let ada = ada_of(&server).await;
    let mut client = ada.ws("").await;
    let _request = begins_a_request(&ada).await;
    server.signal("TERM").await;
    client.end().await;
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(1));
}

#[tokio::test]
async fn who_answers_is_not_given_up_because_the_process_stood_still() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("ROOMCAST_HEARTBEAT", "200ms"),
        ("ROOMCAST_PING_TIMEOUT", "200ms"),
    ];
    let server = start(&folder, &settings).await;
    let ada = ada_of(&server).await;
    let mut answering = JoinSet::new();
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..30 {
        let (mut client, over) = (ada.ws("").await, Arc::clone(&over));
        answering.spawn(async move {
            // Reading answers the pings.
            while !over.load(Ordering::Relaxed) {
                client.next().await;
            }
            client
        });
    }
    for _ in 0..3 {
        server.signal("STOP").await;
        // Not to wait for anything: longer than a client has to answer is what the test is about.
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.signal("CONT").await;
        ada.get("/auth/me").await.is(200);
    }
    over.store(true, Ordering::Relaxed);
    while let Some(client) = answering.join_next().await {
        let answer = client.unwrap().call(json!({ "type": "ping" })).await;
        assert_eq!(answer["type"], "ack");
    }
}

#[tokio::test]
async fn without_a_file_left_those_who_are_in_stay_and_others_come_in_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder).await;
    let ada = server.person("ada").await;
    let mut inside = ada.ws("").await;
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count();
    let limited = Command::new("prlimit")
        .arg(format!("--pid={}", server.pid()))
        .arg(format!("--nofile={}:", files + 3))
        .status();
    assert!(limited.await.unwrap().success());
    let crowd: Vec<Raw> =
        futures_util::future::join_all((0..8).map(|_| Raw::connect(ada.address))).await;
    // The kernel has taken them all; the server has no file for the last ones.
    assert_eq!(inside.call(json!({ "type": "ping" })).await["type"], "ack");
    let spent = async || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = spent().await;
    for _ in 0..20 {
        inside.call(json!({ "type": "ping" })).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // In hundredths of a second, of about one that has gone by: it does not try again and again.
    assert!(spent().await - before < 50, "it spins");
    drop(crowd);
    eventually("somebody comes in", async || {
        let asked = tokio::time::timeout(
            Duration::from_secs(2),
            Person::try_send(ada.builder(Method::GET, "/api/v1/auth/me")),
        );
        matches!(asked.await, Ok(Ok(_)))
    })
    .await;
}

/// One of the crowd: hears everything once, in order, wherever the server is.
struct Member {
    cursor: String,
    heard: Vec<u64>,
}

impl Member {
    /// Hears until the number comes that is the last, coming back when it is sent away, as long as it is told.
    async fn hears(mut self, person: Person, query: Arc<str>, last: u64) -> Self {
        let mut first = true;
        loop {
            let asked = format!("{query}&cursor={}", self.cursor);
            let client = WsClient::connect(person.address, &asked, person.cookie.as_deref()).await;
            let Ok(mut client) = client else {
                // Not there yet, or full: again in a moment, as clients do.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            assert!(
                first || client.welcome["recovered"] == true,
                "{}",
                client.welcome
            );
            first = false;
            let retry = loop {
                match client.try_next().await {
                    Ok(frame) => {
                        if let Some(cursor) = frame["cursor"].as_str() {
                            self.cursor = cursor.to_owned();
                        }
                        if frame["event"] == "changed-document" {
                            self.heard.push(frame["data"]["data"].as_u64().unwrap());
                            if self.heard.last() == Some(&last) {
                                return self;
                            }
                        }
                    }
                    Err(ended) => {
                        assert_eq!(ended.code, Some(1001), "{ended:?}");
                        break ended.disconnect.unwrap()["retry"].as_u64().unwrap();
                    }
                }
            };
            tokio::time::sleep(Duration::from_millis(retry)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_comes_back_after_a_restart_under_load_and_has_missed_nothing() {
    raise_file_limit();
    let (folder, many) = (tempfile::tempdir().unwrap(), (CROWD * 2).to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let settings = [
        ("ROOMCAST_LISTEN", &*address),
        ("ROOMCAST_MAX_CONNECTIONS_PER_IP", &*many),
        ("ROOMCAST_MAX_CONNECTIONS_PER_USER", &*many),
    ];
    let server = start(&folder, &settings).await;
    let ada = ada_of(&server).await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let query: Arc<str> = format!("channel=document:{root}").into();
    let cursor = ada.changes(&document, json!(0)).await;
    const CHANGES: u64 = 60;
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let member = Member {
            cursor: cursor.clone(),
            heard: Vec::new(),
        };
        crowd.spawn(member.hears(ada.clone(), Arc::clone(&query), CHANGES));
    }
    let connected = async || {
        let status = Person::try_send(ada.builder(Method::GET, "/api/v1/status")).await;
        status
            .ok()
            .and_then(|status| status.json["connections"].as_u64())
    };
    let waiting = tokio::time::timeout(PATIENCE * 4, async {
        while connected().await != Some(CROWD as u64) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waiting.await.expect("they do not all come in");
    // Ada goes on writing all the time; what is refused is said again.
    let writing = tokio::spawn({
        let (ada, document) = (ada.clone(), document.clone());
        async move {
            for n in 1..=CHANGES {
                loop {
                    let path = format!("/api/v1/documents/{document}");
                    let change = ada.builder(Method::PUT, &path).json(&json!({ "data": n }));
                    match Person::try_send(change).await {
                        Ok(answer) if answer.status == 204 => break,
                        Ok(answer) if answer.status == 503 => {}
                        Err(_) => {}
                        other => panic!("{other:?}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
    let begun = std::time::Instant::now();
    let server = start(&folder, &settings).await;
    writing.await.unwrap();
    let mut heard = Vec::new();
    while let Some(member) = crowd.join_next().await {
        heard.push(member.unwrap());
    }
    println!(
        "{CROWD} clients were back and had everything after {:?}",
        begun.elapsed()
    );
    // A change that was kept and not answered is made again: each number comes at least once, in order.
    let numbers: HashSet<u64> = (1..=CHANGES).collect();
    let first: Vec<u64> = heard[0].heard.clone();
    for member in heard {
        assert_eq!(member.heard, first);
        assert!(member.heard.is_sorted());
        assert_eq!(
            member.heard.iter().copied().collect::<HashSet<_>>(),
            numbers
        );
    }
    server.signal("KILL").await;
}

fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
}
