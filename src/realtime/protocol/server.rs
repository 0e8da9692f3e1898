//! Frames to a client: encoded once for each transport, and shared by all who receive them.

use std::fmt::{self, Write};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;
use tokio::time::Instant;

use super::stream::{Chunks, Format};
use super::{CommandId, ErrorCode, Rejection};
use crate::realtime::scales::{Scales, Weight};
use crate::realtime::{Channel, Close, Cursor, Data, Event, EventName, Members, SocketId, User};

const RFC3339_MILLIS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A time as it goes over the wire: RFC 3339, UTC, milliseconds.
pub fn timestamp(time: OffsetDateTime) -> String {
    // The format has no part that a UTC time lacks.
    time.to_offset(time::UtcOffset::UTC)
        .format(RFC3339_MILLIS)
        .unwrap_or_default()
}

/// One frame to a client. Cheap to clone.
#[derive(Clone)]
pub struct Frame(Arc<Encoded>);

struct Encoded {
    json: Bytes,
    /// What SSE calls it: the event's name, or the frame's type where it has none.
    name: Box<str>,
    cursor: Option<Cursor>,
    retry: Option<u64>,
    /// When the event was told, for those that go out as they are.
    told: Option<Instant>,
    /// Of which only the newest is to wait.
    newest: Option<Newest>,
    /// Only of events that are told to many.
    weight: Option<Weight>,
    /// Where in `json` the event's own data stands; empty for other frames.
    data: Range<usize>,
    websocket: OnceLock<Bytes>,
    chunks: Chunks,
}

/// What one volatile event is the newest of: those of the same name, in the same channel, from the same socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::realtime) struct Newest {
    channel: Channel,
    event: EventName,
    by: Option<SocketId>,
}

/// What the first frame of a connection says.
#[derive(Debug, serde::Serialize)]
#[serde(tag = "type", rename = "welcome")]
pub struct Welcome<'a> {
    /// The connection's socket id.
    pub socket: SocketId,
    /// Who it belongs to; a guest is nobody.
    pub user: Option<&'a User>,
    /// The channels it is in.
    pub channels: &'a [Channel],
    /// From where on it gets everything.
    pub cursor: Cursor,
    /// Whether it gets what it missed; absent where it did not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Seconds of silence after which a heartbeat comes.
    pub heartbeat: u64,
}

/// What the last frame of a connection says.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename = "disconnect")]
struct Disconnect<'a> {
    code: &'a str,
    message: &'a str,
    reconnect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u64>,
}

impl Encoded {
    fn new(
        json: String,
        name: &str,
        cursor: Option<Cursor>,
        retry: Option<u64>,
        data: Range<usize>,
    ) -> Self {
        Self {
            json: json.into(),
            name: name.into(),
            cursor,
            retry,
            told: None,
            newest: None,
            weight: None,
            data,
            websocket: OnceLock::new(),
            chunks: Chunks::default(),
        }
    }
}

impl Frame {
    /// An event, as it reaches the members of one of its channels.
    pub fn event(event: &Event, channel: &Channel, cursor: Option<Cursor>) -> Self {
        Self(Arc::new(Self::encode(event, channel, cursor)))
    }

    /// The same, as it is told at this moment.
    pub(in crate::realtime) fn live(
        event: &Event,
        channel: &Channel,
        cursor: Option<Cursor>,
        told: Instant,
        scales: &Scales,
    ) -> Self {
        let mut encoded = Self::encode(event, channel, cursor);
        encoded.told = Some(told);
        encoded.weight = Some(scales.weigh(encoded.json.len()));
        Self(Arc::new(encoded))
    }

    /// Of all like it from the same sender only the newest is to wait in an outbox. For frames that nobody has yet.
    pub(in crate::realtime) fn newest_of(mut self, event: &Event, channel: &Channel) -> Self {
        if let Some(encoded) = Arc::get_mut(&mut self.0) {
            encoded.newest = Some(Newest {
                channel: channel.clone(),
                event: event.name.clone(),
                by: event.by,
            });
        }
        self
    }

    /// What it is the newest of, if that is all that is to wait.
    pub(in crate::realtime) fn newest(&self) -> Option<&Newest> {
        self.0.newest.as_ref()
    }

