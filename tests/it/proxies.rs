//! The proxies that people put in front, each with the sample that we give them: everything goes through, and nobody is
//! taken for somebody else.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use roomcast::server;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{
    API_KEY, Follower, PASSWORD, Person, Raw, TestApp, Way, WsClient, eventually, needs,
};

/// A proxy, and what has to be changed in its sample to try it on this machine.
struct Kind {
    program: &'static str,
    sample: &'static str,
    /// Where clients come in, as the sample has it, and as it is written here.
    listens: [(&'static str, &'static str); 2],
    runs: fn(&Path) -> Command,
    /// Says whether a configuration is understood.
    checks: fn(&Path) -> Command,
}

const NGINX: Kind = Kind {
    program: "nginx",
    sample: include_str!("../../deploy/nginx/roomcast.conf"),
    listens: [
        ("listen 443 ssl http2;", "listen ADDRESS;"),
        ("pid /run/nginx.pid;", "pid FOLDER/nginx.pid;"),
    ],
    runs: |file| {
        let mut command = Command::new("nginx");
        // As root it would give its workers to a user who cannot write here.
        let global = "daemon off; error_log stderr;";
        let global = if rustix::process::geteuid().is_root() {
            format!("{global} user root;")
        } else {
            global.to_owned()
        };
        command.arg("-c").arg(file).arg("-g").arg(global);
        command
    },
    checks: |file| {
        let mut command = Command::new("nginx");
        command.arg("-t").arg("-c").arg(file);
        command
    },
};

const HAPROXY: Kind = Kind {
    program: "haproxy",
    sample: include_str!("../../deploy/haproxy/haproxy.cfg"),
    listens: [
        (
            "bind :443 ssl crt /etc/haproxy/chat.example.org.pem alpn h2,http/1.1",
            "bind ADDRESS",
        ),
        ("maxconn 100000", "maxconn 1000"),
    ],
    runs: |file| {
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(file);
        command
    },
    checks: |file| {
        let mut command = Command::new("haproxy");
        command.arg("-c").arg("-f").arg(file);
        command
    },
};

const CADDY: Kind = Kind {
    program: "caddy",
    sample: include_str!("../../deploy/caddy/Caddyfile"),
    listens: [
        ("{$ROOMCAST_NAME:chat.example.org} {", "http://ADDRESS {"),
        ("{$ROOMCAST_AT:127.0.0.1:3000}", "127.0.0.1:3000"),
    ],
    runs: |file| {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file);
        command
    },
    checks: |file| {
        let mut command = Command::new("caddy");
        command
            .args(["validate", "--adapter", "caddyfile", "--config"])
            .arg(file);
        command
    },
};

