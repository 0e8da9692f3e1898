//! Who publishes: a few at once, each waiting for its answer before it takes the next message.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Ticket};
use super::door::{Rooms, let_in};
use super::pace::Pace;
use super::stamp::{END, EVENT, Stamp};
use super::tally::Tally;
use crate::config::Load;
use crate::remote::Server;

/// How many channels one publish may name.
const MAX_CHANNELS: usize = 1_000;

/// All that is published in a run.
pub(super) struct Publisher {
    pub(super) server: Server,
    pub(super) rooms: Rooms,
    pub(super) desk: Desk,
    pub(super) tally: Arc<Tally>,
    pub(super) load: Load,
    /// From when on times are counted.
    pub(super) began: Instant,
}

#[derive(Serialize)]
struct Body<'a> {
    channels: &'a [String],
    event: &'a str,
    data: &'a RawValue,
    volatile: bool,
}

impl Publisher {
    /// Publishes for as long as was asked, or until it is told to stop.
    ///
    /// # Errors
    /// When the server refuses a message, or does not answer; then no more are sent.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let pace = Pace::start(self.load.rate, self.load.asked().unwrap_or(0), &stop);
        let mut lanes = JoinSet::new();
        for _ in 0..self.load.outstanding {
            let (publisher, pace, stop) = (Arc::clone(&self), pace.clone(), stop.clone());
            lanes.spawn(async move { publisher.lane(&pace, &stop).await });
        }
        lanes.spawn({
            let (stop, duration) = (stop.clone(), self.load.duration);
            async move { over(&stop, duration).await }
        });
        let mut ended = Ok(());
        while let Some(lane) = lanes.join_next().await {
            let lane = lane.context("a publisher failed").flatten();
            if ended.is_ok() && lane.is_err() {
                stop.cancel();
                ended = lane;
            }
        }
        ended
    }

    /// One message after another.
    async fn lane(&self, pace: &Pace, stop: &CancellationToken) -> anyhow::Result<()> {
        while pace.turn(stop).await {
            let Some(ticket) = self.desk.take() else {
                // That was all, for the others, too.
                stop.cancel();
                break;
            };
            let said = self.say(ticket, pace.at(ticket.index)).await;
            if let Err(error) = said {
                self.desk.failed(ticket);
                return Err(error.context("publishing failed"));
            }
            self.desk.answered(ticket);
            self.tally.publish();
        }
        Ok(())
    }

    async fn say(&self, ticket: Ticket, due: Instant) -> anyhow::Result<()> {
        let stamp = Stamp {
            number: ticket.number,
            settled: ticket.settled,
            due: due.saturating_duration_since(self.began),
        };
        let room = usize::try_from(ticket.room)?;
        self.publish(
            &[self.rooms.channel(room)],
            EVENT,
            stamp.data(self.load.bytes),
        )
        .await
    }

    /// Tells every room that there is no more. What comes before this in a connection is all that comes.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        let rooms: Vec<String> = (0..self.rooms.count)
            .map(|room| self.rooms.channel(room))
            .collect();
        for some in rooms.chunks(MAX_CHANNELS) {
            self.publish(some, END, "null".to_owned()).await?;
        }
        Ok(())
    }

    async fn publish(&self, channels: &[String], event: &str, data: String) -> anyhow::Result<()> {
        let body = Body {
            channels,
            event,
            data: &RawValue::from_string(data)?,
            volatile: !self.load.kept,
        };
        let request = self.server.http.post(self.server.at("/api/v1/publish"));
        let answer = self.server.send(request.json(&body)).await?;
        let answer = let_in(answer).await?;
        // Read to its end, so that its connection can be used again.
        answer
            .bytes()
            .await
            .context("an answer did not come whole")?;
        Ok(())
    }
}

/// Stops when the time is over.
async fn over(stop: &CancellationToken, duration: Duration) -> anyhow::Result<()> {
    tokio::select! {
        () = sleep(duration) => stop.cancel(),
        () = stop.cancelled() => {}
    }
    Ok(())
}
