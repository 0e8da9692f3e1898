//! Accounts and logins: who may make one, what the cookie is like, and that a login that ended stays ended.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use reqwest::Method;
use roomcast::caller::Caller;
use roomcast::config::{Config, Program, Registration};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower_sessions::Session;

use crate::support::{Answer, PASSWORD, Person, TestApp, Way};

/// The settings of a server behind a proxy with TLS.
fn behind_tls(config: &mut Config) {
    let environment = [(
        "ROOMCAST_PUBLIC_URL".to_owned(),
        "https://app.example.org".to_owned(),
    )]
    .into();
    config.public_url = Program::parse_from_parts(["roomcast".into()], &environment)
        .unwrap()
        .config
        .public_url;
}

/// The parts of the one cookie that an answer sets, the first of them without its value.
fn cookie(answer: &Answer) -> Vec<String> {
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set.len(), 1, "{answer:?}");
    let mut parts: Vec<_> = set[0]
        .to_str()
        .unwrap()
        .split("; ")
        .map(str::to_owned)
        .collect();
    let name = parts.remove(0).split_once('=').unwrap().0.to_owned();
    parts.retain(|part| !part.starts_with("Max-Age=") && !part.starts_with("Expires="));
    parts.sort();
    parts.insert(0, name);
    parts
}

fn login(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

#[tokio::test]
async fn one_registers_logs_in_is_somebody_and_logs_out() {
    let app = TestApp::start().await;
    let mut ada = app.nobody();
    ada.get("/auth/me").await.is_problem(401, "unauthorized");
    ada.register("ada").await;
    ada.get("/auth/me").await.is_problem(401, "unauthorized");
    ada.log_in("ADA").await;
    let me = ada.get("/auth/me").await.is(200).json;
    assert_eq!(
        me,
        json!({ "id": ada.id, "username": "ada", "admin": false })
    );
    ada.post("/auth/register", login("Ada", PASSWORD))
        .await
        .is_problem(409, "conflict");
    ada.post("/auth/logout", json!({})).await.is(204);
    ada.get("/auth/me").await.is_problem(401, "unauthorized");
    ada.post("/auth/logout", json!({})).await.is(204);
}

#[tokio::test]
async fn names_and_passwords_that_cannot_be_are_refused_by_field() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let long = "x".repeat(1025);
    for (username, password, field) in [
        ("", PASSWORD, "username"),
        ("a b", PASSWORD, "username"),
        ("ada\u{202e}", PASSWORD, "username"),
        ("a\u{0}", PASSWORD, "username"),
        (&long[..65], PASSWORD, "username"),
        ("ada", "1234567", "password"),
        ("ada", &long, "password"),
    ] {
        let answer = nobody
            .post("/auth/register", login(username, password))
            .await;
        let answer = answer.is_problem(400, "invalid-body");
        assert_eq!(answer.json["errors"][0]["field"], field, "{answer:?}");
        assert!(!answer.json.to_string().contains("1234567"), "{answer:?}");
    }
    nobody
        .post("/auth/login", login("ada", &long))
        .await
        .is_problem(400, "invalid-body");
    nobody
        .post("/auth/register", login("ⓐda☂", "☂☂☂☂☂☂☂☂"))
        .await
        .is(201);
    nobody
        .post("/auth/login", login("ⓐda☂", "☂☂☂☂☂☂☂☂"))
        .await
        .is(200);
}

#[tokio::test]
async fn where_registration_is_closed_only_administrators_make_accounts() {
    let app = TestApp::start_with(|config| config.registration = Registration::Closed).await;
    let root = app.administrator("root").await;
    app.nobody()
        .post("/auth/register", login("eve", PASSWORD))
        .await
        .is_problem(403, "forbidden");
    root.post("/auth/register", login("ada", PASSWORD))
        .await
        .is(201);
    let mut ada = app.nobody();
    ada.log_in("ada").await;
    ada.post("/auth/register", login("eve", PASSWORD))
        .await
        .is_problem(403, "forbidden");
}

