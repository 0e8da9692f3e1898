//! Frames from a WebSocket client: text in, a [`Command`] or a [`Rejection`] that says what would be accepted out.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ErrorCode;
use crate::realtime::{Channel, Cursor, Data, EventName};

/// The longest `id` of a command, in bytes.
pub const MAX_ID_BYTES: usize = 128;
/// The largest presence `meta`, in bytes.
pub const MAX_META_BYTES: usize = 2 * 1024;
/// The longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The client's own number or string, as it came; it goes back in the one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandId(Box<str>);

impl CommandId {
    /// The JSON text of the id.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// A token as it came; it is left out of every output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// One command and the id to answer it with; a command without an id is answered without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Comes back in the answer.
    pub id: Option<CommandId>,
    /// What to do.
    pub frame: ClientFrame,
}

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Be in a channel.
    Join {
        /// Which.
        channel: Channel,
        /// What came since is in the answer.
        cursor: Option<Cursor>,
        /// What a presence channel says of its user.
        meta: Option<Data>,
    },
    /// Be in a channel no more.
    Leave {
        /// Which.
        channel: Channel,
    },
    /// Tell the others in a channel.
    Publish {
        /// Which.
        channel: Channel,
        /// The event's name.
        event: EventName,
        /// The event's data, `null` where there was none.
        data: Data,
        /// Not kept in the log.
        volatile: bool,
        /// The sender gets it too.
        to_self: bool,
    },
    /// Say something else of oneself in a presence channel.
    Presence {
        /// Which.
        channel: Channel,
        /// What.
        meta: Data,
    },
    /// Go on with a new token.
    Token {
        /// The new one.
        token: Token,
    },
    /// Is anybody there?
    Ping,
}

/// A frame that is not carried out, and what to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The command's id, where one could be read.
    pub id: Option<CommandId>,
    /// Which kind of mistake.
    pub code: ErrorCode,
    /// What is wrong and what would be accepted.
    pub message: String,
}

/// Every field as it came, so that a mistake in one does not hide the id.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    volatile: Option<&'a RawValue>,
    #[serde(borrow, rename = "toSelf")]
    to_self: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

type Wrong = (ErrorCode, String);

impl Command {
    /// Reads one text frame.
    ///
    /// # Errors
    /// A [`Rejection`] to answer with.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if !text.trim_ascii_start().starts_with('{') {
            let message = r#"expected one JSON object, for example {"type":"ping","id":1}"#.into();
            return Err(Rejection {
                id: None,
                code: ErrorCode::InvalidMessage,
                message,
            });
        }
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| Rejection {
            id: None,
            code: ErrorCode::InvalidMessage,
            message: format!("not a message: {error}"),
        })?;
        let id = fields
            .id
            .map(parse_id)
            .transpose()
            .map_err(|(code, message)| Rejection {
                id: None,
                code,
                message,
            })?;
        match fields.frame() {
            Ok(frame) => Ok(Self { id, frame }),
            Err((code, message)) => Err(Rejection { id, code, message }),
        }
    }
}

