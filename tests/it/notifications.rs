//! Who asked for a change is left out of hearing of it, and nobody else; what fails is told to nobody.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::post;
use roomcast::notify::{Notification, Notify, Tx};
use roomcast::realtime::Channel;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Client, Person, TestApp, Way};

/// How often a document was said to have changed before a mark.
async fn changes_before(client: &mut Client, mark: &str) -> usize {
    let frames = client.before(mark).await;
    frames
        .iter()
        .filter(|frame| frame["event"] == "changed-document")
        .count()
}

async fn ada_with_a_document(app: &TestApp) -> (Person, String, String) {
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("one")).await;
    (ada, document, format!("channel=document:{root}"))
}

#[tokio::test]
async fn the_socket_that_asked_is_left_out_live_on_replay_and_on_the_other_transport() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    for way in Way::BOTH {
        let mut asking = ada.listens(way, &channel).await;
        let mut others = [
            ada.listens(way, &channel).await,
            ada.listens(way.other(), &channel).await,
        ];
        let (id, cursor) = (asking.id().to_owned(), asking.cursor().to_owned());

        ada.at(&id).changes(&document, json!("two")).await;
        let mark = app.marks().await;
        assert_eq!(changes_before(&mut asking, &mark).await, 0, "{way:?}, live");
        for other in &mut others {
            assert_eq!(changes_before(other, &mark).await, 1, "{way:?}");
        }
        drop(asking);
        for again in Way::BOTH {
            let query = format!("{channel}&cursor={cursor}");
            let mut same = ada.listens(again, &format!("{query}&socket={id}")).await;
            assert_eq!(same.welcome()["recovered"], json!(true));
            assert_eq!(
                changes_before(&mut same, &mark).await,
                0,
                "{way:?}, then {again:?}"
            );
            ada.at(&id).changes(&document, json!("three")).await;
            let live = app.marks().await;
            assert_eq!(
                changes_before(&mut same, &live).await,
                0,
                "{way:?}, live on {again:?}"
            );
            let mut another = ada.listens(again, &query).await;
            assert_eq!(
                changes_before(&mut another, &mark).await,
                1,
                "{way:?}, then {again:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_join_leaves_the_socket_out_too() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let mut ws = ada.ws("").await;
    let cursor = ws.welcome["cursor"].clone();
    ada.at(ws.id()).changes(&document, json!("own")).await;
    ada.changes(&document, json!("other")).await;
    let channel = channel.trim_start_matches("channel=");
    let ack = ws
        .call(json!({ "type": "join", "channel": channel, "cursor": cursor }))
        .await;
    let missed: Vec<_> = ack["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["data"]["data"])
        .collect();
    assert_eq!(missed, [&json!("other")]);
}

#[tokio::test]
async fn the_header_has_two_names_and_the_first_wins() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let (mut first, mut second) = (
        ada.listens(Way::WebSocket, &channel).await,
        ada.listens(Way::Sse, &channel).await,
    );
    let (one, two) = (first.id().to_owned(), second.id().to_owned());
    let upper = one.to_uppercase();
    // The headers, and how often each of the two sockets hears of the change.
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Headers<'_>, [usize; 2]); 7] = [
        (&[("x-metadata-socketid", &one)], [0, 1]),
        (
            &[("x-socket-id", &one), ("x-metadata-socketid", &two)],
            [0, 1],
        ),
        (
            &[("x-metadata-socketid", &one), ("x-socket-id", &two)],
            [1, 0],
        ),
        (&[("x-socket-id", &upper)], [0, 1]),
        (&[("x-socket-id", "not a socket")], [1, 1]),
        (
            &[("x-socket-id", "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11")],
            [1, 1],
        ),
        (&[("x-socket-id", "")], [1, 1]),
    ];
    for (headers, expected) in cases {
        let mut request = ada.builder(
            reqwest::Method::PUT,
            &format!("/api/v1/documents/{document}"),
        );
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Person::send(request.json(&json!({ "data": 1 })))
            .await
            .is(204);
        let mark = app.marks().await;
        let heard = [
            changes_before(&mut first, &mark).await,
            changes_before(&mut second, &mark).await,
        ];
        assert_eq!(heard, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn naming_somebody_elses_socket_hides_nothing_from_it() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let bob = app.person("bob").await;
    ada.lets(
        &bob,
        "read",
        channel.trim_start_matches("channel=document:"),
    )
    .await;
    for way in Way::BOTH {
        let mut victim = bob.listens(way, &channel).await;
        let (id, cursor) = (victim.id().to_owned(), victim.cursor().to_owned());
        ada.at(&id).changes(&document, json!("two")).await;
        let mark = app.marks().await;
        assert_eq!(changes_before(&mut victim, &mark).await, 1, "{way:?}, live");
        let mut back = bob
            .listens(
                way.other(),
                &format!("{channel}&cursor={cursor}&socket={id}"),
            )
            .await;
        assert_eq!(
            changes_before(&mut back, &mark).await,
            1,
            "{way:?}, on replay"
        );
        // The same id under another user is another socket, and its own changes are its own.
        let mut namesake = ada
            .listens(way, &format!("{channel}&cursor={cursor}&socket={id}"))
            .await;
        assert_eq!(
            changes_before(&mut namesake, &mark).await,
            0,
            "{way:?}, of the same name"
        );
    }
}

#[tokio::test]
async fn administrators_hear_of_changes_by_those_who_are_none() {
    let app = TestApp::start().await;
    let root = app.administrator("root").await;
    let mut clients = [
        root.listens(Way::WebSocket, "").await,
        root.listens(Way::Sse, "").await,
    ];
    let (ada, document, _) = ada_with_a_document(&app).await;
    ada.changes(&document, json!("two")).await;
    root.put(
        &format!("/documents/{document}?onBehalfOf=true"),
        json!({ "data": "three" }),
    )
    .await
    .is(204);
    let mark = app.marks().await;
    for client in &mut clients {
        let frames = client.before(&mark).await;
        assert!(
            frames
                .iter()
                .all(|frame| frame["channel"] == "admin" && frame["event"] == "changed-record")
        );
        let told: Vec<_> = frames
            .iter()
            .map(|frame| frame["data"]["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            told[told.len() - 3..],
            ["DocumentRoot", "Document", "Document"],
            "and not of the administrator's"
        );
        assert_eq!(
            frames.last().unwrap()["data"]["record"]["data"],
            json!("two")
        );
    }
}

#[tokio::test]
async fn a_refused_change_is_told_to_nobody() {
    let app = TestApp::start().await;
    let (ada, document, channel) = ada_with_a_document(&app).await;
    let bob = app.person("bob").await;
    ada.lets(
        &bob,
        "read",
        channel.trim_start_matches("channel=document:"),
    )
    .await;
    let mut clients = [
        bob.listens(Way::WebSocket, &channel).await,
        bob.listens(Way::Sse, &channel).await,
    ];
    let before = app.app.registry().cursor().to_string();
    let path = format!("/documents/{document}");
    let stale = ada
        .builder(reqwest::Method::PUT, &format!("/api/v1{path}"))
        .header("if-match", "\"9\"");
    for refused in [
        Person::send(stale.json(&json!({ "data": 2 })))
            .await
            .is_problem(412, "precondition-failed"),
        bob.put(&path, json!({ "data": 2 }))
            .await
            .is_problem(403, "forbidden"),
        ada.put(&path, json!({ "dat": 2 }))
            .await
            .is_problem(400, "invalid-body"),
        ada.put("/documents/none", json!({ "data": 2 }))
            .await
            .is_problem(404, "not-found"),
        app.nobody()
            .delete(&path)
            .await
            .is_problem(401, "unauthorized"),
    ] {
        assert_eq!(refused.headers.get("event-cursor"), None, "{refused:?}");
    }
    assert_eq!(
        app.app.registry().cursor().to_string(),
        before,
        "nothing was kept"
    );
    let mark = app.marks().await;
    for client in &mut clients {
        assert!(client.before(&mark).await.is_empty());
    }
    assert_eq!(ada.get(&path).await.json["data"], json!("one"));
}

/// Makes a row, and says that it will tell everybody.
async fn make_a_row(tx: &mut Tx) -> Notify {
    sqlx::query("insert into groups (id, name, created_at) values (hex(randomblob(8)), 'made', 0)")
        .execute(tx.db())
        .await
        .unwrap();
    Notify::of(Notification::new("row", &Value::Null).to(Channel::global()))
}

/// Somebody else's application: each of its handlers makes a row, and ends in its own way.
fn routes() -> Router {
    let succeeding = async |mut tx: Tx| make_a_row(&mut tx).await;
    let failing = async |mut tx: Tx| (StatusCode::INTERNAL_SERVER_ERROR, make_a_row(&mut tx).await);
    let refusing = async |mut tx: Tx| (StatusCode::CONFLICT, make_a_row(&mut tx).await);
    let redirecting = async |mut tx: Tx| (StatusCode::SEE_OTHER, make_a_row(&mut tx).await);
    let panicking = async |mut tx: Tx| -> StatusCode {
        let _ = make_a_row(&mut tx).await;
        panic!("on purpose");
    };
    Router::new()
        .route("/succeeds", post(succeeding))
        .route("/fails", post(failing))
        .route("/refuses", post(refusing))
        .route("/redirects", post(redirecting))
        .route("/panics", post(panicking))
        .route("/streams", post(streaming))
}

/// Takes its transaction along into a body that is read after the answer has begun.
async fn streaming(mut tx: Tx) -> Body {
    make_a_row(&mut tx).await;
    let late = async move {
        drop(tx);
        Ok::<_, Infallible>("late")
    };
    Body::from_stream(futures_util::stream::once(late))
}

async fn rows(app: &TestApp) -> i64 {
    let mut db = app.app.store().read().await.unwrap();
    sqlx::query_scalar("select count(*) from groups where name = 'made'")
        .fetch_one(&mut *db)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_changes_nothing_and_tells_nobody() {
    let app = TestApp::start_beside(routes()).await;
    let ada = app.person("ada").await;
    let mut clients = [
        ada.listens(Way::WebSocket, "").await,
        ada.listens(Way::Sse, "").await,
    ];
    for (path, status) in [
        ("/fails", 500),
        ("/refuses", 409),
        ("/panics", 500),
        ("/streams", 500),
        ("/fails", 500),
        ("/panics", 500),
    ] {
        let answer = Person::send(ada.builder(reqwest::Method::POST, path))
            .await
            .is(status);
        assert_eq!(answer.headers.get("event-cursor"), None, "{path}");
        assert!(
            !answer.json.to_string().contains("on purpose"),
            "{answer:?}"
        );
    }
    assert_eq!(rows(&app).await, 0);
    Person::send(ada.builder(reqwest::Method::POST, "/succeeds"))
        .await
        .is(200);
    Person::send(ada.builder(reqwest::Method::POST, "/redirects"))
        .await
        .is(303);
    let mark = app.marks().await;
    for client in &mut clients {
        assert_eq!(client.names_before(&mark, "global").await, ["row", "row"]);
    }
    assert_eq!(rows(&app).await, 2);
}

#[tokio::test]
async fn who_hangs_up_in_the_middle_gets_the_change_and_its_notification_or_neither() {
    let app = TestApp::start_beside(routes()).await;
    let ada = app.person("ada").await;
    let cursor = ada.ws("").await.welcome["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let head = "POST /succeeds HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";
    // Half a head, half a body, and the whole with nobody who waits for the answer.
    for reset in [true, false].repeat(20) {
        for sent in [&head[..30], &format!("{head}12"), &format!("{head}1234")] {
            let mut stream = TcpStream::connect(app.address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            if reset {
                stream.set_zero_linger().unwrap();
            }
        }
    }
    // A shutdown waits for all that was begun; what was told after it began is in the log.
    let app = TestApp::start_in(app.stop().await, |_| {}).await;
    let mut ada = app.nobody();
    ada.log_in("ada").await;
    let mut back = ada
        .listens(Way::WebSocket, &format!("cursor={cursor}"))
        .await;
    assert_eq!(back.welcome()["recovered"], json!(true));
    let heard = back.names_before(&app.marks().await, "global").await.len();
    let kept = rows(&app).await;
    assert_eq!(
        usize::try_from(kept).unwrap(),
        heard,
        "rows, and what was said of them"
    );
    assert!((1..=40).contains(&heard), "{heard}");
}
