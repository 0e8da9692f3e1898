//! Many on one server, and one of them behaves badly: the others go on as if nobody did.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpSocket;

use crate::support::{
    Follower, Person, Raw, Server, TEXT, Way, WsClient, eventually, frame, position,
};

/// Who listens; by hand also 1,000.
const LISTENERS: usize = 100;
/// What is said while they listen, and how large it is: more than a stalled reader's share of outbox and kernel.
const EVENTS: usize = 400;
const EVENT_BYTES: usize = 16_000;
/// What a stalled reader may cost, in kibibytes: its outbox, what waits to be written, and what allocators keep.
const STALLED: u64 = 8 * 1024;

const MANY: [(&str, &str); 4] = [
    ("ROOMCAST_MAX_CONNECTIONS_PER_USER", "5000"),
    ("ROOMCAST_MAX_CONNECTIONS_PER_IP", "5000"),
    ("ROOMCAST_CHANGES_PER_SECOND", "1000000"),
    ("ROOMCAST_JOINS_PER_SECOND", "1000000"),
];

/// A room, and what is said in it with the time of saying it.
struct Room {
    server: Server,
    ada: Person,
    root: String,
    document: String,
    began: Instant,
}

impl Room {
    async fn opens() -> Self {
        let server = Server::start_with(tempfile::tempdir().unwrap(), &MANY).await;
        let ada = server.person("ada").await;
        let root = ada.makes_root("notes").await;
        let document = ada.makes_document(&root, json!(0)).await;
        Self {
            server,
            ada,
            root,
            document,
            began: Instant::now(),
        }
    }

    fn query(&self) -> String {
        format!("channel=document:{}", self.root)
    }

    async fn connections(&self) -> u64 {
        self.ada.get("/status").await.is(200).json["connections"]
            .as_u64()
            .unwrap()
    }

    /// Everything is said, and everybody hears it: how long that took each time, sorted.
    async fn talks(&self, listeners: &mut [WsClient]) -> Vec<u128> {
        let began = self.began;
        let saying = async {
            for _ in 0..EVENTS {
                let now = began.elapsed().as_micros();
                self.ada
                    .changes(
                        &self.document,
                        json!([now.to_string(), "x".repeat(EVENT_BYTES)]),
                    )
                    .await;
            }
        };
        let hearing = listeners.iter_mut().map(async |listener: &mut WsClient| {
            let mut took = Vec::new();
            while took.len() < EVENTS {
                let message =
                    tokio::time::timeout(Duration::from_secs(60), listener.socket.next()).await;
                let text = message
                    .expect("nothing came")
                    .unwrap()
                    .unwrap()
                    .into_text()
                    .unwrap();
                let Some((_, said)) = text.split_once(r#""data":[""#) else {
                    continue;
                };
                let said: u128 = said.split_once('"').unwrap().0.parse().unwrap();
                took.push(began.elapsed().as_micros() - said);
            }
            took
        });
        let (took, ()) = tokio::join!(join_all(hearing), saying);
        let mut took: Vec<_> = took.into_iter().flatten().collect();
        took.sort_unstable();
        took
    }
}

