//! The program as a client of a running server: `roomcast publish` and `roomcast tail`, with the API key.

use std::io::{self, ErrorKind, Write, stdout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{Stream, StreamExt};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;
use serde_json::value::RawValue;
use sse_stream::{Sse, SseStream};
use tokio::time::Instant;

use crate::config::Config;
use crate::realtime::{Channel, Cursor, Data, EventName};

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server may take to say whether it is ready.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause before coming back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a connection lasts that has worked: after it the pauses begin anew.
const STEADY: Duration = Duration::from_secs(60);

/// What `roomcast publish` is to say.
#[derive(Debug)]
pub struct Said<'a> {
    /// Where.
    pub channel: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// Its data, as JSON.
    pub json: &'a str,
    /// Only to whoever is there.
    pub volatile: bool,
    /// Not now.
    pub delay: Option<Duration>,
}

/// What `roomcast tail` is to show.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Of which channels.
    pub channels: &'a [String],
    /// From where on; from now on, if nothing is said.
    pub since: Option<&'a str>,
    /// Every frame rather than events alone.
    pub all: bool,
}

/// A server, and the key to it.
pub(crate) struct Server {
    pub(crate) http: Client,
    pub(crate) url: String,
    key: String,
}

/// What a body of `POST /publish` says.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    channels: [&'a Channel; 1],
    event: &'a str,
    data: &'a RawValue,
    volatile: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u128>,
}

/// Publishes one event, and says what the server answered.
///
/// # Errors
/// When it is refused, or the server cannot be reached.
pub async fn publish(config: &Config, server: Option<&str>, said: &Said<'_>) -> anyhow::Result<()> {
    let channel: Channel = said.channel.parse().context("CHANNEL")?;
    let event: EventName = said.event.parse().context("EVENT")?;
    let data = Data::parse(said.json)
        .context("JSON (a text needs its quotes twice, for example '\"Hello.\"')")?;
    let data = data.raw();
    let body = Body {
        channels: [&channel],
        event: event.as_str(),
        data: &data,
        volatile: said.volatile,
        delay_ms: said.delay.map(|delay| delay.as_millis()),
    };
    let server = Server::new(config, server)?;
    let request = server.http.post(server.at("/api/v1/publish")).json(&body);
    let answer = server.send(request).await?;
    let answer = match refusal(answer).await {
        Ok(answer) => answer
            .text()
            .await
            .context("the answer did not come whole")?,
        Err(refused) => bail!(refused.detail),
    };
    // It is published, whoever reads this.
    let _ = say(answer).await;
    Ok(())
}

/// Prints what channels say, a line each, until it is told to stop or nobody reads any more.
///
/// # Errors
/// When it is refused, or the server cannot be reached at first; later it is tried again.
pub async fn tail(config: &Config, server: Option<&str>, heard: &Heard<'_>) -> anyhow::Result<()> {
    for channel in heard.channels {
        channel.parse::<Channel>().context(channel.clone())?;
    }
    let mut cursor = heard.since.map(str::to_owned);
    if let Some(cursor) = &cursor {
        cursor.parse::<Cursor>().context("--since")?;
    }
    let server = Server::new(config, server)?;
    let (mut welcomed, mut failures) = (false, 0);
    loop {
        let began = Instant::now();
        let ended = follow(&server, heard, &mut cursor, &mut welcomed).await;
        if began.elapsed() > STEADY {
            failures = 0;
        }
        let wait = match ended {
            Ended::Unread => return Ok(()),
            Ended::Refused(detail) => bail!(detail),
            Ended::Unreachable(error) if !welcomed => return Err(error),
            Ended::Unreachable(error) => {
                tracing::warn!(error = format!("{error:#}"), "the line broke; trying again");
                None
            }
            Ended::Later(wait) => wait,
        };
        // Each failure doubles the pause; the server's own word for it is spread already.
        let pause = Duration::from_secs(1 << failures).min(LONGEST_PAUSE);
        failures = (failures + 1).min(5);
        tokio::time::sleep(
            wait.unwrap_or(pause)
                .clamp(Duration::from_millis(100), LONGEST_PAUSE),
        )
        .await;
    }
}

/// Why a stream is over.
enum Ended {
    /// Nobody reads what is printed.
    Unread,
    /// For good, and why.
    Refused(String),
    /// The line broke, or there was none.
    Unreachable(anyhow::Error),
    /// For now, with the pause that the server asks for.
    Later(Option<Duration>),
}

/// One connection, from its beginning to its end.
async fn follow(
    server: &Server,
    heard: &Heard<'_>,
    cursor: &mut Option<String>,
    welcomed: &mut bool,
) -> Ended {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(heard.channels.iter().map(|name| ("channel", name.as_str())));
    query.extend(cursor.iter().map(|cursor| ("cursor", cursor.as_str())));
    // Channels and cursors have no character that a query escapes.
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let request = server
        .http
        .get(server.at(&format!("/sse/events?{}", query.join("&"))));
    let answer = match server.send(request).await {
        Ok(answer) => answer,
        Err(error) => return Ended::Unreachable(error),
    };
    let answer = match refusal(answer).await {
        Ok(answer) => answer,
        Err(refused) if refused.passes && *welcomed => return Ended::Later(None),
        Err(refused) => return Ended::Refused(refused.detail),
    };
    let stream = SseStream::from_bytes_stream(answer.bytes_stream());
    print(stream, heard.all, cursor, welcomed).await
}

