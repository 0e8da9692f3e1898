//! `roomcast publish` and `roomcast tail`, as programs against a server that runs as a program.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{API_KEY, PATIENCE, Person, Program, Server, eventually, roomcast, run};

const KEY: (&str, &str) = ("ROOMCAST_API_KEY", API_KEY);

/// A `roomcast tail`. It ends with the test.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line; nothing at the end.
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line());
        let line = line.await.expect("nothing came").unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    async fn end(mut self, signal: Option<&str>) -> Option<i32> {
        if let Some(signal) = signal {
            let id = self.child.id().unwrap().to_string();
            Command::new("kill")
                .args(["-s", signal, &id])
                .status()
                .await
                .unwrap();
        }
        let ended = tokio::time::timeout(PATIENCE, self.child.wait());
        ended.await.expect("it did not end").unwrap().code()
    }
}

fn tail(folder: &Path, address: &str, more: &[&str]) -> Tail {
    let url = format!("http://{address}");
    let args = [&["tail", "--server", &url], more].concat();
    Tail::start(roomcast(folder, &args, &[KEY]))
}

async fn publish(folder: &Path, address: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{address}");
    let args = [&["publish", "--server", &url], more].concat();
    run(roomcast(folder, &args, &[KEY]), "").await
}

#[tokio::test]
async fn what_one_publishes_the_other_prints() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("ROOMCAST_LISTEN", "127.0.0.1:0"), KEY];
    let server = Program::start(roomcast(folder.path(), &[], &environment)).await;
    let mut all = tail(
        folder.path(),
        &server.address,
        &["order:1", "order:2", "--all"],
    );
    let welcome = all.next().await.unwrap();
    assert_eq!(welcome["channels"], json!(["order:1", "order:2"]));
    let mut events = tail(
        folder.path(),
        &server.address,
        &["order:1", "--since", welcome["cursor"].as_str().unwrap()],
    );

    // Where the server is can be said in three ways.
    let listen = (
        "ROOMCAST_LISTEN",
        &*server.address.replace("127.0.0.1", "0.0.0.0"),
    );
    let url = format!("http://{}/", server.address);
    let public = ("ROOMCAST_PUBLIC_URL", &*url);
    let said = ["publish", "order:1", "paid", r#"{"n": 1.50}"#];
    for environment in [&[listen, KEY][..], &[public, KEY]] {
        let (status, answer, complaint) =
            run(roomcast(folder.path(), &said, environment), "").await;
        assert_eq!((status, &*complaint), (Some(0), ""));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        for tail in [&mut all, &mut events] {
            let event = tail.next().await.unwrap();
            assert_eq!(
                (&event["event"], &event["cursor"]),
                (&json!("paid"), &answer["cursor"])
            );
        }
    }
    let (status, answer, _) = publish(
        folder.path(),
        &server.address,
        &["order:1", "typing", "null", "--volatile"],
    )
    .await;
    assert_eq!((status, &*answer), (Some(0), "{}\n"));
    let (status, answer, _) = publish(
        folder.path(),
        &server.address,
        &["order:1", "late", "-1", "--delay", "100ms"],
    )
    .await;
    assert!(
        status == Some(0) && answer.contains("deliverAt"),
        "{answer}"
    );
    for name in ["typing", "late"] {
        assert_eq!(events.next().await.unwrap()["event"], name);
    }
    assert_eq!(events.end(Some("INT")).await, Some(0));
    assert_eq!(all.end(Some("TERM")).await, Some(0));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("ROOMCAST_LISTEN", "127.0.0.1:0"), KEY];
    let server = Program::start(roomcast(folder.path(), &[], &environment)).await;
    let address = server.address.as_str();
    let socket = "socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
    let wrong = ("ROOMCAST_API_KEY", "another key, of more than 32 bytes");
    let good = ["publish", "order:1", "paid", "1"];
    let listens = ("ROOMCAST_LISTEN", address);
    let nowhere = ("ROOMCAST_LISTEN", "127.0.0.1:1");
    for (args, environment, expected) in [
        (&good[..], &[listens][..], "set ROOMCAST_API_KEY"),
        (&["tail", "order:1"], &[listens], "set ROOMCAST_API_KEY"),
        (
            &good,
            &[listens, wrong],
            "ROOMCAST_API_KEY has to be the one",
        ),
        (
            &["tail", "order:1"],
            &[listens, wrong],
            "ROOMCAST_API_KEY has to be the one",
        ),
        (
            &["tail", socket],
            &[listens, KEY],
            "You may not join socket:",
        ),
        (&["tail", "Global"], &[listens, KEY], "not a channel name"),
        (
            &["tail", "global", "--since", "7"],
            &[listens, KEY],
            "not a cursor",
        ),
        (
            &["publish", "order:1", "welcome", "1"],
            &[listens, KEY],
            "reserved",
        ),
        (
            &["publish", "order:1", "paid", "Hello"],
            &[listens, KEY],
            "needs its quotes",
        ),
        (
            &["publish", "order:1", "paid", "1", "--delay", "721h"],
            &[listens, KEY],
            "delayMs",
        ),
        (
            &good,
            &[nowhere, KEY],
            "http://127.0.0.1:1 cannot be reached",
        ),
        (
            &["tail", "order:1"],
            &[nowhere, KEY],
            "http://127.0.0.1:1 cannot be reached",
        ),
    ] {
        let (status, said, complaint) = run(roomcast(folder.path(), args, environment), "").await;
        assert_eq!((status, &*said), (Some(1), ""), "{args:?}: {complaint}");
        assert!(complaint.contains(expected), "{args:?}: {complaint}");
        assert!(
            !complaint.contains(wrong.1) && !complaint.contains(API_KEY),
            "{complaint}"
        );
    }
    let args = ["tail", "global", "--server", "localhost:3000"];
    let (status, ..) = run(roomcast(folder.path(), &args, &[KEY]), "").await;
    assert_eq!(status, Some(2));
}