#[tokio::test]
async fn the_cookie_is_for_the_server_alone_from_the_login_to_the_logout() {
    let app = TestApp::start().await;
    let mut ada = app.person("ada").await;
    let expected = ["roomcast", "HttpOnly", "Path=/", "SameSite=Lax"];
    assert_eq!(
        cookie(&ada.post("/auth/login", login("ada", PASSWORD)).await),
        expected
    );
    ada.log_in("ada").await;
    assert_eq!(cookie(&ada.post("/auth/logout", json!({})).await), expected);

    let app = TestApp::start_with(behind_tls).await;
    let mut ada = app.person("ada").await;
    let expected = [
        "__Host-roomcast",
        "HttpOnly",
        "Path=/",
        "SameSite=Lax",
        "Secure",
    ];
    assert_eq!(
        cookie(&ada.post("/auth/login", login("ada", PASSWORD)).await),
        expected
    );
    ada.log_in("ada").await;
    // A browser ignores what touches a __Host- cookie and is not Secure itself: it would keep the cookie.
    let answer = ada.post("/auth/logout", json!({})).await.is(204);
    assert_eq!(cookie(&answer), expected);
    assert!(
        answer.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_planted_cookie_is_nobodys_login() {
    let app = TestApp::start().await;
    let mallory = app.person("mallory").await;
    // Mallory's own session, and one that never was, in Ada's browser before she logs in.
    for planted in [
        mallory.cookie.clone().unwrap(),
        "roomcast=AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
    ] {
        let mut ada = app.nobody();
        let _ = ada.post("/auth/register", login("ada", PASSWORD)).await;
        ada.cookie = Some(planted.clone());
        ada.log_in("ada").await;
        assert_ne!(
            ada.cookie.as_ref(),
            Some(&planted),
            "a login has an id of its own"
        );
        assert_eq!(ada.get("/auth/me").await.json["username"], "ada");
        let mut thief = app.nobody();
        thief.cookie = Some(planted);
        thief.get("/auth/me").await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn broken_cookies_are_nobody() {
    let app = TestApp::start().await;
    let real = app.person("ada").await.cookie.unwrap();
    let long = format!("roomcast={}", "x".repeat(4096));
    for cookie in [
        "roomcast=",
        "roomcast=\"\"",
        "roomcast=../../x",
        "roomcast=' OR 1=1--",
        "=",
        ";;;",
        &long,
        &real[..20],
    ] {
        let mut nobody = app.nobody();
        nobody.cookie = Some(cookie.to_owned());
        nobody.get("/auth/me").await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_failed_login_does_not_say_whether_there_is_such_a_user() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let nobody = app.nobody();
    let shown = async |name: &str, password: &str| {
        let answer = nobody
            .post("/auth/login", login(name, password))
            .await
            .is_problem(401, "unauthorized");
        let mut headers = answer.headers;
        for own in ["date", "x-request-id"] {
            headers.remove(own);
        }
        (answer.status, answer.json, headers)
    };
    let wrong = shown("ada", "wrong horse").await;
    assert_eq!(shown("eve", "wrong horse").await, wrong);
    assert_eq!(shown("' OR 1=1--", PASSWORD).await, wrong);
    assert_eq!(shown("", "").await, wrong);
    assert_eq!(shown("ada", &format!("{PASSWORD} ")).await, wrong);
}

#[tokio::test]
async fn a_logout_closes_the_sessions_own_sockets_and_nobody_elses() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut elsewhere = app.nobody();
    elsewhere.log_in("ada").await;
    let mut ended = [
        ada.listens(Way::WebSocket, "").await,
        ada.listens(Way::WebSocket, "").await,
        ada.listens(Way::Sse, "").await,
    ];
    let mut living = [
        elsewhere.listens(Way::WebSocket, "").await,
        elsewhere.listens(Way::Sse, "").await,
        bob.listens(Way::WebSocket, "").await,
    ];

    ada.post("/auth/logout", json!({})).await.is(204);
    for client in &mut ended {
        let (disconnect, code) = client.end().await;
        assert_eq!(
            (&disconnect["code"], &disconnect["reconnect"]),
            (&json!("session-ended"), &json!(false))
        );
        assert_eq!(disconnect.get("retry"), None);
        assert!(code.is_none_or(|code| code == 4401), "{code:?}");
    }
    for way in Way::ALL {
        ada.is_refused(way, "")
            .await
            .is_problem(401, "unauthorized");
    }
    let mark = app.marks().await;
    for client in &mut living {
        assert!(client.before(&mark).await.is_empty());
    }
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    let app = TestApp::start().await;
    let (root, ada) = (app.administrator("root").await, app.person("ada").await);
    let mut elsewhere = app.nobody();
    elsewhere.log_in("ada").await;
    let (mut here, mut there) = (
        ada.listens(Way::WebSocket, "").await,
        elsewhere.listens(Way::Sse, "").await,
    );
    let path = format!("/users/{}", ada.id);
    ada.patch(&path, json!({ "password": "battery staple" }))
        .await
        .is_problem(400, "invalid-body");
    let wrong = json!({ "password": "battery staple", "currentPassword": "wrong horse" });
    ada.patch(&path, wrong).await.is_problem(403, "forbidden");
    ada.patch(
        &path,
        json!({ "password": "battery staple", "currentPassword": PASSWORD }),
    )
    .await
    .is(200);

    assert_eq!(there.end().await.0["code"], "session-ended");
    elsewhere
        .get("/auth/me")
        .await
        .is_problem(401, "unauthorized");
    ada.get("/auth/me").await.is(200);
    assert_eq!(
        here.names_before(&app.marks().await, &format!("user:{}", ada.id))
            .await,
        ["changed-record"]
    );
    app.nobody()
        .post("/auth/login", login("ada", PASSWORD))
        .await
        .is_problem(401, "unauthorized");

    root.patch(&path, json!({ "password": "staple battery" }))
        .await
        .is(200);
    assert_eq!(here.end().await.0["code"], "session-ended");
    ada.get("/auth/me").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn nobody_makes_oneself_an_administrator_and_one_is_always_left() {
    let app = TestApp::start().await;
    let (root, ada) = (app.administrator("root").await, app.person("ada").await);
    let own = format!("/users/{}", ada.id);
    for more in [
        json!({ "admin": true }),
        json!({ "id": "1" }),
        json!({ "password_hash": "x" }),
    ] {
        let mut body = login("eve", PASSWORD);
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        app.nobody()
            .post("/auth/register", body)
            .await
            .is_problem(400, "invalid-body");
    }
    ada.patch(&own, json!({ "admin": true }))
        .await
        .is_problem(403, "forbidden");
    ada.patch(&own, json!({ "id": root.id }))
        .await
        .is_problem(400, "invalid-body");
    ada.patch(&format!("/users/{}", root.id), json!({ "username": "eve" }))
        .await
        .is_problem(403, "forbidden");
    assert_eq!(ada.get("/auth/me").await.json["admin"], false);

    let last = format!("/users/{}", root.id);
    root.patch(&last, json!({ "admin": false }))
        .await
        .is_problem(409, "conflict");
    root.patch(&own, json!({ "admin": true })).await.is(200);
    root.patch(&last, json!({ "admin": false })).await.is(200);
}

#[tokio::test]
async fn a_session_that_is_saved_late_stays_ended() {
    // A handler that changes the session and then takes its time: the session is saved after it, and after the logout.
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let touch = async move |session: Session| {
        session.insert("touched", true).await.unwrap();
        opened.notified().await;
    };
    let app = TestApp::start_beside(Router::new().route("/touch", post(touch))).await;
    let ada = app.person("ada").await;
    let request = ada.builder(Method::POST, "/touch");
    let ending = async {
        ada.post("/auth/logout", json!({})).await.is(204);
        gate.notify_one();
    };
    tokio::join!(Person::send(request), ending).0.is(200);
    ada.get("/auth/me").await.is_problem(401, "unauthorized");
}

/// How often a session is saved and ended at once.
const RACES: usize = 1_000;

#[tokio::test]
async fn a_session_that_is_saved_and_ended_at_once_is_ended() {
    let touch = async |_: Caller, session: Session| session.insert("touched", true).await.unwrap();
    let app = TestApp::start_beside(Router::new().route("/touch", post(touch))).await;
    app.person("ada").await;
    let race = async |lane: usize| {
        let mut ada = app.nobody();
        for round in 0..RACES / 4 {
            ada.log_in("ada").await;
            let touched = Person::send(ada.builder(Method::POST, "/touch"));
            let (touched, ended) = tokio::join!(touched, ada.post("/auth/logout", json!({})));
            assert_eq!(ended.status, 204, "{lane}, {round}");
            let in_time = touched.status == 200;
            assert!(
                in_time || touched.status == 401,
                "{lane}, {round}: {touched:?}"
            );
            let after = ada.get("/auth/me").await.status;
            assert_eq!(after, 401, "{lane}, {round}: the login came back to life");
        }
    };
    tokio::join!(race(1), race(2), race(3), race(4));
}
