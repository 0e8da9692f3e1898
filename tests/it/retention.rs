//! Events older than the retention go; positions never come back, and a cursor from before is refused.

use std::time::Duration;

use serde_json::json;

use crate::support::{Follower, Person, SseClient, TestApp, Way, eventually, position};

const RETENTION: Duration = Duration::from_millis(300);

/// The positions that are still in the log.
async fn logged(app: &TestApp) -> Vec<i64> {
    let mut db = app.app.store().read().await.unwrap();
    sqlx::query_scalar("select position from events order by position")
        .fetch_all(&mut *db)
        .await
        .unwrap()
}

/// Waits until the log has nothing left but its last event, which says where it is.
async fn forgets(app: &TestApp) {
    eventually("the old events are gone", async || {
        logged(app).await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn old_events_go_and_a_cursor_from_before_is_refused() {
    let app = TestApp::start_with(|config| config.log_retention = RETENTION).await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let channel = format!("document:{root}");
    let query = format!("channel={channel}");
    // More than are deleted at once.
    app.tells(&channel, 1_200).await;
    let old = ada.changes(&document, json!(1)).await;
    let last = ada.changes(&document, json!(2)).await;
    forgets(&app).await;

    assert_eq!(logged(&app).await, [position(&last).cast_signed()]);
    for via in Way::ALL {
        let mut follower = Follower::new(&ada, &query, via);
        follower.cursor = Some(format!("{}-0", last.split_once('-').unwrap().0));
        let welcome = follower.connects().await;
        assert_eq!(
            (&welcome["recovered"], &welcome["cursor"]),
            (&json!(false), &json!(last)),
            "{via:?}"
        );
    }
    let header = ada.builder(reqwest::Method::GET, &format!("/sse/events?{query}"));
    let stream = SseClient::connect(header.header("last-event-id", &old)).await;
    assert_eq!(stream.welcome["recovered"], false);
    let answer = ada.ws("").await.joins_since(&channel, &old).await;
    assert_eq!(
        (&answer["recovered"], answer.get("events")),
        (&json!(false), None)
    );
}

#[tokio::test]
async fn positions_go_on_where_they_were_however_much_is_forgotten() {
    let app = TestApp::start_with(|config| config.log_retention = RETENTION).await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let last = ada.changes(&document, json!(1)).await;
    forgets(&app).await;
    assert_eq!(ada.get("/auth/me").await.cursor(), last);

    let app = TestApp::start_in(app.stop().await, |config| config.log_retention = RETENTION).await;
    let ada: Person = ada.moved_to(app.address);
    assert_eq!(ada.get("/auth/me").await.cursor(), last);
    let mut follower = Follower::new(&ada, &format!("channel=document:{root}"), Way::Sse);
    follower.cursor = Some(last.clone());
    let welcome = follower.connects().await;
    assert_eq!(
        (&welcome["recovered"], &welcome["cursor"]),
        (&json!(true), &json!(last))
    );
    let next = ada.changes(&document, json!(2)).await;
    assert_eq!(follower.next_event().await.unwrap()["cursor"], json!(next));
    // The administrators' comes before it.
    assert_eq!(position(&next), position(&last) + 2);
}

#[tokio::test]
async fn what_is_within_the_retention_stays() {
    let app = TestApp::start_with(|config| config.log_retention = Duration::from_secs(20)).await;
    // The first of the log: nothing goes before what stands before it.
    let hours_ago = time::OffsetDateTime::now_utc() - Duration::from_secs(7_200);
    app.tells_at("document:1", hours_ago).await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let from = ada.get("/auth/me").await.cursor();
    app.tells(&channel, 10).await;
    eventually("the old one is gone", async || {
        logged(&app).await.first() > Some(&1)
    })
    .await;
    let mut follower = Follower::new(&ada, &format!("channel={channel}"), Way::WebSocket);
    follower.cursor = Some(from);
    assert_eq!(follower.connects().await["recovered"], true);
    for n in 0..10 {
        assert_eq!(follower.next_event().await.unwrap()["data"], n);
    }
}

#[tokio::test]
async fn who_was_out_for_longer_than_the_retention_gets_nothing_of_that_time() {
    let app = TestApp::start_with(|config| config.log_retention = RETENTION).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let group = ada.makes_group("writers").await;
    ada.admits(&bob, &group).await;
    ada.expels(&bob, &group).await;
    app.tells("global", 5).await;
    forgets(&app).await;
    // A cursor from long after he was put out, and from before the rest.
    let cursor = bob.get("/auth/me").await.cursor();
    app.says(&format!("group:{group}"), "note", "\"secret\"")
        .await;
    ada.admits(&bob, &group).await;
    let mut page = bob.ws(&format!("cursor={cursor}")).await;
    assert_eq!(page.welcome["recovered"], false);
    assert!(page.so_far().await.is_empty());
}

#[tokio::test]
async fn that_somebody_lost_a_room_is_forgotten_with_the_room() {
    let app = TestApp::start_with(|config| config.log_retention = RETENTION).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let group = ada.makes_group("writers").await;
    ada.admits(&bob, &group).await;
    let room = ada.makes_room("Gone alone", Some(&group)).await;
    ada.makes_room("Gone with the group", Some(&group)).await;
    ada.expels(&bob, &group).await;
    ada.delete(&format!("/rooms/{room}")).await.is(204);
    ada.delete(&format!("/groups/{group}")).await.is(204);
    app.tells("global", 5).await;
    forgets(&app).await;
    let mut db = app.app.store().read().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("select channel from withdrawals")
        .fetch_all(&mut *db)
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}
