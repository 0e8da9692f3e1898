//! What stories are told with: a server, people, and their clients.

mod app;
mod application;
mod child;
mod client;
pub(crate) mod described;
mod dice;
mod follower;
pub(crate) mod jwt;
mod needs;
mod person;
mod poll;
mod program;
mod raw;
pub(crate) mod schema;
mod shape;
mod sse;
mod trace;
mod ws;

use std::time::Duration;

pub(crate) use app::{API_KEY, PASSWORD, TestApp, note};
pub(crate) use application::{Application, Question, Reply, SECRET};
pub(crate) use child::{Server, command};
pub(crate) use client::{Client, Way};
pub(crate) use dice::Dice;
pub(crate) use follower::Follower;
pub(crate) use needs::needs;
pub(crate) use person::{Answer, Person, Shown};
pub(crate) use poll::Poller;
pub(crate) use program::{Program, roomcast, run};
pub(crate) use raw::{CLOSE, PING, Raw, TEXT, frame};
pub(crate) use shape::Shape;
pub(crate) use sse::SseClient;
pub(crate) use trace::{Act, Disk, Unsynced, read as read_trace};
pub(crate) use ws::{Ended, WsClient};

/// How long a test waits for what must come. Long, because machines are shared; nothing waits this long when it works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    assert!(comes_to_be(is_so).await, "it never came to be that {what}");
}

/// Waits until something is so, and says whether it came to be.
pub(crate) async fn comes_to_be(mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.is_ok()
}

/// The position in a cursor.
pub(crate) fn position(cursor: &str) -> u64 {
    cursor.split_once('-').unwrap().1.parse().unwrap()
}
