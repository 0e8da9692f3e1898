//! The HTTP API: exact answers, pages, versions, JSON digit for digit, and errors that say what would be right.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Person, TestApp, Way, position};

/// A document with an `If-Match`.
async fn change_if(person: &Person, document: &str, tag: &str, data: Value) -> Answer {
    let request = person
        .builder(Method::PUT, &format!("/api/v1/documents/{document}"))
        .header("if-match", tag);
    Person::send(request.json(&json!({ "data": data }))).await
}

#[tokio::test]
async fn documents_come_change_and_go() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let made = ada
        .post(
            "/documents",
            json!({ "rootId": root, "type": "text", "data": { "a": 1 } }),
        )
        .await
        .is(201);
    let id = made.json["id"].as_str().unwrap().to_owned();
    let path = format!("/documents/{id}");
    assert_eq!(made.headers["etag"], "\"1\"");
    for (field, value) in [
        ("rootId", json!(root)),
        ("parentId", json!(null)),
        ("type", json!("text")),
        ("data", json!({ "a": 1 })),
        ("version", json!(1)),
    ] {
        assert_eq!(made.json[field], value, "{field}");
    }
    let got = ada.get(&path).await.is(200);
    assert_eq!(
        (&got.json, &got.headers["etag"]),
        (&made.json, &made.headers["etag"])
    );
    let changed = ada.put(&path, json!({ "data": null })).await.is(204);
    assert_eq!(
        (&changed.headers["etag"], &changed.json),
        (&"\"2\"".parse().unwrap(), &json!(""))
    );
    assert_eq!(ada.get(&path).await.json["data"], json!(null));

    let child = json!({ "rootId": root, "parentId": id, "type": "text", "data": [] });
    let child = ada.post("/documents", child).await.id();
    ada.delete(&path).await.is_problem(409, "conflict");
    ada.delete(&format!("/documents/{child}")).await.is(204);
    ada.delete(&path).await.is(204);
    ada.delete(&path).await.is_problem(404, "not-found");
    ada.get(&path).await.is_problem(404, "not-found");

    let other = ada.makes_root("other").await;
    let elsewhere = ada.makes_document(&other, json!(1)).await;
    let foreign = json!({ "rootId": root, "parentId": elsewhere, "type": "text", "data": 1 });
    let refused = ada
        .post("/documents", foreign)
        .await
        .is_problem(400, "invalid-body");
    assert_eq!(refused.json["errors"][0]["field"], "parentId");
}

#[tokio::test]
async fn who_names_a_version_changes_that_or_nothing() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let document = ada
        .makes_document(&ada.makes_root("notes").await, json!(1))
        .await;
    change_if(&ada, &document, "\"1\"", json!(2)).await.is(204);
    for stale in ["\"1\"", "W/\"2\"", "2", "\"x\"", ""] {
        change_if(&ada, &document, stale, json!(3))
            .await
            .is_problem(412, "precondition-failed");
    }
    change_if(&ada, &document, "\"1\", \"2\"", json!(4))
        .await
        .is(204);
    change_if(&ada, &document, "*", json!(5)).await.is(204);
    // Of many who saw the same version one wins.
    let all = futures_util::future::join_all(
        (0..8).map(|n| change_if(&ada, &document, "\"4\"", json!(n))),
    )
    .await;
    assert_eq!(
        all.iter().filter(|answer| answer.status == 204).count(),
        1,
        "{all:?}"
    );
    let stale = ada
        .builder(Method::DELETE, &format!("/api/v1/documents/{document}"))
        .header("if-match", "\"1\"");
    Person::send(stale)
        .await
        .is_problem(412, "precondition-failed");
    assert_eq!(
        ada.get(&format!("/documents/{document}")).await.headers["etag"],
        "\"5\""
    );
}