/// A proxy that runs in front of a server. Both end with the test.
struct Proxied {
    app: TestApp,
    /// Where the proxy is.
    address: SocketAddr,
    _proxy: Child,
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Proxied {
    async fn start(kind: &Kind) -> Self {
        let address = free_port();
        let public = format!("http://{address}");
        let environment = [("ROOMCAST_PUBLIC_URL".to_owned(), public)].into();
        let program =
            roomcast::config::Program::parse_from_parts(["roomcast".into()], &environment);
        let app = TestApp::start_with(|config| {
            TestApp::has_key(config);
            config.public_url = program.unwrap().config.public_url;
            config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            config.heartbeat = Duration::from_secs(1);
        })
        .await;
        let ops = server::listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let health = ops.local_addr().unwrap();
        server::open(&app.app, ops, app.app.ops_router(), None);
        let folder = app.folder.path().display().to_string();
        let mut text = kind
            .sample
            .replace(kind.listens[0].0, kind.listens[0].1)
            .replace(kind.listens[1].0, kind.listens[1].1);
        // Certificates are another story, below.
        text = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("ssl_"))
            .collect::<Vec<_>>()
            .join("\n");
        text = text
            .replace("ADDRESS", &address.to_string())
            .replace("FOLDER", &folder)
            .replace("127.0.0.1:3000", &app.address.to_string())
            .replace("check port 9090", &format!("check port {}", health.port()));
        if kind.program == "caddy" {
            text = format!("{{\n\tadmin off\n}}\n{text}\n");
        }
        let file = app.folder.path().join("proxy.conf");
        std::fs::write(&file, text + "\n").unwrap();
        let proxy = (kind.runs)(&file)
            .env("HOME", &folder)
            .env("XDG_DATA_HOME", &folder)
            .env("XDG_CONFIG_HOME", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let proxied = Self {
            app,
            address,
            _proxy: proxy,
        };
        eventually("the proxy lets through", async || {
            let asked = reqwest::get(format!("http://{address}/api/v1/auth/me")).await;
            asked.is_ok_and(|answer| answer.status() == 401)
        })
        .await;
        proxied
    }

    async fn person(&self, name: &str) -> Person {
        let mut person = Person::nobody(self.address);
        person.register(name).await;
        person.log_in(name).await;
        person
    }

    /// Everything goes through, both ways, at once, and resumes.
    async fn lets_everything_through(&self) {
        let ada = self.person("ada").await;
        let root = ada.makes_root("notes").await;
        let document = ada.makes_document(&root, json!(0)).await;
        let channel = format!("document:{root}");
        let mut own = ada.ws("").await;
        own.joins(&channel).await;
        let mut followers = Vec::new();
        for way in Way::ALL {
            let mut follower = Follower::new(&ada, &format!("channel={channel}"), way);
            follower.connects().await;
            followers.push(follower);
        }
        // The socket that asks is left out, the others hear it while their streams stay open.
        ada.at(own.id()).changes(&document, json!("one")).await;
        for follower in &mut followers {
            let event = follower.next_event().await.expect("an event, not the end");
            assert_eq!(event["data"]["data"], "one", "{:?}", follower.way);
        }
        assert_eq!(own.so_far().await, Vec::<Value>::new());
        for follower in &mut followers {
            follower.cut();
        }
        ada.changes(&document, json!("two")).await;
        for follower in &mut followers {
            let welcome = follower.comes_back(follower.way).await;
            assert_eq!(welcome["recovered"], true, "{:?}", follower.way);
            let event = follower.next_event().await.expect("an event, not the end");
            assert_eq!(event["data"]["data"], "two", "{:?}", follower.way);
        }
        // Silence is no reason to end.
        let mut quiet = ada.sse("").await;
        for _ in 0..2 {
            let heartbeat = quiet.next().await.expect("a heartbeat, not the end");
            assert_eq!(heartbeat.name, "heartbeat");
        }
    }

    /// Whoever comes is who the proxy saw, and pages are refused as without it.
    async fn takes_nobody_for_somebody_else(&self) {
        let ada = self.person("eve").await;
        let cookie = ada.cookie.clone().unwrap();
        let elsewhere = reqwest::Client::builder()
            .local_address("127.0.0.2".parse::<std::net::IpAddr>().unwrap())
            .build()
            .unwrap();
        let stream = elsewhere
            .get(format!("http://{}/sse/events", self.address))
            .header("cookie", &cookie)
            .header("x-forwarded-for", "6.6.6.6")
            .send()
            .await
            .unwrap();
        assert_eq!(stream.status(), 200);
        let seen = self.app.back_end().get("/admin/connections").await.json;
        let addresses: Vec<_> = seen["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["address"])
            .collect();
        assert!(addresses.contains(&&json!("127.0.0.2")), "{addresses:?}");
        assert!(!addresses.contains(&&json!("6.6.6.6")), "{addresses:?}");
        for (origin, status) in [
            (format!("http://{}", self.address), 101),
            (format!("http://{}", self.app.address), 403),
            ("https://evil.example".to_owned(), 403),
        ] {
            let headers = [("cookie", cookie.clone()), ("origin", origin.clone())];
            let opened = WsClient::connect_with(self.address, "", &headers).await;
            let got = match opened {
                Ok(_) => 101,
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                    answer.status().as_u16()
                }
                Err(other) => panic!("{other}"),
            };
            assert_eq!(got, status, "{origin}");
        }
    }

    /// What is for operators is not for everybody, and what is too large or two things at once is refused.
    async fn keeps_out_what_is_not_for_it(&self) {
        let http = reqwest::Client::new();
        for path in ["/metrics", "/readyz", "/livez"] {
            let asked = http
                .get(format!("http://{}{path}", self.address))
                .bearer_auth(API_KEY);
            assert_eq!(asked.send().await.unwrap().status(), 404, "{path}");
        }
        let large = json!({ "username": "x".repeat(3 << 20), "password": PASSWORD });
        let login = http
            .post(format!("http://{}/api/v1/auth/login", self.address))
            .json(&large);
        // Some say so while the body is still being sent, and end.
        if let Ok(answer) = login.send().await {
            assert!([400, 413].contains(&answer.status().as_u16()), "{answer:?}");
        }
        let mut raw = Raw::connect(self.address).await;
        raw.sends(format!(
            "POST /api/v1/auth/logout HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
             \r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
            self.address
        ))
        .await;
        // One request, or none: never the second one's answer.
        let first = raw.head().await;
        assert!(
            first.is_empty() || first.starts_with("HTTP/1.1 "),
            "{first}"
        );
        assert!(!first.contains(" 200 "), "{first}");
        let request = Person::nobody(self.address).builder(Method::GET, "/api/v1/auth/me");
        Person::send(request).await.is(401);
    }
}

async fn story(kind: &Kind) {
    if !needs(kind.program) {
        return;
    }
    let proxied = Proxied::start(kind).await;
    proxied.lets_everything_through().await;
    proxied.takes_nobody_for_somebody_else().await;
    proxied.keeps_out_what_is_not_for_it().await;
}

#[tokio::test]
async fn through_nginx_everything_works() {
    story(&NGINX).await;
}

#[tokio::test]
async fn through_haproxy_everything_works() {
    story(&HAPROXY).await;
}

#[tokio::test]
async fn through_caddy_everything_works() {
    story(&CADDY).await;
}

#[tokio::test]
async fn the_samples_are_understood_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["chat.example.org".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &cert).unwrap();
    std::fs::write(path("key.pem"), &key).unwrap();
    std::fs::write(path("both.pem"), cert + &key).unwrap();
    for kind in [NGINX, HAPROXY, CADDY] {
        if !needs(kind.program) {
            continue;
        }
        let text = kind
            .sample
            .replace(
                "/etc/letsencrypt/live/chat.example.org/fullchain.pem",
                &path("cert.pem"),
            )
            .replace(
                "/etc/letsencrypt/live/chat.example.org/privkey.pem",
                &path("key.pem"),
            )
            .replace("/etc/haproxy/chat.example.org.pem", &path("both.pem"))
            .replace("/run/nginx.pid", &path("nginx.pid"));
        let file = folder.path().join(kind.program);
        std::fs::write(&file, text).unwrap();
        let checked = (kind.checks)(&file).env("HOME", folder.path()).output();
        let checked = checked.await.unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{}: {said}", kind.program);
        assert!(
            !said.contains("[WARNING]") && !said.contains("[warn]"),
            "{}: {said}",
            kind.program
        );
    }
}
