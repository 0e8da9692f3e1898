//! `roomcast bench`: what a running server carries, found out as any client of its protocol would.
//!
//! Connections are opened, each in one room. When all have been welcomed, messages are published. Then every room is
//! told the end, and when everybody has heard it, the accounts are closed.

mod crowd;
mod desk;
mod door;
mod figures;
mod ledger;
mod limit;
mod line;
mod pace;
mod progress;
mod publisher;
mod report;
mod stamp;
mod table;
mod tally;

use std::pin::pin;
use std::sync::Arc;

use anyhow::bail;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Load};
use crate::remote::Server;
use crowd::{Account, Crowd};
use desk::Desk;
use door::{Door, Rooms};
use figures::{Figures, Here};
use progress::Progress;
use publisher::Publisher;
use report::Noted;
pub use report::Report;
use tally::Tally;

/// Puts a load on a server, and says what came out. `stop` returns when the user asks for an end: of publishing first,
/// and of waiting for what was published after that.
///
/// # Errors
/// When the server cannot be reached, or refuses a connection.
pub async fn run(
    config: &Config,
    server: Option<&str>,
    load: &Load,
    mut stop: impl AsyncFnMut(),
) -> anyhow::Result<Report> {
    let server = Server::new(config, server)?;
    let server = server.through(door::client().build()?);
    let (tally, rooms) = (Arc::new(Tally::new()?), Rooms::new(load.rooms));
    let at_first = Figures::of(&server).await?;
    let is_here = door::is_here(&server.url);

    let began = Instant::now();
    let progress = Progress::start(&tally, load.connections);
    let door = Door::new(&server, load, &rooms)?;
    let opening = Crowd::open(door, load.connections, load.connect_rate, &tally, began);
    let crowd = tokio::select! {
        opened = opening => opened,
        () = stop() => bail!("ended before all connections were open"),
    };
    let crowd = match crowd {
        Ok(crowd) => crowd,
        Err(error) => {
            progress.end().await;
            return Err(error);
        }
    };
    let opening = began.elapsed();

    let before = Figures::of(&server).await?;
    let (here_before, first) = (Here::now(), Instant::now());
    let publisher = Arc::new(Publisher {
        server,
        rooms,
        desk: Desk::new(load.rooms, load.asked().unwrap_or(u64::MAX)),
        tally: Arc::clone(&tally),
        load: load.clone(),
        began,
    });
    let published = publish(&publisher, &mut stop).await;
    let publishing = first.elapsed();
    let account = hear(crowd, &publisher, &mut stop).await;
    let (here_after, measured) = (Here::now(), first.elapsed());
    // What was measured is worth having, also of a server that is gone.
    let after = Figures::of(&publisher.server).await.ok().flatten();
    progress.end().await;

    let noted = Noted {
        opening,
        publishing,
        hearing: tally.last().saturating_sub(first.duration_since(began)),
        measured,
        published: publisher.desk.published(),
        account,
        latencies: tally.latencies()?,
        failure: published.err().map(|error| format!("{error:#}")),
        here: here_before.zip(here_after),
        server: match (at_first, before, after) {
            (Some(at_first), Some(before), Some(after)) => Some([at_first, before, after]),
            _ => None,
        },
        available: std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
        is_here,
    };
    Ok(Report::new(load, noted))
}

/// Publishes up to the end of the time, or of the user's patience.
async fn publish(publisher: &Arc<Publisher>, stop: &mut impl AsyncFnMut()) -> anyhow::Result<()> {
    let asked = CancellationToken::new();
    let mut publishing = pin!(Arc::clone(publisher).run(asked.clone()));
    loop {
        tokio::select! {
            ended = &mut publishing => return ended,
            () = stop(), if !asked.is_cancelled() => asked.cancel(),
        }
    }
}

/// Waits until everybody has heard all of it, or the user has waited enough.
async fn hear(crowd: Crowd, publisher: &Publisher, stop: &mut impl AsyncFnMut()) -> Account {
    let over = crowd.over();
    if let Err(error) = publisher.end().await {
        // Nobody hears of the end; so it is over when nothing comes any more.
        tracing::debug!(%error, "the end could not be told");
    }
    let mut heard = pin!(crowd.heard(&publisher.desk, publisher.rooms.count));
    loop {
        tokio::select! {
            account = &mut heard => return account,
            () = stop(), if !over.is_cancelled() => over.cancel(),
        }
    }
}
