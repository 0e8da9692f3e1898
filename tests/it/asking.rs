//! Asking the application who may join: what it is told, what its answers mean, and what happens when it has none.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use roomcast::config::{Program, Secret};
use roomcast::rules::Rules;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{
    Answer, Application, Client, PATIENCE, Person, Question, Reply, SECRET, TestApp, Way,
    eventually,
};

const KEY: &str = "an API key of at least thirty-two bytes";
const KINDS: &str =
    "[kinds.order]\njoin = \"ask\"\npublish = \"members\"\n[kinds.open]\njoin = \"users\"";

fn api_key() -> Option<Secret> {
    let line = ["roomcast".into(), format!("--api-key={KEY}").into()];
    let program = Program::parse_from_parts(line, &BTreeMap::new());
    program.unwrap().config.api_key
}

/// A server that asks an application; `ask` is more of what the rules say of that.
async fn begin(ask: &str) -> (TestApp, Application) {
    let application = Application::start().await;
    let rules = application.rules(KINDS, ask);
    let app = TestApp::start_with(|config| (config.rules, config.api_key) = (rules, api_key()));
    (app.await, application)
}

/// Checks a signature as an application would, with code of its own.
fn is_signed(question: &Question) -> bool {
    let header = |name: &str| question.headers[name].to_str().unwrap();
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    mac.update(format!("{id}.{timestamp}.{}", question.body).as_bytes());
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let age = now - timestamp.parse::<i64>().unwrap();
    let encoded = header("webhook-signature").strip_prefix("v1,").unwrap();
    (0..=60).contains(&age) && mac.verify_slice(&STANDARD.decode(encoded).unwrap()).is_ok()
}

#[tokio::test]
async fn questions_are_signed_and_say_who_and_where() {
    let (app, application) = begin("").await;
    let ada = app.person("ada").await;
    application.gives(&ada, "read", "order:7");
    ada.is_refused(Way::Sse, "channel=order:7&channel=presence:order:8")
        .await
        .is_problem(403, "forbidden");
    ada.ws("channel=presence:order:7").await;

    let questions = application.questions();
    let mut asked: Vec<Value> = questions
        .iter()
        .map(|question| serde_json::from_str(&question.body).unwrap())
        .collect();
    asked.sort_by_key(|body| body["channel"].to_string());
    let user = json!({ "id": ada.id, "name": "ada", "admin": false });
    assert_eq!(
        asked,
        [
            json!({ "user": user, "channel": "order:7" }),
            json!({ "user": user, "channel": "order:8" })
        ]
    );
    for question in &questions {
        assert!(is_signed(question), "{question:?}");
        assert_eq!(question.headers["content-type"], "application/json");
        assert!(question.headers.get("cookie").is_none(), "{question:?}");
    }
    assert_ne!(
        questions[0].headers["webhook-id"],
        questions[1].headers["webhook-id"]
    );
}

