//! What was tried against the server and once worked: it must not again.

use reqwest::Method;
use roomcast::config::Guests;
use serde_json::{Value, json};

use crate::support::{Answer, Person, Raw, TestApp, Way, WsClient, eventually};

/// A request whose head has arrived, and whose body has not.
struct Held {
    raw: Raw,
    rest: Vec<u8>,
}

impl Held {
    async fn request(person: &Person, method: &str, path: &str, body: &Value) -> Self {
        let mut raw = Raw::connect(person.address).await;
        let (cookie, rest) = (
            person.cookie.as_deref().unwrap(),
            body.to_string().into_bytes(),
        );
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nExpect: 100-continue\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            person.address,
            rest.len()
        );
        raw.sends(head).await;
        // The server asks for the body once it has found the caller and begins to read.
        assert!(raw.head().await.starts_with("HTTP/1.1 100"));
        Self { raw, rest }
    }

    /// Sends the rest, and gives the status.
    async fn ends(mut self) -> String {
        self.raw.sends(&self.rest).await;
        self.raw.head().await[9..12].to_owned()
    }
}

#[tokio::test]
async fn a_body_that_comes_late_finds_a_login_that_has_ended() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let held = Held::request(&ada, "POST", "/document-roots", &json!({ "name": "late" })).await;
    ada.post("/auth/logout", json!({})).await.is(204);
    assert_eq!(held.ends().await, "401");
}

#[tokio::test]
async fn a_body_that_comes_late_finds_a_rank_that_is_lost() {
    let app = TestApp::start().await;
    let (root, eve) = (
        app.administrator("root").await,
        app.administrator("eve").await,
    );
    let path = format!("/users/{}", eve.id);
    let held = Held::request(&eve, "PATCH", &path, &json!({ "admin": true })).await;
    root.patch(&path, json!({ "admin": false })).await.is(200);
    assert_eq!(held.ends().await, "403");
    assert_eq!(eve.get("/auth/me").await.json["admin"], json!(false));
}

#[tokio::test]
async fn somebody_elses_socket_id_opens_nothing_of_the_past() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.person("ada").await, app.person("eve").await);
    let id = "0190a6d2-7e2a-4cc0-b1f5-3c1f0a9d4e11";
    let own = ada.ws(&format!("socket={id}")).await;
    let cursor = own.welcome["cursor"].as_str().unwrap().to_owned();
    app.says(&format!("socket:{id}"), "secret", "1").await;
    drop(own);
    let query = format!("socket={id}&cursor={cursor}");
    for way in Way::BOTH {
        let mut thief = eve.listens(way, &query).await;
        let stolen = thief.before(&app.marks().await).await;
        assert!(
            stolen.iter().all(|frame| frame["event"] != "secret"),
            "{way:?}: {stolen:?}"
        );
    }
    for way in Way::BOTH {
        let mut back = ada.listens(way, &query).await;
        assert_eq!(back.next_event().await["event"], "secret", "{way:?}");
    }
}

#[tokio::test]
async fn what_is_said_to_a_socket_that_nobody_holds_is_read_by_no_guest() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    let id = "0190a6d2-7e2a-4cc0-b1f5-3c1f0a9d4e12";
    let cursor = app.marks().await;
    app.says(&format!("socket:{id}"), "secret", "1").await;
    for way in Way::BOTH {
        let query = format!("socket={id}&cursor={cursor}");
        let mut guest = app.nobody().listens(way, &query).await;
        assert_eq!(guest.welcome()["recovered"], json!(true), "{way:?}");
        let read = guest.before(&app.marks().await).await;
        assert!(
            read.iter().all(|frame| frame["event"] != "secret"),
            "{way:?}: {read:?}"
        );
    }
}

#[tokio::test]
async fn a_guest_hears_what_is_said_to_its_socket() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    for way in Way::BOTH {
        let mut guest = app.nobody().listens(way, "").await;
        let channel = format!("socket:{}", guest.id());
        app.says(&channel, "note", "1").await;
        assert_eq!(
            guest.next_event().await["channel"],
            json!(channel),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn what_is_said_to_a_socket_while_its_owner_is_away_is_for_the_owner() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    let (ada, eve) = (app.person("ada").await, app.person("eve").await);
    let id = "0190a6d2-7e2a-4cc0-b1f5-3c1f0a9d4e13";
    let query = format!("socket={id}");
    let gone = async || app.app.registry().counts().0 == 0;
    for way in Way::BOTH {
        let own = ada.listens(way, &query).await;
        let query = format!("{query}&cursor={}", own.cursor());
        drop(own);
        eventually("its connection is gone", gone).await;
        // Who brings the id meanwhile does not become its owner by going.
        drop(eve.listens(way, &query).await);
        eventually("the other one is gone, too", gone).await;
        app.says(&format!("socket:{id}"), "secret", "1").await;
        for thief in [&eve, &app.nobody()] {
            let mut thief = thief.listens(way, &query).await;
            let stolen = thief.before(&app.marks().await).await;
            assert!(
                stolen.iter().all(|frame| frame["event"] != "secret"),
                "{way:?}: {stolen:?}"
            );
        }
        let mut back = ada.listens(way, &query).await;
        assert_eq!(back.welcome()["recovered"], json!(true), "{way:?}");
        let heard = back.before(&app.marks().await).await;
        assert!(
            heard.iter().any(|frame| frame["event"] == "secret"),
            "{way:?}: {heard:?}"
        );
        drop(back);
        eventually("all are gone", gone).await;
    }
}

#[tokio::test]
async fn a_large_document_puts_nobody_out_of_the_room() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("large").await;
    let channel = format!(
        "channel={}",
        Value::from(format!("document:{root}")).as_str().unwrap()
    );
    let (mut ws, mut sse) = (ada.ws(&channel).await, ada.sse(&channel).await);
    let cursor = ws.welcome["cursor"].as_str().unwrap().to_owned();
    let data = json!("x".repeat(2 * 1024 * 1024 - 200));
    ada.makes_document(&root, data.clone()).await;
    let arrived = |frame: Value| frame["data"]["record"]["data"] == data;
    assert!(arrived(ws.next_event().await));
    assert!(arrived(sse.next_event().await));
    let mut back = ada.ws(&format!("{channel}&cursor={cursor}")).await;
    assert!(arrived(back.next_event().await));
}

