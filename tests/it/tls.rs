//! TLS without a proxy: HTTP/2 for those who speak it, sockets over both, and a certificate that changes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Certificate as Trusted;
use roomcast::config::{Config, Registration};
use roomcast::server::{self, Certificate};
use roomcast::{Roomcast, accounts};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use crate::support::{PASSWORD, PATIENCE, eventually};

/// A server with a certificate of its own, and somebody who is logged in.
struct Secure {
    app: Roomcast,
    address: SocketAddr,
    certificate: Arc<Certificate>,
    folder: tempfile::TempDir,
    cookie: String,
}

/// Writes a new certificate and its key.
fn issue(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
}

impl Secure {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        issue(folder.path());
        let path = |name: &str| folder.path().join(name);
        let mut config = Config {
            database_url: format!("sqlite://{}", path("test.db").display()),
            registration: Registration::Open,
            tls_cert: Some(path("cert.pem")),
            tls_key: Some(path("key.pem")),
            ..Config::default()
        };
        change(&mut config);
        let certificate = Arc::new(Certificate::of(&config).unwrap().unwrap());
        let app = Roomcast::open(config).await.unwrap();
        accounts::add(app.config(), "ada", false, PASSWORD.to_owned())
            .await
            .unwrap();
        let listener = server::listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        server::open(&app, listener, app.router(), Some(Arc::clone(&certificate)));
        let mut secure = Self {
            app,
            address,
            certificate,
            folder,
            cookie: String::new(),
        };
        let answer = secure.logs_in(&secure.browser().build().unwrap()).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        secure.cookie = cookie.split(';').next().unwrap().to_owned();
        secure
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    fn pem(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("cert.pem")).unwrap()
    }

    fn browser(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder().tls_certs_only([Trusted::from_pem(&self.pem()).unwrap()])
    }

    async fn logs_in(&self, client: &reqwest::Client) -> reqwest::Response {
        let login = client.post(self.url("/api/v1/auth/login"));
        let login = login.json(&json!({ "username": "ada", "password": PASSWORD }));
        let answer = login.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer
    }

    /// A connection over TLS that speaks these protocols.
    async fn tls(&self, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.pem()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    /// A connection of HTTP/2 whose streams have so much room.
    async fn http2(&self, window: u32) -> http2::SendRequest<Empty<&'static [u8]>> {
        let stream = TokioIo::new(self.tls(&[b"h2"]).await);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("cookie", &self.cookie)
    }

    /// Tries to open a WebSocket over HTTP/2.
    async fn upgrades(&self, origin: &str) -> http::Response<hyper::body::Incoming> {
        let mut sender = self.http2(1 << 20).await;
        let mut request = self
            .request("CONNECT", "/ws")
            .header("sec-websocket-version", "13")
            .header("origin", origin)
            .body(Empty::new())
            .unwrap();
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        let answer = sender.send_request(request).await.unwrap();
        // The connection lives as long as somebody may send requests.
        std::mem::drop(tokio::spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        }));
        answer
    }
}

