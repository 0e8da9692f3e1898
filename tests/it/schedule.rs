//! What is told later: at its time and not before, once, whenever the server dies, and not at all when it is taken back.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{API_KEY, Dice, Person, Server, TestApp, Way, eventually};

fn time(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

/// All of a channel's past, page by page.
async fn all(back_end: &Person, channel: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/channels/{channel}/history?limit=1000&after={after}");
        let page = back_end.get(&path).await.is(200).json;
        items.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return items,
        }
    }
}

#[tokio::test]
async fn it_comes_at_its_time_and_an_earlier_one_before_it() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::Sse, "").await;
    let mut due = HashMap::new();
    for (data, delay) in [
        ("later", 86_400_000),
        ("third", 400),
        ("first", 0),
        ("second", 200),
    ] {
        let said =
            json!({ "channels": ["global"], "event": "note", "data": data, "delayMs": delay });
        let asked = OffsetDateTime::now_utc();
        let answer = back_end.post("/publish", said).await.is(202);
        let at = time(&answer.json["deliverAt"]);
        assert!(at >= asked + Duration::from_millis(delay) - Duration::from_millis(1));
        due.insert(data, at);
    }
    let deadline = OffsetDateTime::now_utc() + Duration::from_millis(300);
    let said = json!({ "channels": ["global"], "event": "note", "data": "on time", "volatile": true,
        "deliverAt": deadline.format(&Rfc3339).unwrap() });
    let answer = back_end.post("/publish", said).await.is(202);
    due.insert("on time", time(&answer.json["deliverAt"]));
    assert!(due["on time"] >= deadline);
    for data in ["first", "second", "on time", "third"] {
        let event = there.next_event().await;
        assert!(OffsetDateTime::now_utc() >= due[data]);
        assert_eq!(event["data"], data, "{event}");
        assert!(time(&event["time"]) >= due[data], "{event} of {due:?}");
        assert_eq!(event.get("cursor").is_none(), data == "on time", "{event}");
    }
}

#[tokio::test]
async fn what_is_taken_back_is_not_told() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let mut there = ada.listens(Way::WebSocket, "").await;
    let said = |data: &str, delay: u64| json!({ "channels": ["global"], "event": "note", "data": data, "delayMs": delay });
    let answer = back_end.post("/publish", said("no", 300)).await.is(202);
    let path = format!("/publish/{}", answer.json["id"].as_str().unwrap());
    back_end.delete(&path).await.is(204);
    back_end.delete(&path).await.is_problem(404, "not-found");
    let answer = back_end.post("/publish", said("yes", 301)).await.is(202);
    assert_eq!(there.next_event().await["data"], "yes");
    let path = format!("/publish/{}", answer.json["id"].as_str().unwrap());
    back_end.delete(&path).await.is_problem(404, "not-found");
    back_end.delete("/publish/nothing").await.is(404);
}

#[tokio::test]
async fn what_fell_due_while_the_server_was_down_is_told_at_its_start() {
    let (app, back_end) = TestApp::start_with_key().await;
    let ada = app.person("ada").await;
    let from = ada.listens(Way::Sse, "").await.cursor().to_owned();
    let mut due = OffsetDateTime::UNIX_EPOCH;
    for n in 0..1_200 {
        let said = json!({ "channels": ["global"], "event": "note", "data": n, "delayMs": 3_000, "idempotencyKey": n.to_string() });
        // Some are asked for twice.
        for _ in 0..=(n % 3 / 2) {
            let answer = back_end.post("/publish", said.clone()).await.is(202);
            due = time(&answer.json["deliverAt"]);
        }
    }
    let folder = app.stop().await;
    // Not to wait for anything to happen, but for time to pass while nothing does.
    tokio::time::sleep(
        (due - OffsetDateTime::now_utc())
            .try_into()
            .unwrap_or_default(),
    )
    .await;
    let app = TestApp::start_in(folder, TestApp::has_key).await;
    let ada = ada.moved_to(app.address);
    let mut there = ada.listens(Way::WebSocket, &format!("cursor={from}")).await;
    assert_eq!(there.welcome()["recovered"], true);
    for n in 0..1_200 {
        let event = there.next_event().await;
        assert_eq!(event["data"], n, "{event}");
    }
    let mark = app.marks().await;
    assert_eq!(there.before(&mark).await, Vec::<Value>::new());
}

