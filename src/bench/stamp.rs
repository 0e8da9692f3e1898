//! What each message carries, so that whoever hears it knows which one it is and how late, and what else a frame says.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The name of the events that are measured.
pub(super) const EVENT: &str = "bench";
/// The name of the event after the last of them, in every room.
pub(super) const END: &str = "bench-end";

/// One message of one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which one of the room, from 0 on.
    pub(super) number: u64,
    /// Those of the room below this number were answered before it was sent, so they come before it.
    pub(super) settled: u64,
    /// When it was to be sent, since the run began.
    pub(super) due: Duration,
}

impl Stamp {
    /// As the data of an event: so many bytes of JSON, or a little more where the numbers need that.
    pub(super) fn data(self, bytes: usize) -> String {
        let due = self.due.as_micros();
        let mut data = format!("[{},{},{due},\"", self.number, self.settled);
        let rest = bytes.saturating_sub(data.len() + 2);
        data.extend(std::iter::repeat_n('x', rest));
        data.push_str("\"]");
        data
    }

    fn parse(data: &str) -> Option<Self> {
        let (number, settled, due, _): (u64, u64, u64, IgnoredAny) =
            serde_json::from_str(data).ok()?;
        let due = Duration::from_micros(due);
        Some(Self {
            number,
            settled,
            due,
        })
    }
}

/// What a frame from the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Welcome,
    Message(Stamp),
    /// The last message of the run has been said.
    End,
    /// The server ends the connection: the code, and what a person reads.
    Disconnect(String, String),
    /// Nothing that is counted.
    Other,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

impl Frame {
    /// Reads one; nothing, if it is no frame of a roomcast.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Fields<'_> = serde_json::from_str(text).ok()?;
        Some(match (fields.kind, fields.event) {
            ("welcome", _) => Self::Welcome,
            ("event", Some(EVENT)) => Self::Message(Stamp::parse(fields.data?.get())?),
            ("event", Some(END)) => Self::End,
            ("disconnect", _) => Self::Disconnect(
                fields.code.unwrap_or_default().into_owned(),
                fields.message.unwrap_or_default().into_owned(),
            ),
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_asked_and_is_read_back() {
        let stamp = Stamp {
            number: 86_399_999_999,
            settled: 86_399_998_976,
            due: Duration::from_secs(86_400),
        };
        for bytes in [80, 128, 4_096] {
            let data = stamp.data(bytes);
            assert_eq!(data.len(), bytes);
            let text = format!(
                r#"{{"type":"event","channel":"bench:1","event":"bench","data":{data},"time":"…"}}"#
            );
            assert_eq!(Frame::parse(&text), Some(Frame::Message(stamp)));
        }
    }

    #[test]
    fn other_frames_are_told_apart() {
        let parse = Frame::parse;
        assert_eq!(
            parse(
                r#"{"type":"disconnect","code":"removed","message":"\"So.\"","reconnect":false}"#
            ),
            Some(Frame::Disconnect("removed".into(), "\"So.\"".into()))
        );
        let end = r#"{"type":"event","channel":"bench:1","event":"bench-end","data":null}"#;
        assert_eq!(parse(end), Some(Frame::End));
        assert_eq!(
            parse(r#"{"type":"heartbeat","cursor":"1-1"}"#),
            Some(Frame::Other)
        );
        for strange in [
            "",
            "<html>",
            "{}",
            r#"{"type":"event","event":"bench","data":1}"#,
        ] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }
}