    fn encode(event: &Event, channel: &Channel, cursor: Option<Cursor>) -> Encoded {
        // Channel and event names have no character that JSON escapes, and the data is JSON already.
        let mut json = String::with_capacity(160 + event.data.as_str().len());
        json.push_str(r#"{"type":"event","channel":""#);
        json.push_str(channel.as_str());
        json.push_str(r#"","event":""#);
        json.push_str(event.name.as_str());
        json.push_str(r#"","data":"#);
        let start = json.len();
        json.push_str(event.data.as_str());
        let data = start..json.len();
        if let Some(cursor) = cursor {
            let _ = write!(json, r#","cursor":"{cursor}""#);
        }
        let _ = write!(json, r#","time":"{}"}}"#, timestamp(event.time));
        Encoded::new(json, event.name.as_str(), cursor, None, data)
    }

    /// The first frame of every connection, with who is in the presence channels that it is in. `retry` is for event
    /// streams: in how many milliseconds to come back when the line breaks; a browser's own default is up to it.
    pub fn welcome(welcome: &Welcome<'_>, presence: &[(Channel, Members)], retry: u64) -> Self {
        let mut json = Data::from_value(welcome).as_str().to_owned();
        if !presence.is_empty() {
            // Lists are JSON already, and channels have no character that JSON escapes.
            let lists = presence
                .iter()
                .map(|(channel, here)| (channel, here.list.as_str()));
            push_object(&mut json, "presence", lists);
            let counts = presence
                .iter()
                .filter_map(|(of, here)| Some((of, here.count?)));
            push_object(&mut json, "presenceCounts", counts);
        }
        Self::new(json, "welcome", Some(welcome.cursor), Some(retry), 0..0)
    }

    /// Says that the connection lives, and how far the log has been looked through for it.
    pub fn heartbeat(cursor: Cursor) -> Self {
        let time = timestamp(OffsetDateTime::now_utc());
        let json = format!(r#"{{"type":"heartbeat","cursor":"{cursor}","time":"{time}"}}"#);
        Self::new(json, "heartbeat", Some(cursor), None, 0..0)
    }

    /// The answer to a command that was carried out: `fields` beside `type` and `id`.
    pub fn ack(id: Option<&CommandId>, fields: &[(&str, &str)]) -> Self {
        let mut json = String::from(r#"{"type":"ack""#);
        if let Some(id) = id {
            let _ = write!(json, r#","id":{}"#, id.as_json());
        }
        for (name, value) in fields {
            let _ = write!(json, r#","{name}":{value}"#);
        }
        json.push('}');
        Self::new(json, "ack", None, None, 0..0)
    }

    /// The answer to a command that was not carried out.
    pub fn error(id: Option<&CommandId>, code: ErrorCode, message: &str) -> Self {
        let message = serde_json::Value::from(message);
        let id = id
            .map(|id| format!(r#""id":{},"#, id.as_json()))
            .unwrap_or_default();
        let json = format!(
            r#"{{"type":"error",{id}"code":"{}","message":{message}}}"#,
            code.word()
        );
        Self::new(json, "error", None, None, 0..0)
    }

    /// The answer to a frame that could not be read.
    pub fn rejection(rejection: &Rejection) -> Self {
        Self::error(rejection.id.as_ref(), rejection.code, &rejection.message)
    }

    /// The last frame: why the connection ends, and in how many milliseconds to come back.
    pub fn disconnect(close: Close, retry: u64) -> Self {
        let retry = close.reconnect().then_some(retry);
        let (code, message, reconnect) = (close.word(), close.message(), close.reconnect());
        Self::ending(&Disconnect {
            code,
            message,
            reconnect,
            retry,
        })
    }

    /// The refusal of an event stream that may come back later (limits, draining): 200 and this one event.
    pub fn refusal(code: ErrorCode, message: &str, retry: u64) -> Self {
        Self::ending(&Disconnect {
            code: code.word(),
            message,
            reconnect: true,
            retry: Some(retry),
        })
    }

    fn ending(disconnect: &Disconnect<'_>) -> Self {
        let json = Data::from_value(disconnect).as_str().to_owned();
        Self::new(json, "disconnect", None, disconnect.retry, 0..0)
    }

    fn new(
        json: String,
        name: &str,
        cursor: Option<Cursor>,
        retry: Option<u64>,
        data: Range<usize>,
    ) -> Self {
        Self(Arc::new(Encoded::new(json, name, cursor, retry, data)))
    }

    /// The JSON text: the payload of a WebSocket text frame.
    pub fn json(&self) -> &Bytes {
        &self.0.json
    }

    /// When the event was told; nothing for other frames, and for what is read out of the log.
    pub(crate) fn told(&self) -> Option<Instant> {
        self.0.told
    }

    /// The cursor that a client which has received this frame resumes from.
    pub fn cursor(&self) -> Option<Cursor> {
        self.0.cursor
    }

    /// The event's name, or the frame's type where it has none.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is an event, and not a word of the protocol's own.
    pub fn is_event(&self) -> bool {
        // No JSON is empty.
        !self.0.data.is_empty()
    }

    /// The frame as a WebSocket has it: one unmasked text frame (RFC 6455 section 5.2).
    pub fn websocket(&self) -> &Bytes {
        self.0.websocket.get_or_init(|| {
            let framed = framed(&self.0.json);
            if let Some(weight) = &self.0.weight {
                weight.add(framed.len());
            }
            framed
        })
    }

    /// The frame in an event stream, made once for each format.
    pub(super) fn chunk_or(&self, format: Format, make: impl FnOnce() -> Bytes) -> &Bytes {
        self.0.chunks.get_or_make(format, || {
            let chunk = make();
            if let Some(weight) = &self.0.weight {
                weight.add(chunk.len());
            }
            chunk
        })
    }

    /// The event's own data; empty for other frames.
    pub(super) fn data(&self) -> &str {
        &self.text()[self.0.data.clone()]
    }

    /// In how many milliseconds the client is to come back, where it is sent away.
    pub(super) fn retry(&self) -> Option<u64> {
        self.0.retry
    }

    pub(super) fn text(&self) -> &str {
        // Made from a String in `new`.
        std::str::from_utf8(&self.0.json).unwrap_or_default()
    }
}

/// A text frame that is its whole message.
fn framed(text: &[u8]) -> Bytes {
    const FIN_TEXT: u8 = 0x81;
    let mut framed = Vec::with_capacity(text.len() + 10);
    framed.push(FIN_TEXT);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ 0..126), _) => framed.push(length),
        (_, Ok(length)) => {
            framed.push(126);
            framed.extend(length.to_be_bytes());
        }
        _ => {
            framed.push(127);
            framed.extend((text.len() as u64).to_be_bytes());
        }
    }
    framed.extend_from_slice(text);
    framed.into()
}

/// Puts one more field at the end of an object: an object itself, if there is anything in it.
fn push_object(
    json: &mut String,
    name: &str,
    fields: impl Iterator<Item = (impl fmt::Display, impl fmt::Display)>,
) {
    let fields: Vec<String> = fields
        .map(|(key, value)| format!(r#""{key}":{value}"#))
        .collect();
    if !fields.is_empty() {
        json.truncate(json.len() - 1);
        let _ = write!(json, r#","{name}":{{{}}}}}"#, fields.join(","));
    }
}

impl fmt::Debug for Frame {
    /// Never the content: it may be anybody's secret, and ends up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, {} bytes)", self.0.name, self.0.json.len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::realtime::cursor::Epoch;

    pub(in crate::realtime::protocol) fn event(data: &str) -> Frame {
        let channel: Channel = "document:42".parse().unwrap();
        let event = Event {
            channels: [channel.clone()].into(),
            name: "note".parse().unwrap(),
            data: Data::parse(data).unwrap(),
            origin: None,
            except: [].into(),
            by: None,
            time: OffsetDateTime::from_unix_timestamp(1_763_700_011).unwrap(),
            position: Some(7),
        };
        Frame::event(
            &event,
            &channel,
            Some(Cursor {
                epoch: Epoch(0x5f3a_9c21),
                position: 7,
            }),
        )
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let json = r#"{"type":"event","channel":"document:42","event":"note","data":{"a":1},"cursor":"5f3a9c21-7","time":"2025-11-21T04:40:11.000Z"}"#;
        let frame = event(r#"{"a": 1}"#);
        assert_eq!(frame.json(), json);
    }
}
