//! Fragments: in how many frames one message may come. tungstenite bounds a message's bytes only, so that one of empty
//! fragments would never end. Counted on the bytes as they are read, by the heads of the frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Frames of one message, at most.
const MAX_FRAGMENTS: usize = 1_024;

/// A message comes in more fragments than it may.
#[derive(Debug, thiserror::Error)]
#[error("a message in more than {MAX_FRAGMENTS} fragments")]
pub(super) struct TooManyFragments;

/// A stream of frames from a client, which fails at the first fragment too many.
#[derive(Debug)]
pub(super) struct Counted<S> {
    pub(super) stream: S,
    count: Count,
}

impl<S> Counted<S> {
    /// Goes on where `read` ends, which was read before.
    pub(super) fn new(stream: S, read: &[u8]) -> Self {
        let mut count = Count::default();
        // A message that is over already fails with its next fragment.
        let _ = count.add(read);
        Self { stream, count }
    }
}

/// Where in a frame the bytes are, and how many fragments the message has by now.
#[derive(Debug, Default)]
struct Count {
    head: [u8; 14],
    head_bytes: usize,
    payload_left: u64,
    fragments: usize,
}

impl Count {
    fn add(&mut self, mut bytes: &[u8]) -> Result<(), TooManyFragments> {
        while let [next, rest @ ..] = bytes {
            if self.payload_left > 0 {
                let skipped = bytes
                    .len()
                    .min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.head_bytes] = *next;
            self.head_bytes += 1;
            bytes = rest;
            if self.head_bytes >= 2 && self.head_bytes == head_length(self.head[1]) {
                self.end_head()?;
            }
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), TooManyFragments> {
        let [first, second, long @ ..] = self.head;
        self.head_bytes = 0;
        self.payload_left = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            127 => long[..8]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            length => u64::from(length),
        };
        let (is_final, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if is_control {
            return Ok(());
        }
        self.fragments += 1;
        if self.fragments > MAX_FRAGMENTS {
            return Err(TooManyFragments);
        }
        if is_final {
            self.fragments = 0;
        }
        Ok(())
    }
}

/// How long a head is, by its second byte (RFC 6455 section 5.2).
fn head_length(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(
            self.count
                .add(&buf.filled()[before..])
                .map_err(io::Error::other),
        )
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
