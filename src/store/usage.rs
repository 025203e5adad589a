//! Usage as kept: single records, and their sums by the hour and the day, written together in one transaction.
//!
//! A record is known by its request's id: written again it changes nothing, neither itself nor the sums, so a batch whose
//! first answer was lost may be sent again. Sums are touched in the order of their keys.

mod facts;
mod labels;
mod many;
mod read;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use sqlx::SqliteConnection;

use super::{Store, StoreError, micros};
use crate::usage::UsageRecord;
use crate::usage::report::Step;
use crate::usage::writer::{Retention, Sink, Unwritten};
use facts::Facts;
use labels::{Alike, Counts, SumKey};
use many::{Many, Query};

/// More of anything in one record is nonsense; it keeps the sums of a lifetime far from overflowing.
const MOST: u64 = 1 << 44;

impl Sink for Store {
    async fn write(&self, batch: &Arc<Vec<UsageRecord>>) -> Result<(), Unwritten> {
        let batch = batch.clone();
        self.write(move |connection| Box::pin(async move { insert(connection, &batch).await }))
            .await
            .map_err(unwritten)
    }

    async fn forget(&self, before: Retention, most: usize) -> Result<bool, Unwritten> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.write(move |connection| Box::pin(delete(connection, before, most))).await.map_err(unwritten)
    }
}

fn unwritten(error: StoreError) -> Unwritten {
    let text = error.to_string();
    match error {
        StoreError::Unavailable { .. } | StoreError::NewerSchema { .. } | StoreError::Damaged { .. } => {
            Unwritten::Later(text)
        }
        StoreError::Conflict { .. }
        | StoreError::Exists { .. }
        | StoreError::Missing { .. }
        | StoreError::Answered => Unwritten::Never(text),
    }
}

async fn insert(connection: &mut SqliteConnection, batch: &[UsageRecord]) -> Result<(), StoreError> {
    let mut alike = Alike::default();
    let rows: Vec<(i64, &UsageRecord)> = batch.iter().map(|record| (alike.add(record), record)).collect();
    alike.write(connection).await?;
    sqlx::query("SAVEPOINT rows").execute(&mut *connection).await?;
    if write_rows(connection, &rows).await? != rows.len() as u64 {
        // Some were there, which is so only after a batch whose first answer was lost: then one by one.
        sqlx::query("ROLLBACK TO rows").execute(&mut *connection).await?;
        alike = Alike::default();
        for row in &rows {
            if write_rows(connection, std::slice::from_ref(row)).await? > 0 {
                alike.add(row.1);
            }
        }
    }
    sqlx::query("RELEASE rows").execute(&mut *connection).await?;
    add_to(connection, &HOURLY, alike.sums(Step::Hour)).await?;
    add_to(connection, &DAILY, alike.sums(Step::Day)).await
}

static RECORDS: LazyLock<Many> = LazyLock::new(|| {
    let head = "INSERT INTO usage_records (at, id, labels, facts) VALUES";
    Many::new(head, 4, "ON CONFLICT (at, id) DO NOTHING")
});
static HOURLY: LazyLock<Many> = LazyLock::new(|| sums_in("usage_hourly"));
static DAILY: LazyLock<Many> = LazyLock::new(|| sums_in("usage_daily"));

fn sums_in(table: &str) -> Many {
    let counts = [
        "requests",
        "failed",
        "unpriced",
        "input",
        "output",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
        "cost",
    ];
    let head = format!(
        "INSERT INTO {table} AS t (start, tenant, key, backend, model, {}) VALUES",
        counts.join(", ")
    );
    let sums = counts.map(|count| format!("{count} = t.{count} + excluded.{count}")).join(", ");
    let tail = format!("ON CONFLICT (start, tenant, key, backend, model) DO UPDATE SET {sums}");
    Many::new(&head, 5 + counts.len(), &tail)
}

/// Writes records with the ids of their labels; returns how many of them were not there already.
async fn write_rows(
    connection: &mut SqliteConnection,
    rows: &[(i64, &UsageRecord)],
) -> Result<u64, StoreError> {
    let bind = |query: Query, (labels, record): &(i64, &UsageRecord)| {
        let query = query.bind(micros(record.at)).bind(record.id.shared());
        query.bind(*labels).bind(Facts::of(record).text())
    };
    RECORDS.write(connection, rows, bind).await
}

async fn add_to(
    connection: &mut SqliteConnection,
    table: &'static Many,
    sums: BTreeMap<SumKey<'_>, Counts>,
) -> Result<(), StoreError> {
    let rows: Vec<(SumKey<'_>, Counts)> = sums.into_iter().collect();
    let bind = |query: Query, ((start, tenant, key, backend, model), counts): &(SumKey<'_>, Counts)| {
        let query = query.bind(*start).bind(*tenant).bind(*key).bind(*backend).bind(*model);
        counts.iter().fold(query, |query, count| query.bind(*count))
    };
    table.write(connection, &rows, bind).await.map(|_| ())
}

/// Deletes up to `most` rows of each table; `true` where one may have more.
async fn delete(connection: &mut SqliteConnection, before: Retention, most: i64) -> Result<bool, StoreError> {
    let records = "DELETE FROM usage_records WHERE (at, id) IN (SELECT at, id FROM usage_records WHERE at < ? ORDER BY at LIMIT ?)";
    let hourly = "DELETE FROM usage_hourly WHERE (start, tenant, key, backend, model) IN \
                  (SELECT start, tenant, key, backend, model FROM usage_hourly WHERE start < ? ORDER BY start LIMIT ?)";
    let daily = "DELETE FROM usage_daily WHERE (start, tenant, key, backend, model) IN \
                 (SELECT start, tenant, key, backend, model FROM usage_daily WHERE start < ? ORDER BY start LIMIT ?)";
    // Labels are of a day, and sums of an hour or a day: they go once all of it is too old, labels after the records they are of.
    let labels = "DELETE FROM usage_labels WHERE id IN (SELECT id FROM usage_labels WHERE day < ? ORDER BY day LIMIT ?)";
    let ends = |at: SystemTime, step: Step| seconds(at) - step.seconds() + 1;
    let mut more = false;
    for (text, before) in [
        (hourly, ends(before.hourly, Step::Hour)),
        (daily, ends(before.daily, Step::Day)),
        (records, micros(before.records)),
        (labels, ends(before.records, Step::Day)),
    ] {
        let gone = sqlx::query(text).bind(before).bind(most).execute(&mut *connection).await?.rows_affected();
        let is_full = i64::try_from(gone).unwrap_or(i64::MAX) >= most;
        more |= is_full;
        if is_full && text == records {
            break;
        }
    }
    Ok(more)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count.min(MOST)).unwrap_or(i64::MAX)
}

fn seconds(at: SystemTime) -> i64 {
    micros(at).div_euclid(1_000_000)
}

#[cfg(test)]
mod tests;
