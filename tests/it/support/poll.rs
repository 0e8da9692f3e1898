//! A client that polls: one poll after another, each with the cursor of the answer before.

use std::collections::VecDeque;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Answer, PATIENCE, Person};

impl Person {
    /// One poll; `query` is what comes after the question mark.
    pub(crate) async fn polls(&self, query: &str) -> Answer {
        Self::send(self.poll(query)).await
    }

    /// The request of a poll, to be changed before it is sent.
    pub(crate) fn poll(&self, query: &str) -> reqwest::RequestBuilder {
        self.builder(Method::GET, &format!("/api/v1/events?{query}"))
    }
}

/// Somebody who polls all the time. Dropped, it hangs up in the middle of a poll.
pub(crate) struct Poller {
    /// What a `welcome` would say on the other transports, as far as a poll says it.
    pub(crate) welcome: Value,
    /// Where it goes on, once all of the last answer has been read.
    pub(crate) cursor: String,
    answers: mpsc::Receiver<Answer>,
    polling: JoinHandle<()>,
    frames: VecDeque<Value>,
    /// The first answer that was none of events.
    pub(crate) refusal: Option<Answer>,
}

impl Poller {
    /// Begins; `query` is what it asks for each time, and where it begins.
    pub(crate) async fn begin(person: &Person, query: &str) -> Self {
        let (asked, cursor): (Vec<&str>, Vec<&str>) = query
            .split('&')
            .partition(|field| !field.starts_with("cursor="));
        let asked = asked.join("&");
        // With a cursor it is told at once whether that holds, and what it missed.
        let first = format!("{asked}&{}&wait=0", cursor.join("&"));
        let first = person.polls(&first).await.is(200).json;
        let channels: Vec<_> = asked
            .split('&')
            .filter_map(|field| field.strip_prefix("channel="))
            .collect();
        // A cursor that is resumed from is where the past begins, as on the other transports.
        let resumed = first["recovered"] == json!(true);
        let begins = match cursor.first().and_then(|field| field.split_once('=')) {
            Some((_, cursor)) if resumed => json!(cursor),
            _ => first["cursor"].clone(),
        };
        let mut welcome = json!({ "type": "welcome", "channels": channels, "cursor": begins });
        if let Some(recovered) = first.get("recovered") {
            welcome["recovered"] = recovered.clone();
        }
        let cursor = cursor_of(&first);
        let (sender, answers) = mpsc::channel(1);
        let polling = tokio::spawn(poll(person.clone(), asked, cursor.clone(), sender));
        Self {
            welcome,
            cursor,
            answers,
            polling,
            frames: first["events"].as_array().unwrap().clone().into(),
            refusal: None,
        }
    }

    /// The next event. At the end of each answer a heartbeat, with its cursor; where it was not resumed, that says so.
    /// Nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        if let Some(frame) = self.frames.pop_front() {
            return Some(frame);
        }
        if self.refusal.is_some() {
            return None;
        }
        let answer = tokio::time::timeout(PATIENCE * 2, self.answers.recv())
            .await
            .expect("nothing came")?;
        if answer.status != 200 {
            self.refusal = Some(answer);
            return None;
        }
        self.cursor = cursor_of(&answer.json);
        self.frames = answer.json["events"].as_array().unwrap().clone().into();
        let last = json!({ "type": "heartbeat", "cursor": self.cursor,
            "recovered": answer.json["recovered"] });
        self.frames.push_back(last);
        self.frames.pop_front()
    }

    /// Whether all of the last answer has been read.
    pub(crate) fn is_through(&self) -> bool {
        self.frames.iter().all(|frame| frame["type"] != "event")
    }

    /// The next event, not an end.
    pub(crate) async fn next_event(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("an event, not {:?}", self.refusal));
            if frame["type"] == "event" {
                return frame;
            }
        }
    }

    /// Reads on to the end, and says what it was.
    pub(crate) async fn end(&mut self) -> Answer {
        while self.next().await.is_some() {}
        self.refusal.take().expect("an answer at the end")
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

fn cursor_of(answer: &Value) -> String {
    answer["cursor"].as_str().unwrap().to_owned()
}

/// Polls, until an answer is none of events or the server is gone.
async fn poll(person: Person, asked: String, mut cursor: String, answers: mpsc::Sender<Answer>) {
    loop {
        let request = person.poll(&format!("{asked}&cursor={cursor}"));
        let Ok(answer) = Person::try_send(request).await else {
            return;
        };
        let last = answer.status != 200;
        if !last {
            cursor = cursor_of(&answer.json);
        }
        if answers.send(answer).await.is_err() || last {
            return;
        }
    }
}
