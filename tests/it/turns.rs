//! Changes that share a place in the log, or a commit, do not get in each other's way.

use std::time::Duration;

use futures_util::poll;
use roomcast::log::CommitError;
use roomcast::realtime::{Cursor, Event};
use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Application, TestApp, Way, note};

/// Makes the database take no event named `bad`, and leave those before it in the same statement.
async fn refuses_bad(app: &TestApp) {
    let path = app.folder.path().join("test.db");
    let options = SqliteConnectOptions::new().filename(path);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "create trigger refuses before insert on events when new.name = 'bad'
         begin select raise(fail, 'no'); end",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
}

fn bad() -> Event {
    Event {
        name: "bad".parse().unwrap(),
        ..note("global", &"bad")
    }
}

async fn appends(app: &TestApp, event: Event) -> Result<Cursor, CommitError> {
    app.app.log().append(event).await
}

/// A change without an event, kept with what came before it.
async fn keeps_nothing(app: &TestApp) -> Result<Cursor, CommitError> {
    app.app.log().begin().await?.commit(Vec::new()).await
}

#[tokio::test]
async fn who_was_put_out_and_let_in_again_stays_when_another_change_has_the_same_place() {
    let application = Application::start().await;
    let rules = application.rules("[kinds.order]\njoin = \"ask\"", "");
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.rules = rules;
    });
    let app = app.await;
    let (ada, bob, eve) = (
        app.person("ada").await,
        app.person("bob").await,
        app.person("eve").await,
    );
    let group = bob.makes_group("others").await;
    bob.admits(&eve, &group).await;
    application.gives(&ada, "read", "order:7");
    let mut ws = ada.ws("channel=order:7").await;
    // Neither is told, so neither has a place in the log of its own.
    let path = format!("/channels/order:7/members/{}", ada.id);
    app.back_end().delete(&path).await.is(204);
    ws.joins("order:7").await;

    bob.expels(&eve, &group).await;

    app.says("order:7", "after", "1").await;
    app.says(&format!("user:{}", ada.id), "last", "2").await;
    assert_eq!(ws.next_event().await["event"], json!("after"));
}

#[tokio::test]
async fn an_event_that_the_database_refuses_fails_alone() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    refuses_bad(&app).await;
    let mut there = ada.listens(Way::WebSocket, "").await;
    let before = app.app.registry().cursor();
    let held = app.app.log().begin().await.unwrap();
    let mut said = Box::pin(async {
        tokio::join!(
            appends(&app, note("global", &1)),
            appends(&app, bad()),
            appends(&app, note("global", &2)),
        )
    });
    // All wait now, and so share a commit.
    assert!(poll!(&mut said).is_pending());
    drop(held);
    let (first, refused, second) = said.await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(refused.is_err(), "{refused:?}");
    // Each in the place that it was given.
    assert_eq!(first.position, before.position + 1);
    assert_eq!(second.position, before.position + 3);
    for (data, cursor) in [(1, first), (2, second)] {
        let event = there.next_event().await;
        assert_eq!(
            (&event["data"], &event["cursor"]),
            (&json!(data), &json!(cursor.to_string()))
        );
    }
    // Alone, and with nothing open before it.
    let refused = appends(&app, bad()).await;
    assert!(refused.is_err(), "{refused:?}");
    // Its place is given to the next: nobody has come behind it.
    let third = appends(&app, note("global", &3)).await.unwrap();
    assert_eq!(third.position, second.position + 1);
    // With others, and nothing but events in the transaction.
    let (fourth, refused, fifth) = tokio::join!(
        appends(&app, note("global", &4)),
        appends(&app, bad()),
        appends(&app, note("global", &5)),
    );
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(fourth.unwrap().position, third.position + 1);
    assert_eq!(fifth.unwrap().position, third.position + 3);

    let app = TestApp::start_in(app.stop().await, |_| {}).await;
    let ada = ada.moved_to(app.address);
    let mut back = ada.listens(Way::Sse, &format!("cursor={first}")).await;
    assert_eq!(back.welcome()["recovered"], json!(true));
    for data in 2..=5 {
        assert_eq!(back.next_event().await["data"], json!(data));
    }
}

#[tokio::test]
async fn no_answer_names_a_place_that_is_given_to_another_event_after_a_restart() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    refuses_bad(&app).await;
    let held = app.app.log().begin().await.unwrap();
    let mut said = Box::pin(async {
        tokio::join!(
            appends(&app, note("global", &1)),
            appends(&app, bad()),
            keeps_nothing(&app),
        )
    });
    assert!(poll!(&mut said).is_pending());
    drop(held);
    let (kept, refused, nothing) = said.await;
    let kept = kept.unwrap();
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(nothing.unwrap(), kept);
    assert_eq!(keeps_nothing(&app).await.unwrap(), kept);
    // What a start would find after a kill.
    let head = std::fs::read_to_string(app.folder.path().join("test.db-head")).unwrap();
    let noted = head.split(' ').nth(1).unwrap();
    assert_eq!(noted.parse(), Ok(kept.position), "{head}");

    let app = TestApp::start_in(app.stop().await, |_| {}).await;
    let ada = ada.moved_to(app.address);
    app.says("global", "next", "2").await;
    for way in Way::BOTH {
        let mut back = ada.listens(way, &format!("cursor={kept}")).await;
        assert_eq!(back.welcome()["recovered"], json!(true), "{way:?}");
        assert_eq!(back.next_event().await["event"], json!("next"), "{way:?}");
    }
}

#[tokio::test]
async fn rows_whose_event_is_refused_are_not_changed() {
    let app = TestApp::start().await;
    refuses_bad(&app).await;
    let mut turn = app.app.log().begin().await.unwrap();
    sqlx::query("insert into groups (id, name, created_at) values ('1', 'made', 1)")
        .execute(turn.db())
        .await
        .unwrap();
    assert!(turn.commit(vec![bad()]).await.is_err());
    appends(&app, note("global", &1)).await.unwrap();
    let mut db = app.app.store().read().await.unwrap();
    let made: i64 = sqlx::query_scalar("select count(*) from groups")
        .fetch_one(&mut *db)
        .await
        .unwrap();
    assert_eq!(made, 0);
}

#[tokio::test]
async fn what_waited_for_its_time_and_is_refused_holds_up_nobody() {
    let (app, back_end) = TestApp::start_with_key().await;
    refuses_bad(&app).await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::WebSocket, "").await;
    let mut ids = Vec::new();
    // All of them fall due at once.
    let due = OffsetDateTime::now_utc() + Duration::from_millis(500);
    let due = due.format(&Rfc3339).unwrap();
    for (name, data) in [
        ("note", 1),
        ("bad", 2),
        ("note", 3),
        ("bad", 4),
        ("note", 5),
    ] {
        let said = json!({ "channels": ["global"], "event": name, "data": data, "deliverAt": due });
        let answer = back_end.post("/publish", said).await.is(202);
        ids.push(answer.json["id"].as_str().unwrap().to_owned());
    }
    for data in [1, 3, 5] {
        assert_eq!(there.next_event().await["data"], json!(data));
    }
    app.says("global", "after", "6").await;
    assert_eq!(there.next_event().await["event"], json!("after"));
    // They are not lost: whoever said them may still take them back.
    for (id, status) in ids.iter().zip([404, 204, 404, 204, 404]) {
        let answer = back_end.delete(&format!("/publish/{id}")).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
