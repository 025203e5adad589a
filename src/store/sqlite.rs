//! SQLite: one connection that writes, a few that read, and the schema brought up to date.
//!
//! The file is in WAL mode, so readers and the writer do not wait for each other, and every commit reaches the disk
//! (`synchronous = FULL`) before it returns. A new file is readable by its owner only; its `-wal` and `-shm` files follow it.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqliteConnection};

use super::{Place, StoreAddress, StoreError};

/// Connections that read: few, for the admin plane alone uses them.
const READERS: u32 = 3;
/// Between two tries of opening a file that another process is just making.
const AGAIN: Duration = Duration::from_millis(20);

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// The connections of one open store.
pub(in crate::store) struct Pools {
    pub writer: SqlitePool,
    pub reader: SqlitePool,
}

impl Pools {
    pub async fn open(address: &StoreAddress) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().foreign_keys(true).busy_timeout(address.timeout);
        match &address.place {
            Place::Memory => {
                // A database in memory belongs to one connection, which then does both.
                let writer = pool(1, address.timeout).connect_lazy_with(options.in_memory(true));
                migrate(&writer).await?;
                Ok(Self { reader: writer.clone(), writer })
            }
            Place::File(path) => {
                make(path)?;
                let options = options.filename(path).create_if_missing(false);
                let reads = options.clone().pragma("query_only", "ON");
                let writes =
                    options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
                let writer = pool(1, address.timeout).connect_lazy_with(writes);
                // The change to WAL does not wait for locks, so of several processes at once some are told to come again;
                // whoever waits for this ends it.
                while let Err(error) = migrate(&writer).await {
                    if !is_busy(&error) {
                        return Err(error);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(Self { writer, reader: pool(READERS, address.timeout).connect_lazy_with(reads) })
            }
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

/// Makes the file where none is, for its owner only. SQLite takes an empty file for a new database.
fn make(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) if path.exists() => Ok(()),
        Err(error) => {
            Err(StoreError::unavailable(format!("{} cannot be made: {}", path.display(), error.kind())))
        }
    }
}

/// Brings the schema up to date in one transaction, so that of several processes at once one does it and the others wait.
async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = writer.acquire().await?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = schema(&mut transaction).await?;
    if let Some((found, least_known)) = found
        && least_known > known
    {
        return Err(StoreError::NewerSchema { found, known });
    }
    if found.is_none_or(|(found, _)| found < known) {
        MIGRATIONS.run_direct(None, &mut *transaction, false).await.map_err(unmigrated)?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The newest migration the database has seen, and the oldest schema whose program may use it; `None` for a new one.
async fn schema(connection: &mut SqliteConnection) -> Result<Option<(i64, i64)>, StoreError> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'compatibility')";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut *connection).await?;
    if tables < 2 {
        return Ok(None);
    }
    let versions =
        "SELECT coalesce(max(version), 0), (SELECT least_known FROM compatibility) FROM _sqlx_migrations";
    Ok(Some(sqlx::query_as(versions).fetch_one(connection).await?))
}

fn unmigrated(error: sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, open to growth")]
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMismatch(version) => StoreError::damaged(format!(
            "its schema {version} is not the one this program knows by that number"
        )),
        _ => StoreError::damaged("its schema is not one of ours"),
    }
}

/// Whether another process was in the way.
fn is_busy(error: &StoreError) -> bool {
    *error == super::fault::of_sqlite(5)
}

/// Writes the one row of `heartbeat`.
pub(in crate::store) async fn beat(connection: &mut SqliteConnection, at: i64) -> Result<(), StoreError> {
    let query =
        sqlx::query("INSERT INTO heartbeat (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = ?1");
    query.bind(at).execute(connection).await?;
    Ok(())
}