#[tokio::test]
async fn json_is_passed_on_digit_for_digit_on_one_line() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(1)).await;
    let (path, channel) = (
        format!("/api/v1/documents/{document}"),
        format!("channel=document:{root}"),
    );
    let mut ws = ada.ws(&channel).await;
    let mut sse = ada.sse(&channel).await;
    for (sent, kept) in [
        ("12345678901234567890123", "12345678901234567890123"),
        ("[1.50, 1e2, -0, 0.1E-7]", "[1.50,1e2,-0,0.1E-7]"),
        (r#"{"b" : 1, "a": 2, "b": 3}"#, r#"{"b":1,"a":2,"b":3}"#),
        ("\"\\u00e9é\\n\\\"\"", "\"\\u00e9é\\n\\\"\""),
        (
            "\"\u{2028}</script>\\u0000\"",
            "\"\u{2028}</script>\\u0000\"",
        ),
        ("{\r\n\t\"a\":\r\n[ ]\n}", r#"{"a":[]}"#),
        ("null", "null"),
    ] {
        let body = format!("{{\"data\": {sent}}}");
        let request = ada
            .builder(Method::PUT, &path)
            .header("content-type", "application/json; charset=utf-8");
        Person::send(request.body(body)).await.is(204);
        let got = ada
            .builder(Method::GET, &path)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            got.contains(&format!("\"data\":{kept},\"version\"")),
            "{sent}: {got}"
        );
        let event = sse.next().await.unwrap();
        assert!(
            event
                .data
                .contains(&format!("\"data\":{kept},\"updatedAt\"")),
            "{sent}: {}",
            event.data
        );
        assert!(!event.data.contains(['\n', '\r']), "{sent}");
        assert_eq!(ws.next_text().await, event.data, "byte for byte on both");
    }
    for refused in [
        "1e400",
        "\"\\ud800\"",
        &format!("{}{}", "[".repeat(121), "]".repeat(121)),
    ] {
        let request = ada
            .builder(Method::PUT, &path)
            .header("content-type", "application/json");
        let answer = Person::send(request.body(format!("{{\"data\":{refused}}}")))
            .await
            .is_problem(400, "invalid-body");
        assert_eq!(
            answer.json["errors"][0]["field"], "data",
            "{refused}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn groups_and_roots_come_change_and_go() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let group = ada.makes_group("writers").await;
    let path = format!("/groups/{group}");
    let member = |person: &Person, name: &str, manager: bool| json!({ "id": person.id, "username": name, "manager": manager });
    let expected =
        json!({ "id": group, "name": "writers", "members": [member(&ada, "ada", true)] });
    assert_eq!(ada.get(&path).await.is(200).json, expected);
    assert_eq!(
        ada.put(&path, json!({ "name": "Writers" }))
            .await
            .is(200)
            .json["name"],
        "Writers"
    );
    ada.admits(&bob, &group).await;
    bob.put(&path, json!({ "name": "Bob's" }))
        .await
        .is_problem(403, "forbidden");
    ada.delete(&format!("{path}/members/{}", ada.id))
        .await
        .is_problem(409, "conflict");
    ada.put(&format!("{path}/members/{}", ada.id), json!({}))
        .await
        .is_problem(409, "conflict");
    ada.put(
        &format!("{path}/members/{}", bob.id),
        json!({ "manager": true }),
    )
    .await
    .is(204);
    ada.delete(&format!("{path}/members/{}", ada.id))
        .await
        .is(204);
    ada.get(&path).await.is_problem(404, "not-found");
    bob.put(&format!("{path}/members/nobody"), json!({}))
        .await
        .is_problem(404, "not-found");
    bob.delete(&path).await.is(204);
    bob.get(&path).await.is_problem(404, "not-found");

    let root = ada.makes_root("notes").await;
    let path = format!("/document-roots/{root}");
    assert_eq!(
        ada.get(&path).await.is(200).json,
        json!({ "id": root, "name": "notes", "access": "write" })
    );
    ada.delete(&format!("{path}/permissions/users/{}", ada.id))
        .await
        .is_problem(409, "conflict");
    ada.delete(&format!("{path}/permissions/users/{}", bob.id))
        .await
        .is_problem(404, "not-found");
    ada.delete(&path).await.is(204);
    ada.get(&path).await.is_problem(404, "not-found");
    for name in ["", " ", " x", "a\u{0}", "a\nb", &"x".repeat(101)] {
        for path in ["/document-roots", "/groups"] {
            let refused = ada
                .post(path, json!({ "name": name }))
                .await
                .is_problem(400, "invalid-body");
            assert_eq!(
                refused.json["errors"][0]["field"], "name",
                "{path} {name:?}"
            );
        }
    }
}

#[tokio::test]
async fn administrators_write_on_behalf_of_others_only_when_they_say_so() {
    let app = TestApp::start().await;
    let (root, ada) = (app.administrator("root").await, app.person("ada").await);
    let notes = ada.makes_root("notes").await;
    let document = ada.makes_document(&notes, json!(1)).await;
    let (path, body) = (format!("/documents/{document}"), json!({ "data": 2 }));
    root.get(&path).await.is(200);
    root.put(&path, body.clone())
        .await
        .is_problem(403, "forbidden");
    root.put(&format!("{path}?onBehalfOf=false"), body.clone())
        .await
        .is_problem(403, "forbidden");
    root.put(&format!("{path}?onBehalfOf=true"), body.clone())
        .await
        .is(204);
    ada.put(&format!("{path}?onBehalfOf=true"), body.clone())
        .await
        .is_problem(403, "forbidden");
    for odd in [
        "onBehalfOf=TRUE",
        "onBehalfOf=1",
        "onBehalfOf=",
        "onBehalfOf=true&onBehalfOf=true",
    ] {
        root.put(&format!("{path}?{odd}"), body.clone())
            .await
            .is_problem(400, "invalid-query");
    }
    let new = json!({ "rootId": notes, "type": "text", "data": 1 });
    root.post("/documents", new.clone())
        .await
        .is_problem(403, "forbidden");
    root.post("/documents?onBehalfOf=true", new).await.is(201);
    root.delete(&path).await.is_problem(403, "forbidden");
    root.delete(&format!("{path}?onBehalfOf=true"))
        .await
        .is(204);
    root.delete(&format!("/document-roots/{notes}"))
        .await
        .is_problem(403, "forbidden");
    root.delete(&format!("/document-roots/{notes}?onBehalfOf=true"))
        .await
        .is(204);
}

#[tokio::test]
async fn lists_come_in_pages_and_each_thing_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let notes = ada.makes_root("notes").await;
    for n in 0..6 {
        app.person(&format!("user-{n}")).await;
        ada.makes_group("group").await;
        ada.makes_root("root").await;
        ada.makes_document(&notes, json!(n)).await;
    }
    for (path, count) in [
        ("/users?", 7),
        ("/groups?", 6),
        ("/document-roots?", 7),
        (&*format!("/documents?rootId={notes}&"), 6),
    ] {
        let whole = ada.get(path).await.is(200).json;
        assert_eq!(
            (whole["items"].as_array().unwrap().len(), &whole["next"]),
            (count, &json!(null)),
            "{path}"
        );
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = ada
                .get(&format!("{path}limit=3&after={after}"))
                .await
                .is(200)
                .json;
            items.extend(page["items"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
            assert_eq!(items.len() % 3, 0, "full but for the last");
        }
        assert_eq!(json!(items), whole["items"], "{path}");
        for limit in ["0", "-1", "1001", "1e3", "x"] {
            ada.get(&format!("{path}limit={limit}"))
                .await
                .is_problem(400, "invalid-query");
        }
        let none = ada.get(&format!("{path}after=~")).await.is(200).json;
        assert_eq!(none, json!({ "items": [], "next": null }));
    }
}

#[tokio::test]
async fn every_answer_says_where_in_the_log_it_stands() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(1)).await;
    let mut listener = ada
        .listens(Way::Sse, &format!("channel=document:{root}"))
        .await;
    let before = ada.get(&format!("/documents/{document}")).await.cursor();
    let own = ada.changes(&document, json!(2)).await;
    assert_eq!(
        listener.next_event().await["cursor"],
        json!(own),
        "the place of its own last notification"
    );
    assert!(position(&before) < position(&own));
    for path in [
        "/auth/me",
        "/users",
        "/groups",
        "/document-roots",
        "/status",
    ] {
        assert_eq!(ada.get(path).await.is(200).cursor(), own, "{path}");
    }
    assert!(
        !ada.get("/documents/none")
            .await
            .headers
            .contains_key("event-cursor")
    );
}