/// A client that takes as little as the kernel lets it.
async fn stalled(ada: &Person, query: &str) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(ada.address).await.unwrap();
    let mut raw = Raw::over(stream);
    raw.sends(Raw::handshake(ada).replace("/ws ", &format!("/ws?{query} ")))
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_stops_reading_costs_its_own_share_and_nobody_else_notices() {
    let room = Room::opens().await;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(room.ada.ws(&room.query()).await);
    }
    // The first time fills caches, the second is the measure.
    room.talks(&mut listeners).await;
    let without = room.talks(&mut listeners).await;
    let before = room.server.holds();

    let mut follower = Follower::new(&room.ada, &room.query(), Way::WebSocket);
    follower.connects().await;
    follower.cut();
    let stalled = stalled(&room.ada, &room.query()).await;
    let with = room.talks(&mut listeners).await;
    let after = room.server.holds();
    eventually("the one who does not read is let go", async || {
        room.connections().await == LISTENERS as u64
    })
    .await;
    drop(stalled);

    // It comes back with the last that it knows, and has missed nothing.
    let welcome = follower.connects().await;
    assert_eq!(welcome["recovered"], true, "{welcome}");
    let mut last = position(welcome["cursor"].as_str().unwrap());
    for _ in 0..EVENTS {
        let event = follower.next_event().await.unwrap();
        let at = position(event["cursor"].as_str().unwrap());
        assert!(
            last < at || last == position(welcome["cursor"].as_str().unwrap()),
            "{last}, {at}"
        );
        last = at;
    }
    let figure = |took: &[u128], of: usize| took[(took.len() - 1) * of / 100];
    println!(
        "{LISTENERS} listeners, in microseconds: p50 {} and p99 {} without, p50 {} and p99 {} with one who does not read; {before:?}, {after:?}",
        figure(&without, 50),
        figure(&without, 99),
        figure(&with, 50),
        figure(&with, 99),
    );
    assert!(
        after.memory <= before.memory + STALLED,
        "{before:?}, {after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_is_refused_and_those_who_are_in_go_on() {
    let settings = [MANY[0], MANY[1], ("ROOMCAST_MAX_CONNECTIONS", "50")];
    let server = Server::start_with(tempfile::tempdir().unwrap(), &settings).await;
    let ada = server.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let mut inside = ada.ws(&format!("channel=document:{root}")).await;
    // Lines on which nothing is ever finished: half a request, half a handshake, nothing.
    let mut unfinished = Vec::new();
    for n in 0..600 {
        let mut raw = Raw::connect(server.address).await;
        let handshake = Raw::handshake(&ada);
        raw.sends(&handshake[..[0, 3, handshake.len() - 2][n % 3]])
            .await;
        unfinished.push(raw);
    }
    let mut flood = Vec::new();
    let (mut entered, mut refused) = (0, 0);
    for n in 0..150 {
        let mut raw = Raw::connect(server.address).await;
        raw.sends(Raw::handshake(&ada)).await;
        let head = raw.head().await;
        match head.split(' ').nth(1) {
            Some("101") => entered += 1,
            Some("503") => {
                assert!(head.contains("retry-after: "), "{head}");
                refused += 1;
            }
            _ => panic!("{head}"),
        }
        flood.push(raw);
        if n % 10 == 0 {
            let cursor = ada.changes(&document, json!(n)).await;
            assert_eq!(inside.next_event().await["cursor"], json!(cursor));
        }
    }
    assert_eq!((entered, refused), (49, 101));
    drop((flood, unfinished));
    // When they have left there is room again.
    eventually("somebody new gets in", async || {
        WsClient::connect(server.address, "", ada.cookie.as_deref())
            .await
            .is_ok()
    })
    .await;
    assert!(!server.log().contains("panic"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_joins_does_not_keep_anybody_from_hearing() {
    let room = Room::opens().await;
    let mut bystander = room.ada.ws(&room.query()).await;
    let storming = (0..20).map(async |n: usize| {
        let mut raw = Raw::websocket(&room.ada).await;
        let mut bytes = Vec::new();
        for round in 0..300 {
            let channel = (n + round) % 7;
            for kind in ["join", "leave"] {
                let command = json!({ "type": kind, "channel": format!("presence:storm-{channel}"), "id": round });
                bytes.extend(frame(TEXT, command.to_string().as_bytes()));
            }
        }
        bytes.extend(frame(0x88, b"\x03\xe8"));
        raw.sends(&bytes).await;
        // To the end; who is let go because it does not read answers in time is let go.
        raw.end().await;
    });
    let talking = async {
        for n in 0..100 {
            let cursor = room.ada.changes(&room.document, json!(n)).await;
            assert_eq!(bystander.next_event().await["cursor"], json!(cursor));
        }
    };
    tokio::join!(join_all(storming), talking);
    eventually("the storm is over", async || room.connections().await == 1).await;
    let rooms = room.ada.get("/status").await.is(200).json["rooms"].clone();
    assert_eq!(rooms, json!(3), "global, her own, and the root's");
}
