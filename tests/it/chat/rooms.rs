//! Chat rooms as things: who hears of them, finds them, and what goes with them.

use serde_json::{Value, json};

use super::Story;
use crate::support::{Person, Way};

#[tokio::test]
async fn a_room_that_goes_is_heard_of_and_takes_its_history_along() {
    let story = Story::begin().await;
    let room = story.cy.makes_room("Open", None).await;
    let channel = format!("chat:{room}");
    let query = format!("channel={channel}&channel=presence:{channel}");
    let mut clients = [
        story.bob.listens(Way::WebSocket, &query).await,
        story.bob.listens(Way::Sse, &query).await,
    ];
    let cursor = clients[0].cursor().to_owned();
    let said = story.bob.says(&room, "Hello.").await.id();
    story.bob.delete(&format!("/rooms/{room}")).await.is(403);

    story.cy.delete(&format!("/rooms/{room}")).await.is(204);
    story.app.says(&channel, "note", "1").await;
    story
        .app
        .says(&format!("presence:{channel}"), "note", "1")
        .await;
    let mark = story.app.marks().await;
    for client in &mut clients {
        let frames = client.before(&mark).await;
        let told: Vec<_> = frames
            .iter()
            .map(|frame| (&frame["event"], &frame["channel"]))
            .collect();
        assert_eq!(
            told,
            [
                (&json!("chat-message"), &json!(channel)),
                (&json!("deleted-record"), &json!(channel))
            ]
        );
        assert_eq!(
            frames[1]["data"],
            json!({ "type": "Room", "record": { "id": room } })
        );
    }
    for way in Way::BOTH {
        let query = format!("channel={channel}&cursor={cursor}");
        story.bob.is_refused(way, &query).await.is(403);
    }
    for path in ["", "/messages"] {
        story.cy.get(&format!("/rooms/{room}{path}")).await.is(404);
    }
    let path = format!("/rooms/{room}/messages/{said}");
    story.bob.delete(&path).await.is(404);
}

#[tokio::test]
async fn a_group_that_goes_takes_its_rooms_along() {
    let story = Story::begin().await;
    let root = story.app.administrator("root").await;
    let mut clients = story.listens(&story.bob).await;
    let mut boss = root.ws(&format!("channel={}", story.channel)).await;
    let cursor = clients[0].cursor().to_owned();
    story
        .ada
        .delete(&format!("/groups/{}", story.group))
        .await
        .is(204);
    story.app.says(&story.channel, "note", "1").await;
    for client in &mut clients {
        assert_eq!(story.heard(client).await, ["deleted-record"]);
    }
    let told: Vec<_> = boss
        .so_far()
        .await
        .into_iter()
        .filter(|frame| frame["channel"] == story.channel.as_str())
        .map(|frame| frame["event"].clone())
        .collect();
    assert_eq!(told, ["deleted-record"]);
    story.is_kept_out(&story.bob, &cursor).await;
    root.get(&format!("/rooms/{}", story.room)).await.is(404);
}

#[tokio::test]
async fn a_group_has_as_many_rooms_as_can_go_with_it() {
    let story = Story::begin().await;
    let mut turn = story.app.app.log().begin().await.unwrap();
    let rows = sqlx::query(
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 999)
         insert into rooms (id, name, group_id, owner_id, created_at) select 'room-' || n, 'x', $1, $2, 0 from n",
    );
    rows.bind(&story.group)
        .bind(&story.ada.id)
        .execute(turn.db())
        .await
        .unwrap();
    turn.commit(Vec::new()).await.unwrap();
    let another = json!({ "name": "one more", "groupId": story.group });
    story
        .ada
        .post("/rooms", another)
        .await
        .is_problem(409, "conflict");
    story.ada.makes_room("open", None).await;

    let [mut bob, _] = story.listens(&story.bob).await;
    story
        .ada
        .delete(&format!("/groups/{}", story.group))
        .await
        .is(204);
    let mark = story.app.marks().await;
    let frames = bob.before(&mark).await;
    assert_eq!(frames.len(), 1_001, "the group and each of its rooms");
}

#[tokio::test]
async fn everybody_who_may_be_in_a_room_hears_of_it_and_finds_it() {
    let story = Story::begin().await;
    let root = story.app.administrator("root").await;
    let (mut bob, mut cy, mut boss) = (
        story.bob.ws("").await,
        story.cy.ws("").await,
        root.ws("").await,
    );
    let open = story
        .cy
        .post("/rooms", json!({ "name": "Open", "groupId": null }))
        .await
        .json;
    let closed = story
        .ada
        .post(
            "/rooms",
            json!({ "name": "Closed", "groupId": story.group }),
        )
        .await
        .json;
    let path = format!("/rooms/{}", closed["id"].as_str().unwrap());
    let renamed = story
        .ada
        .put(&path, json!({ "name": "Closed to most" }))
        .await
        .is(200)
        .json;
    assert_eq!(story.bob.get(&path).await.json, renamed);
    let said = |frames: Vec<Value>| -> Vec<Value> {
        let told =
            |frame: &Value| json!([frame["channel"], frame["event"], frame["data"]["record"]]);
        assert!(
            frames.iter().all(|frame| frame["data"]["type"] == "Room"),
            "{frames:?}"
        );
        frames.iter().map(told).collect()
    };
    let group = format!("group:{}", story.group);
    let of_open = json!(["global", "new-record", open]);
    assert_eq!(
        said(bob.so_far().await),
        [
            of_open.clone(),
            json!([group, "new-record", closed]),
            json!([group, "changed-record", renamed])
        ]
    );
    assert_eq!(said(cy.so_far().await), std::slice::from_ref(&of_open));
    assert_eq!(
        said(boss.so_far().await),
        [
            json!(["admin", "changed-record", open]),
            of_open,
            json!(["admin", "changed-record", closed]),
            json!(["admin", "changed-record", renamed])
        ]
    );

    let names = async |person: &Person, query: &str| {
        let list = person.get(&format!("/rooms{query}")).await.is(200).json;
        let names: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|room| room["name"].as_str().unwrap().to_owned())
            .collect();
        (names, list["next"].as_str().map(str::to_owned))
    };
    assert_eq!(names(&story.cy, "").await, (vec!["Open".to_owned()], None));
    for person in [&story.bob, &root] {
        let (first, next) = names(person, "?limit=2").await;
        assert_eq!(first, ["Writers' room", "Open"]);
        let (rest, end) = names(person, &format!("?limit=2&after={}", next.unwrap())).await;
        assert_eq!((rest, end), (vec!["Closed to most".to_owned()], None));
    }
}
