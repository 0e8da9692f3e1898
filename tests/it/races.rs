//! Joining, leaving and coming back while everybody publishes: no gap, no repeat, and nothing after the leave's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Dice, Follower, Person, TestApp, Way, note, position};

const EVENTS: u64 = 100_000;
const ROOMS: u64 = 4;
const PUBLISHERS: u64 = 8;
/// Who joins and leaves all the time.
const JOINERS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_returns_among_a_hundred_thousand_events_miss_none_and_repeat_none() {
    // Nobody is slow here: a client that shares two cores with all others only looks so.
    let app = TestApp::start_with(|config| config.outbox_bytes = 256 * 1024 * 1024).await;
    let ada = app.person("ada").await;
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        rooms.push(format!("document:{}", ada.makes_root(&n.to_string()).await));
    }
    let rooms: Arc<[String]> = rooms.into();
    let over = Arc::new(AtomicBool::new(false));
    let joiners = (0..JOINERS)
        .map(|n| tokio::spawn(joins(ada.clone(), rooms.clone(), over.clone(), Dice(n))));
    let joiners: Vec<_> = joiners.collect();
    let returners = [Way::WebSocket, Way::Sse]
        .map(|via| Returner::new(&ada, &rooms, via))
        .map(|returner| tokio::spawn(returner.comes_and_goes(over.clone())));

    let publishers =
        (0..PUBLISHERS).map(|n| tokio::spawn(publish(app.app.clone(), rooms.clone(), Dice(n))));
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);

    let mut stretches = 0;
    for joiner in joiners {
        for stretch in joiner.await.unwrap() {
            stretch.is_whole(&app, &rooms).await;
            stretches += 1;
        }
    }
    assert!(
        stretches > 20,
        "only {stretches} joins were among the events"
    );
    let end = app
        .app
        .log()
        .append(note(&rooms[0], &"end"))
        .await
        .unwrap()
        .to_string();
    for returner in returners {
        returner
            .await
            .unwrap()
            .has_all_up_to(&end, &app, &rooms)
            .await;
    }
}

/// A share of all events, in batches of any size.
async fn publish(app: roomcast::Roomcast, rooms: Arc<[String]>, mut dice: Dice) {
    let mut left = EVENTS / PUBLISHERS;
    while left > 0 {
        let count = (1 + dice.roll(64)).min(left);
        let events = (0..count)
            .map(|n| note(&rooms[dice.roll(ROOMS) as usize], &n))
            .collect();
        app.log()
            .begin()
            .await
            .unwrap()
            .commit(events)
            .await
            .unwrap();
        left -= count;
    }
}

/// The time of a client in a room.
struct Stretch {
    room: usize,
    /// It is to have everything after this,
    from: u64,
    /// and at least up to this.
    until: u64,
    seen: Vec<u64>,
    /// How many the answer to the join said were too many to send.
    refused: Option<(u64, u64)>,
}

