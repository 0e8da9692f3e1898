//! Long polling: answers in time, cut where they must be, and a cursor after each that neither loses nor repeats.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use roomcast::config::{Guests, Program};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Answer, Person, Poller, Raw, TestApp, Way, eventually, note, position};

/// A poll that nobody waits for yet.
fn begins(person: &Person, query: &str) -> JoinHandle<Answer> {
    let (person, query) = (person.clone(), query.to_owned());
    tokio::spawn(async move { person.polls(&query).await })
}

/// Polls, and waits until that many connections are there.
async fn waits(app: &TestApp, person: &Person, query: &str, there: usize) -> JoinHandle<Answer> {
    let poll = begins(person, query);
    eventually("the poll waits", async || {
        app.app.registry().counts().0 == there
    })
    .await;
    poll
}

/// Where somebody begins.
async fn cursor(person: &Person) -> String {
    let first = person.polls("").await.is(200).json;
    first["cursor"].as_str().unwrap().to_owned()
}

/// The events of an answer, by name.
fn names(answer: &Answer) -> Vec<&str> {
    let events = answer.json["events"].as_array().unwrap().iter();
    events
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

fn positions(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|event| position(event["cursor"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn the_first_poll_says_at_once_where_to_begin() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let now = app.says("global", "note", "1").await;
    for query in ["", "cursor=", "cursor=&wait=30", "wait="] {
        let answer = ada.polls(query).await.is(200);
        assert_eq!(answer.json, json!({ "events": [], "cursor": now }));
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let foreign = ada.polls("cursor=00000000-7&wait=30").await.is(200);
    let expected = json!({ "events": [], "cursor": now, "recovered": false });
    assert_eq!(foreign.json, expected);
    assert_eq!(app.app.registry().counts(), (0, 0));
}

#[tokio::test]
async fn a_poll_is_answered_when_there_is_something_and_the_next_goes_on_from_there() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let query = format!("channel={channel}&cursor={}", cursor(&ada).await);
    let poll = waits(&app, &ada, &query, 1).await;
    let said = app.says(&channel, "one", "1.50").await;
    let answer = poll.await.unwrap().is(200);
    assert_eq!(names(&answer), ["one"]);
    assert_eq!(answer.json["cursor"], json!(said));
    assert_eq!(answer.json["recovered"], json!(true));

    // What is said between two polls is in the next one, all of it at once.
    app.says(&channel, "two", "2").await;
    app.says("global", "three", "3").await;
    let query = format!("channel={channel}&cursor={said}");
    let answer = ada.polls(&query).await.is(200);
    assert_eq!(names(&answer), ["two", "three"]);
    let again = ada.polls(&query).await.is(200);
    assert_eq!(again.json, answer.json, "asking again changes nothing");
    assert_eq!(app.app.registry().counts(), (0, 0));
}

#[tokio::test]
async fn a_poll_that_hears_nothing_has_a_cursor_that_went_on() {
    let app = TestApp::start_with(|config| config.heartbeat = Duration::from_millis(50)).await;
    let ada = app.person("ada").await;
    let begin = cursor(&ada).await;
    // Not hers to hear: while it waits, and before it comes.
    let elsewhere = app.says("user:1", "secret", "1").await;
    let at_once = ada.polls(&format!("cursor={begin}&wait=0")).await.json;
    let expected = json!({ "events": [], "cursor": elsewhere, "recovered": true });
    assert_eq!(at_once, expected);

    let poll = waits(&app, &ada, &format!("cursor={begin}&wait=1"), 1).await;
    let elsewhere = app.says("user:1", "secret", "2").await;
    let answer = poll.await.unwrap().json;
    let expected = json!({ "events": [], "cursor": elsewhere, "recovered": true });
    assert_eq!(answer, expected, "neither heartbeats nor others wake it");
}

#[tokio::test]
async fn volatile_events_reach_who_waits_and_are_not_kept() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let mut ws = ada.ws(&format!("channel={channel}")).await;
    let typing =
        json!({ "type": "publish", "channel": channel, "event": "typing", "volatile": true });
    ws.call(typing.clone()).await;
    let begin = cursor(&ada).await;
    let query = format!("channel={channel}&cursor={begin}");
    let poll = waits(&app, &ada, &query, 2).await;
    ws.call(typing.clone()).await;
    let answer = poll.await.unwrap();
    assert_eq!(names(&answer), ["typing"]);
    assert_eq!(answer.json["events"][0].get("cursor"), None);
    assert_eq!(answer.json["cursor"], json!(begin), "it stands nowhere");

    ws.call(typing).await;
    app.says(&channel, "note", "1").await;
    let answer = ada.polls(&query).await;
    assert_eq!(names(&answer), ["note"], "what nobody waited for is gone");
}

#[tokio::test]
async fn who_is_there_wakes_no_poll() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let query = format!("cursor={}", cursor(&ada).await);
    let poll = waits(&app, &ada, &query, 1).await;
    app.says("global", "connected-clients", "[]").await;
    let said = app.says("global", "note", "1").await;
    let answer = poll.await.unwrap();
    assert_eq!(names(&answer), ["note"]);
    assert_eq!(answer.json["cursor"], json!(said));
}

#[tokio::test]
async fn what_a_query_may_not_say_is_refused_with_what_it_may() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for wait in [
        "31",
        "-1",
        "%2B1",
        "1.5",
        "1s",
        "x",
        "99999999999999999999",
        "%20",
    ] {
        let refused = ada.polls(&format!("wait={wait}")).await;
        let refused = refused.is_problem(400, "invalid-wait");
        let detail = refused.json["detail"].as_str().unwrap();
        assert!(detail.contains("from 0 to 30"), "{detail}");
    }
    for (query, code) in [
        ("cursor=x", "invalid-cursor"),
        ("channel=", "invalid-channel"),
        ("format=data", "invalid-format"),
        ("format=xml", "invalid-format"),
    ] {
        let refused = ada.polls(query).await.is_problem(400, code);
        assert_eq!(refused.headers["cache-control"], "no-store");
    }
    // What means nothing to a poll is not looked at.
    let id = ada.ws("").await;
    for ignored in [
        "socket=1",
        &format!("socket={}", id.id()),
        "format=json",
        "x=y",
    ] {
        ada.polls(ignored).await.is(200);
    }
    let post = ada.builder(Method::POST, "/api/v1/events");
    Person::send(post)
        .await
        .is_problem(405, "method-not-allowed");
    drop(id);
}

