//! What operators see: metrics that count what happened and name nobody.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use roomcast::server;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Program, Raw, TestApp, Way, eventually, needs, roomcast, run,
};

/// What `/metrics` said.
struct Samples {
    text: String,
    values: BTreeMap<String, f64>,
}

impl Samples {
    async fn read(person: &Person) -> Self {
        let answer = asked(person, Method::GET, "/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        assert_eq!(
            answer.headers["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let text = answer.json.as_str().unwrap().to_owned();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let values = values.collect();
        Self { text, values }
    }

    /// One of them; nothing, where it was never counted.
    fn of(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// How much more than before.
    fn since(&self, before: &Self, name: &str) -> f64 {
        self.of(name) - before.of(name)
    }
}

pub(crate) async fn asked(person: &Person, method: Method, path: &str) -> Answer {
    Person::send(person.builder(method, path)).await
}

/// Waits until somebody's metrics say so.
pub(crate) async fn counted(person: &Person, name: &str, value: f64) {
    let so = async || Samples::read(person).await.of(name) == value;
    eventually(&format!("{name} is {value}"), so).await;
}

#[tokio::test]
async fn metrics_are_for_administrators_and_for_whoever_has_the_key() {
    let (app, back_end) = TestApp::start_with_key().await;
    let (ada, eve) = (app.administrator("ada").await, app.person("eve").await);
    for (who, status) in [
        (app.nobody(), 401),
        (eve, 403),
        (ada, 200),
        (back_end, 200),
        (
            app.nobody().showing("another key, of 32 bytes as well."),
            401,
        ),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = asked(&who, method, "/metrics").await;
            assert_eq!(answer.status, status);
            assert!(status == 200 || !answer.json.to_string().contains("roomcast_"));
        }
    }
}

#[tokio::test]
async fn the_operators_own_port_asks_for_no_login_and_has_nothing_else() {
    let app = TestApp::start().await;
    let listener = server::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let serving = app.app.clone();
    tokio::spawn(async move { server::serve(&serving, listener, serving.ops_router()).await });
    let operator = Person::nobody(address);
    assert_eq!(
        Samples::read(&operator)
            .await
            .of("roomcast_connections_opened_total{transport=\"sse\"}"),
        0.0
    );
    for path in ["/livez", "/readyz"] {
        assert_eq!(asked(&operator, Method::GET, path).await.json, "ok\n");
        // Also where clients are, for whoever has one port alone.
        assert_eq!(asked(&app.nobody(), Method::HEAD, path).await.status, 200);
    }
    for path in [
        "/ws",
        "/sse/events/global",
        "/api/v1/status",
        "/api/v1/auth/me",
        "/",
    ] {
        // Not as the description has it, which is of the other port.
        let answer = reqwest::get(format!("http://{address}{path}")).await;
        assert_eq!(answer.unwrap().status(), 404, "{path}");
    }
    asked(&operator, Method::POST, "/metrics")
        .await
        .is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn the_program_opens_the_operators_port_and_says_where_in_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
        ("ROOMCAST_OPS_LISTEN", "127.0.0.1:0"),
    ];
    let mut command = roomcast(folder.path(), &["serve"], &settings);
    let file = folder.path().join("log");
    let log = std::fs::File::create(&file).unwrap();
    let server = Program::start_logging(&mut command, log.into()).await;
    let log = std::fs::read_to_string(file).unwrap();
    let line = log.lines().find(|line| line.contains("without a login"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    let operator = Person::nobody(line["address"].as_str().unwrap().parse().unwrap());
    assert_eq!(Samples::read(&operator).await.of("roomcast_draining"), 0.0);
    asked(&server.nobody(), Method::GET, "/metrics")
        .await
        .is_problem(401, "unauthorized");
    // A port that is taken is named as what it is.
    let taken = [
        ("ROOMCAST_OPS_LISTEN", &*server.address),
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
    ];
    let (status, said, complaint) = run(roomcast(folder.path(), &["serve"], &taken), "").await;
    assert_eq!((status, &*said), (Some(1), ""));
    assert!(
        complaint.contains(&*server.address) && complaint.contains("ROOMCAST_OPS_LISTEN"),
        "{complaint}"
    );
}

#[tokio::test]
async fn what_happens_is_counted_under_names_of_things_and_nobodys() {
    let app = TestApp::start().await;
    let (root, ada, bob) = (
        app.administrator("root").await,
        app.person("ada").await,
        app.person("bob").await,
    );
    let notes = ada.makes_root("notes").await;
    let document = ada.makes_document(&notes, json!(1)).await;
    ada.lets(&bob, "read", &notes).await;
    let before = Samples::read(&root).await;

    let channel = format!("channel=document:{notes}");
    let mut socket = ada.ws(&channel).await;
    let mut stream = bob.sse(&channel).await;
    let cursor = ada.changes(&document, json!(2)).await;
    assert_eq!(socket.next_event().await["cursor"], json!(cursor));
    assert_eq!(stream.next_event().await["cursor"], json!(cursor));
    let there = Samples::read(&root).await;
    for (name, value) in [
        ("roomcast_connections{transport=\"websocket\"}", 1.0),
        ("roomcast_connections{transport=\"sse\"}", 1.0),
        ("roomcast_connections{transport=\"polling\"}", 0.0),
        ("roomcast_users", 2.0),
        ("roomcast_rooms{kind=\"global\"}", 1.0),
        ("roomcast_rooms{kind=\"user\"}", 2.0),
        ("roomcast_rooms{kind=\"context\"}", 1.0),
        ("roomcast_memberships{kind=\"global\"}", 2.0),
        ("roomcast_memberships{kind=\"context\"}", 2.0),
        ("roomcast_outbox_bytes", 0.0),
        ("roomcast_log_writable", 1.0),
        ("roomcast_draining", 0.0),
    ] {
        assert_eq!(there.of(name), value, "{name}");
    }
    for (name, more) in [
        (
            "roomcast_connections_opened_total{transport=\"websocket\"}",
            1.0,
        ),
        ("roomcast_connections_opened_total{transport=\"sse\"}", 1.0),
        (
            "roomcast_events_delivered_total{transport=\"websocket\"}",
            1.0,
        ),
        ("roomcast_events_delivered_total{transport=\"sse\"}", 1.0),
        (
            "roomcast_delivery_duration_seconds_count{transport=\"websocket\"}",
            1.0,
        ),
        (
            "roomcast_delivery_duration_seconds_count{transport=\"sse\"}",
            1.0,
        ),
        (
            "http_request_duration_seconds_count{method=\"PUT\",route=\"/api/v1/documents/{id}\",status=\"204\"}",
            1.0,
        ),
        (
            "http_request_duration_seconds_count{method=\"GET\",route=\"/ws\",status=\"101\"}",
            1.0,
        ),
        (
            "http_request_duration_seconds_count{method=\"GET\",route=\"/sse/events\",status=\"200\"}",
            1.0,
        ),
    ] {
        assert_eq!(there.since(&before, name), more, "{name}");
    }
    assert!(there.since(&before, "roomcast_events_published_total{kept=\"true\"}") >= 1.0);
    assert!(there.of("roomcast_log_position") > before.of("roomcast_log_position"));

    // What was missed is read out of the log, and counts as that.
    drop(socket);
    counted(
        &root,
        "roomcast_connections_closed_total{transport=\"websocket\",reason=\"gone\"}",
        1.0,
    )
    .await;
    let later = ada.changes(&document, json!(3)).await;
    let mut socket = ada.ws(&format!("{channel}&cursor={cursor}")).await;
    assert_eq!(socket.next_event().await["cursor"], json!(later));
    let old = ada.ws(&format!("{channel}&cursor=00000000-1")).await;
    assert_eq!(old.welcome["recovered"], json!(false));
    let after = Samples::read(&root).await;
    for (name, more) in [
        (
            "roomcast_events_replayed_total{transport=\"websocket\"}",
            1.0,
        ),
        ("roomcast_resumes_total{outcome=\"recovered\"}", 1.0),
        ("roomcast_resumes_total{outcome=\"lost\"}", 1.0),
        (
            "roomcast_delivery_duration_seconds_count{transport=\"websocket\"}",
            0.0,
        ),
    ] {
        assert_eq!(after.since(&there, name), more, "{name}");
    }

    // Nobody and nothing is named.
    for name in [
        &*ada.id,
        &notes,
        &document,
        socket.id(),
        "127.0.0.1",
        "notes",
        "\"ada\"",
        &cursor,
    ] {
        assert!(!after.text.contains(name), "{name} in {}", after.text);
    }
    #[cfg(target_os = "linux")]
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_start_time_seconds",
    ] {
        assert!(after.of(name) > 0.0, "{name}");
    }
    assert!(after.text.contains("roomcast_build_info{version=\""));
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_reason() {
    let app = TestApp::start_with(|config| {
        config.login_attempts = 2;
        config.messages_per_second = 5;
        config.max_message_bytes = 1_024;
    })
    .await;
    let root = app.administrator("root").await;
    let (nobody, ada) = (app.nobody(), app.person("ada").await);
    let before = Samples::read(&root).await;
    let foreign = ada
        .builder(Method::POST, "/api/v1/groups")
        .header("origin", "https://evil.example");
    assert_eq!(Person::send(foreign).await.status, 403);
    let foreign = ada.upgrade("").header("origin", "https://evil.example");
    assert_eq!(Person::send(foreign).await.status, 403);
    ada.get("/admin/rooms").await.is_problem(403, "forbidden");
    nobody
        .is_refused(Way::WebSocket, "channel=global")
        .await
        .is(401);
    ada.post("/groups", json!({ "name": "x".repeat(3_000_000) }))
        .await
        .is(413);
    for status in [401, 401, 429] {
        let login = json!({ "username": "ada", "password": "wrong" });
        nobody.post("/auth/login", login).await.is(status);
    }
    let mut socket = ada.ws("").await;
    for n in 0..8 {
        socket.send(json!({ "type": "ping", "id": n })).await;
    }
    for _ in 0..8 {
        socket.next().await;
    }
    let mut other = ada.ws("").await;
    let join = json!({ "type": "join", "channel": "group:nobodys" });
    assert_eq!(other.call(join).await["code"], "forbidden");
    socket.send_text("x".repeat(2_000)).await;
    assert_eq!(socket.end().await.code, Some(1009));
    asked(&nobody, Method::GET, "/no/such/page").await.is(404);
    asked(&nobody, Method::GET, "/api/v1/no/such/page")
        .await
        .is(404);
    let odd = Method::from_bytes(b"BREW").unwrap();
    asked(&nobody, odd, "/api/v1/documents").await.is(405);

    let after = Samples::read(&root).await;
    for (reason, count) in [
        ("origin", 2.0),
        ("forbidden", 2.0),
        ("unauthorized", 3.0),
        ("login-attempts", 1.0),
        ("messages", 3.0),
        ("too-large", 2.0),
    ] {
        let name = format!("roomcast_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(after.since(&before, &name), count, "{name}\n{}", after.text);
    }
    for (name, count) in [
        (
            "roomcast_connections_closed_total{transport=\"websocket\",reason=\"too-large\"}",
            1.0,
        ),
        (
            "http_request_duration_seconds_count{method=\"GET\",route=\"unmatched\",status=\"404\"}",
            2.0,
        ),
    ] {
        assert_eq!(after.since(&before, name), count, "{name}\n{}", after.text);
    }
    assert!(after.text.contains("method=\"other\""), "{}", after.text);
    assert!(!after.text.contains("BREW") && !after.text.contains("such"));
}

#[tokio::test]
async fn an_outbox_that_overflows_is_counted() {
    let app = TestApp::start_with(|config| {
        (config.outbox_bytes, config.ping_timeout) = (200_000, Duration::from_millis(500));
    })
    .await;
    let root = app.administrator("root").await;
    let _silent = Raw::websocket(&app.person("ada").await).await;
    let text = json!("x".repeat(50_000)).to_string();
    let overflows = "roomcast_outbox_overflows_total";
    eventually("what waits is too much", async || {
        app.says("global", "note", &text).await;
        Samples::read(&root).await.of(overflows) == 1.0
    })
    .await;
    let samples = Samples::read(&root).await;
    assert_eq!(
        samples.of(
            "roomcast_connections_closed_total{transport=\"websocket\",reason=\"slow-consumer\"}"
        ),
        1.0
    );
}

/// Prometheus' own check of names, help and types. Not everybody has it, so it says when it is left out.
#[tokio::test]
async fn prometheus_finds_nothing_wrong_with_metrics_and_alerts() {
    if !needs("promtool") {
        return;
    }
    let app = TestApp::start().await;
    let root = app.administrator("root").await;
    // Something in each family.
    app.nobody().is_refused(Way::WebSocket, "").await.is(401);
    root.polls("channel=global").await.is(200);
    let text = Samples::read(&root).await.text;
    let file = app.folder.path().join("metrics.prom");
    std::fs::write(&file, &text).unwrap();
    let check = |args: &[&str], input: Stdio| {
        let output = Command::new("promtool")
            .args(args)
            .stdin(input)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let input = std::fs::File::open(&file).unwrap();
    assert_eq!(
        check(&["check", "metrics"], input.into()),
        (true, String::new()),
        "{text}"
    );
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yml");
    let (good, said) = check(&["check", "rules", alerts], Stdio::null());
    assert!(good, "{said}");
}

/// What alerts, the dashboard and the documentation speak of is there.
#[tokio::test]
async fn every_metric_is_described_and_no_other() {
    let app = TestApp::start().await;
    let root = app.administrator("root").await;
    app.nobody().is_refused(Way::WebSocket, "").await.is(401);
    root.polls("channel=global").await.is(200);
    let text = Samples::read(&root).await.text;
    let is_there = |name: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let typed = |name: &str| text.contains(&format!("# TYPE {name} "));
        typed(name) || base.is_some_and(typed)
    };
    let read = |path: &str| {
        std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let documentation = read("docs/operations.md");
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            let name = of.split(' ').next().unwrap();
            assert!(
                documentation.contains(&format!("`{name}")),
                "{name} is not in docs/operations.md"
            );
        }
    }
    for path in [
        "docs/operations.md",
        "deploy/prometheus/alerts.yml",
        "deploy/grafana/dashboard.json",
    ] {
        let file = read(path);
        let mut words = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown = words.find(|word| {
            ["roomcast_", "process_", "http_request_"]
                .iter()
                .any(|of| word.starts_with(of))
                && !is_there(word)
        });
        assert_eq!(unknown, None, "in {path}");
    }
}