/// Joins with a cursor, looks on for a while, and leaves, again and again.
async fn joins(
    ada: Person,
    rooms: Arc<[String]>,
    over: Arc<AtomicBool>,
    mut dice: Dice,
) -> Vec<Stretch> {
    let mut client = ada.ws("").await;
    let mut cursor = client.welcome["cursor"].as_str().unwrap().to_owned();
    let mut stretches = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let room = dice.roll(ROOMS) as usize;
        let answer = client.joins_since(&rooms[room], &cursor).await;
        let early = client.came_first();
        assert!(early.is_empty(), "before the join's answer came {early:?}");
        let at = position(answer["cursor"].as_str().unwrap());
        let asked = position(&cursor);
        let mut stretch = Stretch {
            room,
            from: asked,
            until: 0,
            seen: Vec::new(),
            refused: None,
        };
        if answer["recovered"] == true {
            stretch.sees(answer["events"].as_array().unwrap(), &rooms);
        } else {
            (stretch.from, stretch.refused) = (at, Some((asked, at)));
        }
        for _ in 0..dice.roll(3) {
            client.call(json!({ "type": "ping" })).await;
        }
        let ping = client.call(json!({ "type": "ping" })).await;
        stretch.until = position(ping["cursor"].as_str().unwrap());
        stretch.sees(&client.came_first(), &rooms);
        assert!(
            stretch.seen.last() <= Some(&stretch.until),
            "more than the ping knew of"
        );
        client.leaves(&rooms[room]).await;
        stretch.sees(&client.came_first(), &rooms);
        stretches.push(stretch);
        cursor = match dice.roll(2) {
            0 => ada.get("/document-roots").await.cursor(),
            _ => client.call(json!({ "type": "ping" })).await["cursor"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        let late = client.so_far().await;
        assert!(late.is_empty(), "after the leave's answer came {late:?}");
    }
    stretches
}

impl Stretch {
    fn sees(&mut self, events: &[Value], rooms: &[String]) {
        for event in events {
            assert_eq!(event["channel"], json!(rooms[self.room]), "{event}");
            self.seen.push(position(event["cursor"].as_str().unwrap()));
        }
    }

    async fn is_whole(&self, app: &TestApp, rooms: &[String]) {
        let room = &rooms[self.room..=self.room];
        let until = self
            .seen
            .last()
            .copied()
            .unwrap_or_default()
            .max(self.until);
        assert_eq!(
            self.seen,
            logged(app, room, self.from, until).await,
            "after {} in {room:?}",
            self.from
        );
        if let Some((asked, at)) = self.refused {
            let missed = logged(app, room, asked, at).await.len();
            assert!(
                missed > 1_000,
                "{missed} events between {asked} and {at} were not recovered"
            );
        }
    }
}

/// What the log has of some channels, after one position and up to another.
async fn logged(app: &TestApp, channels: &[String], after: u64, until: u64) -> Vec<u64> {
    let mut db = app.app.store().read().await.unwrap();
    let rows: Vec<i64> = sqlx::query_scalar(
        "select position from event_channels where position > $1 and position <= $2
         and channel in (select value from json_each($3)) order by position",
    )
    .bind(after.cast_signed())
    .bind(until.cast_signed())
    .bind(json!(channels).to_string())
    .fetch_all(&mut *db)
    .await
    .unwrap();
    rows.into_iter().map(i64::cast_unsigned).collect()
}

/// Somebody in all rooms whose line breaks all the time.
struct Returner {
    follower: Follower,
    from: u64,
    seen: Vec<u64>,
}

impl Returner {
    fn new(ada: &Person, rooms: &[String], via: Way) -> Self {
        let query: Vec<_> = rooms.iter().map(|room| format!("channel={room}")).collect();
        Self {
            follower: Follower::new(ada, &query.join("&"), via),
            from: 0,
            seen: Vec::new(),
        }
    }

    async fn comes_and_goes(mut self, over: Arc<AtomicBool>) -> Self {
        let mut dice = Dice(99);
        self.from = position(self.follower.connects().await["cursor"].as_str().unwrap());
        while !over.load(Ordering::Relaxed) {
            for _ in 0..dice.roll(2_000) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                self.sees_one().await;
            }
            let welcome = self.follower.swaps().await;
            assert_eq!(welcome["recovered"], true, "{welcome}");
        }
        self
    }

    async fn sees_one(&mut self) {
        let event = self
            .follower
            .next_event()
            .await
            .expect("an event, not the end");
        self.seen.push(position(event["cursor"].as_str().unwrap()));
    }

    async fn has_all_up_to(mut self, end: &str, app: &TestApp, rooms: &[String]) {
        while self.follower.cursor.as_deref() != Some(end) {
            self.sees_one().await;
        }
        let expected = logged(app, rooms, self.from, position(end)).await;
        let differs = self
            .seen
            .iter()
            .zip(&expected)
            .find(|(seen, expected)| seen != expected);
        assert_eq!(differs, None, "seen on the left, logged on the right");
        assert_eq!(self.seen.len(), expected.len());
        assert!(
            expected.len() as u64 > EVENTS / 2,
            "it came too late to see much"
        );
    }
}
