//! A bound on the fragments of one message (RFC 6455 section 5.4).
//!
//! tungstenite bounds the bytes of a message but not its fragments, and empty ones are free: a client could keep a core
//! busy with them for ever. So the heads of frames are counted on their way in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ahead::Ahead;

/// A stream of frames from a client, whose fragments are counted.
#[derive(Debug)]
pub(super) struct Fragments<S> {
    stream: S,
    ahead: Ahead,
    heads: Heads,
    /// The most fragments of one message.
    limit: u32,
}

/// Where in the stream of frames we are.
#[derive(Debug, Default)]
struct Heads {
    head: [u8; 14],
    have: usize,
    /// Bytes of payload that are still to come before the next head.
    payload: u64,
    fragments: u32,
    /// The most that a message has had: its end may have come together with all of them.
    most: u32,
}

impl<S> Fragments<S> {
    /// `read` is what came before the stream was ours.
    pub(super) fn new(stream: S, read: &[u8], limit: u32) -> Self {
        let mut heads = Heads::default();
        heads.pass(read);
        Self {
            stream,
            ahead: Ahead::default(),
            heads,
            limit,
        }
    }

    /// The stream itself, for what is thrown away at the end.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether a message has had more fragments than it may.
    pub(super) fn too_many(&self) -> bool {
        self.heads.most > self.limit
    }

    /// Whether a message has begun and not ended, as far as it has been read.
    pub(super) fn amid_message(&self) -> bool {
        self.heads.have > 0 || self.heads.payload > 0 || self.heads.fragments > 0
    }
}

impl Heads {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = bytes
                .len()
                .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
            self.payload -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.head[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == self.needed() {
                self.finish();
            }
        }
    }

    /// How long this head is, as far as that can be said.
    fn needed(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + mask
    }

    fn finish(&mut self) {
        let head = &self.head;
        self.payload = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([head[2], head[3]])),
            127 => u64::from_be_bytes([
                head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9],
            ]),
            length => u64::from(length),
        };
        self.have = 0;
        let (last, control) = (head[0] & 0x80 != 0, head[0] & 0x08 != 0);
        if !control {
            self.fragments = if last { 0 } else { self.fragments + 1 };
            self.most = self.most.max(self.fragments);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fragments<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = this.ahead.poll_read(&mut this.stream, cx, buffer);
        this.heads.pass(&buffer.filled()[before..]);
        if this.too_many() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too many fragments",
            )));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fragments<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            126..65536 => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(std::iter::repeat_n(0, payload));
        frame
    }

    #[test]
    fn fragments_are_counted_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        for payload in [0, 5, 125, 126, 4000, 70_000] {
            bytes.extend(frame(0x01, payload));
            bytes.extend(frame(0x89, 3));
        }
        for chunk in [1, 2, 3, 7, 1000, 1_000_000] {
            let mut heads = Heads::default();
            bytes.chunks(chunk).for_each(|chunk| heads.pass(chunk));
            assert_eq!(
                (heads.fragments, heads.payload, heads.have),
                (6, 0, 0),
                "in chunks of {chunk}"
            );
            heads.pass(&frame(0x80, 10));
            assert_eq!(heads.fragments, 0);
        }
    }

    #[test]
    fn a_length_that_nobody_could_send_is_only_a_number() {
        let mut heads = Heads::default();
        heads.pass(&[
            0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 9, 9,
        ]);
        assert_eq!(heads.payload, u64::MAX - 2);
    }
}
