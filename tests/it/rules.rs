//! The rules of each kind of channel: who may join, and who may publish what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Application, Person, TestApp, Way, WsClient, roomcast, run};

const KINDS: &str = r#"
[kinds.closed]
join = "nobody"
[kinds.given]
join = "granted"
[kinds.open]
join = "users"
publish = "members"
[kinds.order]
join = "ask"
publish = "members"
"#;

/// A server with these kinds and an application that it asks.
async fn begin(kinds: &str) -> (TestApp, Application) {
    let application = Application::start().await;
    let rules = application.rules(kinds, "");
    let app = TestApp::start_with(|config| config.rules = rules).await;
    (app, application)
}

/// Whether somebody may join, at each door: on connecting in each way, and later.
async fn may_join(person: &Person, channel: &str) -> bool {
    let query = format!("channel={channel}");
    let mut doors = Vec::new();
    for way in Way::ALL {
        let refused = match way {
            Way::WebSocket => person.upgrade(&query),
            Way::Sse => person.builder(Method::GET, &format!("/sse/events?{query}")),
            Way::Poll => person.builder(Method::GET, &format!("/api/v1/events?{query}")),
        };
        // Not read to its end: a stream has none.
        let status = refused.send().await.unwrap().status().as_u16();
        doors.push(match status {
            101 | 200 => true,
            403 => false,
            status => panic!("{way:?} {channel}: {status}"),
        });
    }
    let mut ws = person.ws("").await;
    let answer = ws.call(json!({ "type": "join", "channel": channel })).await;
    doors.push(match answer["code"].as_str() {
        None => true,
        Some("forbidden") => false,
        Some(code) => panic!("join {channel}: {code}"),
    });
    assert!(
        doors.iter().all(|door| *door == doors[0]),
        "{channel}: {doors:?}"
    );
    doors[0]
}