impl Fields<'_> {
    fn frame(&self) -> Result<ClientFrame, Wrong> {
        let kind = self
            .kind
            .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
            .ok_or_else(|| {
                invalid("\"type\" must be a string, one of join, leave, publish, presence, token and ping")
            })?;
        match &*kind {
            "join" => Ok(ClientFrame::Join {
                channel: self.channel()?,
                cursor: self.cursor()?,
                meta: self.meta.map(meta).transpose()?,
            }),
            "leave" => Ok(ClientFrame::Leave {
                channel: self.channel()?,
            }),
            "publish" => Ok(ClientFrame::Publish {
                channel: self.channel()?,
                event: self.event()?,
                data: self.data.map_or(Ok(Data::from_value(&())), |raw| {
                    Data::of(raw).map_err(|error| invalid(format!("\"data\" {error}")))
                })?,
                volatile: flag("volatile", self.volatile)?,
                to_self: flag("toSelf", self.to_self)?,
            }),
            "presence" => Ok(ClientFrame::Presence {
                channel: self.channel()?,
                meta: self.meta.map_or_else(
                    || {
                        Err(invalid(
                            "\"meta\" is missing; expected what is to be said of you",
                        ))
                    },
                    meta,
                )?,
            }),
            "token" => Ok(ClientFrame::Token {
                token: self.token()?,
            }),
            "ping" => Ok(ClientFrame::Ping),
            _ => Err((
                ErrorCode::UnknownType,
                "unknown \"type\"; expected one of join, leave, publish, presence, token and ping"
                    .into(),
            )),
        }
    }

    fn channel(&self) -> Result<Channel, Wrong> {
        let raw = self.channel.ok_or_else(|| {
            invalid("\"channel\" is missing; expected a channel name, for example \"document:42\"")
        })?;
        let name: String = string("channel", raw)?;
        name.parse()
            .map_err(|error| (ErrorCode::InvalidChannel, format!("\"channel\" is {error}")))
    }

    fn event(&self) -> Result<EventName, Wrong> {
        let raw = self.event.ok_or_else(|| {
            invalid("\"event\" is missing; expected an event name, for example \"typing\"")
        })?;
        let name: EventName = string("event", raw)?
            .parse()
            .map_err(|error| (ErrorCode::InvalidEvent, format!("\"event\" is {error}")))?;
        if name.is_server_only() {
            return Err((
                ErrorCode::InvalidEvent,
                format!("only the server publishes {name}"),
            ));
        }
        Ok(name)
    }

    fn token(&self) -> Result<Token, Wrong> {
        let raw = self
            .token
            .ok_or_else(|| invalid("\"token\" is missing; expected the new token"))?;
        let token = string("token", raw)?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err((
                ErrorCode::TooLarge,
                format!("\"token\" may have at most {MAX_TOKEN_BYTES} bytes"),
            ));
        }
        Ok(Token(token.into()))
    }

    fn cursor(&self) -> Result<Option<Cursor>, Wrong> {
        let Some(raw) = self.cursor else {
            return Ok(None);
        };
        string("cursor", raw)?
            .parse()
            .map(Some)
            .map_err(|error| invalid(format!("\"cursor\" is {error}")))
    }
}

fn invalid(message: impl Into<String>) -> Wrong {
    (ErrorCode::InvalidMessage, message.into())
}

fn string(name: &str, raw: &RawValue) -> Result<String, Wrong> {
    serde_json::from_str(raw.get()).map_err(|_| invalid(format!("\"{name}\" must be a string")))
}

fn flag(name: &str, raw: Option<&RawValue>) -> Result<bool, Wrong> {
    match raw.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid(format!("\"{name}\" must be true or false"))),
    }
}

fn meta(raw: &RawValue) -> Result<Data, Wrong> {
    let meta = Data::of(raw).map_err(|error| invalid(format!("\"meta\" {error}")))?;
    if meta.as_str().len() > MAX_META_BYTES {
        return Err((
            ErrorCode::TooLarge,
            format!("\"meta\" may have at most {MAX_META_BYTES} bytes"),
        ));
    }
    Ok(meta)
}

