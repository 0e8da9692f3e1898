//! The program: how it starts, what it refuses and how it says so, and that it ends when told to.

use std::collections::HashSet;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::{Client, PASSWORD, PATIENCE, Program, Way, roomcast, run};

const ANY_PORT: (&str, &str) = ("ROOMCAST_LISTEN", "127.0.0.1:0");

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_and_is_there() {
    let folder = folder();
    for args in [&["serve"][..], &[]] {
        let server = Program::start(roomcast(folder.path(), args, &[ANY_PORT])).await;
        assert!(!server.address.ends_with(":0"), "{}", server.address);
        for path in ["/livez", "/readyz"] {
            let answer = server
                .nobody()
                .builder(reqwest::Method::GET, path)
                .send()
                .await
                .unwrap();
            assert_eq!(
                (
                    answer.status().as_u16(),
                    answer.text().await.unwrap().as_str()
                ),
                (200, "ok\n")
            );
        }
        server.signal("TERM").await;
        assert_eq!(server.end().await, Some(0));
    }
    assert!(
        folder.path().join("roomcast.db").exists(),
        "the database is where it was started"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_another_to_try() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let _holder = TcpListener::bind(taken).await.unwrap();
    let listen = [("ROOMCAST_LISTEN", &*taken.to_string())];
    let (status, said, complaint) = run(roomcast(folder.path(), &["serve"], &listen), "").await;
    assert_eq!((status, &*said), (Some(1), ""), "{complaint}");
    assert!(
        complaint.contains(&format!("cannot listen on {taken}: the port is taken")),
        "{complaint}"
    );
    assert!(
        complaint.contains("ROOMCAST_LISTEN=127.0.0.1:"),
        "{complaint}"
    );
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_what_would_be() {
    let folder = folder();
    for (name, value, expected) in [
        (
            "ROOMCAST_HEARTBEATS",
            "25s",
            "did you mean ROOMCAST_HEARTBEAT?",
        ),
        ("ROOMCAST_COLOUR", "red", "ROOMCAST_COLOUR is not a setting"),
        ("ROOMCAST_HEARTBEAT", "25", "ROOMCAST_HEARTBEAT=25s"),
        (
            "ROOMCAST_REGISTRATION",
            "maybe",
            "ROOMCAST_REGISTRATION=closed",
        ),
        (
            "ROOMCAST_ALLOWED_ORIGINS",
            "*",
            "ROOMCAST_ALLOWED_ORIGINS=https://app.example.org",
        ),
        (
            "ROOMCAST_API_KEY",
            "hunter2",
            "ROOMCAST_API_KEY is shorter than 32 bytes",
        ),
        ("ROOMCAST_MAX_CHANNELS", "0", "ROOMCAST_MAX_CHANNELS=128"),
        ("RUST_LOG", "a=b=c", "RUST_LOG=info"),
    ] {
        for verb in ["serve", "check", "dev"] {
            if (verb, name) == ("dev", "ROOMCAST_API_KEY") {
                continue; // There a short key is good enough.
            }
            let (status, said, complaint) =
                run(roomcast(folder.path(), &[verb], &[(name, value)]), "").await;
            assert_eq!(
                (status, &*said),
                (Some(78), ""),
                "{verb} {name}={value}: {complaint}"
            );
            assert!(
                complaint.starts_with("error: ") && complaint.contains(expected),
                "{complaint}"
            );
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[tokio::test]
async fn check_says_whether_it_would_start() {
    let folder = folder();
    let (status, said, complaint) = run(roomcast(folder.path(), &["check"], &[]), "").await;
    assert_eq!((status, &*complaint), (Some(0), ""), "{said}");
    assert_eq!(
        said,
        "The configuration is good, and the database can be used.\n"
    );
    let nowhere = [("DATABASE_URL", "sqlite:///nowhere/at/all.db")];
    let (status, said, complaint) = run(roomcast(folder.path(), &["check"], &nowhere), "").await;
    assert_eq!((status, &*said), (Some(1), ""));
    assert!(complaint.contains("/nowhere/at/all.db"), "{complaint}");
}

#[tokio::test]
async fn users_are_added_while_the_server_runs() {
    let folder = folder();
    let server = Program::start(roomcast(folder.path(), &["serve"], &[ANY_PORT])).await;
    let add = async |args: &[&str], password: &str| {
        let args = [&["user", "add"], args, &["--password-stdin"]].concat();
        run(roomcast(folder.path(), &args, &[]), password).await
    };
    let (status, said, _) = add(
        &["ada", "--admin"],
        &format!("{PASSWORD}\r\nnot this line\n"),
    )
    .await;
    assert_eq!(status, Some(0));
    let mut ada = server.nobody();
    ada.log_in("ada").await;
    assert_eq!(
        ada.get("/auth/me").await.json,
        json!({ "id": said.trim(), "username": "ada", "admin": true })
    );
    assert_eq!(add(&["bob"], PASSWORD).await.0, Some(0));

    for (args, password, expected) in [
        (&["Ada"][..], PASSWORD, "there is a user \"Ada\" already"),
        (&["a b"], PASSWORD, "cannot be used"),
        (&[""], PASSWORD, "cannot be used"),
        (&["eve\u{202e}"], PASSWORD, "cannot be used"),
        (&["eve"], "short", "at least 8 characters"),
        (&["eve"], "", "no password came"),
    ] {
        let (status, said, complaint) = add(args, password).await;
        assert_eq!((status, &*said), (Some(1), ""), "{args:?}: {complaint}");
        assert!(complaint.contains(expected), "{args:?}: {complaint}");
        assert!(
            !complaint.contains(PASSWORD) && !complaint.contains("short"),
            "{complaint}"
        );
    }
}

#[tokio::test]
async fn a_file_of_settings_counts_where_the_environment_says_nothing() {
    let folder = folder();
    std::fs::write(
        folder.path().join(".env"),
        "# Ours\nROOMCAST_LISTEN=127.0.0.1:1\nROOMCAST_REGISTRATION=open\n",
    )
    .unwrap();
    let server = Program::start(roomcast(folder.path(), &[], &[ANY_PORT])).await;
    server.nobody().register("ada").await;
    std::fs::write(folder.path().join(".env"), "ROOMCAST_REGISTRATIONS=open\n").unwrap();
    let (status, _, complaint) = run(roomcast(folder.path(), &["check"], &[]), "").await;
    assert_eq!(status, Some(78));
    assert!(
        complaint.contains("did you mean ROOMCAST_REGISTRATION?"),
        "{complaint}"
    );
}

#[tokio::test]
async fn dev_is_for_this_machine_only() {
    let folder = folder();
    for open in ["0.0.0.0:0", "[::]:0"] {
        let (status, said, complaint) = run(
            roomcast(folder.path(), &["dev"], &[("ROOMCAST_LISTEN", open)]),
            "",
        )
        .await;
        assert_eq!((status, &*said), (Some(1), ""), "{complaint}");
        assert!(
            complaint.contains("this machine only") && complaint.contains("127.0.0.1"),
            "{complaint}"
        );
    }
}

#[tokio::test]
async fn what_dev_prints_can_be_pasted_and_works() {
    let folder = folder();
    let temporary = folder.path().to_str().unwrap();
    let mut server = Program::start(roomcast(
        folder.path(),
        &["dev"],
        &[ANY_PORT, ("TMPDIR", temporary)],
    ))
    .await;
    let mut curls = Vec::new();
    while curls.len() < 4 {
        let line = tokio::time::timeout(PATIENCE, server.lines.next_line())
            .await
            .expect("a line")
            .unwrap()
            .unwrap();
        curls.extend(
            line.trim()
                .strip_prefix("curl")
                .map(|rest| format!("curl{rest}")),
        );
    }
    let paste = |line: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(folder.path())
            .kill_on_drop(true);
        shell
    };
    let logged_in = paste(&curls[0]).output().await.unwrap();
    assert!(
        String::from_utf8_lossy(&logged_in.stdout).contains(r#""username":"ada""#),
        "{logged_in:?}"
    );
    let mut listening = paste(&format!("exec {}", curls[1]));
    let mut listening = listening
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
        listening.stdout.take().unwrap(),
    ));
    let mut hears = async |what: &str| {
        let waiting = async {
            while let Some(line) = heard.next_line().await.unwrap() {
                if line.contains(what) {
                    return;
                }
            }
            panic!("it ended without {what}");
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("nothing came");
    };
    hears("event: welcome").await;
    let changed = paste(&curls[2]).output().await.unwrap();
    assert!(
        String::from_utf8_lossy(&changed.stdout).starts_with("HTTP/1.1 204"),
        "{changed:?}"
    );
    hears("Hello, all.").await;
    let said = paste(&curls[3]).output().await.unwrap();
    assert!(
        String::from_utf8_lossy(&said.stdout).contains(r#""text":"Who is there?""#),
        "{said:?}"
    );
    server.signal("INT").await;
    assert_eq!(server.end().await, Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["ada.jar"], "the demo is gone");
}

#[tokio::test]
async fn both_signals_end_it_well_and_every_client_hears_when_to_come_back() {
    for signal in ["TERM", "INT"] {
        let folder = folder();
        let (status, ..) = run(
            roomcast(
                folder.path(),
                &["user", "add", "ada", "--password-stdin"],
                &[],
            ),
            PASSWORD,
        )
        .await;
        assert_eq!(status, Some(0));
        let server = Program::start(roomcast(folder.path(), &["serve"], &[ANY_PORT])).await;
        let mut ada = server.nobody();
        ada.log_in("ada").await;
        let mut clients: Vec<Client> = Vec::new();
        for way in [Way::BOTH, Way::BOTH, Way::BOTH].concat() {
            clients.push(ada.listens(way, "").await);
        }
        server.signal(signal).await;
        let mut retries = HashSet::new();
        for client in &mut clients {
            let (disconnect, code) = client.end().await;
            assert_eq!(
                (&disconnect["code"], &disconnect["reconnect"]),
                (&json!("shutdown"), &json!(true))
            );
            assert!(code.is_none_or(|code| code == 1001), "{code:?}");
            retries.insert(disconnect["retry"].as_u64().expect("when to come back"));
        }
        assert_eq!(retries.len(), clients.len(), "no stampede: {retries:?}");
        assert_eq!(server.end().await, Some(0), "{signal}");
    }
}
