//! Letting a client in: what it asks for, what it may have, and from where on it gets it.

use std::net::IpAddr;
use std::sync::Arc;

use ::http::HeaderMap;
use ::http::request::Parts;
use axum::extract::{FromRequestParts, Query};

use super::admit::Decided;
use super::feed::Feed;
use crate::address;
use crate::app::Roomcast;
use crate::caller::{BackEnd, Caller, ENDED};
use crate::config::Guests;
use crate::error::Error;
use crate::limits::Who;
use crate::metrics::{self, Outcome};
use crate::origin;
use crate::policy;
use crate::realtime::channel::Kind;
use crate::realtime::connection::Transport;
use crate::realtime::protocol::Format;
use crate::realtime::protocol::server::Welcome;
use crate::realtime::registry::{Access, Arrival, Connected, Membership, Refusal};
use crate::realtime::{Channel, Close, Cursor, SocketId};

/// How often rights may change under a client that connects before it is told to come back.
const ATTEMPTS: usize = 20;

/// What a client asks for when it connects.
#[derive(Debug)]
pub(crate) struct Ask {
    caller: Option<Caller>,
    back_end: Option<BackEnd>,
    address: Option<IpAddr>,
    channels: Vec<Channel>,
    cursor: Option<Resume>,
    socket: Option<SocketId>,
    /// How an event stream is written.
    pub(super) format: Format,
}

/// Where a client wants to go on.
#[derive(Debug, Clone, Copy)]
enum Resume {
    At(Cursor),
    /// A browser sends back whatever it was sent; what is none of our cursors is one that we no longer know.
    Unknown,
}

impl Ask {
    /// Adds a channel that stands in the path.
    pub(super) fn channel(&mut self, name: &str) -> Result<(), Error> {
        let channel = name.parse()?;
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
        Ok(())
    }

    /// Goes on after the last event that a browser has seen: what it sends by itself wins.
    pub(super) fn last_event_id(&mut self, headers: &HeaderMap) {
        if let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) {
            let cursor = id.to_str().ok().and_then(|id| id.parse().ok());
            self.cursor = Some(cursor.map_or(Resume::Unknown, Resume::At));
        }
    }

    fn query(&mut self, name: &str, value: &str, max_channels: usize) -> Result<(), Error> {
        match name {
            "channel" => {
                self.channel(value)?;
                if self.channels.len() > max_channels {
                    let detail =
                        format!("A connection may ask for at most {max_channels} channels.");
                    return Err(Error::invalid("too-many-channels", detail));
                }
            }
            // Nothing is what a client without a cursor fills in.
            "cursor" | "lastEventId" if value.is_empty() => {}
            "cursor" | "lastEventId" => {
                let cursor = value.parse().map_err(|error| {
                    Error::invalid("invalid-cursor", format!("The cursor is {error}."))
                })?;
                self.cursor.get_or_insert(Resume::At(cursor));
            }
            "socket" => {
                let socket = SocketId::parse(value);
                self.socket = Some(socket.ok_or_else(|| {
                    Error::invalid("invalid-socket", "The socket id is not a UUID, for example 0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11.")
                })?);
            }
            "format" => {
                self.format = match value {
                    "json" => Format::Json,
                    "data" => Format::Data,
                    "message" => Format::Message,
                    _ => {
                        return Err(Error::invalid(
                            "invalid-format",
                            "The format is json, data or message.",
                        ));
                    }
                };
            }
            _ => {}
        }
        Ok(())
    }
}

impl FromRequestParts<Roomcast> for Ask {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Roomcast) -> Result<Self, Error> {
        Self::read(parts, app, |_| true)
    }
}

