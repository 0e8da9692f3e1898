//! `roomcast serve --replace`: a server takes the place of another one, and nobody is refused in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Follower, Person, Program, Way, eventually, roomcast, run};

/// How often the server is replaced.
const TIMES: usize = 3;
/// Clients that are there all the time.
const CLIENTS: usize = 20;

/// A port that is free now. Somebody else may take it before it is used: then the test says so.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn start(folder: &TempDir, address: &str, args: &[&str]) -> Program {
    let environment = [
        ("ROOMCAST_LISTEN", address),
        ("DATABASE_URL", "sqlite://test.db"),
        ("ROOMCAST_REGISTRATION", "open"),
        ("RUST_LOG", "warn"),
    ];
    Program::start(roomcast(folder.path(), args, &environment)).await
}

/// Asks again and again on new connections until it is over; counts the answers. Whatever is no answer is a failure.
async fn asks(person: Person, over: Arc<AtomicBool>, answers: Arc<AtomicU64>) {
    while !over.load(Ordering::Relaxed) {
        let request = person
            .builder(reqwest::Method::GET, "/api/v1/auth/me")
            .header("connection", "close");
        let answer = Person::try_send(request).await;
        let answer = answer.unwrap_or_else(|error| panic!("not answered: {error:?}"));
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_while_servers_take_over_from_each_other() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = start(&folder, &address, &["serve"]).await;
    let mut ada = server.nobody();
    ada.register("ada").await;
    ada.log_in("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let mut followers = Vec::new();
    for n in 0..CLIENTS {
        let way = Way::ALL[n % Way::ALL.len()];
        let mut follower = Follower::new(&ada, &format!("channel=document:{root}"), way);
        follower.connects().await;
        followers.push(follower);
    }
    let (over, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let asking: Vec<_> = (0..4)
        .map(|_| tokio::spawn(asks(ada.clone(), Arc::clone(&over), Arc::clone(&answers))))
        .collect();
    for round in 0..TIMES {
        let before = answers.load(Ordering::Relaxed);
        let successor = start(&folder, &address, &["serve", "--replace"]).await;
        assert_eq!(server.end().await, Some(0));
        server = successor;
        eventually("the successor answers", async || {
            answers.load(Ordering::Relaxed) > before + 20
        })
        .await;
        ada.changes(&document, json!(round)).await;
    }
    over.store(true, Ordering::Relaxed);
    for asking in asking {
        asking.await.unwrap();
    }
    // All were sent away by each server but the last, and have missed nothing.
    for mut follower in followers {
        let way = follower.way;
        let welcome = follower.comes_back(way).await;
        assert_eq!(welcome["recovered"], true, "{way:?}");
        for round in 0..TIMES {
            let event = follower.next_event().await.expect("an event, not the end");
            assert_eq!(event["data"]["data"], json!(round), "{way:?}");
        }
    }
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn where_nobody_is_a_server_that_replaces_just_starts() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
    let server = start(&folder, &address, &["serve", "--replace"]).await;
    server.nobody().get("/status").await.is(401);
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn what_cannot_start_replaces_nobody() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
    let server = start(&folder, &address, &["serve"]).await;
    for (name, value) in [
        ("DATABASE_URL", "sqlite:///nowhere/at/all.db"),
        ("ROOMCAST_TLS_CERT", "missing.pem"),
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
    ] {
        let mut environment = vec![("ROOMCAST_LISTEN", &*address), ("ROOMCAST_TLS_KEY", "")];
        environment.retain(|(known, _)| *known != name);
        environment.push((name, value));
        if name == "ROOMCAST_TLS_CERT" {
            environment.push(("ROOMCAST_TLS_KEY", "missing.pem"));
        }
        let command = roomcast(folder.path(), &["serve", "--replace"], &environment);
        let (status, _, complaint) = run(command, "").await;
        assert!(status.is_some_and(|status| status > 0), "{name}");
        assert!(complaint.contains("error: "), "{name}: {complaint}");
        server.nobody().get("/status").await.is(401);
    }
    // One that takes no part in it is told what there is.
    let command = roomcast(folder.path(), &["serve"], &[("ROOMCAST_LISTEN", &address)]);
    let (status, _, complaint) = run(command, "").await;
    assert_eq!(status, Some(1));
    assert!(complaint.contains("serve --replace"), "{complaint}");
}