#[tokio::test]
async fn a_group_that_alone_may_write_a_root_is_not_deleted() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let group = bob.makes_group("writers").await;
    bob.admits(&ada, &group).await;
    ada.lets_group(&group, "write", &root).await;
    ada.bars(&ada, &root).await;
    let path = format!("/groups/{group}");
    bob.delete(&path).await.is_problem(409, "conflict");
    ada.lets(&ada, "write", &root).await;
    bob.delete(&path).await.is(204);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_is_said_as_a_problem() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = ada.builder(Method::POST, "/api/v1/documents").body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        Person::send(request).await
    };
    let json = Some("application/json");
    for malformed in [
        "",
        "{",
        "{} {}",
        "\u{feff}{}",
        "{'a':1}",
        "nul",
        &"[".repeat(100_000),
    ] {
        send(json, malformed.into())
            .await
            .is_problem(400, "invalid-body");
    }
    send(json, b"{\"type\":\"\xff\"}".to_vec())
        .await
        .is_problem(400, "invalid-body");
    for (body, field) in [
        (json!({ "rootId": 1, "type": "text", "data": 1 }), "rootId"),
        (
            json!({ "rootId": root, "type": ["text"], "data": 1 }),
            "type",
        ),
        (json!({ "rootId": root, "type": "", "data": 1 }), "type"),
        (
            json!({ "rootId": root, "type": "text", "data": 1, "id": "mine" }),
            "id",
        ),
        (json!({ "rootId": root, "type": "text" }), "(body)"),
        (json!([]), "(body)"),
        (json!("text"), "(body)"),
    ] {
        let refused = send(json, body.to_string().into())
            .await
            .is_problem(400, "invalid-body");
        let error = &refused.json["errors"][0];
        assert_eq!(error["field"], field, "{body}: {refused:?}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert_eq!(
            (&refused.json["status"], &refused.json["type"]),
            (&json!(400), &json!("about:blank"))
        );
    }
    for other in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
    ] {
        send(other, b"{}".to_vec())
            .await
            .is_problem(415, "unsupported-media-type");
    }
    let zipped = ada
        .builder(Method::POST, "/api/v1/documents")
        .header("content-encoding", "gzip");
    Person::send(zipped.json(&json!({})))
        .await
        .is_problem(415, "unsupported-media-type");
    send(json, vec![b' '; 2 * 1024 * 1024 + 1])
        .await
        .is_problem(413, "too-large");

    for path in [
        "/nothing",
        "/documents/",
        "/documents/a/b",
        "/documents/%ff",
        "/%64ocuments/..",
        "/users/%00",
        "/",
    ] {
        ada.get(path).await.is_problem(404, "not-found");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/auth/me", "GET"),
        (Method::PUT, "/documents", "GET"),
        (Method::POST, "/documents/x", "GET"),
        (Method::TRACE, "/users", "GET"),
        (Method::GET, "/auth/login", "POST"),
    ] {
        let refused = Person::send(ada.builder(method, &format!("/api/v1{path}"))).await;
        let refused = refused.is_problem(405, "method-not-allowed");
        assert!(
            refused.headers["allow"].to_str().unwrap().contains(allow),
            "{path}: {refused:?}"
        );
    }
    let head = Person::send(ada.builder(Method::HEAD, "/api/v1/users")).await;
    assert_eq!((head.status, head.json), (StatusCode::OK, json!("")));
}
