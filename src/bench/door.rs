//! How connections get in: from which address, to which room, over which transport, and what a refusal means.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url, header, redirect};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::line::Line;
use super::stamp::Frame;
use crate::config::{Load, Mix};
use crate::remote::{PATIENCE, Server, refusal};

/// An address has about 28,000 ports for its own connections, on Linux. Loopback has more addresses than one.
const PER_SOURCE: usize = 20_000;
/// Shorter than the server waits for the next request, so that none meets the end of its connection.
const IDLE: Duration = Duration::from_secs(4);

/// What it may mean that the server answered others, and not this one.
const CUT_OFF: &str = "others were answered: the server may have cut this address off, as it does over twice\n  \
                       ROOMCAST_MAX_CONNECTIONS_PER_IP; raise that, or ask for fewer --connections";

/// The way in.
pub(super) struct Door {
    /// The same server, from each address.
    sources: Vec<Server>,
    rooms: Rooms,
    mix: Mix,
}

/// The rooms of one run. No other run has the same.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    run: u32,
    pub(super) count: usize,
}

impl Rooms {
    pub(super) fn new(count: usize) -> Self {
        let run = uuid::Uuid::new_v4().as_fields().0;
        Self { run, count }
    }

    pub(super) fn channel(&self, room: usize) -> String {
        format!("bench:{:08x}-{room}", self.run)
    }
}

impl Door {
    pub(super) fn new(server: &Server, load: &Load, rooms: &Rooms) -> anyhow::Result<Self> {
        let sources = if is_loopback_v4(&server.url) {
            load.connections.div_ceil(PER_SOURCE)
        } else {
            1
        };
        let sources = (0..sources).map(|index| -> anyhow::Result<_> {
            // Each connection is held for the whole run, so none goes back to a pool.
            let mut http = client().pool_max_idle_per_host(0);
            if sources > 1 {
                http = http.local_address(Some(loopback(index)));
            }
            Ok(server.through(http.build()?))
        });
        Ok(Self {
            sources: sources.collect::<anyhow::Result<_>>()?,
            rooms: rooms.clone(),
            mix: load.transport,
        })
    }

    /// The room of a connection.
    pub(super) fn room(&self, connection: usize) -> usize {
        connection % self.rooms.count
    }

    /// Lets a connection in, up to its welcome.
    pub(super) async fn open(&self, connection: usize) -> anyhow::Result<Line> {
        let server = &self.sources[connection % self.sources.len()];
        let channel = self.rooms.channel(self.room(connection));
        let is_websocket = match self.mix {
            Mix::Websocket => true,
            Mix::Sse => false,
            // Half of each room.
            Mix::Mixed => (connection / self.rooms.count).is_multiple_of(2),
        };
        let key = generate_key();
        let request = if is_websocket {
            handshake(server, &channel, &key)
        } else {
            server
                .http
                .get(server.at(&format!("/sse/events/{channel}")))
        };
        let answer = match server.send(request).await {
            Err(error) if connection > 0 => bail!("{error:#}\n  {CUT_OFF}"),
            answer => answer?,
        };
        let mut line = if is_websocket {
            upgrade(answer, &key).await?
        } else {
            Line::stream(let_in(answer).await?)
        };
        let first = timeout(PATIENCE, line.next()).await;
        let first = first.context("no welcome came in time")?;
        match first.map(|text| Frame::parse(&text)) {
            Ok(Some(Frame::Welcome)) => Ok(line),
            Ok(Some(Frame::Disconnect(code, message))) => {
                let status = match &*code {
                    "rate-limited" => StatusCode::TOO_MANY_REQUESTS,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                bail!(with_advice(message, status))
            }
            Ok(_) => bail!("that is no roomcast: no welcome came first"),
            Err(why) => bail!("the connection ended before its welcome: {why}"),
        }
    }
}

/// For requests and connections: straight to the server, whatever proxy the environment names.
pub(super) fn client() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(PATIENCE)
        .pool_idle_timeout(IDLE)
}

/// Whether the server is on this machine.
pub(super) fn is_here(url: &str) -> bool {
    is_loopback_v4(url) || matches!(host(url).as_deref(), Some("localhost" | "[::1]"))
}

fn is_loopback_v4(url: &str) -> bool {
    let address = host(url).and_then(|host| host.parse::<Ipv4Addr>().ok());
    address.is_some_and(|address| address.is_loopback())
}

fn host(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.to_owned())
}

/// 127.0.0.1 and those after it.
fn loopback(index: usize) -> IpAddr {
    let first = Ipv4Addr::LOCALHOST.to_bits();
    let address = first.saturating_add(u32::try_from(index).unwrap_or(0));
    IpAddr::V4(Ipv4Addr::from_bits(address))
}

/// A handshake (RFC 6455 section 4.1), through the same client as all else, so that TLS and refusals are the same.
fn handshake(server: &Server, channel: &str, key: &str) -> RequestBuilder {
    server
        .http
        .get(server.at(&format!("/ws?channel={channel}")))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
}

async fn upgrade(answer: Response, key: &str) -> anyhow::Result<Line> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let_in(answer).await?;
        bail!("the server did not open a WebSocket; a proxy before it may not pass them on");
    }
    let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept != derive_accept_key(key.as_bytes()).as_str()) {
        bail!("that is no WebSocket: its Sec-WebSocket-Accept is wrong");
    }
    Line::upgraded(answer).await
}

/// The answer, if it is a success; otherwise what it says, and which setting would change it.
pub(super) async fn let_in(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    match refusal(answer).await {
        Ok(answer) => Ok(answer),
        Err(refused) => bail!(with_advice(refused.detail, status)),
    }
}

fn with_advice(detail: String, status: StatusCode) -> String {
    let advice = match status {
        StatusCode::FORBIDDEN => "the server has to have ROOMCAST_API_KEY set",
        StatusCode::PAYLOAD_TOO_LARGE => {
            "raise ROOMCAST_MAX_BODY_BYTES of the server, or ask for fewer --bytes"
        }
        StatusCode::TOO_MANY_REQUESTS => {
            "raise ROOMCAST_MAX_CONNECTIONS_PER_IP of the server (1000, if nothing is said): one address may have so many
  \
             connections, and open half as many in a second; or ask for fewer --connections, or a --connect-rate"
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            "raise ROOMCAST_MAX_CONNECTIONS of the server, if it is not shutting down, or ask for fewer --connections"
        }
        _ => return detail,
    };
    format!("{detail}\n  {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_on_this_machine_come_from_several_addresses() {
        for (url, here, v4) in [
            ("http://127.0.0.1:3000", true, true),
            ("http://localhost:3000", true, false),
            ("http://[::1]:3000", true, false),
            ("https://app.example.org", false, false),
        ] {
            assert_eq!((is_here(url), is_loopback_v4(url)), (here, v4), "{url}");
        }
        assert_eq!(loopback(0).to_string(), "127.0.0.1");
        assert_eq!(loopback(300).to_string(), "127.0.1.45");
    }
}
