//! Rights that are given and taken while somebody is connected hold at once: live, on replay, and ever after.

use serde_json::json;

use crate::support::{Client, Person, TestApp, Way};

/// Ada's root with a document, and Bob who may read it in one way or another.
struct Story {
    app: TestApp,
    ada: Person,
    bob: Person,
    root: String,
    document: String,
    channel: String,
}

impl Story {
    async fn begin() -> Self {
        let app = TestApp::start().await;
        let (ada, bob) = (app.person("ada").await, app.person("bob").await);
        let root = ada.makes_root("notes").await;
        let document = ada.makes_document(&root, json!("one")).await;
        let channel = format!("document:{root}");
        Self {
            app,
            ada,
            bob,
            root,
            document,
            channel,
        }
    }

    /// Bob listens in the root's room, both ways.
    async fn bob_listens(&self) -> [Client; 2] {
        let query = format!("channel={}", self.channel);
        [
            self.bob.listens(Way::WebSocket, &query).await,
            self.bob.listens(Way::Sse, &query).await,
        ]
    }

    /// Ada changes the document; each client has heard so many changes of the room since the last time.
    async fn heard(&self, clients: &mut [Client]) -> Vec<usize> {
        self.ada.changes(&self.document, json!("more")).await;
        let mark = self.app.marks().await;
        let mut counts = Vec::new();
        for client in clients {
            let names = client.names_before(&mark, &self.channel).await;
            counts.push(
                names
                    .iter()
                    .filter(|name| *name == "changed-document")
                    .count(),
            );
        }
        counts
    }

    /// Nothing of the room's past or future reaches Bob, whichever way he comes back with a cursor from before.
    async fn bob_is_kept_out(&self, cursor: &str) {
        for way in Way::ALL {
            let with_channel = format!("channel={}&cursor={cursor}", self.channel);
            self.bob
                .is_refused(way, &with_channel)
                .await
                .is_problem(403, "forbidden");
            let mut back = self.bob.listens(way, &format!("cursor={cursor}")).await;
            let names = back
                .names_before(&self.app.marks().await, &self.channel)
                .await;
            assert!(names.is_empty(), "{way:?}: {names:?}");
        }
    }

    /// Bob goes on from a cursor of after all that, as if nothing had been.
    async fn bob_resumes(&self, cursor: &str) {
        for way in Way::ALL {
            let back = self.bob.listens(way, &format!("cursor={cursor}")).await;
            assert_eq!(back.welcome()["recovered"], json!(true), "{way:?}");
        }
    }

    /// Bob has his right again, but what happened without it is not made up for.
    async fn bob_is_back(&self, cursor: &str) {
        for way in Way::ALL {
            let query = format!("channel={}&cursor={cursor}", self.channel);
            let mut back = self.bob.listens(way, &query).await;
            assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
            let before = back.before(&self.app.marks().await).await;
            assert!(before.is_empty(), "{way:?}: {before:?}");
            assert_eq!(self.heard(&mut [back]).await, [1], "{way:?}");
        }
        let mut ws = self.bob.ws("").await;
        let join = json!({ "type": "join", "channel": self.channel, "cursor": cursor });
        let ack = ws.call(join).await;
        assert_eq!(
            (&ack["type"], &ack["recovered"]),
            (&json!("ack"), &json!(false)),
            "{ack}"
        );
        assert_eq!(ack.get("events"), None, "{ack}");
    }
}

#[tokio::test]
async fn a_permission_of_a_user_ends_at_once_and_its_past_stays_closed() {
    let story = Story::begin().await;
    story.ada.lets(&story.bob, "read", &story.root).await;
    let mut clients = story.bob_listens().await;
    let cursor = clients[0].cursor().to_owned();
    assert_eq!(story.heard(&mut clients).await, [1, 1]);

    story.ada.bars(&story.bob, &story.root).await;
    let between = story.app.says("global", "between", "1").await;
    assert_eq!(story.heard(&mut clients).await, [0, 0]);
    story
        .bob
        .get(&format!("/documents/{}", story.document))
        .await
        .is(404);
    story.bob_is_kept_out(&cursor).await;

    story.ada.lets(&story.bob, "read", &story.root).await;
    story.bob_is_back(&cursor).await;
    // A cursor from the time without the right is from before what must stay closed, too.
    story.bob_is_back(&between).await;
    story.bob_resumes(&story.app.marks().await).await;
    let joined = match &mut clients[0] {
        Client::WebSocket(ws) => ws.joins(&story.channel).await,
        Client::Sse(_) | Client::Poll(_) => unreachable!("the first listens over WebSocket"),
    };
    assert_eq!(joined["channel"], json!(story.channel));
    assert_eq!(story.heard(&mut clients[..1]).await, [1]);
}

