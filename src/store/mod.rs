//! The store: rows in a SQL database. It knows neither HTTP nor rooms.
//!
//! Each file has the rows of one noun and the statements on them, in the SQL that SQLite and PostgreSQL share.
//! Reading goes through [`Store::read`]; whoever writes has been handed a connection inside a transaction.

pub(crate) mod access;
pub(crate) mod answers;
pub(crate) mod documents;
pub(crate) mod groups;
pub(crate) mod last_seen;
pub(crate) mod messages;
pub(crate) mod permissions;
mod readers;
pub(crate) mod rooms;
pub(crate) mod roots;
pub(crate) mod scheduled;
pub(crate) mod sessions;
pub(crate) mod users;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};
use time::OffsetDateTime;

pub use readers::Reader;
use readers::Readers;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that only read; with WAL they see the last commit and wait for nobody.
const READERS: u32 = 4;
/// How long a request waits for one of them.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What the connection that writes keeps of the database in memory: 16 MiB, in the KiB that SQLite counts in if it is
/// negative. Its own default is 2, which many channels at once exceed.
const WRITER_CACHE: &str = "-16384";

/// A connection to the database, inside a transaction where something is written.
pub type Db = sqlx::SqliteConnection;

/// When an answered change survives a loss of power. It survives the end of the process in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Always: the disk has it before the answer goes out. Requests that come together share the wait.
    Full,
    /// Only after a checkpoint. The log gets a new epoch after every unclean end, so that no cursor ever lies.
    Normal,
}

/// The database, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    readers: Readers,
    options: Arc<SqliteConnectOptions>,
    path: Arc<Path>,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not an address of a database that we can use.
    #[error(
        "DATABASE_URL: {0}; expected a SQLite file, for example DATABASE_URL=sqlite://roomcast.db"
    )]
    Url(String),
    /// A later version of this program has been here.
    #[error("the database {} was last used by a newer version of roomcast (it has migration {version}); use that version", path.display())]
    Newer {
        /// Where.
        path: PathBuf,
        /// Which migration we do not have.
        version: i64,
    },
    /// Another process runs on it.
    #[error("another roomcast is running on the database {}", .0.display())]
    InUse(PathBuf),
    /// The schema could not be brought up to date.
    #[error("the database {} could not be brought up to date", path.display())]
    Migrate {
        /// Where.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
    /// It could not be opened or read.
    #[error("the database {} cannot be used", path.display())]
    Database {
        /// Where.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The file beside it could not be used.
    #[error("the file {} cannot be used", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Store {
    /// Opens the database, makes it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// When the address is not one of SQLite, or the database is newer than this program, or does not work.
    pub async fn open(url: &str, durability: Durability) -> Result<Self, OpenError> {
        let options = parse_url(url)?;
        let path = options.get_filename().to_path_buf();
        let synchronous = match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        };
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("journal_size_limit", "67108864");
        let failed = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let mut connection = Db::connect_with(&options).await.map_err(failed)?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|source| match source {
                MigrateError::VersionMissing(version) => OpenError::Newer {
                    path: path.clone(),
                    version,
                },
                source => OpenError::Migrate {
                    path: path.clone(),
                    source,
                },
            })?;
        connection.close().await.map_err(failed)?;
        let reading = options.clone().pragma("query_only", "on");
        let readers = Readers::new(reading, READERS, READ_PATIENCE);
        Ok(Self {
            readers,
            options: Arc::new(options),
            path: path.into(),
        })
    }

    /// A pool that only reads, for work that must not hold up requests, and that may wait longer.
    pub(crate) fn another_pool(&self, connections: u32, patience: Duration) -> SqlitePool {
        let options = SqliteConnectOptions::clone(&self.options);
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(patience)
            .test_before_acquire(false)
            .connect_lazy_with(options.pragma("query_only", "on"))
    }

    /// Whether a database could be opened. It is not made or changed: a server may be running on it, of an older version.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn check(url: &str) -> Result<(), OpenError> {
        let options = parse_url(url)?;
        let path = options.get_filename().to_path_buf();
        if !path.exists() {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            return match std::fs::metadata(folder) {
                Ok(_) => Ok(()),
                Err(source) => Err(OpenError::File { path, source }),
            };
        }
        let failed = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let mut db = Db::connect_with(&options.read_only(true))
            .await
            .map_err(failed)?;
        let known: Option<i64> =
            sqlx::query_scalar("select 1 from sqlite_master where name = '_sqlx_migrations'")
                .fetch_optional(&mut db)
                .await
                .map_err(failed)?;
        if known.is_some() {
            let latest = MIGRATIONS
                .iter()
                .map(|migration| migration.version)
                .max()
                .unwrap_or(0);
            let newer: Option<i64> =
                sqlx::query_scalar("select max(version) from _sqlx_migrations where version > $1")
                    .bind(latest)
                    .fetch_one(&mut db)
                    .await
                    .map_err(failed)?;
            if let Some(version) = newer {
                return Err(OpenError::Newer { path, version });
            }
        }
        db.close().await.map_err(failed)
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// When none comes free within 5 seconds.
    pub async fn read(&self) -> sqlx::Result<Reader> {
        self.readers.acquire().await
    }

    /// Whether rows can be read.
    pub(crate) async fn check_read(&self) -> sqlx::Result<()> {
        let mut db = self.read().await?;
        sqlx::query("select epoch from log_state where id = 1")
            .execute(&mut *db)
            .await?;
        Ok(())
    }

    /// Bytes of the database on the disk, with what waits for a checkpoint. What cannot be looked at counts as nothing.
    pub(crate) async fn bytes(&self) -> u64 {
        let mut sum = 0;
        for suffix in ["", "-wal"] {
            let mut path = self.path.to_path_buf().into_os_string();
            path.push(suffix);
            sum += tokio::fs::metadata(path).await.map_or(0, |file| file.len());
        }
        sum
    }

    /// A connection to write with. SQLite has one writer: see the log's turns.
    pub(crate) async fn writer(&self) -> Result<Db, OpenError> {
        let options = SqliteConnectOptions::clone(&self.options);
        let options = options.pragma("cache_size", WRITER_CACHE);
        Db::connect_with(&options)
            .await
            .map_err(|source| OpenError::Database {
                path: self.path.to_path_buf(),
                source,
            })
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connections that read.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
    }
}

fn parse_url(url: &str) -> Result<SqliteConnectOptions, OpenError> {
    if url.starts_with("postgres") {
        return Err(OpenError::Url(
            "PostgreSQL is not supported by this version".into(),
        ));
    }
    if !url.starts_with("sqlite:") {
        return Err(OpenError::Url("not a SQLite address".into()));
    }
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::Url(
            "a log in memory would lose what was answered; for data that may go, run roomcast dev"
                .into(),
        ));
    }
    SqliteConnectOptions::from_str(url).map_err(|error| OpenError::Url(error.to_string()))
}

/// A new id for a row; later ids sort later.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A time as it is stored.
pub(crate) fn to_millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A stored time.
pub(crate) fn from_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// One page of a list, and where the next begins.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What to send as the next `after` (or `before`); nothing at the end.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of at most `limit` rows of a query that asked for one more.
    pub(crate) fn new(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next }
    }
}
