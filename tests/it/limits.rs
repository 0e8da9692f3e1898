//! What is too much is refused with when to come again, counted, and hurts nobody else.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, PASSWORD, Person, TestApp, WsClient, eventually};

const MIB: usize = 1024 * 1024;

/// How often something was refused, as operators see it.
async fn refused(app: &TestApp, reason: &str) -> u64 {
    let url = format!("http://{}/metrics", app.address);
    let asked = reqwest::Client::new().get(url).bearer_auth(API_KEY).send();
    let metrics = asked.await.unwrap().text().await.unwrap();
    let name = format!("roomcast_refusals_total{{reason=\"{reason}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

fn says_when(answer: &crate::support::Answer) {
    let seconds = answer.headers["retry-after"].to_str().unwrap();
    assert!(seconds.parse::<u64>().unwrap() >= 1, "{seconds}");
}

#[tokio::test]
async fn who_joins_again_and_again_is_told_to_wait_on_all_of_ones_connections() {
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.joins_per_second = 1;
    })
    .await;
    let ada = app.person("ada").await;
    let bob = app.person("bob").await;
    let (mut first, mut second) = (ada.ws("").await, ada.ws("").await);
    let mut joined = 0;
    for n in 0..30 {
        let client = if n % 2 == 0 { &mut first } else { &mut second };
        let join = json!({ "type": "join", "channel": format!("presence:room-{n}") });
        let answer = client.call(join).await;
        match answer["code"].as_str() {
            None => joined += 1,
            code => assert_eq!(code, Some("rate-limited"), "{answer}"),
        }
    }
    // Ten seconds' worth at once; more only if the test took that long.
    assert!((10..25).contains(&joined), "{joined}");
    assert_eq!(refused(&app, "joins").await, 30 - joined);
    // Nobody else is kept waiting, and the connection goes on.
    bob.ws("").await.joins("presence:room-1").await;
    assert_eq!(first.call(json!({ "type": "ping" })).await["type"], "ack");
}

#[tokio::test]
async fn who_changes_too_much_is_refused_and_back_ends_and_others_are_not() {
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.changes_per_second = 1;
    })
    .await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
    for n in 0..30 {
        let answer = ada
            .post("/groups", json!({ "name": format!("g{n}") }))
            .await;
        *answers.entry(answer.status.as_u16()).or_default() += 1;
        if answer.status != 201 {
            says_when(&answer.is_problem(429, "rate-limited"));
        }
    }
    let refusals = answers[&429];
    assert!((5..=20).contains(&refusals), "{answers:?}");
    assert_eq!(refused(&app, "changes").await, refusals);
    // To look is no change.
    ada.get("/groups").await.is(200);
    bob.post("/groups", json!({ "name": "bob's" }))
        .await
        .is(201);
    let back_end = app.back_end();
    for n in 0..30 {
        let event = json!({ "channels": ["order:1"], "event": "n", "data": n });
        back_end.post("/publish", event).await.is(200);
    }
}

#[tokio::test]
async fn an_address_that_tries_many_logins_is_refused_before_they_cost_anything() {
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.logins_per_second = 1;
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let from = async |address: &str, path: &str, body: Value| {
        let request = app.nobody().builder(Method::POST, path).json(&body);
        Person::send(request.header("x-forwarded-for", address)).await
    };
    let login = json!({ "username": "nobody", "password": PASSWORD });
    let mut refusals = 0;
    for _ in 0..20 {
        let answer = from("192.0.2.1", "/api/v1/auth/login", login.clone()).await;
        if answer.status == 429 {
            says_when(&answer.is_problem(429, "rate-limited"));
            refusals += 1;
        }
    }
    assert!(refusals >= 5, "{refusals}");
    assert!(refused(&app, "logins").await >= 1);
    // Registering is no way round it, and others come from elsewhere.
    let register = json!({ "username": "eve", "password": PASSWORD });
    from("192.0.2.1", "/api/v1/auth/register", register.clone())
        .await
        .is(429);
    from("192.0.2.2", "/api/v1/auth/register", register)
        .await
        .is(201);
}

