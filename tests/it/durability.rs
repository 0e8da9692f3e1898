//! A cursor never lies: where the log may have lost its end the cursor is refused, and otherwise it works.

use std::path::Path;

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::support::{Follower, Person, Server, Way};

const NORMAL: &[(&str, &str)] = &[("ROOMCAST_DURABILITY", "normal")];

/// Ada, her document, and who follows it.
struct Scene {
    server: Server,
    ada: Person,
    document: String,
    follower: Follower,
}

impl Scene {
    async fn begins(settings: &[(&str, &str)]) -> Self {
        let server = Server::start_with(tempfile::tempdir().unwrap(), settings).await;
        let ada = server.person("ada").await;
        let root = ada.makes_root("notes").await;
        let document = ada.makes_document(&root, json!(0)).await;
        let mut follower = Follower::new(&ada, &format!("channel=document:{root}"), Way::WebSocket);
        follower.connects().await;
        let mut scene = Self {
            server,
            ada,
            document,
            follower,
        };
        scene.goes_on().await;
        scene
    }

    /// Ada changes the document, and the follower hears of it.
    async fn goes_on(&mut self) {
        let cursor = self.ada.changes(&self.document, json!("seen")).await;
        while self.follower.cursor.as_ref() != Some(&cursor) {
            self.follower.next().await.expect("an event, not the end");
        }
    }

    /// One more change, which the follower does not hear of.
    async fn misses_one(&mut self) {
        self.follower.cut();
        self.ada.changes(&self.document, json!("missed")).await;
    }

    /// The server ends in one way or another, something may happen to its folder, and it starts again.
    async fn after(
        self,
        end: End,
        settings: &[(&str, &str)],
        meanwhile: impl FnOnce(&Path),
    ) -> Self {
        let Self {
            server,
            ada,
            document,
            mut follower,
        } = self;
        follower.cut();
        let folder = match end {
            End::Clean => server.stop().await,
            End::Kill => server.kill(),
        };
        meanwhile(folder.path());
        let server = Server::start_with(folder, settings).await;
        let ada = ada.moved_to(server.address);
        follower.person = ada.clone();
        Self {
            server,
            ada,
            document,
            follower,
        }
    }

    /// The follower comes back and gets what it missed.
    async fn resumes(&mut self) {
        let old = self.follower.cursor.clone().unwrap();
        let welcome = self.follower.swaps().await;
        assert_eq!(welcome["recovered"], true, "{welcome}");
        let event = self.follower.next_event().await.unwrap();
        assert_eq!(event["data"]["data"], "missed", "{event}");
        assert_eq!(epoch(&old), epoch(event["cursor"].as_str().unwrap()));
    }