#[tokio::test]
async fn head_waits_for_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let path = format!("/api/v1/events?cursor={}", cursor(&ada).await);
    let answer = Person::send(ada.builder(Method::HEAD, &path)).await.is(200);
    assert_eq!(answer.json, json!(""), "no body");
    assert_eq!(app.app.registry().counts(), (0, 0));
    let path = "/api/v1/events?channel=admin";
    Person::send(ada.builder(Method::HEAD, path)).await.is(403);
}

#[tokio::test]
async fn a_large_backlog_comes_in_several_answers_and_whole() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let mut cursor = cursor(&ada).await;
    let from = position(&cursor);
    app.tells(&channel, 2_300).await;
    // More than fits by its size, and one that is too large for any answer.
    for bytes in [300_000, 300_000, 300_000, 300_000, 1_500_000, 300_000] {
        app.says(&channel, "large", &json!("x".repeat(bytes)).to_string())
            .await;
    }
    let (mut seen, mut answers) = (Vec::new(), 0);
    let to = position(&app.says(&channel, "end", "0").await);
    while seen.last() != Some(&to) {
        let query = format!("channel={channel}&cursor={cursor}&wait=0");
        let answer = ada.polls(&query).await.is(200).json;
        let events = answer["events"].as_array().unwrap();
        let bytes: usize = events.iter().map(|event| event.to_string().len()).sum();
        assert!((1..=1_000).contains(&events.len()), "{}", events.len());
        assert!(events.len() == 1 || bytes <= 1024 * 1024, "{bytes}");
        seen.extend(positions(&answer));
        cursor = answer["cursor"].as_str().unwrap().to_owned();
        assert_eq!(position(&cursor), *seen.last().unwrap());
        answers += 1;
    }
    assert!(seen.into_iter().eq(from + 1..=to));
    assert_eq!(answers, 6, "two full ones by number, the others by size");
}

