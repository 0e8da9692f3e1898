//! Whenever the server is killed, what it has answered is in the store and in the log, once, and told to everyone, once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::support::{Dice, Follower, Person, Server, Way, position};

/// How often the server is killed.
const ROUNDS: u64 = 50;
/// Changes that are under way at each instant.
const WRITERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_kept_and_told_once_however_often_the_server_dies() {
    let began = Instant::now();
    let mut dice = Dice(50);
    let mut server = Server::start(tempfile::tempdir().unwrap()).await;
    let mut ada = server.person("ada").await;
    let root = ada.makes_root("notes").await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let document = ada.makes_document(&root, json!(0)).await;
        writers.push(Writer {
            document,
            last: 0,
            answered: Vec::new(),
        });
    }
    let mut readers = Vec::new();
    for via in [Way::WebSocket, Way::Sse] {
        readers.push(Reader::starts(&ada, &root, via).await);
    }

    for round in 0..ROUNDS {
        let writing = writers
            .drain(..)
            .map(|writer| tokio::spawn(writer.writes(ada.clone())));
        let writing: Vec<_> = writing.collect();
        let reading = readers
            .drain(..)
            .map(|reader| tokio::spawn(reader.reads(None::<String>)));
        let reading: Vec<_> = reading.collect();
        // Not to wait for anything: the instant is what the test is about.
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(380))).await;
        let folder = server.kill();
        for task in writing {
            writers.push(task.await.unwrap());
        }
        for task in reading {
            readers.push(task.await.unwrap());
        }
        server = Server::start(folder).await;
        ada = ada.moved_to(server.address);
        for reader in &mut readers {
            reader.follower.person = ada.clone();
            let welcome = reader.follower.swaps().await;
            assert_eq!(welcome["recovered"], true, "round {round}: {welcome}");
        }
    }
    let end = ada.changes(&writers[0].document, json!("end")).await;
    let mut told = Vec::new();
    for reader in readers {
        told.push(reader.reads(Some(end.clone())).await);
    }

    let log = Kept::read(&server.kill()).await;
    let answered = writers
        .iter()
        .map(|writer| writer.answered.len())
        .sum::<usize>();
    log.has_every_change_with_its_notification();
    log.has_every_answer_once(&writers, &end);
    for reader in &told {
        log.was_told_once_to(reader);
    }
    println!(
        "{ROUNDS} kills, {answered} answers, {} events, {:?}",
        log.events.len(),
        began.elapsed()
    );
}

/// Changes one document as fast as it can.
struct Writer {
    document: String,
    /// The last number that was sent, answered or not; never sent twice.
    last: u64,
    /// What was answered, and the cursor in the answer.
    answered: Vec<(u64, String)>,
}

impl Writer {
    /// Until the server is gone.
    async fn writes(mut self, ada: Person) -> Self {
        loop {
            self.last += 1;
            let path = format!("/api/v1/documents/{}", self.document);
            let request = ada
                .builder(Method::PUT, &path)
                .json(&json!({ "data": self.last }));
            let Ok(answer) = Person::try_send(request).await else {
                return self;
            };
            self.answered.push((self.last, answer.is(204).cursor()));
        }
    }
}

/// Follows the root through all kills.
struct Reader {
    follower: Follower,
    /// Where it began.
    from: String,
    seen: Vec<(u64, Value)>,
}

impl Reader {
    async fn starts(ada: &Person, root: &str, via: Way) -> Self {
        let mut follower = Follower::new(ada, &format!("channel=document:{root}"), via);
        let from = follower.connects().await["cursor"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            follower,
            from,
            seen: Vec::new(),
        }
    }

    /// Until the server is gone, or up to a cursor.
    async fn reads(mut self, end: Option<String>) -> Self {
        while end.is_none() || self.follower.cursor != end {
            let Some(event) = self.follower.next_event().await else {
                assert_eq!(end, None, "the stream ended at {:?}", self.follower.cursor);
                return self;
            };
            self.seen.push((
                position(event["cursor"].as_str().unwrap()),
                event["data"].clone(),
            ));
        }
        self
    }
}

