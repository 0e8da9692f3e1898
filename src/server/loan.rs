//! A socket on loan to the HTTP library, for answers that go on past it: once their head has gone out it comes back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::transport::stream::Stream;

/// What the one who lends and the socket on loan have in common.
#[derive(Debug, Default)]
pub(super) struct Loan {
    /// All that was written has gone out.
    flushed: AtomicBool,
    estate: Mutex<Estate>,
}

#[derive(Debug, Default)]
struct Estate {
    /// The answer that is to have the socket.
    heir: Option<Stream>,
    /// The socket, once the library has let go of it.
    socket: Option<TcpStream>,
}

impl Loan {
    /// Names the answer that is to have the socket.
    pub(super) fn leave_to(&self, stream: Stream) {
        // Its head is still to be written.
        self.flushed.store(false, Ordering::Relaxed);
        self.estate.lock().unwrap().heir = Some(stream);
    }

    /// Whether the socket may be taken back: whoever has it has done what it was to do.
    pub(super) fn is_over(&self) -> bool {
        self.flushed.load(Ordering::Relaxed) && self.estate.lock().unwrap().heir.is_some()
    }

    /// The answer and its socket, if it was left one.
    pub(super) fn inherit(&self) -> Option<(Stream, TcpStream)> {
        let estate = std::mem::take(&mut *self.estate.lock().unwrap());
        estate.heir.zip(estate.socket)
    }
}

/// The socket itself.
#[derive(Debug)]
pub(crate) struct Lent {
    /// There until it is dropped or taken out.
    stream: Option<TcpStream>,
    loan: Arc<Loan>,
}

impl Lent {
    pub(super) fn new(stream: TcpStream, loan: &Arc<Loan>) -> Self {
        Self {
            stream: Some(stream),
            loan: Arc::clone(loan),
        }
    }

    /// The socket, for good.
    pub(crate) fn keep(mut self) -> Option<TcpStream> {
        self.stream.take()
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Otherwise there is nobody to have it, or it broke before the answer began.
        if self.loan.is_over() {
            self.loan.estate.lock().unwrap().socket = self.stream.take();
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.loan.flushed.store(false, Ordering::Relaxed);
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.loan.flushed.store(false, Ordering::Relaxed);
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The library flushes when it has nothing more to write for now; the socket itself keeps nothing back.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.loan.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