#[tokio::test]
async fn what_is_too_much_at_once_for_a_poll_that_waits_comes_with_the_next() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let begin = cursor(&ada).await;
    let mut poller = Poller::begin(&ada, &format!("channel={channel}&cursor={begin}")).await;
    eventually("it waits", async || app.app.registry().counts().0 == 1).await;
    // Published together, so that the outbox is full before the poll has its turn.
    let text = "x".repeat(400_000);
    let events = (0..10).map(|_| note(&channel, &text)).collect();
    let turn = app.app.log().begin().await.unwrap();
    turn.commit(events).await.unwrap();
    for n in 1..=10 {
        let event = poller.next_event().await;
        let at = position(event["cursor"].as_str().unwrap());
        assert_eq!(at, position(&begin) + n);
    }
}

#[tokio::test]
async fn who_hangs_up_leaves_at_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let cursor = cursor(&ada).await;
    for abruptly in [false, true] {
        let mut raw = Raw::connect(app.address).await;
        raw.sends(format!(
            "GET /api/v1/events?cursor={cursor}&wait=30 HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
            ada.cookie.as_deref().unwrap()
        ))
        .await;
        eventually("the poll waits", async || {
            app.app.registry().counts().0 == 1
        })
        .await;
        if abruptly {
            raw.stream.set_zero_linger().unwrap();
        }
        drop(raw);
        eventually("nothing of it is left", async || {
            app.app.registry().counts() == (0, 0)
        })
        .await;
    }
}