/// A whole number from 0 to 2^64-1, or a short string on one line.
fn parse_id(raw: &RawValue) -> Result<CommandId, Wrong> {
    let text = raw.get();
    let short_line = |text: &str| {
        text.len() <= MAX_ID_BYTES
            && serde_json::from_str::<String>(text)
                .is_ok_and(|id| !id.chars().any(char::is_control))
    };
    if text.parse::<u64>().is_ok() || short_line(text) {
        Ok(CommandId(text.into()))
    } else {
        Err(invalid(format!(
            "\"id\" must be a whole number from 0 or a string of at most {MAX_ID_BYTES} bytes without control characters"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> &'static str {
        Command::parse(text).expect_err(text).code.word()
    }

    #[test]
    fn malformed_messages_are_invalid() {
        for text in [
            "",
            "null",
            "[]",
            "\"\"",
            "1",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"ping"} x"#,
            r#"{"type":"ping"}{"type":"ping"}"#,
            "\u{feff}{\"type\":\"ping\"}",
            "1e999",
            "NaN",
            r#"{/*c*/"type":"ping"}"#,
            "{'type':'ping'}",
            r#"{"type":"leave","type":"join","channel":"global"}"#,
            r#"{"type":"join"}"#,
            r#"{"type":"join","channel":7}"#,
            r#"{"type":"join","channel":"global","cursor":"x"}"#,
            r#"{"type":"join","channel":"global","cursor":7}"#,
            r#"{"type":"publish","channel":"a:b","event":"e","volatile":"yes"}"#,
            r#"{"type":"publish","channel":"a:b","event":"e","toSelf":1}"#,
            r#"{"type":"publish","channel":"a:b","event":"e","data":"\ud800"}"#,
            r#"{"type":"token"}"#,
            r#"{"type":"token","token":7}"#,
            r#"{"type":"ping","id":true}"#,
            r#"{"type":"ping","id":1.5}"#,
            r#"{"type":"ping","id":-1}"#,
            r#"{"type":"ping","id":18446744073709551616}"#,
            r#"{"type":"ping","id":"a\nb"}"#,
            r#"{"type":"ping","id":[]}"#,
        ] {
            assert_eq!(code(text), "invalid-message", "{text}");
        }
        let deep = format!(
            r#"{{"type":"publish","channel":"a:b","event":"e","data":{}{}}}"#,
            "[".repeat(60_000),
            "]".repeat(60_000)
        );
        assert_eq!(code(&deep), "invalid-message");
        assert_eq!(code(&r#"{"a":"#.repeat(60_000)), "invalid-message");
        assert_eq!(
            code(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(127))),
            "invalid-message"
        );
    }

    #[test]
    fn other_mistakes_have_their_own_codes() {
        assert_eq!(code(r#"{"type":"fly"}"#), "unknown-type");
        assert_eq!(
            code(r#"{"type":"join","channel":"user:"}"#),
            "invalid-channel"
        );
        assert_eq!(
            code(r#"{"type":"publish","channel":"a:b","event":"a b"}"#),
            "invalid-event"
        );
        assert_eq!(
            code(r#"{"type":"publish","channel":"a:b","event":"welcome"}"#),
            "invalid-event"
        );
        assert_eq!(
            code(r#"{"type":"publish","channel":"a:b","event":"changed-record"}"#),
            "invalid-event"
        );
        let meta = format!(
            r#"{{"type":"join","channel":"a:b","meta":"{}"}}"#,
            "x".repeat(3000)
        );
        assert_eq!(code(&meta), "too-large");
        let token = format!(r#"{{"type":"token","token":"{}"}}"#, "x".repeat(8193));
        assert_eq!(code(&token), "too-large");
    }

    #[test]
    fn the_id_survives_a_mistake_elsewhere() {
        let rejection = Command::parse(r#"{"id":"a-1","type":"join","channel":5}"#).unwrap_err();
        assert_eq!(rejection.id.unwrap().as_json(), "\"a-1\"");
        let command = Command::parse(r#" {"type":"ping","id":18446744073709551615} "#).unwrap();
        assert_eq!(command.id.unwrap().as_json(), "18446744073709551615");
        assert_eq!(Command::parse(r#"{"type":"ping"}"#).unwrap().id, None);
    }

    #[test]
    fn a_token_is_not_shown() {
        let command = Command::parse(r#"{"type":"token","token":"abc.def.ghi"}"#).unwrap();
        assert!(!format!("{command:?}").contains("abc"), "{command:?}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in r#"[{}\[\]":,a-z0-9\\ -]{0,80}"#) {
            let _ = Command::parse(&text);
        }
    }
}