    /// The follower comes back and is told that it has to reload; the cursor that it gets is good from then on.
    async fn begins_anew(&mut self) {
        // However far the new log has come: that is where a position alone would lie.
        for n in 0..10 {
            self.ada.changes(&self.document, json!(n)).await;
        }
        let old = self.follower.cursor.clone().unwrap();
        let welcome = self.follower.swaps().await;
        assert_eq!(welcome["recovered"], false, "{welcome}");
        assert_ne!(epoch(&old), epoch(welcome["cursor"].as_str().unwrap()));
        self.goes_on().await;
        self.misses_one().await;
        self.resumes().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Clean,
    Kill,
}

fn epoch(cursor: &str) -> &str {
    cursor.split_once('-').unwrap().0
}

/// What SQLite has.
const DATABASE: &[&str] = &["test.db", "test.db-wal", "test.db-shm"];
/// What we have.
const ALL: &[&str] = &["test.db", "test.db-wal", "test.db-shm", "test.db-head"];

/// Copies what is there of some files, over what is there or in place of it.
fn copy(names: &[&str], over: bool, from: &Path, to: &Path) {
    for name in names {
        if !over || !from.join(name).exists() {
            let _ = std::fs::remove_file(to.join(name));
        }
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn the_same_log_goes_on_after_a_clean_end_and_after_a_kill() {
    for end in [End::Clean, End::Kill] {
        let mut scene = Scene::begins(&[]).await;
        scene.misses_one().await;
        scene.after(end, &[], |_| {}).await.resumes().await;
    }
}

#[tokio::test]
async fn with_normal_durability_only_a_clean_end_loses_nothing_for_certain() {
    let mut scene = Scene::begins(NORMAL).await;
    scene.misses_one().await;
    let mut scene = scene.after(End::Clean, NORMAL, |_| {}).await;
    scene.resumes().await;
    scene.misses_one().await;
    scene
        .after(End::Kill, NORMAL, |_| {})
        .await
        .begins_anew()
        .await;
}

#[tokio::test]
async fn a_log_that_was_written_with_normal_durability_is_not_trusted_after_a_kill_by_full_either()
{
    let scene = Scene::begins(NORMAL).await;
    scene
        .after(End::Kill, &[], |_| {})
        .await
        .begins_anew()
        .await;
}

#[tokio::test]
async fn a_log_without_its_head_file_is_another_log() {
    let scene = Scene::begins(&[]).await;
    let without = |folder: &Path| std::fs::remove_file(folder.join("test.db-head")).unwrap();
    scene
        .after(End::Clean, &[], without)
        .await
        .begins_anew()
        .await;
}

#[tokio::test]
async fn a_database_that_was_restored_from_an_older_copy_is_another_log() {
    for end in [End::Clean, End::Kill] {
        for (names, over) in [
            (DATABASE, true),
            (DATABASE, false),
            (ALL, true),
            (ALL, false),
        ] {
            println!("{end:?}, {names:?}, over {over}");
            let backup = tempfile::tempdir().unwrap();
            let scene = Scene::begins(&[]).await;
            let backs_up = |folder: &Path| copy(names, over, folder, backup.path());
            let mut scene = scene.after(end, &[], backs_up).await;
            scene.follower.connects().await;
            scene.goes_on().await;
            let restores = |folder: &Path| copy(names, over, backup.path(), folder);
            scene.after(end, &[], restores).await.begins_anew().await;
        }
    }
}

#[tokio::test]
async fn a_database_that_was_restored_from_a_backup_of_the_running_server_is_another_log() {
    let mut scene = Scene::begins(&[]).await;
    let backup = tempfile::tempdir().unwrap();
    let mut db = open(scene.server.folder()).await;
    let target = backup.path().join("test.db").display().to_string();
    sqlx::query("vacuum into $1")
        .bind(target)
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    scene.goes_on().await;
    scene
        .after(End::Kill, &[], |folder| {
            copy(DATABASE, false, backup.path(), folder);
        })
        .await
        .begins_anew()
        .await;
}

async fn open(folder: &TempDir) -> SqliteConnection {
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused_and_the_first_goes_on() {
    let mut scene = Scene::begins(&[]).await;
    let (code, said) = Server::refusal(scene.server.folder()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("another roomcast is running on the database test.db"),
        "{said}"
    );
    scene.goes_on().await;
    scene.misses_one().await;
    scene.after(End::Clean, &[], |_| {}).await.resumes().await;
}

#[tokio::test]
async fn the_database_of_a_newer_version_is_refused_and_left_alone() {
    let Scene { server, .. } = Scene::begins(&[]).await;
    let folder = server.stop().await;
    let mut db = open(&folder).await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         values (9999, 'of the future', current_timestamp, true, x'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    let before = std::fs::read(folder.path().join("test.db")).unwrap();
    let (code, said) = Server::refusal(&folder).await;
    assert_eq!(code, Some(1), "{said}");
    let expected =
        "was last used by a newer version of roomcast (it has migration 9999); use that version";
    assert!(said.contains(expected), "{said}");
    assert!(
        before == std::fs::read(folder.path().join("test.db")).unwrap(),
        "it was changed"
    );
}
