//! The head: a small file beside the database that says how far the log had come.
//!
//! A cursor must never lie: if the log may have lost its end, positions that were handed out would be handed out a
//! second time, and a client would silently miss what they mean now. So the log gets a new epoch, and old cursors are
//! refused, whenever the database knows less than this file (restored from a copy), or the file is not there or speaks
//! of another log (moved), or was itself restored from a copy: each start makes a new file, which names itself by what
//! no copy takes with it. The same goes when the last end was not a clean one and durability was `normal` (power may have failed).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::realtime::cursor::{Cursor, Epoch, Position};
use crate::store::{Db, Durability, OpenError};

/// How the file says that the server ended as it should,
const CLEAN: &str = "clean";
/// that it runs, and nothing is lost whenever it ends,
const OPEN_FULL: &str = "full";
/// or that it runs, and power may take something with it.
const OPEN_NORMAL: &str = "normal";

/// How the log begins after a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) epoch: Epoch,
    pub(super) position: Position,
    pub(super) trimmed: Position,
}

/// The open file. It is locked, which keeps a second server off the same database.
#[derive(Debug)]
pub(super) struct Head {
    file: File,
    /// The name of the file in itself.
    identity: String,
    epoch: Epoch,
    durability: Durability,
    /// The file of the last start. Whoever has opened it meanwhile still finds it locked.
    _last: File,
}

impl Head {
    /// Decides which epoch the log has, and notes it in the database and in the file.
    pub(super) async fn open(
        db: &mut Db,
        database: &Path,
        durability: Durability,
    ) -> Result<(Self, Start), OpenError> {
        let path = beside(database);
        let failed = |source| OpenError::File {
            path: path.clone(),
            source,
        };
        let mut last = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match last.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(database.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = String::new();
        // What cannot be read is as good as not there.
        let _ = last.read_to_string(&mut text);
        let identity_of_last = identity(&last).map_err(failed)?;
        let noted = Noted::parse(&text).filter(|noted| noted.identity == identity_of_last);
        let stored = |source| OpenError::Database {
            path: database.to_path_buf(),
            source,
        };
        let start = decide(db, noted.as_ref()).await.map_err(stored)?;
        let head = Self::replace(&path, last, start, durability).map_err(failed)?;
        Ok((head, start))
    }

    /// Puts a new file in the place of the last start's.
    fn replace(
        path: &Path,
        last: File,
        start: Start,
        durability: Durability,
    ) -> std::io::Result<Self> {
        let new = with_suffix(path, ".new");
        // One that was never finished.
        let _ = std::fs::remove_file(&new);
        let file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        file.lock()?;
        let head = Self {
            identity: identity(&file)?,
            file,
            epoch: start.epoch,
            durability,
            _last: last,
        };
        head.note(start.position, head.while_open())?;
        head.file.sync_all()?;
        std::fs::rename(&new, path)?;
        // Otherwise a loss of power could bring back the last one, which may say that nothing can have been lost.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(head)
    }

    /// Notes how far the log has come, before anybody hears of it. The end of the process does not lose this; the end
    /// of power may, but what is durable in the database is then further, and that is no loss.
    pub(super) fn advance(&self, position: Position) {
        if let Err(error) = self.note(position, self.while_open()) {
            tracing::warn!(%error, "the log's head file cannot be written; after a restart clients will reload their state");
        }
    }

    /// Notes that nothing is missing.
    pub(super) fn close(&self, position: Position) -> std::io::Result<()> {
        self.note(position, CLEAN)?;
        self.file.sync_all()
    }

    /// What the next start has to know if nothing is noted after it. Not the next start's own durability counts.
    fn while_open(&self) -> &'static str {
        match self.durability {
            Durability::Full => OPEN_FULL,
            Durability::Normal => OPEN_NORMAL,
        }
    }

    fn note(&self, position: Position, state: &str) -> std::io::Result<()> {
        // Always of one length, so that one write replaces the last.
        let text = format!(
            "{} {position:020} {state:<6} {}\n",
            self.epoch, self.identity
        );
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    cursor: Cursor,
    /// Nothing that was noted can have been lost.
    whole: bool,
    identity: String,
}

impl Noted {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let epoch = words.next()?.parse().ok()?;
        let position = words.next()?.parse().ok()?;
        let whole = matches!(words.next()?, CLEAN | OPEN_FULL);
        let identity = words.next()?.to_owned();
        Some(Self {
            cursor: Cursor { epoch, position },
            whole,
            identity,
        })
    }
}

/// What a file is known by that a copy of it is not: its number, and when it was made, because numbers are used again.
fn identity(file: &File) -> std::io::Result<String> {
    let metadata = file.metadata()?;
    let made = metadata
        .created()
        .ok()
        .and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    Ok(format!(
        "{}-{}",
        metadata.ino(),
        made.unwrap_or_default().as_nanos()
    ))
}

async fn decide(db: &mut Db, noted: Option<&Noted>) -> sqlx::Result<Start> {
    let last: Option<i64> = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&mut *db)
        .await?;
    let position = last.unwrap_or(0).cast_unsigned();
    let known: Option<(String, i64)> =
        sqlx::query_as("select epoch, trimmed from log_state where id = 1")
            .fetch_optional(&mut *db)
            .await?;
    let known =
        known.and_then(|(epoch, trimmed)| Some((epoch.parse().ok()?, trimmed.cast_unsigned())));
    if let (Some((epoch, trimmed)), Some(noted)) = (known, noted)
        && noted.cursor.epoch == epoch
        && noted.cursor.position <= position
        && noted.whole
    {
        return Ok(Start {
            epoch,
            position,
            trimmed,
        });
    }
    let epoch = Epoch(uuid::Uuid::new_v4().as_fields().0);
    if known.is_some() {
        tracing::warn!(%epoch, "the log may have lost its end; it has a new epoch, and clients will reload their state");
    }
    // Cursors of the new epoch begin here.
    sqlx::query(
        "insert into log_state (id, epoch, trimmed) values (1, $1, $2)
         on conflict (id) do update set epoch = excluded.epoch, trimmed = excluded.trimmed",
    )
    .bind(epoch.to_string())
    .bind(position.cast_signed())
    .execute(&mut *db)
    .await?;
    Ok(Start {
        epoch,
        position,
        trimmed: position,
    })
}

fn beside(database: &Path) -> PathBuf {
    with_suffix(database, "-head")
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_note_is_no_note() {
        let cursor = Cursor {
            epoch: Epoch(0xab),
            position: 7,
        };
        for (state, whole) in [(CLEAN, true), (OPEN_FULL, true), (OPEN_NORMAL, false)] {
            let (text, identity) = (
                format!("000000ab 00000000000000000007 {state:<6} 4-2\n"),
                "4-2".to_owned(),
            );
            assert_eq!(
                Noted::parse(&text),
                Some(Noted {
                    cursor,
                    whole,
                    identity
                }),
                "{text}"
            );
        }
        for text in ["", "000000ab", "000000ab 0000", "\0\0\0", "x 1 clean"] {
            assert_eq!(Noted::parse(text), None, "{text:?}");
        }
    }
}
