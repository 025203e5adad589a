//! SQLite: one connection that writes, a few that read, and the schema brought up to date.
//!
//! The file is in WAL mode, so readers and the writer do not wait for each other, and every commit reaches the disk
//! (`synchronous = FULL`) before it returns. A new file is readable by its owner only; its `-wal` and `-shm` files follow it.

use std::path::Path;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use sqlx::ConnectOptions as _;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, SqliteConnection};

use super::schema::migrate;
use super::{Awaited, Place, StoreAddress, StoreError};
use crate::clock::Clock;

/// Connections that read: few, for the admin plane alone uses them.
const READERS: u32 = 3;
/// Most pages of the file that a connection keeps in memory, in KiB (negative, by SQLite's rule): writing goes on at the ends of
/// few trees, and reading is rare.
const WRITER_CACHE: &str = "-1024";
const READER_CACHE: &str = "-512";
/// Between two tries of opening a file that another process is just making.
const AGAIN: Duration = Duration::from_millis(20);

/// The connections of one open store.
pub(in crate::store) struct Pools {
    pub in_memory: bool,
    pub writer: SqlitePool,
    pub reader: SqlitePool,
}

impl Pools {
    pub async fn open(address: &StoreAddress, clock: Clock) -> Result<Self, StoreError> {
        // The log of every statement would cost as much as small ones do; failures are told by whoever asked.
        let options = SqliteConnectOptions::new().foreign_keys(true).busy_timeout(address.timeout);
        let options = options.disable_statement_logging();
        let path = match &address.place {
            Place::Memory => {
                // A database in memory belongs to one connection, which then does both.
                let writer = pool(1, address.timeout).connect_lazy_with(options.in_memory(true));
                migrate(&mut *writer.acquire().await?).await?;
                return Ok(Self { in_memory: true, reader: writer.clone(), writer });
            }
            Place::File(path) => path,
        };
        make(path).await?;
        let options = options.filename(path).create_if_missing(false);
        let reads = options.clone().pragma("query_only", "ON").pragma("cache_size", READER_CACHE);
        let writes = options.pragma("cache_size", WRITER_CACHE);
        let writes = writes.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let end = clock.now() + address.timeout;
        // The change to WAL does not wait for locks, so of several processes at once some are told to come again.
        while let Err(error) = first_connection(&writes).await {
            if !is_busy(&error) || clock.now() >= end {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
        let writer = pool(1, address.timeout).connect_lazy_with(writes);
        let reader = pool(READERS, address.timeout).connect_lazy_with(reads);
        // All at once now: a connection that is made while the disk hangs would cost a thread each time.
        drop((writer.acquire().await?, try_join_all((0..READERS).map(|_| reader.acquire())).await?));
        Ok(Self { in_memory: false, writer, reader })
    }

    /// Gives a connection back, or closes it where a failure left it in a state nobody knows; a new one takes its place.
    pub async fn put_back(&self, connection: PoolConnection<Sqlite>, is_sound: bool) {
        // The one connection of a database in memory is the database.
        if !is_sound && !self.in_memory {
            let _closed = connection.detach().close_hard().await;
        }
    }

    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn pool(connections: u32, timeout: Duration) -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(timeout);
    options.test_before_acquire(false).idle_timeout(None).max_lifetime(None)
}

/// Runs `work` in a transaction and commits it, unless nobody waits for it any more. Also tells whether the connection is
/// fit for the next: after some failures SQLite has rolled back by itself, which the layer above does not learn.
pub(in crate::store) async fn transact<T, F>(
    connection: &mut SqliteConnection,
    work: F,
    awaited: &Awaited,
) -> (Result<T, StoreError>, bool)
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>,
{
    if let Err(late) = awaited.still() {
        return (Err(late), true);
    }
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::from(error);
            let is_sound = is_busy(&error);
            return (Err(error), is_sound);
        }
    };
    let result = match awaited.still() {
        Ok(()) => work(&mut transaction).await.and_then(|value| awaited.still().map(|()| value)),
        Err(late) => Err(late),
    };
    match result {
        Ok(value) => match transaction.commit().await {
            Ok(()) => (Ok(value), true),
            Err(error) => (Err(error.into()), false),
        },
        Err(error) => {
            let is_sound = transaction.rollback().await.is_ok();
            (Err(error), is_sound)
        }
    }
}

/// Brings the schema up to date. Not by way of a pool, which gives up on a hung disk, leaves a thread to it and tries again.
async fn first_connection(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    let migrated = migrate(&mut connection).await;
    let _closed = connection.close().await;
    migrated
}

/// Makes the file where none is, for its owner only. SQLite takes an empty file for a new database.
async fn make(path: &Path) -> Result<(), StoreError> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    match options.open(path).await {
        Ok(_) => Ok(()),
        // A file that is there may be read-only, and so may its folder.
        Err(_) if tokio::fs::try_exists(path).await.is_ok_and(|exists| exists) => {
            open_companions(path).await;
            Ok(())
        }
        Err(error) => {
            let reason = format!("{} cannot be made: {}", path.display(), error.kind());
            Err(StoreError::unavailable(reason))
        }
    }
}

/// Gives the `-wal` and `-shm` files the mode of theirs: they keep the one it had when they were made, and one that was read-only
/// then would keep a file that can be written by now from being written.
async fn open_companions(path: &Path) {
    let Ok(whole) = tokio::fs::metadata(path).await else { return };
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let is_other = |companion: std::fs::Metadata| companion.permissions() != whole.permissions();
        if tokio::fs::metadata(&name).await.is_ok_and(is_other) {
            // Not ours to change, perhaps; opening it then tells.
            let _refused = tokio::fs::set_permissions(&name, whole.permissions()).await;
        }
    }
}

/// Whether the file could only be read.
pub(in crate::store) fn is_read_only(error: &StoreError) -> bool {
    *error == super::fault::of_sqlite(8)
}

/// Whether another process was in the way.
fn is_busy(error: &StoreError) -> bool {
    *error == super::fault::of_sqlite(5)
}

/// Reads one row that is always there.
pub(in crate::store) async fn look(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT least_known FROM compatibility").fetch_one(connection).await?;
    Ok(())
}

/// Writes the one row of `heartbeat`.
pub(in crate::store) async fn beat(connection: &mut SqliteConnection, at: i64) -> Result<(), StoreError> {
    let query =
        sqlx::query("INSERT INTO heartbeat (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = ?1");
    query.bind(at).execute(connection).await?;
    Ok(())
}
