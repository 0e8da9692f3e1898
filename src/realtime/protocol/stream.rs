//! How a frame stands in an event stream (HTML section 9.2), and that in the chunk of an HTTP/1.1 answer.

use std::fmt::Write;
use std::sync::OnceLock;

use bytes::Bytes;

use super::Frame;

/// How events are written into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The whole frame.
    Json,
    /// Their data alone, for pages that know nothing of our frames; a string as plain text.
    Data,
    /// The same without their names, for pages that hear nothing else: for a browser it is then a `message`.
    Message,
}

/// What has been made of one frame, for each format.
#[derive(Default)]
pub(super) struct Chunks([OnceLock<Bytes>; 3]);

impl Chunks {
    pub(super) fn get_or_make(&self, format: Format, make: impl FnOnce() -> Bytes) -> &Bytes {
        self.0[format as usize].get_or_init(make)
    }
}

/// The end of a chunk, and of the line that says how long it is.
const LINE_END: &str = "\r\n";

impl Frame {
    /// The frame as one block of an event stream.
    pub fn block(&self, format: Format) -> Bytes {
        let chunk = self.chunk(format);
        let line = chunk.iter().position(|b| *b == b'\n').unwrap_or_default();
        chunk.slice(line + 1..chunk.len() - LINE_END.len())
    }

    /// That block as one chunk (RFC 9112 section 7.1).
    pub fn chunk(&self, format: Format) -> &Bytes {
        // What is no event looks the same in each.
        let format = if self.is_event() {
            format
        } else {
            Format::Json
        };
        self.chunk_or(format, || {
            let block = match format {
                Format::Json => self.lines_with(true, &[self.text()]),
                Format::Data | Format::Message => {
                    let named = format == Format::Data;
                    match serde_json::from_str::<String>(self.data()) {
                        Ok(text) => self.lines_with(named, &lines(&text)),
                        Err(_) => self.lines_with(named, &[self.data()]),
                    }
                }
            };
            format!("{:x}{LINE_END}{block}{LINE_END}", block.len()).into()
        })
    }

    fn lines_with(&self, named: bool, data: &[&str]) -> String {
        let mut block = String::with_capacity(self.json().len() + 64);
        if let Some(retry) = self.retry() {
            let _ = writeln!(block, "retry: {retry}");
        }
        if named {
            let _ = writeln!(block, "event: {}", self.name());
        }
        if let Some(cursor) = self.cursor() {
            let _ = writeln!(block, "id: {cursor}");
        }
        for line in data {
            let _ = writeln!(block, "data: {line}");
        }
        block.push('\n');
        block
    }
}

/// An event stream ends a line at CR, LF and CRLF alike; each becomes a `data:` line of its own, and arrives as LF.
fn lines(text: &str) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(end) = rest.find(['\r', '\n']) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix("\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::Close;
    use crate::realtime::protocol::server::tests::event;

    fn plain(data: &str) -> Bytes {
        event(data).block(Format::Data)
    }

    #[test]
    fn an_event_is_one_block_in_each_format() {
        let frame = event(r#"{"a": 1}"#);
        let json = String::from_utf8_lossy(frame.json()).into_owned();
        for (format, block) in [
            (
                Format::Json,
                format!("event: note\nid: 5f3a9c21-7\ndata: {json}\n\n"),
            ),
            (
                Format::Data,
                "event: note\nid: 5f3a9c21-7\ndata: {\"a\":1}\n\n".into(),
            ),
            (
                Format::Message,
                "id: 5f3a9c21-7\ndata: {\"a\":1}\n\n".into(),
            ),
        ] {
            assert_eq!(frame.block(format), block);
            let chunk = format!("{:x}\r\n{block}\r\n", block.len());
            assert_eq!(frame.chunk(format), &chunk);
        }
    }

    #[test]
    fn what_is_no_event_is_the_same_in_each_format() {
        let frame = Frame::disconnect(Close::Shutdown, 1_234);
        let block = frame.block(Format::Json);
        assert!(block.starts_with(b"retry: 1234\nevent: disconnect\ndata: {"));
        assert_eq!(frame.block(Format::Message), block);
    }

    #[test]
    fn a_string_cannot_break_out_of_its_block() {
        assert_eq!(
            plain(r#""one\r\ntwo\rdata: x\n\nid: 9\n:""#),
            "event: note\nid: 5f3a9c21-7\ndata: one\ndata: two\ndata: data: x\ndata: \ndata: id: 9\ndata: :\n\n"
        );
        assert_eq!(plain("\"\""), "event: note\nid: 5f3a9c21-7\ndata: \n\n");
        // A CR at the very end ends a line too: nothing of it is lost.
        assert_eq!(
            plain(r#""a\r""#),
            "event: note\nid: 5f3a9c21-7\ndata: a\ndata: \n\n"
        );
    }
}
