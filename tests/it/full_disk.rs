//! A change that the disk has no room for is refused and told to nobody; when there is room again, all works again.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Person, Server, WsClient, command};

/// A server whose files can be kept from growing: a limit of the process stands for the end of a disk.
struct Limited(Server);

impl Limited {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = command(&folder, &[]);
        let mut shell = Command::new("sh");
        // Without this the limit kills the process instead of failing the write.
        shell
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve"])
            .arg(program.get_program());
        shell.current_dir(&folder).env_clear();
        shell.envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        Self(Server::start_command(folder, shell).await)
    }

    fn limit(&self, bytes: &str) {
        let (pid, limit) = (
            format!("--pid={}", self.0.pid()),
            format!("--fsize={bytes}:unlimited"),
        );
        assert!(
            Command::new("prlimit")
                .args([pid, limit])
                .status()
                .unwrap()
                .success()
        );
    }
}

#[tokio::test]
async fn what_the_disk_does_not_take_never_happened_and_then_it_goes_on() {
    let server = Limited::start().await;
    let ada = server.0.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("before")).await;
    let channel = format!("channel=document:{root}");
    let mut observer = ada.ws(&channel).await;
    // Small ones fail at the commit, large ones before, when the cache is full; and several share a commit.
    for size in [10, 1_500_000] {
        for round in 0..3 {
            let before = ada.get(&format!("/documents/{document}")).await;
            server.limit("0");
            let refused = (0..4)
                .map(|n| ada_tries(ada.clone(), document.clone(), json!([n, "x".repeat(size)])));
            for refused in futures_util::future::join_all(refused).await {
                assert!([500, 503].contains(&refused), "{refused} for {size} bytes");
            }
            let after = ada.get(&format!("/documents/{document}")).await.is(200);
            assert_eq!(after.json, before.json);
            assert_eq!(after.cursor(), before.cursor());
            server.limit("unlimited");
            let kept = format!("{size}, {round}");
            let cursor = ada.changes(&document, json!(kept)).await;
            hears_next(&mut observer, &cursor, &kept).await;
        }
    }
    // The same holds for what a client publishes, and all of it for the next start.
    let cursor = observer.call(json!({ "type": "ping" })).await["cursor"].clone();
    let server = Server::start(server.0.kill()).await;
    let ada = ada.moved_to(server.address);
    let welcome = ada
        .ws(&format!("{channel}&cursor={}", cursor.as_str().unwrap()))
        .await
        .welcome;
    assert_eq!(
        (&welcome["recovered"], &welcome["cursor"]),
        (&Value::Bool(true), &cursor)
    );
}

async fn ada_tries(ada: Person, document: String, data: Value) -> u16 {
    ada.put(&format!("/documents/{document}"), json!({ "data": data }))
        .await
        .status
        .as_u16()
}

/// The next that an observer hears of is this, and nothing before it.
async fn hears_next(observer: &mut WsClient, cursor: &str, data: &str) {
    let event = observer.next_event().await;
    assert_eq!(
        (&event["cursor"], &event["data"]["data"]),
        (&json!(cursor), &json!(data)),
        "{event}"
    );
}