#[tokio::test]
async fn no_more_may_wait_than_there_is_room_for() {
    let (app, back_end) = TestApp::start_with_key().await;
    let mut turn = app.app.log().begin().await.unwrap();
    let fill = "with recursive n(n) as (select 1 union all select n + 1 from n where n < 99999)
        insert into scheduled (id, due, name, data, channels, volatile)
        select 'n' || n, 9000000000000, 'note', '1', '[\"global\"]', false from n";
    sqlx::query(fill).execute(turn.db()).await.unwrap();
    turn.commit(Vec::new()).await.unwrap();
    let said = json!({ "channels": ["global"], "event": "note", "delayMs": 2_592_000_000_u64 });
    let both = json!({ "events": [said, said] });
    let answer = back_end.post("/publish/batch", both).await;
    let answer = answer.is_problem(429, "rate-limited");
    assert!(answer.headers.contains_key("retry-after"));
    back_end.post("/publish", said.clone()).await.is(202);
    back_end
        .post("/publish", said)
        .await
        .is_problem(429, "rate-limited");
    back_end.delete("/publish/n7").await.is(204);
}

/// How often the server is killed.
const ROUNDS: u64 = 20;
/// Back ends that publish at each instant.
const BACK_ENDS: usize = 8;

/// A back end that tries again until it is answered, with the same key.
struct Retrying {
    name: usize,
    back_end: Person,
    /// What is not answered yet: number and delay.
    open: Option<(u64, Option<u64>)>,
    /// What was answered, and what.
    answered: HashMap<u64, Value>,
    dice: Dice,
}

impl Retrying {
    /// Until the server is gone.
    async fn publishes(mut self) -> Self {
        loop {
            let number = self.answered.len() as u64;
            let delay = (self.dice.roll(2) == 0).then(|| self.dice.roll(600));
            let (n, delay) = *self.open.get_or_insert((number, delay));
            let mut body = json!({ "channels": ["order:1"], "event": "note", "data": [self.name, n],
                "idempotencyKey": format!("{}-{n}", self.name) });
            if let Some(delay) = delay {
                body["delayMs"] = json!(delay);
            }
            let request = self.back_end.builder(Method::POST, "/api/v1/publish");
            let Ok(answer) = Person::try_send(request.json(&body)).await else {
                return self;
            };
            let status = if delay.is_some() { 202 } else { 200 };
            self.answered.insert(n, answer.is(status).json);
            self.open = None;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_told_once_and_not_before_its_time_however_often_the_server_dies() {
    let mut dice = Dice(7);
    let settings = [("ROOMCAST_API_KEY", API_KEY)];
    let mut server = Server::start_with(tempfile::tempdir().unwrap(), &settings).await;
    let mut back_ends: Vec<Retrying> = (0..BACK_ENDS)
        .map(|name| Retrying {
            name,
            back_end: Person::nobody(server.address).showing(API_KEY),
            open: None,
            answered: HashMap::new(),
            dice: Dice(name as u64),
        })
        .collect();
    for _ in 0..ROUNDS {
        let publishing = back_ends.drain(..).map(|one| tokio::spawn(one.publishes()));
        let publishing: Vec<_> = publishing.collect();
        // Not to wait for anything: the instant is what the test is about.
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(300))).await;
        let folder = server.kill();
        for one in publishing {
            back_ends.push(one.await.unwrap());
        }
        server = Server::start_with(folder, &settings).await;
        for one in &mut back_ends {
            one.back_end = one.back_end.moved_to(server.address);
        }
    }
    let back_end = Person::nobody(server.address).showing(API_KEY);
    let answered: usize = back_ends.iter().map(|one| one.answered.len()).sum();
    assert!(answered > 100, "only {answered} were answered");
    let mut told: HashMap<(u64, u64), Value> = HashMap::new();
    eventually("all that was answered has been told", async || {
        told.clear();
        for event in all(&back_end, "order:1").await {
            let id = (
                event["data"][0].as_u64().unwrap(),
                event["data"][1].as_u64().unwrap(),
            );
            let twice = told.insert(id, event);
            assert!(twice.is_none(), "{id:?} was told twice");
        }
        let mut answers = back_ends
            .iter()
            .flat_map(|one| one.answered.keys().map(|n| (one.name as u64, *n)));
        answers.all(|id| told.contains_key(&id))
    })
    .await;
    for one in &back_ends {
        for (n, answer) in &one.answered {
            let event = &told[&(one.name as u64, *n)];
            match answer.get("deliverAt") {
                Some(due) => assert!(time(&event["time"]) >= time(due), "{event} of {answer}"),
                None => assert_eq!(answer["cursor"], event["cursor"]),
            }
        }
    }
    println!("{ROUNDS} kills, {answered} answers, {} told", told.len());
}
