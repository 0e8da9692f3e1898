//! Who does not read loses the connection and nothing else, and nobody who reads loses anything.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Follower, Person, TestApp, Way, eventually, note, position};

/// So large that a few hundred are more than the kernel takes for one connection.
const EVENT_BYTES: usize = 50_000;

struct Room {
    app: TestApp,
    ada: Person,
    channel: String,
    /// The positions of what was said.
    said: Vec<u64>,
}

impl Room {
    async fn opens() -> Self {
        let app = TestApp::start_with(|config| {
            (config.outbox_bytes, config.ping_timeout) = (200_000, Duration::from_millis(500));
        })
        .await;
        let ada = app.person("ada").await;
        let channel = format!("document:{}", ada.makes_root("notes").await);
        Self {
            app,
            ada,
            channel,
            said: Vec::new(),
        }
    }

    fn follower(&self, via: Way) -> Follower {
        Follower::new(&self.ada, &format!("channel={}", self.channel), via)
    }

    async fn says(&mut self, text: &str) -> String {
        let cursor = self
            .app
            .app
            .log()
            .append(note(&self.channel, &text))
            .await
            .unwrap()
            .to_string();
        self.said.push(position(&cursor));
        cursor
    }
}

/// Reads up to a cursor, and gives the positions of what came.
async fn reads_up_to(follower: &mut Follower, end: &str) -> Vec<u64> {
    let mut seen = Vec::new();
    while follower.cursor.as_deref() != Some(end) {
        let event = follower.next_event().await.expect("an event, not the end");
        seen.push(position(event["cursor"].as_str().unwrap()));
    }
    seen
}

/// Reads what still comes of a connection that the server has ended, and the last cursor in it.
async fn reads_the_rest(follower: &mut Follower) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(frame) = follower.next().await {
        match frame["type"].as_str() {
            Some("event") => seen.push(position(frame["cursor"].as_str().unwrap())),
            Some("disconnect") => assert_eq!(frame["code"], "slow-consumer", "{frame}"),
            _ => assert_eq!(frame["type"], "heartbeat", "{frame}"),
        }
    }
    seen
}

#[tokio::test]
async fn a_slow_reader_is_let_go_others_hear_everything_and_it_catches_up() {
    for via in [Way::WebSocket, Way::Sse] {
        let mut room = Room::opens().await;
        let (mut slow, mut quick) = (room.follower(via), room.follower(Way::WebSocket));
        slow.connects().await;
        quick.connects().await;
        let text = "x".repeat(EVENT_BYTES);
        let mut heard = Vec::new();
        // Until the server has lost its patience with who does not read: the one who reads is never in the way.
        while room.app.app.registry().counts().0 == 2 {
            assert!(room.said.len() < 2_000, "{via:?}: it was never let go");
            let cursor = room.says(&text).await;
            heard.extend(reads_up_to(&mut quick, &cursor).await);
        }
        let end = room.says("end").await;
        heard.extend(reads_up_to(&mut quick, &end).await);
        assert_eq!(
            heard, room.said,
            "{via:?}: what the quick one heard, and what was said"
        );

        let mut caught_up = reads_the_rest(&mut slow).await;
        assert!(
            caught_up.len() < room.said.len(),
            "{via:?}: it was not slow"
        );
        let welcome = slow.swaps().await;
        assert_eq!(welcome["recovered"], true, "{via:?}: {welcome}");
        caught_up.extend(reads_up_to(&mut slow, &end).await);
        assert_eq!(
            caught_up, room.said,
            "{via:?}: what the slow one heard, and what was said"
        );
    }
}

#[tokio::test]
async fn a_reader_that_is_only_behind_is_told_that_it_was_too_slow() {
    let room = Room::opens().await;
    let mut slow = room.ada.ws(&format!("channel={}", room.channel)).await;
    // Published together, so that the outbox is full before the connection's own task has its turn.
    let text = "x".repeat(EVENT_BYTES);
    let events = (0..10).map(|_| note(&room.channel, &text)).collect();
    room.app
        .app
        .log()
        .begin()
        .await
        .unwrap()
        .commit(events)
        .await
        .unwrap();
    let ended = slow.end().await;
    assert_eq!(ended.code, Some(1013), "{ended:?}");
    let disconnect = ended.disconnect.unwrap_or(Value::Null);
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!("slow-consumer"), &json!(true))
    );
    assert!(disconnect["retry"].as_u64() > Some(0), "{disconnect}");
    eventually("it is out of the room", async || {
        room.app.app.registry().counts() == (0, 0)
    })
    .await;
}