#[tokio::test]
async fn who_connects_again_and_again_is_refused_for_a_while_and_others_stay() {
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.max_connections_per_ip = 4;
    })
    .await;
    let ada = app.person("ada").await;
    let mut inside = ada.ws("").await;
    let mut refusals = 0;
    for _ in 0..500 {
        match WsClient::connect(ada.address, "", ada.cookie.as_deref()).await {
            Ok(_) => {}
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                assert_eq!(answer.status(), 429);
                assert!(answer.headers().contains_key("retry-after"));
                refusals += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals >= 10, "{refusals}");
    assert!(refused(&app, "connects").await >= 1);
    assert_eq!(inside.call(json!({ "type": "ping" })).await["type"], "ack");
    // A poll is a request, and comes as often as it likes.
    let cursor = ada.get("/auth/me").await.cursor();
    for _ in 0..20 {
        ada.get(&format!("/events?cursor={cursor}&wait=0"))
            .await
            .is(200);
    }
    eventually("it may connect again", async || {
        WsClient::connect(ada.address, "", ada.cookie.as_deref())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn one_user_cannot_take_every_place_in_the_queue() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    // The log is busy, so everybody who changes something waits.
    let turn = app.app.log().begin().await.unwrap();
    let changes = (0..400).map(|n| {
        let ada = ada.clone();
        tokio::spawn(async move {
            ada.post("/groups", json!({ "name": format!("g{n}") }))
                .await
        })
    });
    let changes: Vec<_> = changes.collect();
    eventually("the surplus is refused", async || {
        changes.iter().filter(|change| change.is_finished()).count() >= 400 - 256
    })
    .await;
    let other = tokio::spawn(async move { bob.post("/groups", json!({ "name": "b" })).await });
    drop(turn);
    other.await.unwrap().is(201);
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for change in changes {
        *answers
            .entry(change.await.unwrap().status.as_u16())
            .or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([(201, 256), (429, 144)]));
}

#[tokio::test]
async fn when_too_much_waits_for_all_together_those_furthest_behind_go() {
    let app = TestApp::start_with(|config| {
        config.outbox_bytes = 32 * MIB;
        config.outbox_total_bytes = 33 * MIB;
        config.ping_timeout = std::time::Duration::from_secs(600);
    })
    .await;
    let ada = app.person("ada").await;
    let mut behind = Vec::new();
    for n in 0..4 {
        let query = format!("channel=presence:{n}");
        let cookie = ada.cookie.as_deref();
        behind.push(
            WsClient::connect_silently(ada.address, &query, cookie)
                .await
                .unwrap(),
        );
    }
    let mut reader = ada.ws("channel=presence:reader").await;
    let data = json!("x".repeat(60_000)).to_string();
    // Each of them is behind by less than it may, also with what the kernel keeps for it.
    for round in 0..300 {
        for n in 0..4 {
            app.says(&format!("presence:{n}"), "n", &data).await;
        }
        if round % 10 == 0 {
            app.says("presence:reader", "n", &round.to_string()).await;
            assert_eq!(reader.next_event().await["data"], json!(round));
        }
    }
    // What they are still being sent goes with their connections.
    eventually("no more waits than may", async || {
        app.app.registry().scales().bytes() <= 33 * MIB
    })
    .await;
    assert_eq!(reader.call(json!({ "type": "ping" })).await["type"], "ack");
    drop(behind);
    eventually("nothing waits any more", async || {
        app.app.registry().scales().bytes() == 0
    })
    .await;
}

#[tokio::test]
async fn of_pointers_a_slow_reader_gets_the_newest_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("channels.toml");
    std::fs::write(&file, "[kinds.document]\nnewest = [\"pointer\"]\n").unwrap();
    let rules = roomcast::rules::Rules::read(&file, &BTreeMap::new(), 65_536).unwrap();
    let app = TestApp::start_with(|config| {
        config.rules = rules;
        config.outbox_bytes = 100_000;
        config.ping_timeout = std::time::Duration::from_secs(600);
    })
    .await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let channel = format!("document:{root}");
    let query = format!("channel={channel}");
    let mut slow = WsClient::connect_silently(ada.address, &query, ada.cookie.as_deref())
        .await
        .unwrap();
    let mut pen = ada.ws(&query).await;
    let padding = "x".repeat(20_000);
    // Far more than the outbox and the kernel's buffers hold together.
    const LAST: u64 = 600;
    for n in 0..=LAST {
        let answer = pen
            .call(
                json!({ "type": "publish", "channel": channel, "event": "pointer", "volatile": true,
                          "data": { "n": n, "padding": padding } }),
            )
            .await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }
    let mut seen = Vec::new();
    loop {
        let frame = slow.try_next().await.expect("a frame, not the end");
        if frame["event"] == "pointer" {
            let n = frame["data"]["n"].as_u64().unwrap();
            seen.push(n);
            if n == LAST {
                break;
            }
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(
        seen.len() < 600,
        "nothing was left out: the test says nothing"
    );
}

#[tokio::test]
async fn answers_say_that_nothing_in_them_is_to_be_run_or_framed() {
    let app = TestApp::start().await;
    for path in ["/api/v1/auth/me", "/livez", "/nowhere", "/sse/events"] {
        let answer = reqwest::get(format!("http://{}{path}", app.address))
            .await
            .unwrap();
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(
            headers["cross-origin-resource-policy"], "same-origin",
            "{path}"
        );
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert!(!headers.contains_key("strict-transport-security"), "{path}");
    }
}
