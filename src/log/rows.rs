//! Rows of the log: how events are written, and under which names their channels are looked up.

use sqlx::{QueryBuilder, Sqlite};

use crate::realtime::channel::Kind;
use crate::realtime::cursor::Position;
use crate::realtime::registry::Holder;
use crate::realtime::{Channel, Event, Registry, SocketId, UserId};
use crate::store::{Db, to_millis};

/// Rows that one statement inserts: it has a bound on its parameters.
const ROWS_AT_ONCE: usize = 500;
/// Bytes of data in one statement, but for the last event's: they are in memory once more until it is done.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// Texts up to this length are kept understood, in bytes. Each number of rows has one of its own, and long ones are
/// seldom said again.
const REMEMBERED_BYTES: usize = 4 * 1024;

/// Writes events, and the channels that they are looked up by, between what else is to be done: all of it is one word to
/// the database's thread, unless there are too many.
pub(super) async fn insert(
    db: &mut Db,
    before: &'static str,
    events: &[&Event],
    channels: &[&(String, Position)],
    after: &'static str,
) -> sqlx::Result<()> {
    let mut words = QueryBuilder::new(before);
    let mut rest = events;
    while !rest.is_empty() {
        let (some, others) = rest.split_at(at_once(rest));
        push_events(&mut words, some);
        rest = others;
        if !rest.is_empty() {
            flush(db, &mut words).await?;
        }
    }
    for (n, some) in channels.chunks(ROWS_AT_ONCE).enumerate() {
        if n > 0 {
            flush(db, &mut words).await?;
        }
        push_channels(&mut words, some);
    }
    words.push(after);
    flush(db, &mut words).await
}

/// Says something short, which the database need not understand anew each time.
pub(super) async fn say(db: &mut Db, words: &'static str) -> sqlx::Result<()> {
    sqlx::query(words).execute(db).await?;
    Ok(())
}

async fn flush(db: &mut Db, words: &mut QueryBuilder<Sqlite>) -> sqlx::Result<()> {
    let mut said = std::mem::replace(words, QueryBuilder::new(""));
    let is_short = said.sql().as_str().len() <= REMEMBERED_BYTES;
    said.build().persistent(is_short).execute(db).await?;
    Ok(())
}

/// How many of these go into one statement.
fn at_once(events: &[&Event]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&&Event| {
        let before = bytes;
        bytes += event.data.as_str().len();
        before < BYTES_AT_ONCE
    };
    events.iter().take(ROWS_AT_ONCE).take_while(fits).count()
}

fn push_channels(words: &mut QueryBuilder<Sqlite>, channels: &[&(String, Position)]) {
    // The same channel named twice is the same as once.
    words.push("insert or ignore into event_channels (channel, position) ");
    words.push_values(channels, |mut row, (channel, position)| {
        row.push_bind(channel.clone())
            .push_bind(position.cast_signed());
    });
    words.push("; ");
}

fn push_events(words: &mut QueryBuilder<Sqlite>, events: &[&Event]) {
    // To fail half done is enough, since all of it is taken back then; otherwise every page would be copied before it is
    // changed.
    words.push(
        "insert or fail into events (position, name, data, channels, origin_user, origin_socket, except_sockets, time) ",
    );
    words.push_values(events, |mut row, event| {
        let origin = event.origin.as_ref();
        row.push_bind(event.position.map(Position::cast_signed))
            .push_bind(event.name.as_str().to_owned())
            .push_bind(event.data.as_str().to_owned())
            .push_bind(names(&event.channels))
            .push_bind(origin.map(|origin| origin.user.as_str().to_owned()))
            .push_bind(origin.map(|origin| origin.socket.to_string()))
            .push_bind(sockets(&event.except))
            .push_bind(to_millis(event.time));
    });
    words.push("; ");
}

/// Whether the database refused a row for what it is: it would refuse it again, and others it might take. A position
/// that is given twice is no such reason, because it is ours.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    // The lowest byte is the kind of failure: too big, against a constraint, of the wrong type (SQLite, "Result and
    // Error Codes").
    !error.is_unique_violation() && matches!(code.map(|code| code & 0xff), Some(18..=20))
}

/// Channels as they are stored.
pub(super) fn names(channels: &[Channel]) -> String {
    serde_json::to_string(channels).expect("names are texts")
}

/// Sockets as they are stored; none, where there are none.
pub(super) fn sockets(ids: &[SocketId]) -> Option<String> {
    (!ids.is_empty()).then(|| serde_json::json!(ids).to_string())
}

/// A channel as it is looked up later. A socket's belongs to whoever holds the id, because an id is no credential:
/// nobody else reads there what was meant for them. Where nobody does, nobody looks it up.
pub(super) fn stored(channel: &Channel, registry: &Registry) -> Option<String> {
    let Kind::Socket(id) = channel.kind() else {
        return Some(channel.to_string());
    };
    Some(match registry.socket_holder(SocketId::parse(id)?)? {
        Holder::User(owner) => of_owner(channel, &owner),
        Holder::Guest => channel.to_string(),
    })
}

/// How a socket's channel is stored for its owner. No channel is called so.
pub(super) fn of_owner(channel: &Channel, owner: &UserId) -> String {
    format!("{channel} {owner}")
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::realtime::Data;

    /// Into how many rows each statement puts events with so many bytes of data.
    fn statements(sizes: &[usize]) -> Vec<usize> {
        let event = |size: &usize| Event {
            channels: [Channel::global()].into(),
            name: "note".parse().unwrap(),
            data: Data::from_value(&"x".repeat(size - 2)),
            origin: None,
            except: [].into(),
            by: None,
            time: OffsetDateTime::UNIX_EPOCH,
            position: None,
        };
        let events: Vec<_> = sizes.iter().map(event).collect();
        let events: Vec<_> = events.iter().collect();
        let (mut rest, mut statements) = (&events[..], Vec::new());
        while !rest.is_empty() {
            statements.push(at_once(rest));
            rest = &rest[at_once(rest)..];
        }
        statements
    }

    #[test]
    fn a_statement_ends_after_so_many_rows_or_so_many_bytes() {
        assert_eq!(statements(&[]), [0; 0]);
        assert_eq!(statements(&[10; 1_200]), [500, 500, 200]);
        assert_eq!(statements(&[2 * BYTES_AT_ONCE; 3]), [1, 1, 1]);
        let half = BYTES_AT_ONCE / 2;
        assert_eq!(statements(&[half; 5]), [2, 2, 1]);
        assert_eq!(statements(&[half, 10, 2 * BYTES_AT_ONCE, 10]), [3, 1]);
    }
}
