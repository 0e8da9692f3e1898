//! Who a connection belongs to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::channel::{InvalidChannel, is_id};

/// The id of a user, fit to be the id of a channel (`user:{id}`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes an id of the application's own.
    ///
    /// # Errors
    /// When `user:{id}` would not be a channel.
    pub fn parse(id: &str) -> Result<Self, InvalidChannel> {
        if is_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidChannel)
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for UserId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A user as the others see one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct User {
    /// Unique, never given out again.
    pub id: UserId,
    /// What people read.
    pub name: Arc<str>,
    /// Administrators may join every room and act on behalf of others.
    pub admin: bool,
}
