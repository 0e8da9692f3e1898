//! Reading the log: whether a cursor can be resumed from, and what came after it, a page at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::{QueryBuilder, Row};

use super::Log;
use super::history::with_its_base;
use super::recent::Kept;
use super::rows::of_owner;
use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::protocol::Frame;
use crate::realtime::registry::Membership;
use crate::realtime::{Channel, Cursor, Data, Event, Origin, SocketId, UserId};
use crate::store::from_millis;

/// Positions that one page looks through, so that a page costs little however rare the events are.
const WINDOW: u64 = 4_096;
/// Events in one page.
const PAGE_EVENTS: usize = 256;
/// Bytes of data in one page, but for the last event's.
const PAGE_BYTES: usize = 256 * 1024;

/// What [`event`] reads.
pub(super) const SELECT: &str = "select e.position, e.name, e.data, e.channels, e.origin_user, e.origin_socket, e.except_sockets, e.time
     from event_channels c join events e on e.position = c.position";

/// The same of the latest events, from the last one on.
pub(super) const LATEST: &str = "select e.position, e.name, e.data, e.channels, e.origin_user, e.origin_socket, e.except_sockets, e.time
     from events e order by e.position desc";

/// Events of one stretch of the log, in order.
#[derive(Debug)]
pub struct Page {
    /// Each as its reader gets it.
    pub frames: Vec<Frame>,
    /// Everything up to here has been looked at.
    pub at: Position,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Events after the asked position have been deleted meanwhile.
    #[error("the log no longer reaches back that far")]
    Trimmed,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl Log {
    /// Whether everything after a cursor can still be had by a user in these channels: the log reaches back that far,
    /// it is the same log, and the user's access to none of them was interrupted since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn covers(
        &self,
        cursor: Cursor,
        user: Option<&UserId>,
        channels: impl IntoIterator<Item = &Channel>,
    ) -> sqlx::Result<bool> {
        let last = self.registry().cursor();
        if cursor.epoch != last.epoch
            || cursor.position > last.position
            || cursor.position < self.trimmed()
        {
            return Ok(false);
        }
        let Some(user) = user else { return Ok(true) };
        let mut query = QueryBuilder::new("select 1 from withdrawals where user_id = ");
        query
            .push_bind(user.as_str().to_owned())
            .push(" and coalesce(ended, position) > ")
            .push_bind(cursor.position.cast_signed());
        query.push(" and channel in ('*'");
        for name in channels.into_iter().flat_map(with_its_base) {
            query.push(", ").push_bind(name.as_str().to_owned());
        }
        query.push(") limit 1");
        Ok(query
            .build()
            .fetch_optional(&self.0.readers)
            .await?
            .is_none())
    }

    /// The next events after a position, up to another one, that a connection with these channels may see.
    ///
    /// # Errors
    /// When the log no longer reaches back that far, or the database fails.
    pub async fn page(
        &self,
        channels: &[(Channel, Membership)],
        after: Position,
        upto: Position,
        user: Option<&UserId>,
        socket: SocketId,
    ) -> Result<Page, ReadError> {
        let reader = Reader {
            memberships: channels.iter().map(|(name, how)| (name, how)).collect(),
            user,
            socket,
        };
        let turn = self.0.recent.turn().await;
        let page = match self.0.recent.stretch(after, upto) {
            Some((events, at)) => {
                let names = channels
                    .iter()
                    .map(|(name, _)| stored(name, user))
                    .collect();
                self.recent_page(&events, at, &names, &reader)
            }
            None => {
                drop(turn);
                self.stored_page(&reader, after, upto).await?
            }
        };
        // Looked at last: what was deleted while we read would be missing above.
        if after < self.trimmed() {
            Err(ReadError::Trimmed)
        } else {
            Ok(page)
        }
    }

    /// A page of what is in memory.
    fn recent_page(
        &self,
        events: &[Arc<Kept>],
        at: Position,
        names: &HashSet<String>,
        reader: &Reader<'_>,
    ) -> Page {
        let mut page = Page {
            frames: Vec::new(),
            at,
        };
        let (mut last, mut bytes) = (at, 0);
        for kept in events {
            if page.frames.len() >= PAGE_EVENTS || bytes >= PAGE_BYTES {
                page.at = last;
                break;
            }
            last = kept.position;
            if kept.is_in(names)
                && let Some(channel) = reader.hears(&kept.event, kept.position)
            {
                bytes += kept.event.data.as_str().len();
                page.frames.push(kept.frame(channel, self.registry()));
            }
        }
        page
    }

