//! Whether the server lives and is ready, and that it says what is wrong and nothing secret.

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use tower::ServiceExt;

use crate::observe::{asked, counted};
use crate::support::{API_KEY, Person, Server, TestApp, command, eventually};

#[tokio::test]
async fn a_server_says_what_it_is_ready_for() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let answer = asked(&nobody, Method::GET, "/readyz?verbose").await.is(200);
    assert_eq!(
        answer.json,
        "[+]database ok\n[+]log ok\n[+]draining ok\nreadyz check passed\n"
    );
    assert_eq!(
        asked(&nobody, Method::GET, "/readyz?quiet").await.json,
        "ok\n"
    );
    // Asked of the router, because nobody is let in any more.
    let routes = app.app.router();
    app.app.stop();
    let (status, text) = answered(&routes, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        text,
        "[+]database ok\n[+]log ok\n[-]draining failed: the server shuts down\nreadyz check failed\n"
    );
    assert_eq!(answered(&routes, "/livez").await, (200, "ok\n".to_owned()));
    let ops = app.app.ops_router();
    assert!(
        answered(&ops, "/metrics")
            .await
            .1
            .contains("\nroomcast_draining 1\n")
    );
    // With the database gone, too.
    assert!(app.app.wait().await);
    let (status, text) = answered(&routes, "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.starts_with(
            "[-]database failed: it cannot be read\n[-]log failed: the log is closed\n"
        ),
        "{text}"
    );
    assert_eq!(answered(&routes, "/livez").await, (200, "ok\n".to_owned()));
}

async fn answered(routes: &axum::Router, path: &str) -> (u16, String) {
    let request = http::Request::get(path).header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = routes.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1_000_000)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_no_place_to_send_changes_to_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let program = command(&folder, &[("ROOMCAST_API_KEY", API_KEY)]);
    let mut shell = Command::new("sh");
    // Without this the limit, which stands for the end of a disk, kills the process instead of failing the write.
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve"])
        .arg(program.get_program())
        .current_dir(&folder)
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let server = Server::start_command(folder, shell).await;
    let limit = |bytes: &str| {
        let of = format!("--pid={}", server.pid());
        let limit = format!("--fsize={bytes}:unlimited");
        assert!(
            Command::new("prlimit")
                .args([of, limit])
                .status()
                .unwrap()
                .success()
        );
    };
    let nobody = Person::nobody(server.address);
    let operator = nobody.showing(API_KEY);
    let ada = server.person("ada").await;
    asked(&nobody, Method::GET, "/readyz").await.is(200);
    for _ in 0..2 {
        limit("0");
        let refused = ada
            .post("/groups", json!({ "name": "friends" }))
            .await
            .status;
        assert!(refused.is_server_error(), "{refused}");
        let answer = asked(&nobody, Method::GET, "/readyz").await.is(503);
        let text = answer.json.as_str().unwrap();
        assert!(
            text.starts_with("[+]database ok\n[-]log failed: the disk "),
            "{text}"
        );
        counted(&operator, "roomcast_log_writable", 0.0).await;
        asked(&nobody, Method::GET, "/livez").await.is(200);
        // Looking at data changes nothing of that.
        ada.get("/groups").await.is(200);
        asked(&nobody, Method::GET, "/readyz").await.is(503);
        limit("unlimited");
        // By itself: nobody sends changes to who is not ready.
        eventually("it is ready again", async || {
            asked(&nobody, Method::GET, "/readyz").await.status == 200
        })
        .await;
        counted(&operator, "roomcast_log_writable", 1.0).await;
    }
    ada.post("/groups", json!({ "name": "friends" }))
        .await
        .is(201);
}