impl Ask {
    /// Reads those of a query's parameters that mean something to the transport.
    pub(super) fn read(
        parts: &Parts,
        app: &Roomcast,
        means: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        origin::check(&parts.headers, app.config())?;
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Error::invalid("invalid-query", "The query is not one of form fields."))?;
        let address = address::of(&parts.headers, &parts.extensions, app.config());
        let caller = parts.extensions.get::<Caller>().cloned();
        let back_end = parts.extensions.get::<BackEnd>().copied();
        if caller.is_none() && back_end.is_none() && app.config().guests == Guests::Off {
            return Err(Error::Unauthorized("Log in first."));
        }
        let mut ask = Self {
            caller,
            back_end,
            address,
            channels: Vec::new(),
            cursor: None,
            socket: None,
            format: Format::Json,
        };
        for (name, value) in query.0.iter().filter(|(name, _)| means(name)) {
            ask.query(name, value, app.config().max_channels)?;
        }
        Ok(ask)
    }
}

/// Lets a client in, into all that it asks for or nothing.
pub(super) async fn connect(app: &Roomcast, ask: Ask, transport: Transport) -> Result<Feed, Error> {
    let registry = app.registry();
    throttle(app, &ask, transport)?;
    for _ in 0..ATTEMPTS {
        if app.is_stopping() {
            return Err(Error::Unavailable {
                detail: "The server shuts down.",
                retry_after: 2,
            });
        }
        // Rights are looked up first and used after; if somebody's change in between, it is done again.
        let user = ask.caller.as_ref().map(|caller| &caller.user.id);
        let access_version = registry.access_version(user);
        let forgotten = app.forgotten(ask.caller.as_ref());
        let (caller, mut channels, decided) = match ask.back_end {
            Some(BackEnd) => (None, of_back_end(&ask.channels)?, Vec::new()),
            None => decide(app, &ask).await?,
        };
        // The application may be asked here, so nothing is held.
        let settled = app.settle(caller.as_ref(), forgotten, decided).await?;
        channels.extend(allowed(caller.as_ref(), settled)?);
        let user = caller.as_ref().map(|caller| &caller.user.id);
        let resume = match ask.cursor {
            Some(Resume::At(cursor))
                if app
                    .log()
                    .covers(cursor, user, channels.iter().map(|(name, _)| name))
                    .await? =>
            {
                Some(cursor)
            }
            _ => None,
        };
        let names: Vec<Channel> = channels.iter().map(|(name, _)| name.clone()).collect();
        let arrival = Arrival {
            user: caller.as_ref().map(|caller| caller.user.clone()),
            session: caller.as_ref().and_then(|caller| caller.session.clone()),
            socket: ask.socket,
            transport,
            address: ask.address,
            channels,
            access_version,
            resume: resume.map(|cursor| cursor.position),
        };
        let Connected {
            handle,
            position,
            presence,
        } = match registry.connect(arrival) {
            Ok(connected) => connected,
            Err(Refusal::Stale) => continue,
            Err(refusal) => return Err(refused(app, refusal)),
        };
        if app.is_stopping() {
            handle.connection().outbox.close(Close::Shutdown);
        }
        let connection = Arc::clone(handle.connection());
        if ask.cursor.is_some() {
            let outcome = resume.map_or(Outcome::Lost, |_| Outcome::Recovered);
            app.metrics().resumed(outcome);
        }
        let welcome = Welcome {
            socket: connection.socket,
            user: connection.user.as_ref(),
            channels: &names,
            // What comes after this is what follows, so a client that is cut off now loses nothing.
            cursor: resume.unwrap_or_else(|| registry.cursor_at(position)),
            recovered: ask.cursor.map(|_| resume.is_some()),
            heartbeat: app.config().heartbeat.as_secs().max(1),
        };
        return Ok(Feed::new(
            app,
            &welcome,
            &presence,
            resume.map(|cursor| cursor.position),
            handle,
            caller,
        ));
    }
    Err(Error::Unavailable {
        detail: "Rights change too fast.",
        retry_after: 1,
    })
}

