//! The pages: what they are served with, what they know to begin with, and in `dev`, that they are told of changes. What
//! people do with them is tried in a browser (`web/e2e`).

use std::path::Path;

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY};
use serde_json::{Value, json};

use crate::support::{Client, Person, Program, TestApp, Way, eventually, roomcast};

const PAGES: [&str; 6] = ["/", "/sign-in", "/chat", "/editor", "/admin", "/dashboard"];

/// Whether `npm run build` was done in `web`. Where it was not, pages say how it is.
fn built() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("web/dist/index.html")
        .is_file()
}

/// The next event of that name.
async fn heard(client: &mut Client, name: &str) -> Value {
    loop {
        let event = client.next_event().await;
        if event["event"] == name {
            return event;
        }
    }
}

async fn served() -> (tempfile::TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
        ("ROOMCAST_REGISTRATION", "open"),
    ];
    let program = Program::start(roomcast(folder.path(), &["serve"], &settings)).await;
    (folder, program)
}

#[tokio::test]
async fn each_page_lets_nothing_in_from_elsewhere_or_says_that_it_was_not_built() {
    let (_folder, program) = served().await;
    let nobody = program.nobody();
    for path in PAGES {
        let page = nobody.builder(Method::GET, path).send().await.unwrap();
        if !built() {
            assert_eq!(page.status(), 404, "{path}");
            let problem = page.text().await.unwrap();
            assert!(problem.contains("npm run build"), "{problem}");
            continue;
        }
        assert_eq!(page.status(), 200, "{path}");
        let policy = page.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "require-trusted-types-for 'script'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        // Asked about each time, so that a new version is seen at once.
        assert_eq!(page.headers()[CACHE_CONTROL], "no-cache", "{path}");
        let html = page.text().await.unwrap();
        for foreign in ["src=\"http", "src=\"//", "<style", " style=", "<script>"] {
            assert!(!html.contains(foreign), "{path} has {foreign}");
        }
        for asset in html.split('"').filter(|part| part.starts_with("/assets/")) {
            let plain = nobody.builder(Method::GET, asset).send().await.unwrap();
            assert_eq!(plain.status(), 200, "{asset}");
            assert!(plain.headers().get(CONTENT_ENCODING).is_none());
            let cache = plain.headers()[CACHE_CONTROL].to_str().unwrap();
            assert!(cache.contains("immutable"), "{asset}: {cache}");
            let packed = nobody
                .builder(Method::GET, asset)
                .header(ACCEPT_ENCODING, "br;q=1.0, gzip")
                .send()
                .await
                .unwrap();
            assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip", "{asset}");
            assert!(packed.bytes().await.unwrap().len() < plain.bytes().await.unwrap().len());
            let refused = nobody
                .builder(Method::GET, asset)
                .header(ACCEPT_ENCODING, "gzip;q=0, identity");
            let refused = refused.send().await.unwrap();
            assert!(refused.headers().get(CONTENT_ENCODING).is_none());
        }
    }
    for path in [
        "/assets/none.js",
        "/assets/..%2Findex.html",
        "/assets/%2e%2e%2f%2e%2e%2fpackage.json",
    ] {
        let answer = nobody.builder(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn pages_know_who_is_there_and_whether_there_are_demo_people() {
    let (_folder, program) = served().await;
    let nobody = Person::send(program.nobody().builder(Method::GET, "/pages.json")).await;
    assert_eq!(
        nobody.json,
        json!({ "user": null, "registration": true, "demo": null })
    );
    let ada = Person::somebody(program.address.parse().unwrap(), "ada").await;
    let ada = Person::send(ada.builder(Method::GET, "/pages.json")).await;
    assert_eq!(ada.json["user"]["name"], "ada");
    assert_eq!(ada.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn an_application_that_embeds_the_server_has_its_own_pages() {
    let own = axum::Router::new().route("/chat", axum::routing::get(async || "ours"));
    let app = TestApp::start_beside(own).await;
    let page = app.nobody().builder(Method::GET, "/chat");
    assert_eq!(page.send().await.unwrap().text().await.unwrap(), "ours");
}

#[tokio::test]
async fn in_dev_a_changed_file_is_told_to_whoever_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().join("templates");
    std::fs::create_dir(&watched).unwrap();
    let temporary = folder.path().to_str().unwrap();
    let settings = [("ROOMCAST_LISTEN", "127.0.0.1:0"), ("TMPDIR", temporary)];
    let arguments = ["dev", "--watch", "templates"];
    let program = Program::start(roomcast(folder.path(), &arguments, &settings)).await;
    let ada = Person::somebody(program.address.parse().unwrap(), "carol").await;
    let mut client = ada.listens(Way::WebSocket, "").await;
    std::fs::write(watched.join("page.html"), "<p>Another text.").unwrap();
    let told = heard(&mut client, "reload").await;
    assert_eq!(told["channel"], "global");
    assert_eq!(told["data"], json!({ "files": ["page.html"] }));
    assert!(told.get("cursor").is_none(), "{told}");

    let (status, _, complaint) = crate::support::run(
        roomcast(folder.path(), &["dev", "--watch", "nowhere"], &settings),
        "",
    )
    .await;
    assert_eq!(status, Some(1));
    assert!(
        complaint.contains("nowhere cannot be watched"),
        "{complaint}"
    );
}

#[tokio::test]
async fn administrators_see_the_last_minutes_and_hear_each_new_second() {
    let app = TestApp::start().await;
    let root = app.administrator("root").await;
    let ada = app.person("ada").await;
    ada.get("/admin/metrics").await.is_problem(403, "forbidden");
    app.nobody()
        .get("/admin/metrics")
        .await
        .is_problem(401, "unauthorized");
    let mut client = root.listens(Way::Sse, "channel=server:metrics").await;
    let told = heard(&mut client, "metrics").await;
    assert!(told.get("cursor").is_none(), "{told}");
    let told = heard(&mut client, "metrics").await["data"].clone();
    assert_eq!(told["connections"], 1);
    assert_eq!(told["users"], 1);
    let kept = async || {
        let items = root.get("/admin/metrics").await.is(200).json["items"].clone();
        items.as_array().unwrap().contains(&told)
    };
    eventually("what was told is among what is kept", kept).await;
    ada.is_refused(Way::Sse, "channel=server:metrics")
        .await
        .is(403);
}
