//! Pages of other origins: those that are listed use the API, streams and polls from a browser; no other can.

use reqwest::Method;
use serde_json::json;

use crate::support::{Person, TestApp};

const LISTED: &str = "https://app.example.org";

async fn start() -> TestApp {
    TestApp::start_with(|config| {
        let environment = [("ROOMCAST_ALLOWED_ORIGINS".to_owned(), LISTED.to_owned())].into();
        let program =
            roomcast::config::Program::parse_from_parts(["roomcast".into()], &environment);
        config.allowed_origins = program.unwrap().config.allowed_origins;
    })
    .await
}

#[tokio::test]
async fn a_listed_page_may_ask_and_read_the_answer() {
    let app = start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    for path in [
        "/api/v1/auth/me",
        "/api/v1/events",
        "/sse/events",
        "/api/v1/nothing",
    ] {
        let response = ada
            .builder(Method::GET, path)
            .header("origin", LISTED)
            .send()
            .await
            .unwrap();
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], LISTED, "{path}");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        assert!(
            exposed.contains("event-cursor") && exposed.contains("etag"),
            "{exposed}"
        );
        assert!(headers["vary"].to_str().unwrap().contains("origin"));
    }
    let asked = app
        .nobody()
        .builder(Method::OPTIONS, "/api/v1/documents")
        .header("origin", LISTED)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type,x-socket-id,authorization",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    let methods = asked.headers()["access-control-allow-methods"]
        .to_str()
        .unwrap();
    assert!(
        methods.contains("PATCH") && methods.contains("DELETE"),
        "{methods}"
    );
    let sent = asked.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    assert!(
        sent.contains("x-socket-id") && sent.contains("authorization"),
        "{sent}"
    );
    let request = ada
        .builder(Method::POST, "/api/v1/documents")
        .header("origin", LISTED)
        .json(&json!({ "rootId": root, "type": "text", "data": 1 }));
    Person::send(request).await.is(201);
}

#[tokio::test]
async fn another_page_may_neither_ask_nor_read() {
    let app = start().await;
    let ada = app.person("ada").await;
    for origin in ["https://evil.example.org", "null", "http://app.example.org"] {
        let response = ada
            .builder(Method::GET, "/api/v1/auth/me")
            .header("origin", origin)
            .send()
            .await
            .unwrap();
        let headers = response.headers();
        assert!(
            !headers.contains_key("access-control-allow-origin"),
            "{origin}"
        );
        let asked = ada
            .builder(Method::OPTIONS, "/api/v1/documents")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap();
        assert!(
            !asked.headers().contains_key("access-control-allow-origin"),
            "{origin}"
        );
        let request = ada
            .builder(Method::POST, "/api/v1/groups")
            .header("origin", origin);
        let request = request.json(&json!({ "name": "g" }));
        Person::send(request).await.is_problem(403, "forbidden");
    }
}
