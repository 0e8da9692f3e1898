//! However connections end, nothing of them stays: no room, no connection, no task.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestApp, WsClient, eventually};

const CONNECTIONS: usize = 10_000;
/// How many there are at once.
const AT_ONCE: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_leave_nothing_behind() {
    let began = Instant::now();
    let app = TestApp::start_with(|config| {
        (
            config.max_connections_per_user,
            config.max_connections_per_ip,
        ) = (10_000, 10_000);
    })
    .await;
    let own_tasks = app.app.running_tasks();
    let ada = app.person("ada").await;
    let room = format!("document:{}", ada.makes_root("notes").await);
    let visitor = Visitor {
        address: app.address,
        cookie: ada.cookie.clone().unwrap(),
        room,
    };
    // Her connection for requests is a task too, for as long as it is kept open.
    drop(ada);
    eventually("she is gone", async || app.app.running_tasks() == own_tasks).await;

    let places = (0..AT_ONCE).map(|place| {
        let visitor = visitor.clone();
        tokio::spawn(async move {
            for n in (place..CONNECTIONS).step_by(AT_ONCE) {
                visitor.visits(n).await;
            }
        })
    });
    for place in places.collect::<Vec<_>>() {
        place.await.unwrap();
    }
    eventually("everybody has left", async || {
        app.app.registry().counts() == (0, 0)
    })
    .await;
    eventually("every task has ended", async || {
        app.app.running_tasks() == own_tasks
    })
    .await;
    println!("{CONNECTIONS} connections in {:?}", began.elapsed());
}

/// Somebody who comes and goes in every way there is.
#[derive(Clone)]
struct Visitor {
    address: SocketAddr,
    cookie: String,
    room: String,
}

impl Visitor {
    async fn visits(&self, n: usize) {
        match n % 8 {
            0 => self.says_goodbye().await,
            1 => drop(self.ws().await),
            2 => {
                let mut client = self.ws().await;
                client.joins(&self.room).await;
            }
            // Gone before the answer to a join is made.
            3 => {
                let mut client = self.ws().await;
                client
                    .send(json!({ "type": "join", "channel": self.room, "cursor": "00000000-0" }))
                    .await;
            }
            4 => {
                let mut stream = self.sends(&self.sse()).await;
                reads_until(&mut stream, "event: welcome").await;
            }
            5 => drop(self.sends(&self.sse()).await),
            6 => drop(self.sends(&self.upgrade()).await),
            _ => {
                let upgrade = self.upgrade();
                drop(self.sends(&upgrade[..upgrade.len() - 20]).await);
            }
        }
    }

    async fn ws(&self) -> WsClient {
        let query = format!("channel={}", self.room);
        WsClient::connect(self.address, &query, Some(&self.cookie))
            .await
            .unwrap()
    }

    async fn says_goodbye(&self) {
        let mut client = self.ws().await;
        client.socket.close(None).await.unwrap();
        let ended = client.end().await;
        assert_eq!(ended.disconnect, None, "{ended:?}");
    }

    fn sse(&self) -> String {
        let Self {
            address,
            cookie,
            room,
        } = self;
        format!("GET /sse/events/{room} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n")
    }

    fn upgrade(&self) -> String {
        let Self {
            address,
            cookie,
            room,
        } = self;
        format!(
            "GET /ws?channel={room} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    async fn sends(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

async fn reads_until(stream: &mut TcpStream, wanted: &str) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("nothing came")
            .unwrap();
        assert_ne!(count, 0, "it ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}