#[tokio::test]
async fn over_tls_logins_are_for_tls_alone_and_each_client_has_its_http() {
    let server = Secure::start(|_| {}).await;
    for (client, version) in [
        (server.browser(), Version::HTTP_2),
        (server.browser().http1_only(), Version::HTTP_11),
    ] {
        let client = client.build().unwrap();
        let answer = server.logs_in(&client).await;
        assert_eq!(answer.version(), version);
        let headers = answer.headers();
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-roomcast="), "{cookie}");
        assert!(cookie.contains("; Secure"), "{cookie}");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000");
        // The page's own address is that of the server, with its scheme.
        for (origin, status) in [
            (server.url(""), StatusCode::NO_CONTENT),
            (format!("http://{}", server.address), StatusCode::FORBIDDEN),
        ] {
            let logout = client
                .post(server.url("/api/v1/auth/logout"))
                .header("origin", &origin)
                .header("cookie", &server.cookie);
            let answer = logout.send().await.unwrap();
            assert_eq!(answer.status(), status, "{origin} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_websocket_over_http2_joins_and_hears_and_is_closed_with_a_reason() {
    let server = Secure::start(|_| {}).await;
    let refused = server.upgrades("https://evil.example").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let answer = server.upgrades(&server.url("")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let upgraded = hyper::upgrade::on(answer).await.unwrap();
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    assert_eq!(hears(&mut socket).await["type"], "welcome");
    let join = json!({ "type": "join", "id": 1, "channel": "presence:lobby" });
    socket.send(Message::text(join.to_string())).await.unwrap();
    assert_eq!(hears(&mut socket).await["id"], 1);
    server.app.stop();
    let disconnect = hears(&mut socket).await;
    assert_eq!(disconnect["code"], "shutdown", "{disconnect}");
    let Some(Ok(Message::Close(Some(close)))) = socket.next().await else {
        panic!("expected a close");
    };
    assert_eq!(u16::from(close.code), 1001);
    drop(socket);
    assert!(server.app.wait().await, "something did not end in time");
}

async fn hears<S>(socket: &mut WebSocketStream<S>) -> Value
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let message = tokio::time::timeout(PATIENCE, socket.next()).await;
    let message = message.expect("nothing came").unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_get_over_http2_is_told_how_a_websocket_is_opened_there() {
    let server = Secure::start(|_| {}).await;
    let client = server.browser().build().unwrap();
    let answer = client.get(server.url("/ws")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "invalid-upgrade", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("RFC 8441"));
}

#[tokio::test]
async fn who_takes_nothing_of_a_stream_over_http2_is_out_of_its_rooms() {
    let server = Secure::start(|config| {
        config.ping_timeout = Duration::from_millis(300);
        config.heartbeat = Duration::from_millis(100);
    })
    .await;
    let mut sender = server.http2(100).await;
    let request = server.request("GET", "/sse/events").body(Empty::new());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // It goes on answering the pings of HTTP/2, and gives the stream no more room.
    eventually("nobody is connected", async || {
        server.app.registry().counts().0 == 0
    })
    .await;
    // The connection itself is fine.
    let request = server.request("GET", "/livez").body(Empty::new());
    let alive = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(
        alive.into_body().collect().await.unwrap().to_bytes(),
        "ok\n"
    );
    drop(answer);
}

#[tokio::test]
async fn who_reads_a_stream_over_http2_stays() {
    let server = Secure::start(|config| {
        config.ping_timeout = Duration::from_millis(300);
        config.heartbeat = Duration::from_millis(100);
    })
    .await;
    let client = server.browser().build().unwrap();
    let stream = client.get(server.url("/sse/events"));
    let mut stream = stream
        .header("cookie", &server.cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(stream.version(), Version::HTTP_2);
    let mut heartbeats = 0;
    while heartbeats < 10 {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk()).await;
        let chunk = chunk
            .expect("nothing came")
            .unwrap()
            .expect("a chunk, not the end");
        heartbeats += usize::from(String::from_utf8_lossy(&chunk).contains("event: heartbeat"));
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let server = Secure::start(|_| {}).await;
    let presented = async || {
        let client = server.browser().build().unwrap();
        client.get(server.url("/livez")).send().await.is_ok()
    };
    assert!(presented().await);
    let before = server.pem();
    issue(server.folder.path());
    assert!(!presented().await, "the old one is still presented");
    server.certificate.reload();
    assert!(presented().await, "the new one");
    let good = server.pem();
    for bad in [&b""[..], b"no certificate", &before] {
        std::fs::write(server.folder.path().join("cert.pem"), bad).unwrap();
        server.certificate.reload();
        std::fs::write(server.folder.path().join("cert.pem"), &good).unwrap();
        assert!(presented().await, "the one before goes on");
    }
}

#[tokio::test]
async fn a_certificate_that_is_none_is_refused_with_the_file_and_what_it_is_to_be() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let path = |name: &str| Some(folder.path().join(name));
    for (chain, key, name) in [
        ("missing.pem", "key.pem", "ROOMCAST_TLS_CERT"),
        ("key.pem", "key.pem", "ROOMCAST_TLS_CERT"),
        ("cert.pem", "cert.pem", "ROOMCAST_TLS_KEY"),
    ] {
        let config = Config {
            tls_cert: path(chain),
            tls_key: path(key),
            ..Config::default()
        };
        let error = format!("{:#}", Certificate::of(&config).unwrap_err());
        assert!(error.contains(name) && error.contains(".pem"), "{error}");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so_and_who_says_nothing_is_let_go() {
    let server = Secure::start(|config| config.header_timeout = Duration::from_millis(300)).await;
    let said = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // A reset is an end as well.
        let _ = tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("it does not end");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("https://"), "{answer}");
    assert_eq!(said(b"").await, "");
    // The beginning of a handshake, and no more.
    assert_eq!(said(b"\x16\x03\x01\x02\x00").await, "");
}
