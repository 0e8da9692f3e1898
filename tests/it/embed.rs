//! Our layer inside somebody else's application: `examples/embed.rs`, run as it stands.

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Router};
use reqwest::Method;
use roomcast::caller::Caller;
use roomcast::config::{Config, Registration};
use roomcast::notify::Tx;
use roomcast::realtime::{User, UserId};
use roomcast::server;
use serde_json::json;

use crate::support::{Answer, Person, TestApp};

#[path = "../../examples/embed.rs"]
#[expect(dead_code, reason = "the example's main; the test has one of its own")]
mod example;

async fn orders(person: &Person, item: &str) -> Answer {
    Person::send(
        person
            .builder(Method::POST, "/orders")
            .body(item.to_owned()),
    )
    .await
}

#[tokio::test]
async fn a_foreign_route_stores_and_tells_in_one_or_does_neither() {
    let folder = tempfile::tempdir().unwrap();
    let database_url = format!("sqlite://{}", folder.path().join("shop.db").display());
    let config = Config {
        database_url,
        registration: Registration::Open,
        ..Config::default()
    };
    let (app, router) = example::shop(config).await.unwrap();
    let listener = server::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let shop = TestApp {
        address,
        app,
        folder,
    };
    tokio::select! {
        () = server::serve(&shop.app, listener, router) => panic!("the server ended"),
        () = somebody_orders(&shop) => {}
    }
}

async fn somebody_orders(shop: &TestApp) {
    let (ada, bob) = (shop.person("ada").await, shop.person("bob").await);
    let (mut own, mut other, mut foreign) = (ada.ws("").await, ada.ws("").await, bob.ws("").await);
    orders(&shop.nobody(), "tea")
        .await
        .is_problem(401, "unauthorized");

    let made = orders(&ada.at(own.id()), "tea").await.is(201);

    let frame = other.next_event().await;
    assert_eq!(frame["event"], "new-order");
    assert_eq!(frame["channel"], json!(format!("user:{}", ada.id)));
    assert_eq!(frame["data"], "tea");
    assert_eq!(frame["cursor"], json!(made.cursor()));

    orders(&ada, "tea").await.is(201);
    // The third: its row was there already when the handler found out.
    orders(&ada, "tea").await.is_problem(409, "conflict");
    let cursor = orders(&ada, "cake").await.is(201).cursor();

    for stream in [&mut own, &mut other] {
        assert_eq!(stream.next_event().await["data"], "tea");
        let last = stream.next_event().await;
        assert_eq!(
            (&last["data"], &last["cursor"]),
            (&json!("cake"), &json!(cursor))
        );
    }
    assert!(foreign.so_far().await.is_empty());
    let mut db = shop.app.store().read().await.unwrap();
    let stored = sqlx::query_scalar("select item from orders order by rowid");
    let stored: Vec<String> = stored.fetch_all(&mut *db).await.unwrap();
    assert_eq!(stored, ["tea", "tea", "cake"]);
}

#[tokio::test]
async fn a_foreign_handler_that_panics_takes_nothing_with_it() {
    let app = TestApp::start().await;
    let panics = async |mut tx: Tx| -> StatusCode {
        let group = "insert into groups (id, name, created_at) values ('1', 'made', 1)";
        sqlx::query(group).execute(tx.db()).await.unwrap();
        panic!("a mistake of the application's");
    };
    let at_once = async || -> StatusCode { panic!("before it waited for anything") };
    let routes = Router::new()
        .route("/later", post(panics))
        .route("/at-once", post(at_once))
        .route("/fine", post(async |_: Tx| StatusCode::NO_CONTENT));
    let routes = app.app.notifying(routes);
    let listener = server::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asking = async {
        let client = reqwest::Client::new();
        for path in ["/later", "/at-once", "/fine"] {
            let answer = client.post(format!("{url}{path}")).send().await.unwrap();
            let expected = if path == "/fine" { 204 } else { 500 };
            assert_eq!(answer.status().as_u16(), expected, "{path}");
        }
        let mut db = app.app.store().read().await.unwrap();
        let made = sqlx::query_scalar("select count(*) from groups");
        let made: i64 = made.fetch_one(&mut *db).await.unwrap();
        assert_eq!(made, 0);
    };
    tokio::select! {
        () = server::serve(&app.app, listener, routes) => panic!("the server ended"),
        () = asking => {}
    }
}

#[tokio::test]
async fn whom_the_application_names_is_not_somebody_else_by_a_cookie() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let own = User {
        id: UserId::parse("shop-7").unwrap(),
        name: "somebody of the shop".into(),
        admin: false,
    };
    let routes = app.app.router().layer(Extension(Caller::new(own)));
    let listener = server::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let ada = ada.moved_to(listener.local_addr().unwrap());
    let asking = async {
        assert_eq!(ada.get("/auth/me").await.is(200).json["id"], "shop-7");
        let socket = ada.ws("").await;
        assert_eq!(socket.welcome["user"]["id"], "shop-7");
    };
    tokio::select! {
        () = server::serve(&app.app, listener, routes) => panic!("the server ended"),
        () = asking => {}
    }
}
