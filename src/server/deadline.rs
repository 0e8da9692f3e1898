//! A deadline for writing: a client that takes nothing for too long is cut off, whatever it was being sent.
//!
//! Without it a stalled reader of an event stream would stay in its rooms for as long as its TCP connection does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take nothing while something waits for it.
#[derive(Debug)]
pub(crate) struct Patience {
    time: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            stalled: None,
        }
    }

    /// The client took something, or nothing waits any more.
    pub(crate) fn renew(&mut self) {
        self.stalled = None;
    }

    /// Waits for the client; why to wait no longer, once it has been too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let time = self.time;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        ))
    }
}

/// A stream whose writes fail when nothing of them has gone out for a time.
#[derive(Debug)]
pub(crate) struct Deadline<S> {
    stream: S,
    patience: Patience,
    /// Runs while nothing is read, where that has a bound.
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<S> Deadline<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience: Patience::new(patience),
            idle: None,
        }
    }

    /// The stream itself.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails reads, too, when nothing has come for a time.
    pub(super) fn idle_at_most(mut self, time: Duration) -> Self {
        self.idle = Some((time, Box::pin(tokio::time::sleep(time))));
        self
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience.renew();
            return written;
        }
        self.patience.poll_over(cx).map(Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((time, idle)) = &mut self.idle else {
            return read;
        };
        if read.is_ready() {
            let until = Instant::now() + *time;
            idle.as_mut().reset(until);
            return read;
        }
        ready!(idle.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client says nothing",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
