//! An observer, and what the model says that it is to get.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::{Follower, Way, position};

/// An event that was published, as the model sees it.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Volatile ones have none.
    pub(super) position: Option<u64>,
    pub(super) channels: Vec<String>,
    /// Which observer it is kept from.
    pub(super) without: Option<usize>,
    pub(super) name: &'static str,
    /// What its data says, where that is ours.
    pub(super) tag: Option<u64>,
}

pub(super) struct Observer {
    pub(super) follower: Follower,
    pub(super) connected: bool,
    /// The channels that it is in while it is connected, first those that the server puts it in.
    pub(super) channels: Vec<String>,
    /// Where it was put out of one of them, or let in again: from before that it does not resume.
    pub(super) withdrawn: u64,
    /// What it has not read yet.
    pub(super) kept: VecDeque<Published>,
    /// Where these come among the others is not promised, and to one that polls they need not come at all.
    pub(super) volatile: Vec<u64>,
}

impl Published {
    /// The first of its channels that somebody is in.
    pub(super) fn channel(&self, channels: &[String]) -> Option<&String> {
        self.channels
            .iter()
            .find(|channel| channels.contains(channel))
    }
}

impl Observer {
    /// Whether it has the socket id that it keeps, and is left out for it.
    pub(super) fn has_a_socket(&self) -> bool {
        self.follower.way != Way::Poll
    }

    /// Reads some, if there are as many.
    pub(super) async fn reads(&mut self, count: usize) {
        if self.follower.way == Way::Poll {
            let left = self.kept.len().saturating_sub(count);
            while self.connected && self.kept.len() > left {
                self.read_on().await;
            }
            return;
        }
        for _ in 0..count.min(self.kept.len() + self.volatile.len()) {
            self.read().await;
        }
    }

    /// Reads whatever comes next of an answer.
    async fn read_on(&mut self) {
        let cursor = self.follower.cursor.as_deref().map(position);
        let frame = self.follower.next().await.expect("a frame, not the end");
        if frame["type"] == "event" {
            self.is_expected(&frame);
        } else if frame["recovered"] == json!(false) {
            // Between two polls a cursor may come to be from before the group took it in again.
            let now = frame["cursor"].as_str().map(position);
            assert!(cursor < Some(self.withdrawn), "{cursor:?} is lost: {frame}");
            self.kept.retain(|event| event.position > now);
        }
    }

    pub(super) async fn reads_all(&mut self) {
        if self.connected {
            self.reads(usize::MAX).await;
        }
    }

    async fn read(&mut self) {
        if !self.connected {
            return;
        }
        let frame = self
            .follower
            .next_event()
            .await
            .expect("an event, not the end");
        self.is_expected(&frame);
    }

    /// Fails unless the model says so.
    fn is_expected(&mut self, frame: &Value) {
        let expected = if frame["cursor"].is_null() {
            let tag = frame["data"].as_u64();
            let at = self
                .volatile
                .iter()
                .position(|expected| Some(*expected) == tag);
            self.volatile
                .remove(at.unwrap_or_else(|| panic!("a volatile event too many: {frame}")));
            return;
        } else {
            self.kept
                .pop_front()
                .unwrap_or_else(|| panic!("an event too many: {frame}"))
        };
        let tag = if expected.name == "changed-document" {
            &frame["data"]["data"]
        } else {
            &frame["data"]
        };
        let said = expected.tag.map_or(&Value::Null, |_| tag);
        let got = (
            frame["cursor"].as_str().map(position),
            &frame["event"],
            &frame["channel"],
            said,
        );
        let channel = json!(expected.channel(&self.channels));
        let (name, said) = (json!(expected.name), json!(expected.tag));
        assert_eq!(
            got,
            (expected.position, &name, &channel, &said),
            "got on the left, expected on the right"
        );
    }
}
