//! The way out of a connection on plain TCP that others may use, too: what waits is written where it is noticed, without
//! waking the connection's own task. That does the rest: it reads, and waits where the client takes nothing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::io::{Errno, writev};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::feed::{self, Feed};
use super::socket::End;
use crate::app::Roomcast;
use crate::realtime::outbox::Taken;
use crate::realtime::prefetch::prefetch;
use crate::realtime::protocol::{Format, Frame};
use crate::realtime::rounds::Reader;
use crate::realtime::{Close, Connection};
use crate::server::Patience;

/// Frames that go out with one call of the system; a little more than most outboxes ever hold.
const TOGETHER: usize = 32;
/// What the connection's own task may put behind what has not gone out yet: answers to pings, and to a close.
const MAX_LEFT: usize = 4 * 1024;

/// A socket that is read by one task, and written by whoever has something for it.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    wire: Wire,
    connection: Arc<Connection>,
    app: Roomcast,
    out: Mutex<Out>,
}

/// How frames stand on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Each is a text frame.
    WebSocket,
    /// Each is a block of an event stream, in a chunk.
    Stream(Format),
}

impl Wire {
    fn bytes(self, frame: &Frame) -> &Bytes {
        match self {
            Self::WebSocket => frame.websocket(),
            Self::Stream(format) => frame.chunk(format),
        }
    }
}

/// What is on its way. Whoever writes has this lock: frames go out whole, and in order.
#[derive(Debug)]
struct Out {
    /// Rounds may write.
    open: bool,
    /// A write has failed, and what it was to write is lost.
    broken: bool,
    /// What the kernel has not taken.
    left: VecDeque<Bytes>,
    /// The frames that is of: they still weigh something.
    kept: VecDeque<Frame>,
    /// When the oldest of them was told.
    told: Option<Instant>,
    written: Instant,
}

impl Line {
    /// A line, and its own task's end of it. `head` goes before all else.
    pub(super) fn new(
        stream: TcpStream,
        wire: Wire,
        head: Vec<u8>,
        feed: &Feed,
    ) -> (Arc<Self>, Own) {
        let head = (!head.is_empty()).then(|| Bytes::from(head));
        let line = Arc::new(Self {
            stream,
            wire,
            connection: Arc::clone(feed.connection()),
            app: feed.app().clone(),
            out: Mutex::new(Out {
                open: false,
                broken: false,
                left: head.into_iter().collect(),
                kept: VecDeque::new(),
                told: None,
                written: Instant::now(),
            }),
        });
        let own = Own {
            line: Arc::clone(&line),
            patience: Patience::new(feed.app().config().ping_timeout),
        };
        (line, own)
    }

    /// Lets rounds write from now on: what comes first has been sent.
    pub(super) fn open(self: &Arc<Self>, feed: &Feed) {
        let mut out = self.out.lock().unwrap();
        if out.open {
            return;
        }
        out.open = true;
        drop(out);
        let line: Arc<dyn Reader> = Arc::clone(self) as Arc<dyn Reader>;
        let outbox = &self.connection.outbox;
        outbox.serve_in(feed.rounds(), Arc::downgrade(&line));
        // What came before that rang for nobody.
        outbox.stir();
    }

    /// Nobody but the connection's own task writes any more.
    pub(super) fn shut(&self) {
        self.connection.outbox.serve_alone();
        self.out.lock().unwrap().open = false;
    }

    /// When something was last written.
    pub(super) fn written(&self) -> Instant {
        self.out.lock().unwrap().written
    }

    /// Sends what waits, as much of it as the kernel takes; whether it takes no more now. `frames` is empty before and
    /// after.
    fn send(&self, frames: &mut VecDeque<Frame>) -> Result<bool, End> {
        let mut out = self.out.lock().unwrap();
        if !out.open {
            return Ok(false);
        }
        if out.broken {
            return Err(End::Gone);
        }
        if !out.left.is_empty() {
            return Ok(true);
        }
        if !out.kept.is_empty() {
            // They have gone out meanwhile, with whatever the connection's own task has flushed.
            out.kept = VecDeque::new();
            out.written = Instant::now();
            self.delivered(out.told.take(), out.written);
        }
        match self.connection.outbox.take_into(frames) {
            Taken::Frames => {}
            Taken::Closed(close) => return Err(End::Close(close)),
            Taken::Nothing => return Ok(false),
        }
        let told = feed::told(&*frames);
        if out.write(&self.stream, self.wire, frames).is_err() {
            out.broken = true;
            frames.clear();
            return Err(End::Gone);
        }
        out.written = Instant::now();
        if !out.left.is_empty() {
            self.connection.outbox.sends(&*frames);
            out.told = told;
            out.kept = std::mem::take(frames);
            return Ok(true);
        }
        self.delivered(told, out.written);
        frames.clear();
        Ok(false)
    }

    /// Sends what others could not. Whether the client takes no more now: then what is left is to be flushed, and the same
    /// asked again.
    pub(super) fn is_stuck(&self, feed: &mut Feed) -> Result<bool, End> {
        // What waited while the client took the last was perhaps said after the end.
        feed.check_term();
        self.send(&mut VecDeque::new())
    }

    /// Writes frames that are in no outbox, behind what is left. What the kernel does not take is left, too.
    pub(super) fn put(&self, frames: &VecDeque<Frame>) -> io::Result<()> {
        let mut out = self.out.lock().unwrap();
        if out.left.is_empty() {
            return out.write(&self.stream, self.wire, frames);
        }
        let bytes = frames.iter().map(|frame| self.wire.bytes(frame).clone());
        out.left.extend(bytes);
        out.drain(&self.stream)?;
        Ok(())
    }

