//! The past of one channel, a page at a time, looked up by the channel: what others said is not read for it.

use std::ops::Range;

use futures_util::TryStreamExt;
use sqlx::QueryBuilder;

use super::{Log, ReadError, read};
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::protocol::Frame;
use crate::realtime::{Channel, UserId};

/// Bytes of one page, but for its first event's.
const PAGE_BYTES: usize = 1024 * 1024;

/// Which part of the past: after the first position, up to the second and with it.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    pub(crate) within: Range<Position>,
    /// The end of it rather than the beginning, if it is more than a page.
    pub(crate) last: bool,
}

impl Log {
    /// From where on a user may read a channel: after what is gone, and after the last time without access.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn readable_after(
        &self,
        channel: &Channel,
        user: Option<&UserId>,
    ) -> sqlx::Result<Position> {
        let Some(user) = user else {
            return Ok(self.trimmed());
        };
        let mut query = QueryBuilder::new(
            "select coalesce(max(coalesce(ended, position)), 0) from withdrawals where user_id = ",
        );
        query.push_bind(user.as_str().to_owned());
        query.push(" and channel in ('*'");
        for name in with_its_base(channel) {
            query.push(", ").push_bind(name.as_str().to_owned());
        }
        let withdrawn: i64 = query
            .push(")")
            .build_query_scalar()
            .fetch_one(&self.0.readers)
            .await?;
        Ok(withdrawn.cast_unsigned().max(self.trimmed()))
    }

    /// Kept events of a channel as they went over the wire, in order, at most so many; and whether there are more.
    ///
    /// # Errors
    /// When the log no longer reaches back to the beginning of the stretch, or the database fails.
    pub(crate) async fn history(
        &self,
        channel: &Channel,
        stretch: &Stretch,
        limit: usize,
    ) -> Result<(Vec<Frame>, bool), ReadError> {
        let Range { start, end } = stretch.within;
        let mut query = QueryBuilder::new(read::SELECT);
        query
            .push(" where c.channel = ")
            .push_bind(channel.as_str().to_owned());
        query
            .push(" and c.position > ")
            .push_bind(start.cast_signed());
        query
            .push(" and c.position <= ")
            .push_bind(end.cast_signed());
        query.push(" order by c.position");
        if stretch.last {
            query.push(" desc");
        }
        let (mut frames, mut bytes, mut more) = (Vec::new(), 0, false);
        let mut rows = query.build().fetch(&self.0.readers);
        while let Some(row) = rows.try_next().await? {
            let event = read::event(&row)?;
            let cursor = event.position.map(|at| self.registry().cursor_at(at));
            let frame = Frame::event(&event, channel, cursor);
            bytes += frame.json().len();
            if frames.len() == limit || (bytes > PAGE_BYTES && !frames.is_empty()) {
                more = true;
                break;
            }
            frames.push(frame);
        }
        drop(rows);
        if stretch.last {
            frames.reverse();
        }
        // Looked at last: what was deleted before we read would be missing above.
        if start < self.trimmed() {
            return Err(ReadError::Trimmed);
        }
        Ok((frames, more))
    }
}

/// A channel, and the one that it is the presence of: access to it is access to that.
pub(super) fn with_its_base(channel: &Channel) -> impl Iterator<Item = Channel> {
    let base = match channel.kind() {
        Kind::Presence(of) => of.parse().ok(),
        _ => None,
    };
    std::iter::once(channel.clone()).chain(base)
}