#[tokio::test]
async fn guests_do_not_see_who_is_there() {
    let app = TestApp::start_with(|config| config.guests = Guests::Global).await;
    for way in Way::BOTH {
        let refused = app
            .nobody()
            .is_refused(way, "channel=presence:global")
            .await;
        refused.is_problem(401, "unauthorized");
    }
    let mut guest: WsClient = app.nobody().ws("").await;
    let answer = guest
        .call(json!({ "type": "join", "channel": "presence:global" }))
        .await;
    assert_eq!(answer["code"], "unauthorized");
}

#[tokio::test]
async fn who_is_not_logged_in_has_little_to_say() {
    let app = TestApp::start().await;
    let large = json!({ "username": "x".repeat(20_000), "password": "x" });
    app.nobody()
        .post("/auth/login", large)
        .await
        .is_problem(413, "too-large");
    let claims = app.nobody().builder(Method::POST, "/api/v1/auth/logout");
    let answer: Answer = Person::send(claims.body("x".repeat(20_000))).await;
    answer.is_problem(413, "too-large");
}

#[tokio::test]
async fn a_host_that_two_servers_could_read_in_two_ways_is_refused() {
    let app = TestApp::start().await;
    for head in [
        "GET /api/v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /api/v1/status HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = Raw::connect(app.address).await;
        raw.sends(head).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 400"), "{head}");
    }
}

#[tokio::test]
async fn who_comes_and_goes_leaves_no_more_places_behind_than_a_few() {
    const KEPT: usize = 1_024;
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    // Each poll is gone with its answer, and joins other rooms than the one before.
    for poll in 0..20 {
        let rooms: Vec<String> = (0..100)
            .map(|room| format!("channel=presence:{poll}-{room}"))
            .collect();
        ada.polls(&rooms.join("&")).await.is(200);
    }
    let registry = app.app.registry();
    eventually("the polls are gone", async || registry.counts().0 == 0).await;
    let kept = |poll: usize, room: usize| {
        let channel = format!("presence:{poll}-{room}").parse().unwrap();
        registry.members(&channel, "", 1).1
    };
    let all = (0..20).flat_map(|poll| (0..100).map(move |room| (poll, room)));
    let kept: usize = all.map(|(poll, room)| kept(poll, room)).sum();
    assert_eq!(kept, KEPT);
}

#[tokio::test]
async fn who_may_not_know_who_was_there_is_not_told_afterwards() {
    let (app, back_end) = TestApp::start_with_key().await;
    let (ada, eve) = (app.person("ada").await, app.person("eve").await);
    let root = ada.makes_root("plans").await;
    ada.lets(&eve, "read", &root).await;
    let asked = format!("channel=presence:document:{root}");
    let cursor = eve.ws(&asked).await.welcome["cursor"].clone();
    ada.bars(&eve, &root).await;
    let said = json!({ "channels": [format!("presence:document:{root}")], "event": "secret" });
    back_end.post("/publish", said).await.is(200);
    ada.lets(&eve, "read", &root).await;
    let query = format!("{asked}&cursor={}", cursor.as_str().unwrap());
    for way in Way::ALL {
        let back = eve.listens(way, &query).await;
        assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
    }
    let mut ws = eve.ws("").await;
    let join =
        json!({ "type": "join", "channel": format!("presence:document:{root}"), "cursor": cursor });
    assert_eq!(ws.call(join).await["recovered"], json!(false));
}

#[tokio::test]
async fn nobody_fills_the_list_of_rooms_that_everybody_sees() {
    let app = TestApp::start().await;
    let (eve, ada) = (app.person("eve").await, app.person("ada").await);
    for _ in 0..100 {
        eve.makes_room("spam", None).await;
    }
    let one_more = || eve.post("/rooms", json!({ "name": "spam" }));
    one_more().await.is_problem(409, "conflict");
    ada.makes_room("Lobby", None).await;
    let group = eve.makes_group("friends").await;
    let own = eve.makes_room("ours", Some(&group)).await;
    eve.delete(&format!("/rooms/{own}")).await.is(204);
    one_more().await.is_problem(409, "conflict");
    let rooms = eve.get("/rooms?limit=1").await.json;
    let room = rooms["items"][0]["id"].as_str().unwrap();
    eve.delete(&format!("/rooms/{room}")).await.is(204);
    one_more().await.is(201);
}