#[tokio::test]
async fn polls_take_places_only_while_they_wait() {
    let app = TestApp::start_with(|config| config.max_connections_per_user = 1).await;
    let ada = app.person("ada").await;
    let cursor = cursor(&ada).await;
    for _ in 0..20 {
        ada.polls(&format!("cursor={cursor}&wait=0")).await.is(200);
    }
    let waiting = waits(&app, &ada, &format!("cursor={cursor}"), 1).await;
    let refused = ada.polls("").await.is_problem(429, "rate-limited");
    assert!(refused.headers.contains_key("retry-after"));
    app.says("global", "note", "1").await;
    waiting.await.unwrap().is(200);
    ada.polls("").await.is(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_pollers_of_a_busy_room_miss_nothing() {
    const POLLERS: usize = 300;
    const EVENTS: u64 = 1_000;
    let app = TestApp::start_with(|config| config.max_connections_per_user = POLLERS).await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    let query = format!("channel={channel}");
    let mut pollers = Vec::new();
    for _ in 0..POLLERS {
        pollers.push(Poller::begin(&ada, &query).await);
    }
    let reading = pollers.into_iter().map(|mut poller| {
        tokio::spawn(async move {
            for n in 0..EVENTS {
                assert_eq!(poller.next_event().await["data"], json!(n));
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    // In small portions, so that they come and go all the time.
    for n in 0..EVENTS / 4 {
        let events = (4 * n..4 * n + 4).map(|n| note(&channel, &n)).collect();
        let turn = app.app.log().begin().await.unwrap();
        turn.commit(events).await.unwrap();
    }
    for poller in reading {
        poller.await.unwrap();
    }
    eventually("all have gone", async || {
        app.app.registry().counts() == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_answers_who_waits_with_when_to_come_back() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let query = format!("cursor={}", cursor(&ada).await);
    let mut waiting = Vec::new();
    for n in 1..=12 {
        waiting.push(waits(&app, &ada, &query, n).await);
    }
    app.app.stop();
    let mut retries = HashSet::new();
    for poll in waiting {
        let answer = poll.await.unwrap().is_problem(503, "unavailable");
        let retry = answer.headers["retry-after"].to_str().unwrap();
        assert!((1..=5).contains(&retry.parse::<u64>().unwrap()), "{retry}");
        retries.insert(retry.to_owned());
    }
    assert!(retries.len() > 1, "no stampede: {retries:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_session_that_ends_ends_its_polls() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let query = format!("cursor={}", cursor(&ada).await);
    let poll = waits(&app, &ada, &query, 1).await;
    ada.post("/auth/logout", json!({})).await.is(204);
    poll.await.unwrap().is_problem(401, "unauthorized");
    ada.polls(&query).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn rights_that_are_taken_while_a_poll_waits_are_taken_at_once() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let channel = format!("document:{root}");
    ada.lets(&bob, "read", &root).await;
    let query = format!("channel={channel}&cursor={}", cursor(&bob).await);
    let poll = waits(&app, &bob, &query, 1).await;
    ada.bars(&bob, &root).await;
    app.says(&channel, "secret", "1").await;
    app.says("global", "note", "1").await;
    let answer = poll.await.unwrap();
    assert!(!names(&answer).contains(&"secret"), "{answer:?}");
    let query = format!(
        "channel={channel}&cursor={}",
        answer.json["cursor"].as_str().unwrap()
    );
    bob.polls(&query).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn who_has_to_come_anew_is_answered_at_once() {
    let app = TestApp::start().await;
    let (root, boss) = (
        app.administrator("root").await,
        app.administrator("boss").await,
    );
    let query = format!("channel=admin&cursor={}", cursor(&boss).await);
    let poll = waits(&app, &boss, &query, 1).await;
    let path = format!("/users/{}", boss.id);
    root.patch(&path, json!({ "admin": false })).await.is(200);
    let answer = poll.await.unwrap().is(200);
    assert_eq!(names(&answer), [""; 0]);
    boss.polls(&query).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn guests_and_back_ends_poll_what_they_may() {
    let key = "k".repeat(32);
    let app = TestApp::start_with(|config| {
        config.guests = Guests::Global;
        let keyed = [("ROOMCAST_API_KEY".to_owned(), key.clone())].into();
        let keyed = Program::parse_from_parts(["roomcast".into()], &keyed);
        config.api_key = keyed.unwrap().config.api_key;
    })
    .await;
    let guest = app.nobody();
    let begin = cursor(&guest).await;
    app.says("global", "note", "1").await;
    app.says("document:1", "order", "1").await;
    let answer = guest.polls(&format!("cursor={begin}")).await;
    assert_eq!(names(&answer), ["note"]);
    guest
        .polls("channel=document:1")
        .await
        .is_problem(401, "unauthorized");

    let back_end =
        async |query: &str, key: &str| Person::send(guest.poll(query).bearer_auth(key)).await;
    let query = format!("channel=document:1&cursor={begin}");
    assert_eq!(names(&back_end(&query, &key).await.is(200)), ["order"]);
    back_end(&query, "wrong")
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn what_a_poll_has_seen_the_other_transports_go_on_from_and_back() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut cursor = cursor(&ada).await;
    for (n, way) in Way::ALL.iter().cycle().take(9).enumerate() {
        app.says("global", "note", &n.to_string()).await;
        let mut client = ada.listens(*way, &format!("cursor={cursor}")).await;
        assert_eq!(client.welcome()["recovered"], json!(true));
        let event = client.next_event().await;
        assert_eq!(event["data"], json!(n), "{way:?}");
        cursor = event["cursor"].as_str().unwrap().to_owned();
    }
}
