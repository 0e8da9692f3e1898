//! JSON that is passed on as it came: checked once, without white space, numbers digit for digit.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

/// How deep arrays and objects may be nested. Below the 128 that common parsers stop at, because the frame around it counts too.
pub const MAX_DEPTH: usize = 120;

/// One JSON value on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Arc<str>);

/// Why a text cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidData {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deep; at most {MAX_DEPTH} levels of arrays and objects")]
    TooDeep,
    /// `\ud800` without its other half: most languages cannot hold it, so it would arrive changed.
    #[error("has a lone surrogate (\\ud800 to \\udfff without its other half)")]
    LoneSurrogate,
    /// 1e400: most languages would read it as infinity.
    #[error("has a number that is too large for a double")]
    NumberTooLarge,
}

impl Data {
    /// Takes JSON text that somebody sent.
    ///
    /// # Errors
    /// When it is not one JSON value, or one that receivers could not read as it was meant.
    pub fn parse(text: &str) -> Result<Self, InvalidData> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| InvalidData::Syntax(error.to_string()))?;
        Self::of(raw)
    }

    /// Takes JSON that is already known to be well-formed.
    ///
    /// # Errors
    /// As [`Data::parse`], but for the syntax.
    pub fn of(raw: &RawValue) -> Result<Self, InvalidData> {
        compact(raw.get()).map(|text| Self(text.into()))
    }

    /// Encodes a value of our own.
    ///
    /// # Panics
    /// When the value cannot be JSON (a map whose keys are not strings), which is a mistake in the program.
    pub fn from_value<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        Self(
            serde_json::to_string(value)
                .expect("a value of the program's own is JSON")
                .into(),
        )
    }

    /// Takes what was stored: it went through [`Data::parse`] before.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// As a part of other JSON, digit for digit.
    pub fn raw(&self) -> Box<RawValue> {
        let text = self.0.as_ref().to_owned();
        RawValue::from_string(text).expect("data was found to be JSON when it was made")
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Leaves out the white space between tokens. `text` is JSON already, so this need only know strings from the rest.
fn compact(text: &str) -> Result<String, InvalidData> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied, mut depth) = (0, 0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(&text[copied..at]);
                copied = at + 1;
                at += 1;
            }
            b'"' => at = end_of_string(bytes, at)?,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(InvalidData::TooDeep);
                }
                at += 1;
            }
            b']' | b'}' => {
                depth -= 1;
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..]
                    .iter()
                    .take_while(|b| b"+-.eE0123456789".contains(b))
                    .count();
                if text[at..at + length]
                    .parse::<f64>()
                    .is_ok_and(f64::is_infinite)
                {
                    return Err(InvalidData::NumberTooLarge);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// The index after the closing quote of the string that opens at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> Result<usize, InvalidData> {
    let mut at = start + 1;
    loop {
        match bytes[at] {
            b'"' => return Ok(at + 1),
            b'\\' => match (hex(bytes, at), hex(bytes, at + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
                (Some(0xd800..=0xdfff), _) => return Err(InvalidData::LoneSurrogate),
                (Some(_), _) => at += 6,
                (None, _) => at += 2,
            },
            _ => at += 1,
        }
    }
}

/// The code unit of the `\u` and four digits at `at`, if they stand there.
fn hex(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl fmt::Debug for Data {
    /// Never the content: it may be anybody's secret, and ends up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        let text = " { \"a b\" : [ 1.50 , -0 , 12345678901234567890123 , 1e2, true ] ,\r\n\t\"\\u00e9 \\\" \\\\\" : \" x \" } ";
        let expected = r#"{"a b":[1.50,-0,12345678901234567890123,1e2,true],"\u00e9 \" \\":" x "}"#;
        assert_eq!(Data::parse(text).unwrap().as_str(), expected);
    }

    #[test]
    fn what_a_receiver_could_not_read_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Data::parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            Data::parse(&nested(MAX_DEPTH + 1)),
            Err(InvalidData::TooDeep)
        );
        assert_eq!(Data::parse(&nested(60_000)), Err(InvalidData::TooDeep));
        assert_eq!(
            Data::parse(r#""\ud83d\ude00""#).unwrap().as_str(),
            r#""\ud83d\ude00""#
        );
        assert_eq!(
            Data::parse(r#""\ud83d x""#),
            Err(InvalidData::LoneSurrogate)
        );
        assert_eq!(Data::parse(r#""\udc00""#), Err(InvalidData::LoneSurrogate));
        assert_eq!(Data::parse("[1e400]"), Err(InvalidData::NumberTooLarge));
        for text in [
            "",
            "nul",
            "{",
            "[1,]",
            "1 2",
            "\u{feff}1",
            "'a'",
            "NaN",
            "\"\\\"",
            "\"\\u12\"",
            "/*x*/1",
        ] {
            assert!(
                matches!(Data::parse(text), Err(InvalidData::Syntax(_))),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_compacted_text_means_the_same(text in r#"[\[\]{}:,"\\ u0-9a-f.eE\n-]{0,40}"#) {
            if let Ok(data) = Data::parse(&text) {
                let before: serde_json::Value = serde_json::from_str(&text).unwrap();
                let after: serde_json::Value = serde_json::from_str(data.as_str()).unwrap();
                prop_assert_eq!(before, after);
                prop_assert!(!data.as_str().contains('\n'));
            }
        }
    }
}
