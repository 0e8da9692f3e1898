//! Cursors: a position in the log, and the epoch that says which log.

use std::fmt;
use std::str::FromStr;

/// A position in the log: the number of the last event that was seen. 0 is before the first.
pub type Position = u64;

/// Which log a position belongs to; new whenever the log is new or may have lost its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u32);

/// `{epoch}-{position}`, for example `5f3a9c21-1043`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which log.
    pub epoch: Epoch,
    /// Where in it.
    pub position: Position,
}

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a cursor; expected one that the server handed out, 8 hex digits, a dash and a number, for example 5f3a9c21-1043"
)]
pub struct InvalidCursor;

impl FromStr for Epoch {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 8 || !text.bytes().all(lower_hex) {
            return Err(InvalidCursor);
        }
        u32::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidCursor)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, position) = text.split_once('-').ok_or(InvalidCursor)?;
        if position.is_empty() || !position.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidCursor);
        }
        Ok(Self {
            epoch: epoch.parse()?,
            position: position.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.position)
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_cursors_are_refused() {
        for text in [
            "",
            "-",
            "1",
            "5f3a9c21",
            "5f3a9c21-",
            "5F3A9C21-1",
            "5f3a9c2-1",
            "5f3a9c21--1",
            "5f3a9c21-+1",
            "5f3a9c21-1 ",
            "5f3a9c21-99999999999999999999999999999",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(epoch: u32, position: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), position };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
