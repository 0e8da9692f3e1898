//! Whoever leaves a group, or is put out of it, leaves its chat rooms at once, and does not hear what was said meanwhile.

use serde_json::json;

use super::{Story, page};
use crate::support::{Client, Way};

#[tokio::test]
async fn who_is_put_out_of_the_group_is_out_of_its_room_at_once() {
    let story = Story::begin().await;
    let mut clients = story.listens(&story.bob).await;
    let presence = format!("channel=presence:{}", story.channel);
    let mut watching = story.bob.ws(&presence).await;
    let cursor = clients[0].cursor().to_owned();
    story.ada.says(&story.room, "Hello, Bob.").await.is(201);
    for client in &mut clients {
        assert_eq!(story.heard(client).await, ["chat-message"]);
    }

    story.ada.expels(&story.bob, &story.group).await;
    let between = story.app.says("global", "between", "1").await;
    story.ada.says(&story.room, "He is gone.").await.is(201);
    story
        .app
        .says(&format!("presence:{}", story.channel), "note", "1")
        .await;
    for client in &mut clients {
        assert_eq!(story.heard(client).await, [""; 0]);
    }
    let watched = watching.so_far().await;
    assert!(
        watched.iter().all(|frame| frame["event"] != "note"),
        "{watched:?}"
    );
    let typing =
        json!({ "type": "publish", "channel": story.channel, "event": "typing", "volatile": true });
    let Client::WebSocket(ws) = &mut clients[0] else {
        unreachable!("the first listens over WebSocket")
    };
    assert_eq!(ws.call(typing).await["code"], "not-joined");
    story.is_kept_out(&story.bob, &cursor).await;
    // A room that is made while he is out.
    let later = story.ada.makes_room("Later", Some(&story.group)).await;
    story.ada.says(&later, "Without Bob.").await.is(201);

    story.ada.admits(&story.bob, &story.group).await;
    for cursor in [&cursor, &between] {
        story.is_back_without_the_past(&story.bob, cursor).await;
        let ack = story
            .bob
            .ws("")
            .await
            .joins_since(&format!("chat:{later}"), cursor)
            .await;
        assert_eq!(ack["recovered"], json!(false), "{ack}");
    }
    let now = story.app.says("global", "now", "1").await;
    story.ada.says(&later, "With Bob.").await.is(201);
    let channel = format!("chat:{later}");
    let ack = story.bob.ws("").await.joins_since(&channel, &now).await;
    assert_eq!(ack["events"][0]["data"]["text"], "With Bob.", "{ack}");
    // The history is the group's, and he is in it again.
    let path = format!("/rooms/{}/messages", story.room);
    assert!(
        page(&story.bob, &path)
            .await
            .0
            .contains(&"He is gone.".to_owned())
    );
}

#[tokio::test]
async fn who_leaves_the_group_leaves_its_rooms_and_an_administrator_stays() {
    let story = Story::begin().await;
    let root = story.app.administrator("root").await;
    story.ada.admits(&root, &story.group).await;
    let [mut bob, _] = story.listens(&story.bob).await;
    let [mut by_rank, _] = story.listens(&root).await;
    let cursor = by_rank.cursor().to_owned();
    for person in [&story.bob, &root] {
        let path = format!("/groups/{}/members/{}", story.group, person.id);
        person.delete(&path).await.is(204);
    }
    story.ada.says(&story.room, "Who is left?").await.is(201);
    assert_eq!(story.heard(&mut bob).await, [""; 0]);
    assert_eq!(story.heard(&mut by_rank).await, ["chat-message"]);
    story.is_kept_out(&story.bob, &cursor).await;
    let ack = root.ws("").await.joins_since(&story.channel, &cursor).await;
    assert_eq!(ack["recovered"], json!(true), "{ack}");
}

#[tokio::test]
async fn who_owns_a_room_of_a_group_does_so_while_in_the_group() {
    let story = Story::begin().await;
    let owned = story.bob.makes_room("Bob's", Some(&story.group)).await;
    let path = format!("/rooms/{owned}");
    let name = json!({ "name": "Still Bob's" });
    story.bob.put(&path, name.clone()).await.is(200);
    story.ada.expels(&story.bob, &story.group).await;
    story.bob.put(&path, name.clone()).await.is(404);
    story.bob.delete(&path).await.is(404);
    story.ada.put(&path, name.clone()).await.is(200);
    story.ada.admits(&story.bob, &story.group).await;
    story.bob.put(&path, name).await.is(200);
}

#[tokio::test]
async fn what_was_kept_in_a_rooms_presence_is_not_made_up_for_either() {
    let story = Story::begin().await;
    let presence = format!("presence:{}", story.channel);
    let cursor = story.app.says("global", "before", "1").await;
    story.ada.expels(&story.bob, &story.group).await;
    story.app.says(&presence, "note", "1").await;
    story.ada.admits(&story.bob, &story.group).await;
    for way in Way::BOTH {
        let query = format!("channel={presence}&cursor={cursor}");
        let back = story.bob.listens(way, &query).await;
        assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
    }
    // The connection itself has been there all the time.
    let ack = story.bob.ws("").await.joins_since(&presence, &cursor).await;
    assert_eq!(ack["recovered"], json!(false), "{ack}");
}

#[tokio::test]
async fn a_group_of_a_thousand_goes_with_a_thousand_rooms() {
    let story = Story::begin().await;
    let mut turn = story.app.app.log().begin().await.unwrap();
    for statement in [
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
         insert into users select 'u' || i, 'u' || i, 'u' || i, '', false, 0 from n",
        "insert into memberships select $1, id, false from users where id like 'u%' and password_hash = ''",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 999)
         insert into rooms select 'r' || i, 'r' || i, $1, '', 0 from n",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") {
            query.bind(&story.group)
        } else {
            query
        };
        query.execute(turn.db()).await.unwrap();
    }
    turn.commit(Vec::new()).await.unwrap();
    let path = format!("/groups/{}", story.group);
    story.ada.delete(&path).await.is(204);
    let listed = story.ada.get("/rooms").await.is(200).json;
    assert_eq!(listed["items"], json!([]));
}
