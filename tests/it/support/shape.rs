//! What JSON is like: its keys in order, and what kind of value each has.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// What a JSON text is like: its keys in order, and what kind of value each has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Is(&'static str),
    List(Vec<Shape>),
    Object(Vec<(String, Shape)>),
}

impl Shape {
    #[track_caller]
    pub(crate) fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Lists may have any length, but what is in them is alike.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(ours), Self::List(theirs)) => {
                ours.is_empty() == theirs.is_empty()
                    && theirs
                        .iter()
                        .all(|item| ours.iter().any(|ours| ours.is_like(item)))
            }
            (Self::Object(ours), Self::Object(theirs)) => {
                ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|((a, ours), (b, theirs))| a == b && ours.is_like(theirs))
            }
            (ours, theirs) => ours == theirs,
        }
    }

    pub(crate) fn of_string(text: &str) -> Self {
        let like = |form: &str| {
            text.len() == form.len()
                && text.bytes().zip(form.bytes()).all(|(byte, of)| match of {
                    b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                    b'0' => byte.is_ascii_digit(),
                    of => byte == of,
                })
        };
        if text.parse::<roomcast::realtime::Cursor>().is_ok() {
            Self::Is("a cursor")
        } else if like("0000-00-00T00:00:00.000Z") {
            Self::Is("a time")
        } else if like("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
            Self::Is("a UUID")
        } else {
            Self::Is("text")
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyShape;
        impl<'de> Visitor<'de> for AnyShape {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::Is("null"))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::Is("true or false"))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::Is("a whole number"))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::Is("a negative number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape::Is("a broken number"))
            }
            fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
                Ok(Shape::of_string(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Shape::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Shape::Object(object))
            }
        }
        deserializer.deserialize_any(AnyShape)
    }
}