#[tokio::test]
async fn an_answer_says_read_write_or_nothing() {
    let (app, application) = begin("cache = \"0s\"").await;
    let ada = app.person("ada").await;
    let json = |text: &str| Reply::Json(serde_json::from_str(text).unwrap());
    for (reply, may_join, may_publish) in [
        (json(r#"{"access":"read"}"#), true, false),
        (json(r#"{"access":"write","since":"ever"}"#), true, true),
        (json(r#"{"access":null}"#), false, false),
        (Reply::Status(204), false, false),
        (Reply::Status(403), false, false),
        (Reply::Status(404), false, false),
    ] {
        application.says(&ada, "order:7", reply.clone());
        let mut ws = ada.ws("").await;
        let answer = ws
            .call(json!({ "type": "join", "channel": "order:7" }))
            .await;
        assert_eq!(answer["type"] == "ack", may_join, "{reply:?}: {answer}");
        let note = json!({ "type": "publish", "channel": "order:7", "event": "note" });
        let answer = ws.call(note).await;
        assert_eq!(answer["type"] == "ack", may_publish, "{reply:?}: {answer}");
    }
}

#[tokio::test]
async fn no_answer_is_no_right_and_no_refusal_either() {
    let (app, application) = begin("timeout = \"100ms\"").await;
    let bob = app.person("bob").await;
    let mut ws = bob.ws("").await;
    let elsewhere = application.url.clone();
    for reply in [
        Reply::Silence,
        Reply::Status(500),
        Reply::Status(200),
        Reply::Status(401),
        Reply::Redirect(elsewhere),
        Reply::Json(json!({ "access": "all" })),
        Reply::Json(json!({ "allowed": true })),
        Reply::Json(json!("write")),
        Reply::Json(json!({ "access": "read", "more": "x".repeat(20_000) })),
    ] {
        let before = application.questions().len();
        application.says(&bob, "order:7", reply.clone());
        let refused = bob.is_refused(Way::WebSocket, "channel=order:7").await;
        let refused = refused.is_problem(503, "unavailable");
        assert_eq!(refused.headers["retry-after"], "2", "{reply:?}");
        // A browser's EventSource never comes back from a 503.
        let stream = bob.is_refused(Way::Sse, "channel=order:7").await.is(200);
        let text = stream.json.as_str().unwrap();
        assert!(
            text.contains(r#""code":"unavailable""#) && text.contains(r#""reconnect":true"#),
            "{text}"
        );
        let answer = ws
            .call(json!({ "type": "join", "channel": "presence:order:7" }))
            .await;
        assert_eq!(answer["code"], "unavailable", "{reply:?}: {answer}");
        // The connection lives, and no failure is remembered.
        ws.joins("open:7").await;
        ws.leaves("open:7").await;
        assert_eq!(application.questions().len(), before + 3, "{reply:?}");
    }
    application.gives(&bob, "read", "order:7");
    ws.joins("order:7").await;
}

#[tokio::test]
async fn an_answer_counts_for_a_while_for_one_user_and_channel() {
    let (app, application) = begin("cache = \"1h\"").await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    application.gives(&ada, "read", "order:7");
    for _ in 0..3 {
        let mut ws = ada.ws("channel=order:7").await;
        ws.joins("order:7").await;
        ws.joins("presence:order:7").await;
        bob.is_refused(Way::Sse, "channel=order:7").await.is(403);
    }
    assert_eq!(application.questions().len(), 2, "ada's, and bob's no");

    let (app, application) = begin("cache = \"0s\"").await;
    let ada = app.person("ada").await;
    application.gives(&ada, "read", "order:7");
    for _ in 0..3 {
        ada.ws("channel=order:7").await;
    }
    assert_eq!(application.questions().len(), 3);
    application.gives_nothing(&ada, "order:7");
    ada.is_refused(Way::Sse, "channel=order:7").await.is(403);
}

#[tokio::test]
async fn who_asks_the_same_at_once_asks_once_and_nobody_takes_all_places() {
    let (app, application) = begin("timeout = \"10s\"").await;
    let ada = app.person("ada").await;
    application.gives(&ada, "read", "order:7");
    let held = application.holds_back().await;
    let connecting: Vec<_> = (0..20)
        .map(|_| {
            let ada = ada.clone();
            tokio::spawn(async move { ada.ws("channel=order:7").await })
        })
        .collect();
    let asked = async || application.questions().len();
    eventually("it is asked", async || asked().await == 1).await;
    // Others of hers wait until there are as many as one user may have on the way.
    let others: Vec<_> = (0..15)
        .map(|n| {
            let ada = ada.clone();
            tokio::spawn(async move {
                ada.is_refused(Way::Sse, &format!("channel=order:a{n}"))
                    .await
            })
        })
        .collect();
    eventually("it is asked more", async || asked().await == 16).await;
    let over = ada.is_refused(Way::WebSocket, "channel=order:b").await;
    over.is_problem(503, "unavailable");
    let bob = app.person("bob").await;
    application.gives(&bob, "read", "order:7");
    let bobs = tokio::spawn(async move { bob.ws("channel=order:7").await });
    eventually("bob has a place", async || asked().await == 17).await;

    drop(held);
    for connected in connecting {
        connected.await.unwrap();
    }
    for refused in others {
        refused.await.unwrap().is_problem(403, "forbidden");
    }
    bobs.await.unwrap();
    assert_eq!(asked().await, 17);
}

#[tokio::test]
async fn many_channels_of_one_connection_are_asked_for_a_few_at_once() {
    let (app, application) = begin("").await;
    let ada = app.person("ada").await;
    let channels: Vec<_> = (0..100).map(|n| format!("order:{n}")).collect();
    for channel in &channels {
        application.gives(&ada, "read", channel);
    }
    let query: Vec<_> = channels
        .iter()
        .map(|channel| format!("channel={channel}"))
        .collect();
    let ws = ada.ws(&query.join("&")).await;
    for channel in &channels {
        let joined = ws.welcome["channels"].as_array().unwrap();
        assert!(joined.iter().any(|name| name == channel), "{channel}");
    }
}

/// The application says that somebody is out of a channel.
async fn puts_out(app: &TestApp, person: &Person, channel: &str) -> Answer {
    let path = format!("/api/v1/channels/{channel}/members/{}", person.id);
    let request = app.nobody().builder(Method::DELETE, &path);
    Person::send(request.bearer_auth(KEY)).await
}

#[tokio::test]
async fn who_is_put_out_is_out_at_once_and_what_is_said_meanwhile_stays_closed() {
    let (app, application) = begin("cache = \"1h\"").await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    application.gives(&ada, "write", "order:7");
    application.gives(&bob, "write", "order:7");
    let query = "channel=order:7&channel=presence:order:7";
    let mut clients = [
        ada.listens(Way::WebSocket, query).await,
        ada.listens(Way::Sse, query).await,
        bob.listens(Way::Sse, query).await,
    ];
    let before = clients[0].cursor().to_owned();
    app.says("order:7", "first", "1").await;

    application.gives_nothing(&ada, "order:7");
    puts_out(&app, &ada, "order:7").await.is(204);
    puts_out(&app, &ada, "order:7").await.is(204);
    let between = app.says("order:7", "second", "2").await;
    app.says("presence:order:7", "second", "2").await;
    let mark = app.marks().await;
    for (client, heard) in clients.iter_mut().zip([1, 1, 3]) {
        let mut came = client.before(&mark).await;
        // Who comes and goes is not kept, and told beside this.
        came.retain(|frame| frame.get("cursor").is_some());
        assert_eq!(came.len(), heard, "{came:?}");
    }
    let Client::WebSocket(ws) = &mut clients[0] else {
        unreachable!("the first listens over WebSocket")
    };
    let note = json!({ "type": "publish", "channel": "order:7", "event": "note" });
    assert_eq!(ws.call(note.clone()).await["code"], "not-joined");
    let answer = ws
        .call(json!({ "type": "join", "channel": "order:7" }))
        .await;
    assert_eq!(
        answer["code"], "forbidden",
        "what was answered before is forgotten"
    );
    for way in Way::BOTH {
        let query = format!("channel=order:7&cursor={before}");
        ada.is_refused(way, &query)
            .await
            .is_problem(403, "forbidden");
    }

    application.gives(&ada, "write", "order:7");
    app.says("order:7", "third", "3").await;
    // The no is remembered, too, until the application says that it counts no more.
    puts_out(&app, &ada, "order:7").await.is(204);
    let last = app.marks().await;
    for cursor in [&before, &between] {
        let answer = ws.joins_since("order:7", cursor).await;
        assert_eq!(answer["recovered"], false, "{answer}");
        for way in Way::BOTH {
            let mut back = ada
                .listens(way, &format!("channel=order:7&cursor={cursor}"))
                .await;
            assert_eq!(back.welcome()["recovered"], json!(false), "{way:?}");
            let came = back.before(&app.marks().await).await;
            assert!(
                came.iter().all(|frame| frame["channel"] != "order:7"),
                "{came:?}"
            );
        }
    }
    assert_eq!(ws.call(note).await["type"], "ack");
    // From here on it is as if nothing had been.
    let now = app.marks().await;
    app.says("order:7", "fourth", "4").await;
    let mut back = ada
        .listens(Way::Sse, &format!("channel=order:7&cursor={now}"))
        .await;
    assert_eq!(back.welcome()["recovered"], json!(true));
    let names = back.names_before(&app.marks().await, "order:7").await;
    assert_eq!(names, ["fourth"], "after {last}");
}

#[tokio::test]
async fn an_answer_from_before_somebody_was_put_out_lets_nobody_in() {
    let (app, application) = begin("cache = \"1h\"\ntimeout = \"10s\"").await;
    let ada = app.person("ada").await;
    for (way, channel, was_out_before) in [
        (Way::WebSocket, "order:1", false),
        (Way::Sse, "order:2", false),
        (Way::WebSocket, "order:3", true),
        (Way::Sse, "order:4", true),
    ] {
        let query = format!("channel={channel}");
        application.gives(&ada, "read", channel);
        if was_out_before {
            puts_out(&app, &ada, channel).await.is(204);
        }
        let before = application.questions().len();
        let held = application.holds_back().await;
        let connecting = tokio::spawn({
            let (ada, query) = (ada.clone(), query.clone());
            async move { ada.is_refused(way, &query).await }
        });
        eventually("it is asked", async || {
            application.questions().len() > before
        })
        .await;
        // It has said yes already, but the answer is on its way.
        application.gives_nothing(&ada, channel);
        puts_out(&app, &ada, channel).await.is(204);
        drop(held);
        let answer = connecting.await.unwrap();
        match way {
            // Asked anew.
            _ if !was_out_before => {
                answer.is_problem(403, "forbidden");
            }
            // Told to come back.
            Way::WebSocket | Way::Poll => {
                answer.is_problem(503, "unavailable");
            }
            Way::Sse => {
                let text = answer.json.as_str().unwrap();
                assert!(text.contains("unavailable"), "{text}");
            }
        }
        ada.is_refused(way, &query)
            .await
            .is_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn only_the_application_and_administrators_put_somebody_out_of_what_is_theirs_to_say() {
    let (app, application) = begin("").await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    application.gives(&ada, "read", "order:7");
    let path = format!("/channels/order:7/members/{}", ada.id);
    app.nobody()
        .delete(&path)
        .await
        .is_problem(401, "unauthorized");
    ada.delete(&path).await.is_problem(403, "forbidden");
    let mut ws = ada.ws("channel=order:7").await;
    assert_eq!(root.delete(&path).await.is(204).json, Value::from(""));
    let note = json!({ "type": "publish", "channel": "order:7", "event": "note" });
    assert_eq!(ws.call(note).await["code"], "not-joined");
    for (channel, code, hint) in [
        ("document:7", 403, "/permissions/users/"),
        ("group:7", 403, "/groups/"),
        ("global", 403, "built in"),
        ("user:7", 403, "built in"),
        ("presence:order:7", 403, "the channel itself"),
        ("unlisted:7", 403, "[kinds.unlisted]"),
        ("Order:7", 400, "not a channel name"),
    ] {
        let answer = puts_out(&app, &ada, channel).await.is(code);
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains(hint), "{channel}: {detail}");
    }
    let mut nobody = ada.clone();
    nobody.id = "%20".into();
    puts_out(&app, &nobody, "order:7")
        .await
        .is_problem(404, "not-found");
    // Somebody whom this server has never seen may be one of the application's own.
    nobody.id = "77".into();
    puts_out(&app, &nobody, "order:7").await.is(204);
}

#[tokio::test]
async fn a_kick_from_an_open_kind_costs_what_was_said_meanwhile() {
    let (app, _application) = begin("").await;
    let ada = app.person("ada").await;
    let mut ws = ada.ws("channel=open:7").await;
    let before = ws.welcome["cursor"].as_str().unwrap().to_owned();
    puts_out(&app, &ada, "open:7").await.is(204);
    app.says("open:7", "meanwhile", "1").await;
    assert!(ws.so_far().await.is_empty());
    assert_eq!(ws.joins_since("open:7", &before).await["recovered"], false);
    app.says("open:7", "after", "2").await;
    assert_eq!(ws.next_event().await["event"], "after");
}

/// The rules that the documentation shows.
#[test]
fn the_rules_of_the_documentation_are_good() {
    let text = include_str!("../../docs/channels.md");
    let (_, example) = text.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channels.toml");
    std::fs::write(&path, example).unwrap();
    let environment = BTreeMap::from([("APP_ASK_SECRET".to_owned(), SECRET.to_owned())]);
    let rules = Rules::read(&path, &environment, 65_536).unwrap();
    assert!(rules.is_listed(&"order:7".parse().unwrap()));
}

/// The example of the documentation, run as it stands.
#[tokio::test]
async fn the_endpoint_of_the_documentation_answers_and_lets_no_forger_ask() {
    let text = include_str!("../../docs/channels.md");
    let (_, example) = text.split_once("```js\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("access.mjs"), example).unwrap();
    let mut node = tokio::process::Command::new("node");
    node.arg("access.mjs").current_dir(&folder);
    node.envs([("PORT", "0"), ("APP_ASK_SECRET", SECRET)]);
    let mut node = node
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Node, as CONTRIBUTING.md says");
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let said = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let said = said.expect("it said nothing").unwrap().unwrap();
    let mut application = Application::start().await;
    said.rsplit(' ')
        .next()
        .unwrap()
        .clone_into(&mut application.url);
    let rules = application.rules(KINDS, "timeout = \"10s\"");
    let app = TestApp::start_with(|config| config.rules = rules).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut ws = ada.ws("channel=order:7").await;
    let note = json!({ "type": "publish", "channel": "order:7", "event": "note" });
    assert_eq!(ws.call(note).await["type"], "ack");
    bob.is_refused(Way::Sse, "channel=order:7")
        .await
        .is_problem(403, "forbidden");
    let forged = reqwest::Client::new()
        .post(&application.url)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", "1")
        .header("webhook-signature", "v1,AAAA")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
}
