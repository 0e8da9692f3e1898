//! Room to read ahead, only while much comes: a connection that waits has none, and a large message is not read in small
//! pieces.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// What is read at once where more comes than there is room for, in bytes.
const BYTES: usize = 8 * 1024;

/// What has been read before there was room for it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The last read has filled all the room there was: more is to be expected.
    more: bool,
    bytes: Option<Bytes>,
}

impl Ahead {
    /// Reads what is here, or else from the stream.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_none() && self.more {
            let mut room = vec![0; BYTES];
            let mut into = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut into))?;
            let count = into.filled().len();
            self.more = count == BYTES;
            self.bytes = Some(Bytes::from(room).slice(..count));
        }
        if let Some(mut bytes) = self.bytes.take() {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes.split_to(count));
            self.bytes = (!bytes.is_empty()).then_some(bytes);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(stream).poll_read(cx, buffer))?;
        self.more = buffer.remaining() == 0;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_comes_is_read_whole_however_much_room_there_is() {
        let sent: Vec<u8> = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
        for room in [1, 7, 256, 10_000] {
            let (mut theirs, mut ours) = tokio::io::duplex(20_000);
            let mut ahead = Ahead::default();
            let reading = async {
                let (mut got, mut buffer) = (Vec::new(), vec![0; room]);
                loop {
                    let mut into = ReadBuf::new(&mut buffer);
                    poll_fn(|cx| ahead.poll_read(&mut ours, cx, &mut into))
                        .await
                        .unwrap();
                    match into.filled().len() {
                        0 => return got,
                        count => got.extend_from_slice(&buffer[..count]),
                    }
                }
            };
            let writing = async {
                theirs.write_all(&sent).await.unwrap();
                theirs.shutdown().await.unwrap();
            };
            let (got, ()) = tokio::join!(reading, writing);
            assert!(got == sent, "with room for {room}");
            assert!(ahead.bytes.is_none());
        }
    }
}