/// Refuses who connects again and again, before anything is looked up. Polls are requests, and come all the time.
fn throttle(app: &Roomcast, ask: &Ask, transport: Transport) -> Result<(), Error> {
    let Some(address) = ask.address.filter(|_| transport != Transport::Poll) else {
        return Ok(());
    };
    let taken = app.limits().connects.take(&Who::Address(address));
    taken.map_err(|retry_after| {
        app.metrics().refuse(metrics::Refusal::Connects);
        Error::RateLimited {
            detail: "Your address connects too often.",
            retry_after,
        }
    })
}

/// Who connects, the channels that a connection has by itself, and what is known of those that it asks for.
async fn decide(
    app: &Roomcast,
    ask: &Ask,
) -> Result<(Option<Caller>, Vec<(Channel, Membership)>, Vec<Decided>), Error> {
    let mut db = app.store().read().await?;
    let caller = match &ask.caller {
        Some(caller) => Some(
            caller
                .again(&mut db)
                .await?
                .ok_or(Error::Unauthorized(ENDED))?,
        ),
        None => None,
    };
    let user = caller.as_ref().map(|caller| &caller.user);
    let channels = policy::automatic(&mut db, user).await?;
    let mut decided = Vec::new();
    for channel in &ask.channels {
        if channels.iter().all(|(name, _)| name != channel) {
            let one = Decided::of(&mut db, app.rules(), caller.as_ref(), channel).await?;
            // Who is refused anyway is no reason to ask the application.
            if one.is_refused() {
                return Err(may_not(caller.as_ref(), channel));
            }
            decided.push(one);
        }
    }
    Ok((caller, channels, decided))
}

/// The channels that a connection asks for, or why one of them cannot be had.
fn allowed(
    caller: Option<&Caller>,
    settled: Vec<(Channel, Option<Access>)>,
) -> Result<Vec<(Channel, Membership)>, Error> {
    let allowed = settled.into_iter().map(|(channel, access)| match access {
        Some(access) => Ok((channel, Membership::asked(access))),
        None => Err(may_not(caller, &channel)),
    });
    allowed.collect()
}

fn may_not(caller: Option<&Caller>, channel: &Channel) -> Error {
    if caller.is_none() {
        return Error::Unauthorized("Log in first; guests may be in global alone.");
    }
    Error::forbidden(format!("You may not join {channel}."))
}

/// A back end listens to what it asks for, and to nothing else.
fn of_back_end(asked: &[Channel]) -> Result<Vec<(Channel, Membership)>, Error> {
    let socket = |channel: &&Channel| matches!(channel.kind(), Kind::Socket(_));
    if let Some(channel) = asked.iter().find(socket) {
        return Err(Error::forbidden(format!("You may not join {channel}.")));
    }
    let listens = |channel: &Channel| (channel.clone(), Membership::asked(Access::Read));
    Ok(asked.iter().map(listens).collect())
}

fn refused(app: &Roomcast, refusal: Refusal) -> Error {
    let counted = match refusal {
        Refusal::Full => Some(metrics::Refusal::Connections),
        Refusal::FullForAddress => Some(metrics::Refusal::ConnectionsPerIp),
        Refusal::FullForUser => Some(metrics::Refusal::ConnectionsPerUser),
        Refusal::TooManyChannels => Some(metrics::Refusal::Channels),
        Refusal::Stale => None,
    };
    if let Some(reason) = counted {
        app.metrics().refuse(reason);
    }
    let detail = match refusal {
        Refusal::Full | Refusal::Stale => {
            return Error::Unavailable {
                detail: "The server has as many connections as it may.",
                retry_after: 5,
            };
        }
        Refusal::FullForAddress => "Your address has as many connections as it may.",
        Refusal::FullForUser => "You have as many connections as you may.",
        Refusal::TooManyChannels => {
            return Error::invalid(
                "too-many-channels",
                "That is more channels than a connection may have.",
            );
        }
    };
    Error::RateLimited {
        detail,
        retry_after: 5,
    }
}
