//! Settings: where each comes from, what is said of it, and what is refused.

use std::path::Path;

use serde_json::Value;

use crate::support::{Program, roomcast, run};

const SECRET: &str = "a secret of 32 bytes, that nobody is to see";

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

async fn said(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> String {
    let (status, said, complaint) = run(roomcast(folder, args, environment), "").await;
    assert_eq!(status, Some(0), "{args:?}: {complaint}");
    said
}

async fn refused(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> String {
    let (status, said, complaint) = run(roomcast(folder, args, environment), "").await;
    assert_eq!((status, &*said), (Some(78), ""), "{args:?}: {complaint}");
    assert!(complaint.starts_with("error: "), "{complaint}");
    assert!(!complaint.contains(SECRET), "{complaint}");
    complaint
}

#[tokio::test]
async fn what_is_said_nearer_wins_and_each_setting_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = "heartbeat = \"11s\"\nping_timeout = \"11s\"\nmax_channels = 11\nmessages_per_second = 11\n\
                allowed_origins = [\"https://a.example\", \"https://b.example\"]\n";
    write(folder, "roomcast.toml", file);
    write(
        folder,
        ".env",
        "ROOMCAST_PING_TIMEOUT=12s\nROOMCAST_MAX_CHANNELS=12\nROOMCAST_MESSAGES_PER_SECOND=12\n",
    );
    let environment = [
        ("ROOMCAST_CONFIG", "roomcast.toml"),
        ("ROOMCAST_MAX_CHANNELS", "13"),
        ("ROOMCAST_MESSAGES_PER_SECOND", "13"),
        ("ROOMCAST_LOG_RETENTION", ""),
    ];
    let args = ["config", "--json", "--messages-per-second", "14"];
    let settings: Value = serde_json::from_str(&said(folder, &args, &environment).await).unwrap();
    for (name, value, source) in [
        ("ROOMCAST_PRESENCE_GRACE", "10s", "default"),
        ("ROOMCAST_LOG_RETENTION", "24h", "default"),
        ("ROOMCAST_HEARTBEAT", "11s", "roomcast.toml"),
        (
            "ROOMCAST_ALLOWED_ORIGINS",
            "https://a.example,https://b.example",
            "roomcast.toml",
        ),
        ("ROOMCAST_PING_TIMEOUT", "12s", ".env"),
        ("ROOMCAST_MAX_CHANNELS", "13", "environment"),
        ("ROOMCAST_CONFIG", "roomcast.toml", "environment"),
        ("ROOMCAST_MESSAGES_PER_SECOND", "14", "flag"),
    ] {
        let setting = &settings[name];
        assert_eq!(
            (setting["value"].as_str(), setting["source"].as_str()),
            (Some(value), Some(source)),
            "{name}"
        );
    }
    // For people the same, a line each, in the form of `.env`.
    let lines = said(
        folder,
        &["config", "--messages-per-second", "14"],
        &environment,
    )
    .await;
    assert!(
        lines
            .lines()
            .any(|line| line.starts_with("ROOMCAST_HEARTBEAT=11s ")
                && line.ends_with("  # roomcast.toml")),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), settings.as_object().unwrap().len());
}

