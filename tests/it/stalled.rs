//! Whoever takes nothing holds nobody else up, and whoever takes a little at a time is sent all of it.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Person, Raw, TEXT, TestApp, frame, note};

/// A connection that takes as little ahead as the kernel lets it.
async fn small(ada: &Person) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(ada.address).await.unwrap()
}

/// A channel of somebody who may take nothing for so long, however much waits.
async fn room(patience: Duration) -> (TestApp, Person, String) {
    let app = TestApp::start_with(|config| {
        config.outbox_bytes = 64 * 1024 * 1024;
        config.ping_timeout = patience;
    })
    .await;
    let ada = app.person("ada").await;
    let channel = format!("document:{}", ada.makes_root("notes").await);
    (app, ada, channel)
}

fn volatile(channel: &str, bytes: usize) -> roomcast::realtime::Event {
    note(channel, &"x".repeat(bytes))
}

#[tokio::test]
async fn who_takes_nothing_while_it_publishes_holds_nobody_up() {
    let (app, ada, channel) = room(Duration::from_secs(60)).await;
    let mut stalled = Raw::over(small(&ada).await);
    let query = format!("/ws?channel={channel} ");
    stalled
        .sends(Raw::handshake(&ada).replace("/ws ", &query))
        .await;
    assert!(stalled.head().await.starts_with("HTTP/1.1 101 "));

    // Its turn has to wait for ours. What it says was there before what the other one says, who is answered.
    let held = app.app.log().begin().await.unwrap();
    let publish =
        json!({ "type": "publish", "id": 1, "channel": channel, "event": "note", "data": 1 });
    let publish = frame(TEXT, publish.to_string().as_bytes());
    stalled.sends(publish).await;
    let mut other = ada.ws("").await;
    for _ in 0..3 {
        other.call(json!({ "type": "ping" })).await;
    }
    let registry = app.app.registry();
    let waits = || registry.scales().bytes();
    let mut told = 0;
    while waits() < 8 * 1024 * 1024 {
        told += 1;
        assert!(told < 1_000, "it takes everything");
        registry.publish(&volatile(&channel, 1024 * 1024));
        other.call(json!({ "type": "ping" })).await;
    }
    drop(held);
    let appended = app.app.log().append(note(&channel, &"after"));
    tokio::time::timeout(Duration::from_secs(4), appended)
        .await
        .expect("the writer's turn is held by who takes nothing")
        .unwrap();
}

#[tokio::test]
async fn who_takes_a_little_at_a_time_is_sent_all_of_it() {
    const EVENTS: usize = 8;
    const BYTES: usize = 1_900_000;
    let (app, ada, channel) = room(Duration::from_millis(500)).await;
    let paths = [
        format!("/ws?channel={channel} "),
        format!("/sse/events?channel={channel} "),
    ];
    for path in paths {
        let mut raw = Raw::over(small(&ada).await);
        raw.sends(Raw::handshake(&ada).replace("/ws ", &path)).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 "));
        for _ in 0..EVENTS {
            app.app.registry().publish(&volatile(&channel, BYTES));
        }
        // About three times as long in all as it may take nothing.
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        let (mut room, mut read) = (vec![0; 1024 * 1024], 0);
        while read < EVENTS * BYTES {
            pace.tick().await;
            let mut step = 0;
            while step < room.len() && read + step < EVENTS * BYTES {
                let count = raw.stream.read(&mut room).await.unwrap_or(0);
                assert!(count > 0, "{path}: cut off after {} bytes", read + step);
                step += count;
            }
            read += step;
        }
    }
}
