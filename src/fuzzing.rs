//! What every parser of bytes from outside must do with any bytes at all: no panic, and what it takes it gives back. For
//! `fuzz/`, which looks for bytes that show otherwise, and for the tests here, which try some on every run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use sse_stream::{Sse, SseStream};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

use crate::config::{Config, Secret};
use crate::realtime::cursor::Cursor;
use crate::realtime::protocol::{Command, Format, Frame};
use crate::realtime::{Channel, Data, Event, EventName};
use crate::rules::Rules;
use crate::transport::socket::{Limits, Message, Socket};
use crate::{address, token};

/// What is done with some bytes.
pub type Target = fn(&[u8]);

/// The parsers by name: `fuzz/corpus` has a folder for each.
pub const TARGETS: [(&str, Target); 9] = [
    ("channel", channel),
    ("cursor", cursor),
    ("command", command),
    ("data", data),
    ("frames", frames),
    ("stream", stream),
    ("token", token),
    ("rules", rules),
    ("forwarded", forwarded),
];

/// Names of channels and of events.
pub fn channel(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(channel) = text.parse::<Channel>() {
        assert_eq!(channel.as_str(), text);
        assert!(channel.as_str().is_ascii() && !channel.as_str().contains(['\r', '\n', '"', '\\']));
        let _ = (channel.kind(), channel.is_presence());
    }
    if let Ok(name) = text.parse::<EventName>() {
        assert_eq!(name.as_str(), text);
    }
}

/// Cursors.
pub fn cursor(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
}

/// Commands of a WebSocket client, and the answers to those that are none.
pub fn command(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let id = match Command::parse(&text) {
        Ok(command) => {
            let _ = format!("{command:?}");
            command.id
        }
        Err(rejection) => {
            let answer = Frame::rejection(&rejection);
            assert!(answer.json().len() < 1_024, "an answer is short");
            let answer: serde_json::Value = serde_json::from_slice(answer.json()).expect("JSON");
            assert_eq!(answer["type"], "error");
            rejection.id
        }
    };
    assert!(id.is_none_or(|id| text.contains(id.as_json()) && id.as_json().len() <= 128));
}

/// Data of events: taken as they are, or not at all.
pub fn data(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(data) = Data::parse(&text) {
        let again = Data::parse(data.as_str()).expect("what was taken once is taken again");
        assert_eq!(again.as_str(), data.as_str());
        assert!(!data.as_str().contains(['\r', '\n']), "it fits on a line");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(data.as_str()).is_ok());
    }
}

const FRAME_LIMITS: Limits = Limits {
    message_bytes: 1_000,
    fragments: 3,
    waiting_bytes: 64 * 1024,
};

/// The frames of a WebSocket, which come in two pieces; the first byte says where they are cut.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(*cut)));
    let stream = tokio::io::join(first.chain(second), tokio::io::sink());
    let messages = async {
        let mut socket = Socket::new(stream, Vec::new(), &FRAME_LIMITS).await;
        let mut messages = 0;
        while let Ok(message) = socket.read().await {
            if let Message::Text(_) | Message::Binary(_) = message {
                assert!(message.len() <= FRAME_LIMITS.message_bytes);
                messages += 1;
            }
        }
        messages
    };
    // Everything is there already.
    let messages = messages.now_or_never().expect("an end");
    assert!(messages <= may_pass(bytes), "{messages}");
}

/// How many messages there are before one that has too many fragments, counted in another way than the socket's own.
fn may_pass(mut bytes: &[u8]) -> usize {
    let (mut messages, mut fragments) = (0, 0);
    while let [first, second, rest @ ..] = bytes {
        let (extended, masked) = match second & 0x7f {
            126 => (2, second & 0x80 != 0),
            127 => (8, second & 0x80 != 0),
            _ => (0, second & 0x80 != 0),
        };
        let Some((length, rest)) = rest.split_at_checked(extended) else {
            break;
        };
        let length = length
            .iter()
            .fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let length = if extended == 0 {
            u64::from(second & 0x7f)
        } else {
            length
        };
        let whole = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(if masked { 4 } else { 0 }))
            .filter(|whole| *whole <= rest.len());
        let Some(whole) = whole else { break };
        bytes = &rest[whole..];
        match (first & 0x08 != 0, first & 0x80 != 0) {
            (true, _) => {}
            (false, true) => (messages, fragments) = (messages + 1, 0),
            (false, false) => fragments += 1,
        }
        if fragments > FRAME_LIMITS.fragments {
            break;
        }
    }
    messages
}