    /// A page of what is on the disk.
    async fn stored_page(
        &self,
        reader: &Reader<'_>,
        after: Position,
        upto: Position,
    ) -> Result<Page, ReadError> {
        let mut page = Page {
            frames: Vec::new(),
            at: upto.min(after + WINDOW),
        };
        if page.at == after || reader.memberships.is_empty() {
            return Ok(page);
        }
        let mut query = select(reader, after, page.at);
        let mut rows = query.build().persistent(false).fetch(&self.0.readers);
        let (mut last, mut bytes) = (after, 0);
        while let Some(row) = rows.try_next().await? {
            let event = event(&row)?;
            let position = event.position.unwrap_or(last);
            // One row for each of the connection's channels; they stand together.
            if position == last {
                continue;
            }
            if page.frames.len() >= PAGE_EVENTS || bytes >= PAGE_BYTES {
                page.at = last;
                break;
            }
            last = position;
            if let Some(channel) = reader.hears(&event, position) {
                bytes += event.data.as_str().len();
                let cursor = self.registry().cursor_at(position);
                page.frames
                    .push(Frame::event(&event, channel, Some(cursor)));
            }
        }
        Ok(page)
    }
}

/// For whom a page is.
struct Reader<'a> {
    memberships: HashMap<&'a Channel, &'a Membership>,
    user: Option<&'a UserId>,
    socket: SocketId,
}

impl Reader<'_> {
    /// The channel under which this reader gets an event, if it does.
    fn hears<'e>(&self, event: &'e Event, position: Position) -> Option<&'e Channel> {
        let allowed = |channel: &&Channel| {
            let how = self.memberships.get(channel);
            how.is_some_and(|how| position > how.since)
        };
        let channel = event.channels.iter().find(allowed)?;
        (!event.leaves_out(self.user, self.socket)).then_some(channel)
    }
}

/// Under which name a reader's channel is looked up.
fn stored(channel: &Channel, user: Option<&UserId>) -> String {
    match (channel.kind(), user) {
        (Kind::Socket(_), Some(user)) => of_owner(channel, user),
        _ => channel.to_string(),
    }
}

fn select(reader: &Reader<'_>, after: Position, upto: Position) -> QueryBuilder<sqlx::Sqlite> {
    let mut query = QueryBuilder::new(SELECT);
    query
        .push(" where c.position > ")
        .push_bind(after.cast_signed())
        .push(" and c.position <= ")
        .push_bind(upto.cast_signed());
    query.push(" and c.channel in (");
    let mut names = query.separated(", ");
    for channel in reader.memberships.keys() {
        names.push_bind(stored(channel, reader.user));
    }
    query.push(") order by c.position");
    query
}

pub(super) fn event(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Event> {
    let broken = |what: &str| {
        sqlx::Error::Decode(format!("the log has an event with a broken {what}").into())
    };
    let channels = channels(row.try_get("channels")?).ok_or_else(|| broken("list of channels"))?;
    let origin = match (
        row.try_get::<Option<&str>, _>("origin_user")?,
        row.try_get::<Option<&str>, _>("origin_socket")?,
    ) {
        (Some(user), Some(socket)) => Some(Origin {
            user: UserId::parse(user).map_err(|_| broken("origin"))?,
            socket: SocketId::parse(socket).ok_or_else(|| broken("origin"))?,
        }),
        _ => None,
    };
    let except = sockets(row.try_get("except_sockets")?);
    Ok(Event {
        channels,
        name: row
            .try_get::<&str, _>("name")?
            .parse()
            .map_err(|_| broken("name"))?,
        data: Data::stored(row.try_get("data")?),
        origin,
        except: except.ok_or_else(|| broken("list of sockets"))?,
        by: None,
        time: from_millis(row.try_get("time")?),
        position: Some(row.try_get::<i64, _>("position")?.cast_unsigned()),
    })
}

/// Channels, as [`super::rows::names`] stored them.
pub(super) fn channels(stored: &str) -> Option<Arc<[Channel]>> {
    let names: Vec<String> = serde_json::from_str(stored).ok()?;
    names.iter().map(|name| name.parse().ok()).collect()
}

/// Sockets, as [`super::rows::sockets`] stored them.
pub(super) fn sockets(stored: Option<&str>) -> Option<Arc<[SocketId]>> {
    let Some(stored) = stored else {
        return Some([].into());
    };
    let ids: Vec<String> = serde_json::from_str(stored).ok()?;
    ids.iter().map(|id| SocketId::parse(id)).collect()
}
