//! `roomcast bench`, as a program against a server that runs as a program.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{API_KEY, PATIENCE, Person, Program, eventually, roomcast, run};

const KEY: (&str, &str) = ("ROOMCAST_API_KEY", API_KEY);
const ANY_PORT: (&str, &str) = ("ROOMCAST_LISTEN", "127.0.0.1:0");

async fn server(more: &[(&str, &str)]) -> (TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    let environment = [&[ANY_PORT, KEY], more].concat();
    let server = Program::start(roomcast(folder.path(), &["serve"], &environment)).await;
    (folder, server)
}

fn bench(folder: &Path, address: &str, more: &[&str]) -> Command {
    let url = format!("http://{address}");
    let args = [&["bench", "--server", &url], more].concat();
    roomcast(folder, &args, &[KEY])
}

/// Runs it to its end, which is a good one, and reads what it measured.
async fn measured(folder: &Path, address: &str, more: &[&str]) -> Value {
    let args = [more, &["--json"]].concat();
    let (status, said, complaint) = run(bench(folder, address, &args), "").await;
    assert_eq!(status, Some(0), "{said}{complaint}");
    serde_json::from_str(&said).unwrap()
}

fn number(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {report}"))
}

/// One of the server's metrics.
async fn metric(nobody: &Person, name: &str) -> u64 {
    let asked = nobody.showing(API_KEY);
    let asked = asked.builder(reqwest::Method::GET, "/metrics");
    let text = asked.send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn everybody_hears_everything_once_on_every_transport() {
    let (folder, server) = server(&[]).await;
    let mut kept_in_all = 0;
    for transport in ["websocket", "sse", "mixed"] {
        for kept in [&[][..], &["--kept"]] {
            let asked = [
                "--transport",
                transport,
                "--connections=12",
                "--rate=200",
                "--duration=300ms",
                "--bytes=200",
            ];
            let report = measured(folder.path(), &server.address, &[&asked, kept].concat()).await;
            assert_eq!(
                (&report["transport"], &report["kept"], &report["asked"]),
                (&json!(transport), &json!(!kept.is_empty()), &json!(60))
            );
            let published = number(&report, "published");
            assert!((1..=60).contains(&published), "{report}");
            if !kept.is_empty() {
                kept_in_all += published;
            }
            assert_eq!(number(&report, "deliveries"), published * 12, "{report}");
            for name in ["lost", "repeated", "outOfOrder", "closed"] {
                assert_eq!(report[name], 0, "{name} in {report}");
            }
            let late = |name: &str| report["latencyMs"][name].as_f64().unwrap();
            let rising = [late("p50"), late("p90"), late("p99"), late("p99.9")];
            assert!(rising.is_sorted() && late("max") > 0.0, "{report}");
            assert_eq!(report["failure"], Value::Null);
        }
    }
    // The server's log has what was kept, and the end of each of those runs.
    let log = metric(&server.nobody(), "roomcast_log_events").await;
    assert_eq!(log, kept_in_all + 3);
}

#[tokio::test]
async fn rooms_share_the_messages_as_fast_as_the_server_answers() {
    let (folder, server) = server(&[]).await;
    let asked = [
        "--connections=7",
        "--rooms=3",
        "--rate=0",
        "--outstanding=4",
        "--duration=200ms",
    ];
    let report = measured(folder.path(), &server.address, &asked).await;
    assert_eq!(
        (&report["asked"], &report["rooms"]),
        (&json!(null), &json!(3))
    );
    // Seven connections in three rooms: 3, 2 and 2. Messages go round the rooms.
    let published = number(&report, "published");
    let of_room = |room: u64| (published + 2 - room) / 3;
    let expected = of_room(0) * 3 + of_room(1) * 2 + of_room(2) * 2;
    assert!(published > 0, "{report}");
    assert_eq!(number(&report, "deliveries"), expected, "{report}");
    for of in ["generator", "server"] {
        assert!(report[of]["cores"].is_number(), "{of} in {report}");
    }
    assert_ne!(report["limit"], "none");
}

#[tokio::test]
async fn people_read_a_table_and_see_that_it_goes_on() {
    let (folder, server) = server(&[]).await;
    let asked = ["--connections=3", "--rate=20", "--duration=1200ms"];
    let (status, said, complaint) = run(bench(folder.path(), &server.address, &asked), "").await;
    assert_eq!(status, Some(0), "{said}{complaint}");
    for row in [
        "connections ",
        "published ",
        "deliveries ",
        "  lost ",
        "latency ",
        "limit ",
    ] {
        assert!(said.lines().any(|line| line.starts_with(row)), "{said}");
    }
    assert!(complaint.contains("3 connections; "), "{complaint}");
    assert!(
        !complaint.contains('\r'),
        "that is no terminal: {complaint}"
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_named_with_the_setting() {
    // So many may there be, and twice as many of TCP: what is over that is cut off without an answer.
    let few = [("ROOMCAST_MAX_CONNECTIONS_PER_IP", "4")];
    let (folder, server) = server(&few).await;
    let address = &*server.address;
    for transport in ["websocket", "sse"] {
        for connections in ["5", "50"] {
            let asked = ["--connections", connections, "--transport", transport];
            let (status, said, complaint) = run(bench(folder.path(), address, &asked), "").await;
            assert_eq!((status, &*said), (Some(1), ""), "{complaint}");
            assert!(
                complaint.contains("ROOMCAST_MAX_CONNECTIONS_PER_IP"),
                "{transport}: {complaint}"
            );
        }
    }
    let url = format!("http://{address}");
    let wrong = (
        "ROOMCAST_API_KEY",
        "another-key-of-at-least-32-bytes-length",
    );
    for (url, key, expected) in [
        (&*url, wrong, "ROOMCAST_API_KEY has to be the one"),
        (&url, ("TZ", "UTC"), "there is no API key"),
        (
            "http://127.0.0.1:1",
            KEY,
            "http://127.0.0.1:1 cannot be reached",
        ),
    ] {
        let args = ["bench", "--server", url];
        let (status, said, complaint) = run(roomcast(folder.path(), &args, &[key]), "").await;
        assert_eq!((status, &*said), (Some(1), ""), "{complaint}");
        assert!(complaint.contains(expected), "{complaint}");
        assert!(!complaint.contains(wrong.1), "{complaint}");
    }
}

#[tokio::test]
async fn a_message_that_is_refused_ends_it_and_is_told() {
    let (folder, server) = server(&[("ROOMCAST_MAX_BODY_BYTES", "1024")]).await;
    let asked = ["--connections=2", "--bytes=2000", "--json"];
    let (status, said, complaint) = run(bench(folder.path(), &server.address, &asked), "").await;
    assert_eq!(status, Some(1), "{said}{complaint}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let failure = report["failure"].as_str().unwrap();
    assert!(failure.contains("ROOMCAST_MAX_BODY_BYTES"), "{failure}");
    let sums = ["published", "deliveries", "lost"].map(|name| number(&report, name));
    assert_eq!(sums, [0, 0, 0], "{report}");
    assert_eq!(report["limit"], "unknown");
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused_with_what_would() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, value, expected) in [
        ("--connections", "0", "from 1 to 1000000"),
        ("--rooms", "none", "from 1 to 10000"),
        ("--rate", "-1", "from 0 to 1000000"),
        ("--rate", "1.5", "from 0 to 1000000"),
        ("--outstanding", "0", "from 1 to 1024"),
        ("--bytes", "8", "from 80 to 1048576"),
        (
            "--duration",
            "10",
            "a whole number above 0 and ms, s, m or h",
        ),
        ("--duration", "25h", "longer than 24h"),
        ("--transport", "carrier-pigeon", "websocket, sse, mixed"),
        ("--connect-rate", "fast", "from 0 to 100000"),
        ("--server", "localhost:3000", "http://127.0.0.1:3000"),
    ] {
        let args = ["bench", &format!("{flag}={value}")];
        let (status, said, complaint) = run(roomcast(folder.path(), &args, &[KEY]), "").await;
        assert_eq!((status, &*said), (Some(2), ""), "{flag}: {complaint}");
        for part in [flag, value, expected] {
            assert!(complaint.contains(part), "{flag}={value}: {complaint}");
        }
    }
}

#[tokio::test]
async fn an_interrupt_ends_it_with_what_was_measured_and_who_was_sent_away_is_counted() {
    let (folder, server) = server(&[]).await;
    let asked = ["--connections=4", "--duration=1h", "--json"];
    let mut command = bench(folder.path(), &server.address, &asked);
    let running = command.stderr(Stdio::null()).spawn().unwrap();
    let back_end = Person::nobody(server.address.parse().unwrap()).showing(API_KEY);
    let nobody = server.nobody();
    eventually("all are there and it publishes", async || {
        metric(&nobody, "roomcast_events_published_total{kept=\"false\"}").await > 0
    })
    .await;
    let mut sockets = Vec::new();
    eventually("all are listed", async || {
        let page = back_end.get("/admin/connections").await.is(200).json;
        let items = page["items"].as_array().unwrap().iter();
        sockets = items
            .map(|item| item["socket"].as_str().unwrap().to_owned())
            .collect();
        sockets.len() == 4
    })
    .await;
    back_end
        .delete(&format!("/admin/connections/{}", sockets[0]))
        .await
        .is(204);
    let id = running.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status().await;
    assert!(sent.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, running.wait_with_output());
    let output = ended.await.expect("it did not end").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let because = report["closedBecause"].as_object().unwrap();
    assert!(
        report["closed"] == 1 && because.keys().all(|reason| reason.starts_with("removed")),
        "{report}"
    );
    let heard = number(&report, "deliveries") + number(&report, "lost");
    assert_eq!(heard, number(&report, "published") * 4, "{report}");
}
