//! Whenever power fails, what was answered is there, nothing is damaged, and a cursor from before never lies. And a disk
//! that says that it cannot write is believed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::support::{
    Act, Dice, Disk, Person, Server, Unsynced, command, eventually, needs, position, read_trace,
};

/// Changes that are made before power fails somewhere among them: enough that the log of the database is written back
/// into it more than once.
const CHANGES: usize = 480;
/// Changes that are under way at each instant.
const WRITERS: usize = 6;
/// Instants at which power fails.
const CUTS: usize = 200;
/// After each of so many a server is started on what is left. Odd, so that every kind of instant has its turn.
const START_EVERY: usize = 9;

/// What the server did, from its start to its end.
struct Recording {
    folder: TempDir,
    ada: Person,
    channel: String,
    /// One of the documents that are changed.
    document: String,
    acts: Vec<Act>,
    /// Where in it the changes begin.
    begin: usize,
}

impl Recording {
    async fn of(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let program = command(&folder, settings);
        let mut strace = Command::new("strace");
        // `-D`: what we start is the server, and strace looks on from beside it.
        strace
            .args(["-D", "-f", "-q", "-y", "-xx", "-s", "10000000", "--seccomp-bpf", "-o"])
            .arg(&trace)
            .args(["-e", "trace=pwrite64,write,writev,pwritev,sendto,fsync,fdatasync,ftruncate,rename,unlink"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(&folder)
            .env_clear()
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null());
        let server = Server::start_command(folder, strace).await;
        let ada = server.person("ada").await;
        let root = ada.makes_root("notes").await;
        let channel = format!("document:{root}");
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(ada.makes_document(&root, json!(0)).await);
        }
        let document = writers[0].clone();
        let mut follower = ada.ws(&format!("channel={channel}")).await;
        let writing = writers.into_iter().map(async |document| {
            for n in 0..CHANGES / WRITERS {
                let data = json!([n, "x".repeat(3_000)]);
                ada.changes(&document, data).await;
            }
        });
        let hearing = async {
            for _ in 0..CHANGES / WRITERS * WRITERS {
                follower.next_event().await;
            }
        };
        tokio::join!(futures_util::future::join_all(writing), hearing);
        // It is the file that counts, not what stands in it: a copy would be another log.
        std::fs::hard_link(
            server.folder().path().join("test.db-head"),
            server.folder().path().join("head"),
        )
        .unwrap();
        let pid = server.pid().to_string();
        let folder = server.kill();
        let mut text = String::new();
        eventually("strace has seen the end", async || {
            text = std::fs::read_to_string(&trace).unwrap();
            let mut ends = text
                .lines()
                .filter(|line| line.ends_with("+++ killed by SIGKILL +++"));
            ends.any(|line| line.split_whitespace().next() == Some(&pid))
        })
        .await;
        let acts = read_trace(&text);
        // The changes began when the follower was there.
        let is_handshake =
            |act: &Act| matches!(act, Act::Send { bytes } if bytes.starts_with(b"HTTP/1.1 101"));
        let begin = acts.iter().position(is_handshake).unwrap();
        Self {
            folder,
            ada,
            channel,
            document,
            acts,
            begin,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Power fails at an instant.
    fn power_fails(&self, at: usize, mut unsynced: Unsynced) {
        for name in ["test.db", "test.db-wal", "test.db-shm", "test.db-head"] {
            let _ = std::fs::remove_file(self.path().join(name));
        }
        std::fs::hard_link(self.path().join("head"), self.path().join("test.db-head")).unwrap();
        Disk::after(&self.acts[..at]).fails(&mut unsynced, self.path());
    }

    /// The cursors that somebody had been sent before an instant, after some words.
    fn sent(&self, at: usize, words: &str) -> Vec<String> {
        let mut found = Vec::new();
        for act in &self.acts[self.begin..at] {
            let Act::Send { bytes } = act else { continue };
            let text = String::from_utf8_lossy(bytes);
            for (at, _) in text.match_indices(words) {
                let rest = &text[at + words.len()..];
                let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '-');
                found.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
        found
    }

    fn answered(&self, at: usize) -> Vec<String> {
        self.sent(at, "event-cursor: ")
    }

    fn heard(&self, at: usize) -> Vec<String> {
        self.sent(at, r#""cursor":""#)
    }
}

/// What is in the database.
struct Kept {
    /// Nothing where not even that was kept.
    epoch: Option<String>,
    /// The positions and data of a channel's events.
    events: BTreeMap<u64, Value>,
}

impl Kept {
    /// Reads it, and fails where it is damaged.
    async fn read(recording: &Recording) -> Self {
        let url = format!("sqlite://{}", recording.path().join("test.db").display());
        let mut db = SqliteConnection::connect(&url).await.unwrap();
        let state: String = sqlx::query_scalar("pragma integrity_check")
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(state, "ok");
        let epoch = sqlx::query_scalar("select epoch from log_state")
            .fetch_optional(&mut db)
            .await
            .unwrap();
        let events = "select position, data from events where name = 'changed-document'";
        let events: Vec<(i64, String)> = sqlx::query_as(events).fetch_all(&mut db).await.unwrap();
        let changed = "select id, version from documents";
        let changed: Vec<(String, i64)> = sqlx::query_as(changed).fetch_all(&mut db).await.unwrap();
        // Otherwise it ends some time later, and takes files away that are no longer its own.
        db.close().await.unwrap();
        let events: BTreeMap<_, Value> = events
            .into_iter()
            .map(|(at, data)| (at.cast_unsigned(), serde_json::from_str(&data).unwrap()))
            .collect();
        for (id, version) in changed {
            let told = events
                .values()
                .filter(|data| data["id"] == id && data["data"] != 0)
                .count();
            assert_eq!(
                version - 1,
                told as i64,
                "a change without its notification, or the other way round"
            );
        }
        Self { epoch, events }
    }
}

/// Where power fails: right before and after what somebody was sent, which is the worst, and anywhere.
fn instants(recording: &Recording, dice: &mut Dice) -> Vec<(usize, Unsynced)> {
    let end = recording.acts.len();
    let sends: Vec<usize> = (recording.begin..end)
        .filter(|at| matches!(recording.acts[*at], Act::Send { .. }))
        .collect();
    let mut instants = vec![(end, Unsynced::Lost)];
    while instants.len() < CUTS {
        let sent = sends[dice.roll(sends.len() as u64) as usize];
        let anywhere = recording.begin + dice.roll((end - recording.begin) as u64) as usize;
        let random = Unsynced::Random(Dice(dice.roll(u64::MAX)));
        instants.push(match instants.len() % 4 {
            0 => (sent + 1, Unsynced::Lost),
            1 => (sent + 1, random),
            2 => (anywhere, Unsynced::Lost),
            _ => (anywhere, random),
        });
    }
    instants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_loss_of_power_and_cursors_go_on() {
    if !needs("strace") {
        return;
    }
    let recording = Recording::of(&[]).await;
    let synced = |act: &Act| matches!(act, Act::Sync { file } if file == "test.db");
    assert!(
        recording.acts.iter().filter(|act| synced(act)).count() > 3,
        "it was never written back"
    );
    let mut dice = Dice(3);
    for (n, (at, unsynced)) in instants(&recording, &mut dice).into_iter().enumerate() {
        println!(
            "{n}: power fails at {at} of {}, {unsynced:?}",
            recording.acts.len()
        );
        recording.power_fails(at, unsynced.clone());
        let kept = Kept::read(&recording).await;
        for cursor in recording.answered(at) {
            let epoch = kept.epoch.as_deref().expect("an epoch");
            assert!(cursor.starts_with(epoch), "{cursor}, {epoch}");
            assert!(
                kept.events.contains_key(&position(&cursor)),
                "{cursor} was answered and is lost"
            );
        }
        if n % START_EVERY == 0 {
            // Reading has brought the log of the database back into it.
            recording.power_fails(at, unsynced);
            resumes(&recording, at, &kept).await;
        }
    }
}

/// Who had heard so much comes back to a server on what is left, and gets exactly what is after that.
async fn resumes(recording: &Recording, at: usize, kept: &Kept) {
    let Some(cursor) = recording.heard(at).pop() else {
        return;
    };
    let last = position(&cursor);
    let (server, ada) = starts(recording, &[]).await;
    let mut ws = ada
        .ws(&format!("channel={}&cursor={cursor}", recording.channel))
        .await;
    assert_eq!(ws.welcome["recovered"], true, "{cursor}: {}", ws.welcome);
    let end = ada.changes(&recording.document, json!("end")).await;
    let mut expected = kept.events.range(last + 1..);
    loop {
        let event = ws.next_event().await;
        let cursor = event["cursor"].as_str().unwrap();
        if cursor == end {
            break;
        }
        let expected = expected.next().map(|(at, data)| (*at, data));
        assert_eq!(expected, Some((position(cursor), &event["data"])));
    }
    assert_eq!(expected.next(), None);
    drop(server);
}

async fn starts(recording: &Recording, settings: &[(&str, &str)]) -> (Server, Person) {
    // The server's folder goes with it, and the recording's is needed again.
    let mut command = command(&recording.folder, settings);
    command.current_dir(recording.path());
    let server = Server::start_command(tempfile::tempdir().unwrap(), command).await;
    let ada = recording.ada.moved_to(server.address);
    (server, ada)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_normal_durability_power_takes_answers_along_and_no_cursor_says_otherwise() {
    if !needs("strace") {
        return;
    }
    let normal = [("ROOMCAST_DURABILITY", "normal")];
    let recording = Recording::of(&normal).await;
    let (mut dice, mut lost) = (Dice(5), 0);
    for (n, (at, unsynced)) in instants(&recording, &mut dice).into_iter().enumerate() {
        recording.power_fails(at, unsynced.clone());
        let kept = Kept::read(&recording).await;
        let answered = recording.answered(at);
        lost += answered
            .iter()
            .filter(|cursor| !kept.events.contains_key(&position(cursor)))
            .count();
        let Some(cursor) = recording.heard(at).pop().filter(|_| n % START_EVERY == 0) else {
            continue;
        };
        // With no event there is not even anybody who could ask.
        let Some(event) = kept.events.values().next() else {
            continue;
        };
        let document = event["id"].as_str().unwrap();
        recording.power_fails(at, unsynced);
        let (server, ada) = starts(&recording, &normal).await;
        // However far the new log has come: that is where a position alone would lie.
        for n in 0..20 {
            ada.changes(document, json!(n)).await;
        }
        let ws = ada
            .ws(&format!("channel={}&cursor={cursor}", recording.channel))
            .await;
        assert_eq!(ws.welcome["recovered"], false, "{cursor}: {}", ws.welcome);
        drop(server);
    }
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    println!("{lost} answers were lost");
}

#[tokio::test]
async fn a_change_that_the_disk_did_not_confirm_is_refused_told_to_nobody_and_then_it_goes_on() {
    if !needs("strace") {
        return;
    }
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let ada = server.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("before")).await;
    let mut observer = ada.ws(&format!("channel=document:{root}")).await;
    let mut kept = Vec::new();
    for round in 0..3 {
        let fault = Fault::begins(&server).await;
        // Until the fault is there, changes are kept.
        let mut refused = 0;
        for n in 0.. {
            assert!(n < 1_000, "the disk never failed");
            let data = json!([round, n]);
            let answer = ada
                .put(&format!("/documents/{document}"), json!({ "data": data }))
                .await;
            match answer.status.as_u16() {
                204 if refused == 0 => kept.push(data),
                500 | 503 => refused += 1,
                status => panic!("{status} after {refused}"),
            }
            if refused == 20 {
                break;
            }
        }
        fault.ends().await;
        let data = json!([round, "after"]);
        ada.changes(&document, data.clone()).await;
        kept.push(data);
    }
    for data in kept {
        assert_eq!(observer.next_event().await["data"]["data"], data);
    }
    // The same holds for the next start.
    let before = ada
        .get(&format!("/documents/{document}"))
        .await
        .is(200)
        .json;
    let cursor = observer.call(json!({ "type": "ping" })).await["cursor"].clone();
    let server = Server::start(server.kill()).await;
    let ada = ada.moved_to(server.address);
    assert_eq!(
        ada.get(&format!("/documents/{document}"))
            .await
            .is(200)
            .json,
        before
    );
    let query = format!(
        "channel=document:{root}&cursor={}",
        cursor.as_str().unwrap()
    );
    let welcome = ada.ws(&query).await.welcome;
    assert_eq!(
        (&welcome["recovered"], &welcome["cursor"]),
        (&json!(true), &cursor)
    );
}

/// A disk that answers every sync of a server's with an error.
struct Fault(tokio::process::Child);

impl Fault {
    async fn begins(server: &Server) -> Self {
        let strace = tokio::process::Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fsync,fdatasync",
            ])
            .args(["-e", "inject=fsync,fdatasync:error=EIO", "-p"])
            .arg(server.pid().to_string())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self(strace)
    }

    async fn ends(mut self) {
        let pid = self.0.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        let ended = tokio::time::timeout(Duration::from_secs(20), self.0.wait()).await;
        ended.expect("strace did not let go").unwrap();
    }
}
