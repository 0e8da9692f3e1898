//! Connections that only read, for requests.
//!
//! sqlx's own pool asks each connection that comes back whether it still works: one more word to another thread and
//! back, which costs as much as the query did. A file does not hang up, so here that is asked now and then.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Db;
use crate::timeout::within;

/// How long a connection is believed to work since it was last asked.
const TRUST: Duration = Duration::from_secs(1);

/// A few connections, made when they are needed. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: SqliteConnectOptions,
    connections: u32,
    /// How long to wait for one.
    patience: Duration,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Asked>>,
}

/// A connection, and when it was last seen to work.
#[derive(Debug)]
struct Asked {
    db: Db,
    at: Instant,
}

impl Asked {
    fn now(db: Db) -> Self {
        let at = Instant::now();
        Self { db, at }
    }
}

/// A connection to read with; it goes back when it is dropped.
#[derive(Debug)]
pub struct Reader {
    /// There until it is dropped.
    asked: Option<Asked>,
    readers: Readers,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions, connections: u32, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            options,
            connections,
            patience,
            places: Arc::new(Semaphore::new(connections as usize)),
            idle: Mutex::default(),
        }))
    }

    /// One of them, as soon as one is free.
    pub(super) async fn acquire(&self) -> sqlx::Result<Reader> {
        let place = Arc::clone(&self.0.places).acquire_owned();
        let place = within(self.0.patience, place)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.0.idle.lock().unwrap().pop();
        let working = match idle {
            Some(asked) if asked.at.elapsed() < TRUST => Some(asked),
            Some(Asked { mut db, .. }) => {
                let works = db.ping().await.is_ok();
                works.then(|| Asked::now(db))
            }
            None => None,
        };
        let asked = match working {
            Some(asked) => asked,
            None => Asked::now(Db::connect_with(&self.0.options).await?),
        };
        Ok(Reader {
            asked: Some(asked),
            readers: self.clone(),
            _place: place,
        })
    }

    /// Waits until all are back, and closes them.
    pub(super) async fn close(&self) {
        let all = self.0.places.acquire_many(self.0.connections).await;
        self.0.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.0.idle.lock().unwrap());
        for asked in idle {
            // It was only read with.
            let _ = asked.db.close().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let asked = self.asked.take();
        self.readers.0.idle.lock().unwrap().extend(asked);
    }
}

impl Deref for Reader {
    type Target = Db;

    fn deref(&self) -> &Db {
        let asked = self.asked.as_ref();
        &asked
            .expect("a reader has its connection until it is dropped")
            .db
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Db {
        let asked = self.asked.as_mut();
        &mut asked
            .expect("a reader has its connection until it is dropped")
            .db
    }
}
