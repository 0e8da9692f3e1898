//! What `roomcast bench` is asked to do: how many listen, how much is said to them, and for how long.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value;

/// A load for a server.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Load {
    /// How many connections listen.
    #[arg(long, default_value_t = 1_000, value_parser = connections, value_name = "N")]
    pub connections: usize,
    /// How many rooms they are spread over, each in one.
    #[arg(long, default_value_t = 1, value_parser = rooms, value_name = "N")]
    pub rooms: usize,
    /// How many messages are published in a second, over all rooms; 0 is as many as the server answers.
    #[arg(long, default_value_t = 100, value_parser = rate, value_name = "N")]
    pub rate: u64,
    /// How many of them may wait for their answer at once.
    #[arg(long, default_value_t = 16, value_parser = outstanding, value_name = "N")]
    pub outstanding: usize,
    /// How long the data of each is, in bytes.
    #[arg(long, default_value_t = 128, value_parser = bytes, value_name = "N")]
    pub bytes: usize,
    /// What connections listen over.
    #[arg(long, default_value = "websocket", value_name = "TRANSPORT")]
    pub transport: Mix,
    /// Have every message kept in the server's log; otherwise they are volatile.
    #[arg(long)]
    pub kept: bool,
    /// For how long is published, for example 10s; at most 24h
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub duration: Duration,
    /// How many connections are opened in a second; 0 is as many as the server lets in.
    #[arg(long, default_value_t = 0, value_parser = connect_rate, value_name = "N")]
    pub connect_rate: u64,
}

/// Which transports a load listens over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// WebSocket.
    Websocket,
    /// Server-sent events.
    Sse,
    /// One half each, in every room.
    Mixed,
}

impl Mix {
    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Sse => "sse",
            Self::Mixed => "mixed",
        }
    }
}

impl Load {
    /// How many messages that makes in all; nothing, if as many as possible are asked for.
    pub fn asked(&self) -> Option<u64> {
        let millis = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let asked = self.rate.saturating_mul(millis).div_ceil(1_000);
        (self.rate > 0).then_some(asked)
    }

    /// How many files it needs: one for each connection, and for each message that waits for its answer.
    pub fn files(&self) -> u64 {
        (self.connections + self.outstanding) as u64
    }
}

/// A whole number of a range, or what would be one.
fn within<N>(text: &str, least: N, most: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.parse().ok();
    let number = number.filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("is not a whole number from {least} to {most}"))
}

fn connections(text: &str) -> Result<usize, String> {
    within(text, 1, 1_000_000)
}

fn rooms(text: &str) -> Result<usize, String> {
    within(text, 1, 10_000)
}

fn rate(text: &str) -> Result<u64, String> {
    within(text, 0, 1_000_000)
}

fn outstanding(text: &str) -> Result<usize, String> {
    within(text, 1, 1_024)
}

/// The number and the times of a message take some of it.
fn bytes(text: &str) -> Result<usize, String> {
    within(text, 80, 1_048_576)
}

fn connect_rate(text: &str) -> Result<u64, String> {
    within(text, 0, 100_000)
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = value::duration(text)?;
    if duration > Duration::from_secs(24 * 3_600) {
        return Err("is longer than 24h".into());
    }
    Ok(duration)
}