    fn delivered(&self, told: Option<Instant>, now: Instant) {
        if let Some(told) = told {
            let transport = self.connection.transport;
            self.app.metrics().delivered(transport, told, now);
        }
    }
}

impl Reader for Line {
    fn serve(&self, frames: &mut VecDeque<Frame>) {
        // Its own task waits where that has to be done, and ends what has ended.
        if self.send(frames) != Ok(false) {
            self.connection.outbox.stir();
        }
    }

    fn approach(&self) {
        prefetch(&self.connection.outbox);
    }

    fn fail(&self) {
        self.connection.outbox.cut(Close::Internal);
    }
}

impl Out {
    /// Writes frames, and notes what the kernel did not take of them.
    fn write(
        &mut self,
        stream: &TcpStream,
        wire: Wire,
        frames: &VecDeque<Frame>,
    ) -> io::Result<()> {
        if let [frame] = frames.as_slices().0
            && frames.len() == 1
        {
            let bytes = wire.bytes(frame);
            let taken = write(stream, bytes)?;
            if taken < bytes.len() {
                self.left.push_back(bytes.slice(taken..));
            }
            return Ok(());
        }
        let mut next = frames.iter().peekable();
        while next.peek().is_some() {
            let mut slices = [IoSlice::new(&[]); TOGETHER];
            let mut together: [Option<&Bytes>; TOGETHER] = [None; TOGETHER];
            let (mut count, mut length) = (0, 0);
            for (slice, bytes) in slices.iter_mut().zip(&mut together) {
                let Some(frame) = next.next() else { break };
                let framed = wire.bytes(frame);
                (*slice, *bytes) = (IoSlice::new(framed), Some(framed));
                count += 1;
                length += framed.len();
            }
            let mut taken = write_vectored(stream, &slices[..count])?;
            if taken == length {
                continue;
            }
            for bytes in together.into_iter().flatten() {
                let skipped = taken.min(bytes.len());
                taken -= skipped;
                if skipped < bytes.len() {
                    self.left.push_back(bytes.slice(skipped..));
                }
            }
            self.left
                .extend(next.map(|frame| wire.bytes(frame).clone()));
            break;
        }
        Ok(())
    }

    /// Writes what was left, as much of it as the kernel takes, and says how many bytes that were.
    fn drain(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut drained = 0;
        while !self.left.is_empty() {
            let mut slices = [IoSlice::new(&[]); TOGETHER];
            for (slice, bytes) in slices.iter_mut().zip(&self.left) {
                *slice = IoSlice::new(bytes);
            }
            let count = self.left.len().min(TOGETHER);
            let mut taken = write_vectored(stream, &slices[..count])?;
            if taken == 0 {
                break;
            }
            drained += taken;
            while let Some(bytes) = self.left.front_mut() {
                if taken < bytes.len() {
                    bytes.advance(taken);
                    break;
                }
                taken -= bytes.len();
                self.left.pop_front();
            }
        }
        if self.left.is_empty() {
            // Most connections never need room for it again.
            self.left = VecDeque::new();
        }
        Ok(drained)
    }
}

/// Writes as much as the kernel takes. Not by way of the C library, which would look each time whether somebody cancels
/// the thread.
fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    write_by(stream, || send(stream, bytes, SendFlags::NOSIGNAL))
}

fn write_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    write_by(stream, || writev(stream, slices))
}

/// How much was written; nothing, where that would have to wait. What the runtime knows of the socket is only asked then,
/// and told: it is in memory of its own, which most who are written to never need.
fn write_by(
    stream: &TcpStream,
    write: impl Fn() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    match write() {
        Err(Errno::AGAIN) => {}
        written => return Ok(written?),
    }
    match stream.try_io(Interest::WRITABLE, || Ok(write()?)) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

/// The line as its own task has it: a stream like any other.
#[derive(Debug)]
pub(super) struct Own {
    line: Arc<Line>,
    /// Its own, since only here it is seen that a client takes a part of what was left.
    patience: Patience,
}

impl Own {
    /// Waits until what is left is as little as that, or nothing.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        is_little: impl Fn(&VecDeque<Bytes>) -> bool,
    ) -> Poll<io::Result<()>> {
        let line = &self.line;
        loop {
            {
                let mut out = line.out.lock().unwrap();
                if out.drain(&line.stream)? > 0 {
                    self.patience.renew();
                }
                if out.left.is_empty() || is_little(&out.left) {
                    self.patience.renew();
                    return Poll::Ready(Ok(()));
                }
            }
            match line.stream.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return self.patience.poll_over(cx).map(Err),
            }
        }
    }
}

impl AsyncRead for Own {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &self.line.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            let mut taken = None;
            let read = stream.try_io(Interest::READABLE, || {
                let (count, _) = recv(stream, &mut *room, RecvFlags::empty())?;
                taken = Some(count);
                // Less than there is room for was all that there is. To say so now spares a call that finds nothing; it
                // is said for the event that led here, so that a later one is not missed.
                if (1..room.len()).contains(&count) {
                    return Err(ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match (taken, read) {
                (Some(count), _) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl AsyncWrite for Own {
    /// Takes all or nothing, so that nobody else's frame gets in between.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx, |left| {
            left.iter().map(Bytes::len).sum::<usize>() + bytes.len() <= MAX_LEFT
        }))?;
        let line = &self.line;
        let mut out = line.out.lock().unwrap();
        let taken = if out.left.is_empty() {
            write(&line.stream, bytes)?
        } else {
            0
        };
        if taken < bytes.len() {
            out.left.push_back(Bytes::copy_from_slice(&bytes[taken..]));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(cx, VecDeque::is_empty)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        match SockRef::from(&self.line.stream).shutdown(Shutdown::Write) {
            // The client was faster.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            ended => Poll::Ready(ended),
        }
    }
}
