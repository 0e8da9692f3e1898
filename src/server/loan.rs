//! A socket on loan to the HTTP library, for answers that go on past it: once it has written their head it comes back.
//! The head is kept back, and goes out together with what comes first: each write costs more than what it says.

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
    /// All that is to be written has been.
    flushed: AtomicBool,
    /// What is written from now on is the head of an answer that goes on.
    goes_on: AtomicBool,
    estate: Mutex<Estate>,
}

#[derive(Debug, Default)]
struct Estate {
    /// The answer that is to have the socket.
    heir: Option<Stream>,
    /// The socket, once the library has let go of it, and the answer's head.
    socket: Option<(TcpStream, Vec<u8>)>,
}

impl Loan {
    /// Names the answer that is to have the socket.
    pub(super) fn leave_to(&self, stream: Stream) {
        // Its head is still to be written.
        self.flushed.store(false, Ordering::Relaxed);
        self.hold_head();
        self.estate.lock().unwrap().heir = Some(stream);
    }

    /// Keeps back what is written from now on. Whoever says so sees to it that somebody [keeps](Lent::keep) the socket or
    /// [inherits](Self::inherit) it: nobody else sends what is kept back.
    pub(super) fn hold_head(&self) {
        self.goes_on.store(true, Ordering::Relaxed);
    }

    /// Whether the socket may be taken back: whoever has it has done what it was to do.
    pub(super) fn is_over(&self) -> bool {
        self.flushed.load(Ordering::Relaxed) && self.estate.lock().unwrap().heir.is_some()
    }

    /// The answer, and its socket and head, if it was left one.
    pub(super) fn inherit(&self) -> Option<(Stream, (TcpStream, Vec<u8>))> {
        let estate = std::mem::take(&mut *self.estate.lock().unwrap());
        estate.heir.zip(estate.socket)
    }
}

/// The socket itself.
#[derive(Debug)]
pub(crate) struct Lent {
    /// There until it is dropped or taken out.
    stream: Option<TcpStream>,
    /// What is kept back.
    head: Vec<u8>,
    loan: Arc<Loan>,
}

impl Lent {
    pub(super) fn new(stream: TcpStream, loan: &Arc<Loan>) -> Self {
        Self {
            stream: Some(stream),
            head: Vec::new(),
            loan: Arc::clone(loan),
        }
    }

    /// The socket, for good, and what is still to be written to it.
    pub(crate) fn keep(mut self) -> Option<(TcpStream, Vec<u8>)> {
        self.take()
    }

    fn take(&mut self) -> Option<(TcpStream, Vec<u8>)> {
        let head = std::mem::take(&mut self.head);
        self.stream.take().map(|stream| (stream, head))
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
            let socket = self.take();
            self.loan.estate.lock().unwrap().socket = socket;
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
        if self.loan.goes_on.load(Ordering::Relaxed) {
            self.head.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.loan.flushed.store(false, Ordering::Relaxed);
        if self.loan.goes_on.load(Ordering::Relaxed) {
            let before = self.head.len();
            slices
                .iter()
                .for_each(|slice| self.head.extend_from_slice(slice));
            return Poll::Ready(Ok(self.head.len() - before));
        }
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The library flushes when it has nothing more to write for now; the socket keeps back only what is for others to send.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.loan.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_head_of_an_answer_that_goes_on_waits_for_what_comes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let (ours, mut theirs) = (ours.unwrap().0, theirs.unwrap());
        let loan = Arc::new(Loan::default());
        let mut lent = Lent::new(ours, &loan);
        lent.write_all(b"the answer before; ").await.unwrap();
        loan.hold_head();

        lent.write_all(b"the ").await.unwrap();
        let slices = [IoSlice::new(b"he"), IoSlice::new(b"ad; ")];
        assert_eq!(lent.write_vectored(&slices).await.unwrap(), 6);
        lent.flush().await.unwrap();

        let (mut ours, head) = lent.keep().unwrap();
        assert_eq!(head, b"the head; ");
        ours.write_all(b"the rest").await.unwrap();
        drop(ours);
        let mut came = String::new();
        theirs.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "the answer before; the rest");
    }
}