#[tokio::test]
async fn tail_goes_on_where_it_was_after_the_server_has_died() {
    let settings = [KEY];
    let server = Server::start_with(tempfile::tempdir().unwrap(), &settings).await;
    let address = server.address.to_string();
    let own = tempfile::tempdir().unwrap();
    let mut tail = tail(own.path(), &address, &["order:1", "--all"]);
    assert_eq!(tail.next().await.unwrap()["type"], "welcome");
    let back_end = Person::nobody(server.address).showing(API_KEY);
    let say = async |n: u64| {
        let said = json!({ "channels": ["order:1"], "event": "note", "data": n });
        back_end.post("/publish", said).await.is(200);
    };
    say(1).await;
    assert_eq!(tail.next().await.unwrap()["data"], 1);
    let folder = server.kill();
    let settings = [KEY, ("ROOMCAST_LISTEN", &*address)];
    let _server = Server::start_with(folder, &settings).await;
    say(2).await;
    let welcome = tail.next().await.unwrap();
    assert_eq!(
        (&welcome["type"], &welcome["recovered"]),
        (&json!("welcome"), &json!(true))
    );
    assert_eq!(tail.next().await.unwrap()["data"], 2);
    assert_eq!(tail.end(Some("INT")).await, Some(0));
}

#[tokio::test]
async fn nobody_who_reads_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("ROOMCAST_LISTEN", "127.0.0.1:0"), KEY];
    let server = Program::start(roomcast(folder.path(), &[], &environment)).await;
    let mut tail = tail(folder.path(), &server.address, &["order:1", "--all"]);
    tail.next().await.unwrap();
    // Like `| head -n 1`.
    let (reading, waiting) = (tail.lines, tail.child);
    drop(reading);
    let mut child = waiting;
    eventually("it has ended", async || {
        publish(folder.path(), &server.address, &["order:1", "note", "1"]).await;
        child.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_demo_can_be_published_to_with_its_own_short_key() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("ROOMCAST_LISTEN", "127.0.0.1:0")];
    let server = Program::start(roomcast(folder.path(), &["dev"], &environment)).await;
    let listens = ("ROOMCAST_LISTEN", &*server.address);
    let key = ("ROOMCAST_API_KEY", "roomcast-demo-key");
    let said = ["publish", "global", "note", "1"];
    let (status, answer, complaint) =
        run(roomcast(folder.path(), &said, &[listens, key]), "").await;
    assert_eq!((status, &*complaint), (Some(0), ""));
    assert!(answer.contains("cursor"), "{answer}");
}