/// Event streams: a parser that nobody here wrote gets back what was said.
pub fn stream(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (Ok(channel), Ok(name)) = ("document:9".parse::<Channel>(), "note".parse()) else {
        return;
    };
    let said = Data::parse(&text).unwrap_or_else(|_| Data::from_value(&text));
    let plain = serde_json::from_str::<String>(said.as_str());
    let plain = plain.unwrap_or_else(|_| said.as_str().to_owned());
    let event = Event {
        by: None,
        channels: [channel.clone()].into(),
        name,
        data: said,
        origin: None,
        except: [].into(),
        time: OffsetDateTime::UNIX_EPOCH,
        position: None,
    };
    let frame = Frame::event(&event, &channel, "00000001-7".parse().ok());
    let whole = String::from_utf8_lossy(frame.json()).into_owned();
    // A stream knows one end of a line.
    let plain = plain.replace("\r\n", "\n").replace('\r', "\n");
    for (format, expected) in [(Format::Json, whole), (Format::Data, plain)] {
        let parsed = parse_stream(frame.block(format));
        assert_eq!(parsed.len(), 1, "{parsed:?}");
        assert_eq!(parsed[0].event.as_deref(), Some("note"));
        assert_eq!(parsed[0].id.as_deref(), Some("00000001-7"));
        assert_eq!(parsed[0].data.as_deref().unwrap_or_default(), expected);
    }
}

fn parse_stream(block: Bytes) -> Vec<Sse> {
    let chunks = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(block)]);
    let events =
        SseStream::from_bytes_stream(chunks).filter_map(|event| std::future::ready(event.ok()));
    events.collect().now_or_never().expect("an end")
}

/// Tokens: as they come, and as the claims of one that is signed as it should be.
pub fn token(bytes: &[u8]) {
    let secret = Secret::new("a secret of 32 bytes, for tests only");
    let now = OffsetDateTime::UNIX_EPOCH;
    assert!(
        token::verify(&secret, bytes, now).is_err(),
        "nobody signed it"
    );
    let base64 = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let message = format!("{}.{}", base64(br#"{"alg":"HS256"}"#), base64(bytes));
    let key = jsonwebtoken::EncodingKey::from_secret(secret.expose().as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    let signed = format!("{message}.{}", signature.expect("a signature"));
    if let Ok(claims) = token::verify(&secret, signed.as_bytes(), now) {
        assert!(claims.expires > now && claims.channels.len() <= 128);
    }
}

/// The file with the rules of channels.
pub fn rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(said) = Rules::parse("channels.toml", &text, &BTreeMap::new(), 65_536) {
        assert!(said.starts_with("channels.toml"), "{said}");
    }
}

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Making one takes longer than reading an address.
static BEHIND_A_PROXY: LazyLock<Config> = LazyLock::new(|| Config {
    trusted_proxies: vec![PROXY],
    ..Config::default()
});

/// `X-Forwarded-For`: whoever is no proxy of ours is believed nothing.
pub fn forwarded(bytes: &[u8]) {
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    for peer in [PROXY, stranger] {
        let mut request = http::Request::builder();
        for value in bytes.split(|byte| *byte == b'\n') {
            if let Ok(value) = http::HeaderValue::from_bytes(value) {
                request = request.header("x-forwarded-for", value);
            }
        }
        let Ok(request) = request.body(()) else {
            return;
        };
        let (mut parts, ()) = request.into_parts();
        parts
            .extensions
            .insert(ConnectInfo(SocketAddr::new(peer, 1)));
        let found = address::of(&parts.headers, &parts.extensions, &BEHIND_A_PROXY);
        assert!(found.is_some() && (peer == PROXY || found == Some(stranger)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is tried of each parser: enough to find what is plainly wrong.
    const TRIES: u64 = 50_000;

    /// Numbers that look random (`SplitMix64`), the same on every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
        }
    }

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let files = std::fs::read_dir(&folder).expect("a corpus");
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        files
            .iter()
            .map(|file| std::fs::read(file).unwrap())
            .collect()
    }

    fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll(256) as u8),
            2 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
            3 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            4 => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
            _ => {
                let other = &others[dice.roll(others.len())];
                bytes.truncate(at);
                bytes.extend(&other[dice.roll(other.len() + 1)..]);
            }
        }
        bytes.truncate(4_096);
    }

    #[test]
    fn no_bytes_are_too_much_for_any_parser() {
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            corpus.iter().for_each(|bytes| target(bytes));
            let mut dice = Dice(27);
            for _ in 0..TRIES {
                let mut bytes = corpus[dice.roll(corpus.len())].clone();
                for _ in 0..=dice.roll(4) {
                    mutate(&mut bytes, &corpus, &mut dice);
                }
                target(&bytes);
            }
        }
    }
}