#[tokio::test]
async fn secrets_come_from_files_too_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "key", &format!("{SECRET}\n"));
    write(folder, "short", "hunter2");
    write(folder, "empty", "\n");
    let from_file = [
        ("ROOMCAST_API_KEY_FILE", "key"),
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
    ];
    let server = Program::start(roomcast(folder, &["serve"], &from_file)).await;
    let back_end = server.nobody().showing(SECRET);
    back_end.get("/admin/rooms").await.is(200);
    for environment in [
        &from_file[..],
        &[
            ("ROOMCAST_API_KEY", SECRET),
            ("ROOMCAST_TOKEN_SECRET", SECRET),
        ],
    ] {
        for args in [&["config"][..], &["config", "--json"], &["check"]] {
            let said = said(folder, args, environment).await;
            assert!(!said.contains(SECRET), "{said}");
        }
    }
    for (environment, expected) in [
        (
            &[
                ("ROOMCAST_API_KEY_FILE", "key"),
                ("ROOMCAST_API_KEY", SECRET),
            ][..],
            "are both set",
        ),
        (
            &[("ROOMCAST_TOKEN_SECRET_FILE", "missing")],
            "missing: No such file",
        ),
        (
            &[("ROOMCAST_TOKEN_SECRET_FILE", "empty")],
            "the file is empty",
        ),
        (
            &[("ROOMCAST_API_KEY_FILE", "short")],
            "shorter than 32 bytes",
        ),
    ] {
        let complaint = refused(folder, &["serve"], environment).await;
        assert!(complaint.contains(expected), "{complaint}");
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (text, expected) in [
        (
            "hartbeat = \"1s\"",
            &["hartbeat is not a setting", "did you mean heartbeat?"][..],
        ),
        (
            "colour = 1",
            &["colour is not a setting", "known     allowed_origins"],
        ),
        (
            "heartbeat = 25",
            &[
                "ROOMCAST_HEARTBEAT",
                "set in    roomcast.toml",
                "ROOMCAST_HEARTBEAT=25s",
            ],
        ),
        (
            "heartbeat = true",
            &["heartbeat must be a text, a number", "heartbeat = \"25s\""],
        ),
        ("[heartbeat]\nevery = 1", &["heartbeat must be a text"]),
        ("allowed_origins = [1]", &["allowed_origins must be"]),
        (
            "heartbeat = ",
            &["roomcast.toml: TOML parse error at line 1"],
        ),
        ("config = \"other.toml\"", &["config is not a setting"]),
    ] {
        write(folder, "roomcast.toml", text);
        let complaint = refused(folder, &["check", "--config", "roomcast.toml"], &[]).await;
        for expected in expected {
            assert!(complaint.contains(expected), "{text}: {complaint}");
        }
    }
    let complaint = refused(folder, &["check"], &[("ROOMCAST_CONFIG", "nowhere.toml")]).await;
    assert!(
        complaint.contains("nowhere.toml: No such file"),
        "{complaint}"
    );
    assert!(complaint.contains("set in    environment"), "{complaint}");
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    for (environment, expected) in [
        (
            &[("ROOMCAST_TLS_CERT", "cert.pem")][..],
            &["ROOMCAST_TLS_KEY", "ROOMCAST_TLS_CERT"][..],
        ),
        (
            &[
                ("ROOMCAST_LISTEN", "127.0.0.1:9"),
                ("ROOMCAST_OPS_LISTEN", "127.0.0.1:9"),
            ],
            &["ROOMCAST_OPS_LISTEN", "ROOMCAST_LISTEN"],
        ),
        (
            &[("ROOMCAST_OUTBOX_TOTAL_BYTES", "2048")],
            &["ROOMCAST_OUTBOX_TOTAL_BYTES", "ROOMCAST_OUTBOX_BYTES"],
        ),
        (
            &[
                ("ROOMCAST_TLS_CERT", "cert.pem"),
                ("ROOMCAST_TLS_KEY", "key.pem"),
                ("ROOMCAST_PUBLIC_URL", "http://chat.example.org"),
            ],
            &["ROOMCAST_PUBLIC_URL", "ROOMCAST_TLS_CERT"],
        ),
    ] {
        let complaint = refused(folder.path(), &["check"], environment).await;
        for expected in expected {
            assert!(complaint.contains(expected), "{environment:?}: {complaint}");
        }
    }
}

#[tokio::test]
async fn check_has_doubts_about_what_is_unwise() {
    let folder = tempfile::tempdir().unwrap();
    let open = [("ROOMCAST_LISTEN", "0.0.0.0:3000")];
    let doubts = said(folder.path(), &["check"], &open).await;
    assert!(
        doubts.contains("warning: Passwords and cookies go in clear"),
        "{doubts}"
    );
    let proxied = [
        ("ROOMCAST_LISTEN", "0.0.0.0:3000"),
        ("ROOMCAST_PUBLIC_URL", "https://chat.example.org"),
    ];
    let doubts = said(folder.path(), &["check"], &proxied).await;
    assert!(!doubts.contains("in clear"), "{doubts}");
    assert!(doubts.contains("ROOMCAST_TRUSTED_PROXIES"), "{doubts}");
    // A certificate that is none is found before the server is to start.
    let missing = [
        ("ROOMCAST_TLS_CERT", "none.pem"),
        ("ROOMCAST_TLS_KEY", "none.pem"),
    ];
    let (status, _, complaint) = run(roomcast(folder.path(), &["check"], &missing), "").await;
    assert_eq!(status, Some(1));
    assert!(complaint.contains("none.pem"), "{complaint}");
}

#[tokio::test]
async fn a_healthcheck_says_whether_the_server_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let any_port = [("ROOMCAST_LISTEN", "127.0.0.1:0")];
    let server = Program::start(roomcast(folder.path(), &["serve"], &any_port)).await;
    let address = server.address.clone();
    let listen = [("ROOMCAST_LISTEN", &*address)];
    assert_eq!(
        said(folder.path(), &["healthcheck"], &listen).await,
        "ready\n"
    );
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
    let (status, _, complaint) = run(roomcast(folder.path(), &["healthcheck"], &listen), "").await;
    assert_eq!(status, Some(1));
    assert!(complaint.contains(&address), "{complaint}");
}

#[tokio::test]
async fn the_reference_is_what_the_program_prints() {
    let folder = tempfile::tempdir().unwrap();
    let printed = said(folder.path(), &["config", "--docs"], &[]).await;
    let written = include_str!("../../docs/configuration.md");
    assert_eq!(
        printed, written,
        "docs/configuration.md is stale: cargo run -- config --docs > docs/configuration.md"
    );
}