#[tokio::test]
async fn a_permission_of_a_group_ends_at_once_and_its_past_stays_closed() {
    let story = Story::begin().await;
    let group = story.ada.makes_group("readers").await;
    story.ada.admits(&story.bob, &group).await;
    story.ada.lets_group(&group, "read", &story.root).await;
    let mut clients = story.bob_listens().await;
    let cursor = clients[1].cursor().to_owned();
    assert_eq!(story.heard(&mut clients).await, [1, 1]);

    story.ada.bars_group(&group, &story.root).await;
    assert_eq!(story.heard(&mut clients).await, [0, 0]);
    story.bob_is_kept_out(&cursor).await;

    story.ada.lets_group(&group, "write", &story.root).await;
    story.bob_is_back(&cursor).await;
}

#[tokio::test]
async fn who_has_a_right_in_two_ways_keeps_it_while_one_is_left() {
    let story = Story::begin().await;
    let group = story.ada.makes_group("readers").await;
    story.ada.admits(&story.bob, &group).await;
    story.ada.lets_group(&group, "read", &story.root).await;
    story.ada.lets(&story.bob, "write", &story.root).await;
    let mut clients = story.bob_listens().await;
    let cursor = clients[0].cursor().to_owned();

    story.ada.bars(&story.bob, &story.root).await;
    assert_eq!(story.heard(&mut clients).await, [1, 1]);
    for way in Way::ALL {
        let query = format!("channel={}&cursor={cursor}", story.channel);
        let back = story.bob.listens(way, &query).await;
        assert_eq!(back.welcome()["recovered"], json!(true));
    }
    story.ada.expels(&story.bob, &group).await;
    assert_eq!(story.heard(&mut clients).await, [0, 0]);
    story.bob_is_kept_out(&cursor).await;
}

#[tokio::test]
async fn a_member_is_in_the_groups_room_from_the_first_moment_to_the_last() {
    let story = Story::begin().await;
    let group = story.ada.makes_group("writers").await;
    let room = format!("group:{group}");
    let mut clients = [
        story.bob.listens(Way::WebSocket, "").await,
        story.bob.listens(Way::Sse, "").await,
    ];
    let cursor = clients[0].cursor().to_owned();

    story.ada.admits(&story.bob, &group).await;
    let mark = story.app.marks().await;
    for client in &mut clients {
        assert_eq!(client.names_before(&mark, &room).await, ["changed-record"]);
    }
    story.app.says(&room, "note", "1").await;
    story.ada.expels(&story.bob, &group).await;
    let between = story.app.says("global", "between", "1").await;
    story.app.says(&room, "note", "2").await;
    let mark = story.app.marks().await;
    for client in &mut clients {
        let frames = client.before(&mark).await;
        let told: Vec<_> = frames
            .iter()
            .map(|frame| (&frame["event"], &frame["channel"]))
            .collect();
        let own = json!(format!("user:{}", story.bob.id));
        assert_eq!(
            told,
            [
                (&json!("note"), &json!(room)),
                (&json!("deleted-record"), &own),
                (&json!("between"), &json!("global"))
            ]
        );
    }
    for way in Way::BOTH {
        let mut back = story.bob.listens(way, &format!("cursor={cursor}")).await;
        assert!(!back.is_in(&room));
        assert!(
            back.names_before(&story.app.marks().await, &room)
                .await
                .is_empty()
        );
    }

    story.ada.admits(&story.bob, &group).await;
    for way in Way::BOTH {
        for cursor in [&cursor, &between] {
            let mut back = story.bob.listens(way, &format!("cursor={cursor}")).await;
            assert!(back.is_in(&room));
            assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
            assert!(
                back.names_before(&story.app.marks().await, &room)
                    .await
                    .is_empty()
            );
        }
    }
    story.bob_resumes(&story.app.marks().await).await;
}

#[tokio::test]
async fn a_new_member_reads_and_hears_what_the_group_may() {
    let story = Story::begin().await;
    let group = story.ada.makes_group("readers").await;
    story.ada.lets_group(&group, "read", &story.root).await;
    let mut ws = story.bob.ws("").await;
    let join = json!({ "type": "join", "channel": story.channel });
    assert_eq!(ws.call(join.clone()).await["code"], "forbidden");

    story.ada.admits(&story.bob, &group).await;
    assert_eq!(ws.call(join).await["type"], "ack");
    assert_eq!(
        story.heard(&mut [Client::WebSocket(Box::new(ws))]).await,
        [1]
    );
}

