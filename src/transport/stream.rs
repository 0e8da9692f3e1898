//! An event stream that has its connection to itself: HTTP/1.1 on plain TCP. The HTTP library has read the request and
//! made the head of the answer; from there on events go out as those of a WebSocket do, without it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::feed::{self, Feed};
use super::line::{Line, Own, Wire};
use super::socket::{CLOSE_TIME, End};
use super::sse;
use crate::realtime::Close;
use crate::realtime::outbox::Waiting;
use crate::realtime::protocol::Format;

/// What a client may say to a stream before it is taken for somebody who wants something else.
const MAX_DISCARDED_BYTES: usize = 16 * 1024;
/// The end of a body in chunks (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// An event stream, before anything of it has been sent.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) feed: Feed,
    pub(super) format: Format,
}

/// A stream in an answer. Whoever has the connection may take it; otherwise it goes out as the answer's body.
#[derive(Debug, Clone)]
pub(crate) struct Offer(Arc<Mutex<Option<Stream>>>);

impl Offer {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// The stream, if nobody has it yet.
    pub(crate) fn take(&self) -> Option<Stream> {
        self.0.lock().unwrap().take()
    }

    /// The answer's body: without an end, and empty, where somebody has taken the stream.
    pub(super) fn body(self) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
        stream::once(async move { self.take() }).flat_map(|stream| match stream {
            Some(stream) => sse::chunks(stream).left_stream(),
            None => stream::pending().right_stream(),
        })
    }
}

impl Stream {
    /// Sends all that there is to send, behind the head of the answer, to the end of one of both.
    pub(crate) fn run(self, socket: TcpStream, head: Vec<u8>) -> impl Future<Output = ()> {
        let (line, own) = Line::new(socket, Wire::Stream(self.format), head, &self.feed);
        let open = Open {
            feed: self.feed,
            line,
            own,
            discarded: 0,
        };
        Box::new(open).run()
    }
}

/// A stream that is being sent.
struct Open {
    feed: Feed,
    line: Arc<Line>,
    own: Own,
    discarded: usize,
}

impl Open {
    async fn run(mut self: Box<Self>) {
        loop {
            match self.go_on().await {
                Ok(()) => {}
                Err(End::Close(close)) => return Box::pin(self.close(close)).await,
                Err(End::Closed | End::Gone) => return,
            }
        }
    }

    async fn go_on(&mut self) -> Result<(), End> {
        if self.feed.has_past() {
            return Box::pin(self.send_past()).await;
        }
        self.line.open(&self.feed);
        tokio::select! {
            () = self.feed.stirs(|| self.line.written()) => Box::pin(self.catch_up()).await,
            () = gone(&mut self.own, &mut self.discarded) => Err(End::Gone),
        }
    }

    /// Sends some of what comes before anything live.
    async fn send_past(&mut self) -> Result<(), End> {
        match self.feed.past().await {
            None => Ok(()),
            Some(Waiting::Closed(close)) => Err(End::Close(close)),
            Some(Waiting::Frames(frames)) => {
                let told = feed::told(&frames);
                self.line.put(&frames).map_err(|_| End::Gone)?;
                self.own.flush().await.map_err(|_| End::Gone)?;
                self.feed.wrote(told);
                Ok(())
            }
        }
    }

    /// Sends what others could not.
    async fn catch_up(&mut self) -> Result<(), End> {
        while self.line.is_stuck(&mut self.feed)? {
            self.own.flush().await.map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    /// Sends what still waits, and says why it ends.
    async fn close(mut self: Box<Self>, close: Close) {
        self.line.shut();
        let last = self.feed.end(close);
        let closing = async {
            self.line.put(&last)?;
            self.own.write_all(LAST_CHUNK).await?;
            self.own.flush().await?;
            self.own.shutdown().await?;
            // What was never read would make the kernel throw away what the client has not read.
            gone(&mut self.own, &mut self.discarded).await;
            Ok::<_, std::io::Error>(())
        };
        // Whether the client heard of it is not ours to know.
        let _ = timeout(CLOSE_TIME, closing).await;
    }
}

/// Waits until the client is gone. What it says is of no account: it has its answer.
async fn gone(own: &mut Own, discarded: &mut usize) {
    std::future::poll_fn(|cx| poll_gone(own, discarded, cx)).await;
}

/// The room to read into is here only while it is read.
fn poll_gone(own: &mut Own, discarded: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    let mut room = [0; 1024];
    loop {
        let mut buffer = ReadBuf::new(&mut room);
        let read = ready!(Pin::new(&mut *own).poll_read(cx, &mut buffer));
        let count = buffer.filled().len();
        *discarded += count;
        if read.is_err() || count == 0 || *discarded > MAX_DISCARDED_BYTES {
            return Poll::Ready(());
        }
    }
}
