//! The schema, brought up to date by the numbered files of `migrations/`.
//!
//! They only add where they can, so that the release before runs on the schema of this one; one that cannot says so in the
//! table `compatibility`, and older programs then refuse to start on it.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, SqliteConnection};

use super::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// Brings the schema up to date in one transaction, so that of several processes at once one does it and the others wait.
pub async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
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

fn unmigrated(error: MigrateError) -> StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, open to growth")]
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMismatch(version) => StoreError::damaged(format!(
            "its schema {version} is not the one this program knows by that number"
        )),
        _ => StoreError::damaged("its schema is not one of ours"),
    }
}