#[tokio::test]
async fn a_writer_who_becomes_a_reader_publishes_no_more() {
    let story = Story::begin().await;
    story.ada.lets(&story.bob, "write", &story.root).await;
    let mut bob = story.bob.ws(&format!("channel={}", story.channel)).await;
    let note = json!({ "type": "publish", "channel": story.channel, "event": "note", "data": 1 });
    assert_eq!(bob.call(note.clone()).await["type"], "ack");

    story.ada.lets(&story.bob, "read", &story.root).await;
    assert_eq!(bob.call(note.clone()).await["code"], "forbidden");
    assert_eq!(
        bob.call(json!({ "type": "join", "channel": story.channel }))
            .await["type"],
        "ack"
    );
    assert_eq!(bob.call(note.clone()).await["code"], "forbidden");
    let path = format!("/documents/{}", story.document);
    story
        .bob
        .put(&path, json!({ "data": 2 }))
        .await
        .is_problem(403, "forbidden");
    assert_eq!(
        story.heard(&mut [Client::WebSocket(Box::new(bob))]).await,
        [1],
        "he still reads"
    );

    story.ada.bars(&story.bob, &story.root).await;
    let mut bob = story.bob.ws("").await;
    assert_eq!(bob.call(note).await["code"], "not-joined");
}

#[tokio::test]
async fn an_administrator_who_is_none_any_more_comes_back_without_the_rank() {
    let story = Story::begin().await;
    let root = story.app.administrator("root").await;
    let mut boss = story.app.administrator("boss").await;
    let query = format!("channel={}&channel=admin", story.channel);
    let mut clients = [
        boss.listens(Way::WebSocket, &query).await,
        boss.listens(Way::Sse, &query).await,
    ];
    let cursor = clients[0].cursor().to_owned();
    assert!(
        clients
            .iter()
            .all(|client| client.is_in("admin") && client.is_in(&story.channel))
    );

    root.patch(&format!("/users/{}", boss.id), json!({ "admin": false }))
        .await
        .is(200);
    story.ada.changes(&story.document, json!("secret")).await;
    for client in &mut clients {
        let (disconnect, code) = client.end().await;
        assert_eq!(
            (&disconnect["code"], &disconnect["reconnect"]),
            (&json!("restart"), &json!(true))
        );
        assert!(code.is_none_or(|code| code == 1012), "{code:?}");
    }
    for way in Way::ALL {
        boss.is_refused(way, "channel=admin")
            .await
            .is_problem(403, "forbidden");
        boss.is_refused(way, &format!("channel={}", story.channel))
            .await
            .is_problem(403, "forbidden");
        let mut back = boss.listens(way, &format!("cursor={cursor}")).await;
        assert!(!back.is_in("admin"));
        assert_eq!(back.welcome()["recovered"], json!(false));
        assert!(back.before(&story.app.marks().await).await.is_empty());
    }

    root.patch(&format!("/users/{}", boss.id), json!({ "admin": true }))
        .await
        .is(200);
    boss.log_in("boss").await;
    assert!(boss.listens(Way::Sse, "").await.is_in("admin"));
}

#[tokio::test]
async fn who_is_in_a_root_or_group_that_goes_hears_of_it_and_of_nothing_after() {
    let story = Story::begin().await;
    let group = story.ada.makes_group("writers").await;
    let room = format!("group:{group}");
    story.ada.admits(&story.bob, &group).await;
    story.ada.lets_group(&group, "read", &story.root).await;
    let mut clients = story.bob_listens().await;
    let cursor = clients[0].cursor().to_owned();

    story.ada.delete(&format!("/groups/{group}")).await.is(204);
    story.app.says(&room, "note", "1").await;
    let mark = story.app.marks().await;
    for client in &mut clients {
        assert_eq!(client.names_before(&mark, &room).await, ["deleted-record"]);
    }
    assert_eq!(
        story.heard(&mut clients).await,
        [0, 0],
        "the right went with the group"
    );
    story.bob_is_kept_out(&cursor).await;

    story.ada.lets(&story.bob, "read", &story.root).await;
    let mut clients = story.bob_listens().await;
    story
        .ada
        .delete(&format!("/document-roots/{}", story.root))
        .await
        .is(204);
    story.app.says(&story.channel, "note", "1").await;
    let mark = story.app.marks().await;
    for client in &mut clients {
        assert_eq!(
            client.names_before(&mark, &story.channel).await,
            ["deleted-record"]
        );
    }
    story.bob_is_kept_out(&cursor).await;
    story
        .ada
        .get(&format!("/document-roots/{}", story.root))
        .await
        .is_problem(404, "not-found");
}