#[tokio::test]
async fn every_door_keeps_the_rules_of_the_kind() {
    let (app, application) = begin(KINDS).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = app.administrator("root").await;
    application.gives(&ada, "read", "order:7");
    for (channel, ada_may, bob_may) in [
        ("closed:7", false, false),
        ("given:7", false, false),
        ("open:7", true, true),
        ("order:7", true, false),
        ("order:8", false, false),
        ("unlisted:7", false, false),
    ] {
        for channel in [channel.to_owned(), format!("presence:{channel}")] {
            assert_eq!(may_join(&ada, &channel).await, ada_may, "{channel}");
            assert_eq!(may_join(&bob, &channel).await, bob_may, "{channel}");
            assert!(may_join(&root, &channel).await, "{channel}");
        }
    }
    // Administrators may anyway, and what is refused anyway is no question: ada and bob, order:7 and order:8.
    assert_eq!(application.questions().len(), 4);
    let both = "channel=order:7&channel=closed:7";
    ada.is_refused(Way::Sse, both)
        .await
        .is_problem(403, "forbidden");
    let nobody = app.nobody().is_refused(Way::Sse, "channel=open:7").await;
    nobody.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn guests_are_nobody_the_application_is_asked_about() {
    let application = Application::start().await;
    let rules = application.rules(KINDS, "");
    let app = TestApp::start_with(|config| {
        config.rules = rules;
        config.guests = roomcast::config::Guests::Global;
    })
    .await;
    for channel in ["open:7", "order:7", "presence:order:7"] {
        let answer = app
            .nobody()
            .is_refused(Way::Sse, &format!("channel={channel}"))
            .await;
        answer.is_problem(401, "unauthorized");
        let mut ws = app.nobody().ws("").await;
        let answer = ws.call(json!({ "type": "join", "channel": channel })).await;
        assert_eq!(answer["code"], "unauthorized");
    }
    assert!(application.questions().is_empty());
}

/// Publishes, and says what was answered: the code of the error, or nothing.
async fn publish(ws: &mut WsClient, channel: &str, volatile: bool, data: Value) -> Option<String> {
    let frame = json!({ "type": "publish", "channel": channel, "event": "note", "data": data, "volatile": volatile });
    let answer = ws.call(frame).await;
    let code = answer["code"].as_str()?;
    // Whoever reads it knows what would be accepted.
    assert!(
        answer["message"].as_str().unwrap().contains(channel),
        "{answer}"
    );
    Some(code.to_owned())
}

const FORBIDDEN: Option<&str> = Some("forbidden");

#[tokio::test]
async fn clients_publish_what_the_rules_of_the_kind_let_them() {
    let (app, application) = begin(
        r#"
        [kinds.said]
        join = "users"
        [kinds.open]
        join = "users"
        publish = "members"
        [kinds.typing]
        join = "users"
        publish = "members"
        events = "volatile"
        [kinds.ledger]
        join = "users"
        publish = "members"
        events = "kept"
        [kinds.order]
        join = "ask"
        publish = "members"
        [kinds.quiet]
        join = "ask"
        "#,
    )
    .await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    application.gives(&ada, "write", "order:7");
    application.gives(&ada, "read", "order:8");
    application.gives(&ada, "write", "quiet:7");
    let (mut ws, mut rank) = (ada.ws("").await, root.ws("").await);
    // What is kept and what is volatile: of a member, and of an administrator.
    for (channel, of_member, of_rank) in [
        ("said:7", [FORBIDDEN, FORBIDDEN], [None, None]),
        ("open:7", [None, None], [None, None]),
        ("typing:7", [FORBIDDEN, None], [FORBIDDEN, None]),
        ("ledger:7", [None, FORBIDDEN], [None, FORBIDDEN]),
        ("order:7", [None, None], [None, None]),
        ("order:8", [FORBIDDEN, FORBIDDEN], [None, None]),
        ("quiet:7", [FORBIDDEN, FORBIDDEN], [None, None]),
        (
            "presence:open:7",
            [FORBIDDEN, FORBIDDEN],
            [FORBIDDEN, FORBIDDEN],
        ),
    ] {
        ws.joins(channel).await;
        rank.joins(channel).await;
        for (at, volatile) in [false, true].into_iter().enumerate() {
            let answer = publish(&mut ws, channel, volatile, json!(1)).await;
            assert_eq!(
                answer.as_deref(),
                of_member[at],
                "{channel}, volatile: {volatile}"
            );
            let answer = publish(&mut rank, channel, volatile, json!(1)).await;
            assert_eq!(
                answer.as_deref(),
                of_rank[at],
                "{channel}, volatile: {volatile}, by rank"
            );
        }
    }
    let not_joined = publish(&mut ws, "open:8", false, json!(1)).await;
    assert_eq!(not_joined.as_deref(), Some("not-joined"));
}

#[tokio::test]
async fn data_is_as_large_as_the_kind_lets_it_be_and_no_larger() {
    let kinds = "[kinds.open]\njoin = \"users\"\npublish = \"members\"\nmax_message_bytes = 16";
    let (app, _application) = begin(kinds).await;
    let mut ws = app.person("ada").await.ws("channel=open:7").await;
    for volatile in [false, true] {
        let fits = publish(&mut ws, "open:7", volatile, json!("x".repeat(14))).await;
        assert_eq!(fits, None);
        let over = publish(&mut ws, "open:7", volatile, json!("x".repeat(15))).await;
        assert_eq!(over.as_deref(), Some("too-large"));
    }
    // White space does not count, for it is not passed on.
    let spaced = r#"{"type":"publish","id":"s","channel":"open:7","event":"note","data":[ 1,  2,  3,  4,  5 ]}"#;
    ws.send_text(spaced.to_owned()).await;
    assert_eq!(ws.next_event().await["type"], "ack");
}

#[tokio::test]
async fn built_in_kinds_are_narrowed_but_never_opened() {
    let (app, _application) =
        begin("[kinds.document]\nevents = \"volatile\"\n[kinds.group]\npublish = \"nobody\"\n")
            .await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let document = format!("document:{}", ada.makes_root("notes").await);
    let group = format!("group:{}", ada.makes_group("writers").await);
    let mut ws = ada.ws(&format!("channel={document}")).await;
    assert_eq!(publish(&mut ws, &document, true, json!(1)).await, None);
    let kept = publish(&mut ws, &document, false, json!(1)).await;
    assert_eq!(kept.as_deref(), FORBIDDEN);
    for volatile in [false, true] {
        let answer = publish(&mut ws, &group, volatile, json!(1)).await;
        assert_eq!(answer.as_deref(), FORBIDDEN);
    }
    assert!(!may_join(&bob, &document).await);
    assert!(!may_join(&bob, &group).await);
}

#[tokio::test]
async fn a_kind_that_nobody_names_is_for_administrators_and_whoever_a_token_names() {
    let app = TestApp::start().await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    for channel in ["order:7", "presence:order:7"] {
        assert!(!may_join(&ada, channel).await);
        assert!(may_join(&root, channel).await);
    }
    let mut ws = root.ws("channel=order:7").await;
    assert_eq!(publish(&mut ws, "order:7", false, json!(1)).await, None);
}

#[tokio::test]
async fn the_program_reads_the_rules_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channels.toml");
    let asks = |secret: &str| {
        format!(
            "[kinds.order]\njoin = \"ask\"\n[ask]\nurl = \"https://app.example.org/\"\nsecret = \"{secret}\"\n"
        )
    };
    let setting = [("ROOMCAST_CHANNELS", "channels.toml")];
    for (text, expected) in [
        (None, "channels.toml\" cannot be read"),
        (
            Some("[kinds.order]\njoin = \"ask\"".to_owned()),
            "[kinds.order] join is \"ask\", but",
        ),
        (
            Some("[kinds.order".to_owned()),
            "channels.toml, line 1: not TOML",
        ),
        (
            Some(asks("hunter2")),
            "[ask] secret is shorter than 24 bytes",
        ),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        for verb in ["serve", "check", "dev"] {
            let (status, said, complaint) =
                run(roomcast(folder.path(), &[verb], &setting), "").await;
            assert_eq!((status, &*said), (Some(78), ""), "{verb}: {complaint}");
            assert!(
                complaint.starts_with("error: ROOMCAST_CHANNELS: "),
                "{complaint}"
            );
            assert!(
                complaint.contains(expected) && complaint.contains("\n  example   "),
                "{complaint}"
            );
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }
    std::fs::write(&path, asks("hunter2 hunter2 hunter2 hunter2")).unwrap();
    let (status, said, complaint) = run(roomcast(folder.path(), &["check"], &setting), "").await;
    assert_eq!((status, &*complaint), (Some(0), ""));
    assert!(!said.contains("hunter2"), "{said}");
    let flag = ["check", "--channels", "elsewhere.toml"];
    let (status, _, complaint) = run(roomcast(folder.path(), &flag, &setting), "").await;
    assert!(complaint.contains("elsewhere.toml"), "{complaint}");
    assert_eq!(status, Some(78));
}
