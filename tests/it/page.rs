//! The page of the API: it shows all that is described, with nothing from elsewhere.

use reqwest::Method;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::Value;

use crate::description::{operations, text};
use crate::support::TestApp;
use crate::support::described::OPENAPI;

#[tokio::test]
async fn the_page_shows_every_operation_and_needs_nothing_from_elsewhere() {
    let app = TestApp::start().await;
    let response = app
        .nobody()
        .builder(Method::GET, "/docs")
        .send()
        .await
        .unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let page = response.text().await.unwrap();
    for (name, _, path, described) in operations() {
        assert!(
            page.contains(&format!("id=\"{name}\"")),
            "{name} is not on the page"
        );
        assert!(page.contains(path), "{path} is not on the page");
        let summary = described["summary"]
            .as_str()
            .unwrap()
            .replace('\'', "&#39;");
        assert!(
            page.contains(summary.split('`').next().unwrap()),
            "{summary} is not on the page"
        );
    }
    for (name, _) in OPENAPI["components"]["schemas"].as_object().unwrap() {
        assert!(
            page.contains(&format!("id=\"schema-{name}\"")),
            "{name} is not on the page"
        );
    }
    for foreign in [
        "src=\"http",
        "src=\"//",
        "<style",
        " style=",
        " onclick=",
        "<script>",
        "@import",
    ] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    for part in ["/docs.css", "/docs.js"] {
        assert!(page.contains(&format!("\"{part}\"")));
        assert!(
            !text(&app, part).await.contains("://"),
            "{part} names somebody else"
        );
    }
    let targets = page
        .split("href=\"#")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap());
    for target in targets {
        assert!(
            page.contains(&format!("id=\"{target}\"")),
            "#{target} leads nowhere"
        );
    }
}

#[tokio::test]
async fn who_has_the_description_is_not_sent_it_again() {
    let app = TestApp::start().await;
    let get = |path: &str| app.nobody().builder(Method::GET, path);
    for path in ["/openapi.json", "/asyncapi.json", "/docs"] {
        let first = get(path).send().await.unwrap();
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = get(path).header(IF_NONE_MATCH, known).send().await.unwrap();
            assert_eq!(again.status(), 304, "{path}");
        }
        let other = get(path)
            .header(IF_NONE_MATCH, "\"other\"")
            .send()
            .await
            .unwrap();
        assert_eq!(other.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_client_is_one_file_or_the_server_says_how_to_get_it() {
    let app = TestApp::start().await;
    let url = format!("http://{}/client.js", app.address);
    let answer = reqwest::get(&url).await.unwrap();
    if answer.status() == 404 {
        let problem: Value = answer.json().await.unwrap();
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("npm run build"),
            "{problem}"
        );
        return;
    }
    assert_eq!(
        answer.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    let etag = answer.headers()["etag"].clone();
    let script = answer.text().await.unwrap();
    assert!(script.contains("as Roomcast"), "it exports no Roomcast");
    let again = reqwest::Client::new()
        .get(&url)
        .header("if-none-match", etag);
    assert_eq!(again.send().await.unwrap().status(), 304);
}
