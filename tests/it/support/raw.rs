//! Bare TCP, for what no client library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Ended, PATIENCE, Person};

/// A connection of bytes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// A final text frame.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const PING: u8 = 0x89;
pub(crate) const CLOSE: u8 = 0x88;

/// A frame from a client, with a mask; `first` has the flags and the kind.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Over a line that is there already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// A WebSocket of somebody's, past its welcome.
    pub(crate) async fn websocket(person: &Person) -> Self {
        let mut raw = Self::connect(person.address).await;
        raw.sends(Self::handshake(person)).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(
            head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the answer to the key of RFC 6455: {head}"
        );
        let (kind, welcome) = raw.frame().await.expect("a welcome");
        assert!(
            kind == TEXT && welcome.starts_with(br#"{"type":"welcome""#),
            "{kind}"
        );
        raw
    }

    /// The request for a WebSocket.
    pub(crate) fn handshake(person: &Person) -> String {
        let cookie = person.cookie.as_deref().unwrap_or_default();
        format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            person.address
        )
    }

    /// Sends bytes. That nobody takes them any more is no failure: the answer says more.
    pub(crate) async fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads so many bytes more; false at the end.
    async fn fill(&mut self, length: usize) -> bool {
        while self.read.len() < length {
            let reading = self.stream.read_buf(&mut self.read);
            match tokio::time::timeout(PATIENCE, reading)
                .await
                .expect("nothing came")
            {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    /// The head of an answer; what came before the end, if it ended.
    pub(crate) async fn head(&mut self) -> String {
        let mut length = 4;
        while !self.read[..self.read.len().min(length)].ends_with(b"\r\n\r\n") {
            length += usize::from(self.read.len() >= length);
            if !self.fill(length).await {
                break;
            }
        }
        let rest = self.read.split_off(length.min(self.read.len()));
        String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap()
    }

    /// The next frame: its first byte and its payload; nothing at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if !self.fill(2).await {
            return None;
        }
        let (first, short) = (self.read[0], self.read[1]);
        let (head, length) = match short {
            126 if self.fill(4).await => (
                4,
                usize::from(u16::from_be_bytes([self.read[2], self.read[3]])),
            ),
            126.. => panic!("a frame that is masked or long: {first:x} {short}"),
            _ => (2, usize::from(short)),
        };
        if !self.fill(head + length).await {
            return None;
        }
        let rest = self.read.split_off(head + length);
        Some((
            first,
            std::mem::replace(&mut self.read, rest).split_off(head),
        ))
    }

    /// The next text frame that is not a heartbeat.
    pub(crate) async fn text(&mut self) -> Value {
        loop {
            let (kind, payload) = self.frame().await.expect("a frame, not the end");
            assert_ne!(kind, CLOSE, "{payload:?}");
            if kind == TEXT {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// Reads on to the end, and says how it came.
    pub(crate) async fn end(&mut self) -> Ended {
        let mut ended = Ended {
            code: None,
            disconnect: None,
        };
        while let Some((kind, payload)) = self.frame().await {
            match kind {
                TEXT => {
                    let frame: Value = serde_json::from_slice(&payload).unwrap();
                    ended.disconnect = (frame["type"] == "disconnect").then_some(frame);
                }
                CLOSE => {
                    assert_eq!(ended.code, None, "two closes");
                    ended.code = Some(u16::from_be_bytes([payload[0], payload[1]]));
                }
                _ => {}
            }
        }
        ended
    }
}