/// What is in the database in the end.
struct Kept {
    epoch: String,
    /// Name, data and channels, by position.
    events: BTreeMap<u64, (String, Value, String)>,
    /// Version and data, by id.
    documents: HashMap<String, (u64, Value)>,
}

impl Kept {
    async fn read(folder: &TempDir) -> Self {
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let mut db = SqliteConnection::connect(&url).await.unwrap();
        let epoch = sqlx::query_scalar("select epoch from log_state")
            .fetch_one(&mut db)
            .await
            .unwrap();
        let events = "select position, name, data, channels from events order by position";
        let events: Vec<(i64, String, String, String)> =
            sqlx::query_as(events).fetch_all(&mut db).await.unwrap();
        let documents = "select id, version, data from documents";
        let documents: Vec<(String, i64, String)> =
            sqlx::query_as(documents).fetch_all(&mut db).await.unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        Self {
            epoch,
            events: events
                .into_iter()
                .map(|(at, name, data, channels)| {
                    (at.cast_unsigned(), (name, json(&data), channels))
                })
                .collect(),
            documents: documents
                .into_iter()
                .map(|(id, version, data)| (id, (version.cast_unsigned(), json(&data))))
                .collect(),
        }
    }

    /// Every `changed-document`, in order.
    fn changes(&self) -> impl Iterator<Item = (u64, &Value)> {
        let changes = self
            .events
            .iter()
            .filter(|(_, (name, ..))| name == "changed-document");
        changes.map(|(at, (_, data, _))| (*at, data))
    }

    fn has_every_change_with_its_notification(&self) {
        let mut told: HashMap<&str, (u64, &Value)> = HashMap::new();
        for (at, data) in self.changes() {
            let id = data["id"].as_str().unwrap();
            let count = told.get(id).map_or(0, |(count, _)| *count);
            told.insert(id, (count + 1, &data["data"]));
            // The one to the administrators is of the same change, so it stands right before.
            let (name, record, channels) = &self.events[&(at - 1)];
            assert_eq!(
                (name.as_str(), channels.as_str()),
                ("changed-record", r#"["admin"]"#),
                "before {at}"
            );
            assert_eq!(record["record"]["id"], data["id"], "before {at}");
            assert_eq!(record["record"]["version"], count + 2, "before {at}");
        }
        for (id, (version, data)) in &self.documents {
            let (count, last) = told.get(id.as_str()).copied().unwrap_or((0, &Value::Null));
            assert_eq!(
                *version,
                count + 1,
                "document {id} has another number of changes than of notifications"
            );
            assert!(
                count == 0 || last == data,
                "document {id} is {data}, but {last} was told last"
            );
        }
    }

    fn has_every_answer_once(&self, writers: &[Writer], end: &str) {
        let mut once = HashSet::new();
        for (at, data) in self.changes() {
            let change = (data["id"].to_string(), data["data"].to_string());
            assert!(
                once.insert(change),
                "{data} stands in the log twice, again at {at}"
            );
        }
        let mut given = HashSet::from([end]);
        for writer in writers {
            for (n, cursor) in &writer.answered {
                assert!(given.insert(cursor), "{cursor} was given to two changes");
                assert!(
                    cursor.starts_with(&self.epoch),
                    "{cursor} is not of the epoch {}",
                    self.epoch
                );
                let kept = self.events.get(&position(cursor)).map(|(_, data, _)| data);
                let kept = kept.map(|data| (&data["id"], &data["data"]));
                let expected = (json!(writer.document), json!(n));
                assert_eq!(
                    kept,
                    Some((&expected.0, &expected.1)),
                    "at {cursor}, which was answered"
                );
            }
        }
    }

    fn was_told_once_to(&self, reader: &Reader) {
        let from = position(&reader.from);
        let expected: Vec<_> = self.changes().filter(|(at, _)| *at > from).collect();
        let differs = expected
            .iter()
            .zip(&reader.seen)
            .find(|((at, data), seen)| (*at, *data) != (seen.0, &seen.1));
        assert_eq!(differs, None, "expected on the left, seen on the right");
        assert_eq!(expected.len(), reader.seen.len());
    }
}