/// Prints a stream to its end.
async fn print(
    stream: impl Stream<Item = Result<Sse, sse_stream::Error>>,
    all: bool,
    cursor: &mut Option<String>,
    welcomed: &mut bool,
) -> Ended {
    let mut stream = std::pin::pin!(stream);
    let (mut silence, mut retry) = (PATIENCE, None);
    loop {
        let block = match tokio::time::timeout(silence, stream.next()).await {
            Ok(Some(Ok(block))) => block,
            Ok(Some(Err(error))) => return Ended::Unreachable(error.into()),
            Ok(None) => return Ended::Later(retry),
            Err(_) => return Ended::Unreachable(anyhow::anyhow!("nothing has come for too long")),
        };
        retry = block.retry.map(Duration::from_millis).or(retry);
        let text = block.data.unwrap_or_default();
        let frame: Value = match serde_json::from_str(&text) {
            Ok(frame) => frame,
            Err(_) => return Ended::Refused("That is no event stream of a roomcast.".into()),
        };
        let kind = frame["type"].as_str();
        if kind == Some("welcome") {
            // A heartbeat comes in time, or the line is dead.
            let heartbeat = frame["heartbeat"].as_u64().unwrap_or(25);
            silence = Duration::from_secs(heartbeat.saturating_mul(2).saturating_add(5));
            if frame["recovered"] == false {
                tracing::warn!(
                    "what was said since the cursor can no longer be had; it goes on from here"
                );
            }
            *welcomed = true;
        }
        if all || kind == Some("event") {
            match say(text).await {
                Ok(()) => {}
                // Whoever read it has enough, which is no fault.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ended::Unread,
                Err(error) => {
                    return Ended::Refused(format!("what came cannot be printed: {error}"));
                }
            }
        }
        // Only now: what could not be printed comes again.
        if block.id.is_some() {
            *cursor = block.id;
        }
        if kind == Some("disconnect") {
            let message = frame["message"]
                .as_str()
                .unwrap_or("The server has ended the stream.");
            return if frame["reconnect"] == true && *welcomed {
                tracing::warn!("{message}");
                Ended::Later(retry)
            } else {
                Ended::Refused(message.to_owned())
            };
        }
    }
}

/// Prints a line. On a thread of its own, because a pipe may be full, and an interrupt is to be heard all the same.
async fn say(line: String) -> io::Result<()> {
    let printing = tokio::task::spawn_blocking(move || {
        let mut out = stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    });
    printing.await.map_err(io::Error::other)?
}

/// Asks the server on this machine whether it is ready.
///
/// # Errors
/// When it is not, or does not answer.
pub async fn healthcheck(config: &Config) -> anyhow::Result<()> {
    let (scheme, address) = match config.ops_listen {
        Some(ops) => ("http", ops),
        None => (config.scheme(), config.listen),
    };
    let url = format!("{scheme}://{}/readyz", reachable(address));
    // The certificate is for the name that clients use, and this never leaves the machine.
    let http = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(HEALTH_PATIENCE)
        .build()?;
    let answer = http.get(&url).send().await;
    let answer = answer
        .map_err(|error| innermost(error.without_url()))
        .with_context(|| format!("{url} does not answer"))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let (status, said) = (answer.status(), answer.text().await.unwrap_or_default());
    bail!("{url} answered {status}: {}", said.trim())
}

impl Server {
    pub(crate) fn new(config: &Config, url: Option<&str>) -> anyhow::Result<Self> {
        let Some(key) = &config.api_key else {
            bail!("there is no API key; set ROOMCAST_API_KEY to the one that the server has");
        };
        let url = match (url, &config.public_url) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(origin)) => origin.as_str().to_owned(),
            (None, None) => format!("{}://{}", config.scheme(), reachable(config.listen)),
        };
        // Where the key goes is said here, and nowhere else.
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .build()?;
        let key = key.expose().to_owned();
        Ok(Self { http, url, key })
    }

    /// The same server and key, reached in another way.
    pub(crate) fn through(&self, http: Client) -> Self {
        Self {
            http,
            url: self.url.clone(),
            key: self.key.clone(),
        }
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = tokio::time::timeout(PATIENCE, request.bearer_auth(&self.key).send()).await;
        let failed = || format!("the server at {} cannot be reached", self.url);
        // Of all that went wrong the innermost says most.
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(innermost(error.without_url())).with_context(failed),
            Err(_) => bail!("the server at {} does not answer", self.url),
        }
    }
}

fn innermost(error: reqwest::Error) -> anyhow::Error {
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    anyhow::anyhow!("{inner}")
}

/// Where a server on this machine that listens there is reached.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// What a server said that did not do as it was asked.
pub(crate) struct Refused {
    pub(crate) detail: String,
    /// It may do it later.
    passes: bool,
}

/// The answer, if it is a success; otherwise what its problem document says.
pub(crate) async fn refusal(answer: Response) -> Result<Response, Refused> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let problem: Value = answer.json().await.unwrap_or_default();
    let mut detail = match problem["detail"].as_str() {
        Some(detail) => detail.to_owned(),
        None => format!("the server answered {status}, which is no answer of a roomcast"),
    };
    for error in problem["errors"].as_array().into_iter().flatten() {
        if let (Some(field), Some(message)) = (error["field"].as_str(), error["message"].as_str()) {
            detail.push_str(&format!("\n  {field}: {message}"));
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        detail.push_str("\n  ROOMCAST_API_KEY has to be the one that the server has");
    }
    Err(Refused { detail, passes })
}
