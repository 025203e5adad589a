//! Usage as kept: single records, and their sums by the hour and the day, written together in one transaction.
//!
//! A record is known by its request's id: written again it changes nothing, neither itself nor the sums, so a batch whose
//! first answer was lost may be sent again. Rows are touched in the order of their keys.

mod facts;
mod read;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::SystemTime;

use sqlx::SqliteConnection;

use super::{Store, StoreError, micros};
use crate::settle::Outcome;
use crate::usage::UsageRecord;
use crate::usage::report::Step;
use crate::usage::writer::{Retention, Sink, Unwritten};
use facts::Facts;

/// More of anything in one record is nonsense; it keeps the sums of a lifetime far from overflowing.
const MOST: u64 = 1 << 44;

/// What one row of sums is of: start, tenant, key, backend, model.
type Place<'a> = (i64, &'a str, &'a str, &'a str, &'a str);
/// What it holds: requests, failed, unpriced, the five kinds of tokens, cost.
type Counts = [i64; 9];

impl Sink for Store {
    async fn write(&self, batch: &[UsageRecord]) -> Result<(), Unwritten> {
        let batch = batch.to_vec();
        self.write(move |connection| Box::pin(insert(connection, batch))).await.map_err(unwritten)
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

async fn insert(connection: &mut SqliteConnection, batch: Vec<UsageRecord>) -> Result<(), StoreError> {
    let (mut hours, mut days) = (BTreeMap::new(), BTreeMap::new());
    let mut left = batch.as_slice();
    while let Some(shape) = SHAPES.iter().find(|shape| shape.rows <= left.len()) {
        let (rows, rest) = left.split_at(shape.rows);
        for record in insert_rows(connection, shape, rows).await? {
            add(&mut hours, record, Step::Hour);
            add(&mut days, record, Step::Day);
        }
        left = rest;
    }
    add_to(connection, "usage_hourly", hours).await?;
    add_to(connection, "usage_daily", days).await
}

/// Statements for so many records at once: a batch is cut into the largest that fit, for the way to the database's thread and back
/// costs more than a row. Few enough shapes to stay prepared.
static SHAPES: LazyLock<[Shape; 4]> = LazyLock::new(|| [256, 32, 4, 1].map(Shape::new));

struct Shape {
    rows: usize,
    text: String,
}

impl Shape {
    fn new(rows: usize) -> Self {
        let head = "INSERT INTO usage (at, id, tenant, key, backend, counted, facts) VALUES ";
        let row = "(?, ?, ?, ?, ?, ?, ?)";
        let text = format!("{head}{} ON CONFLICT (at, id) DO NOTHING", vec![row; rows].join(", "));
        Self { rows, text }
    }
}

/// Writes records and tells which of them were not there already. Where some were, which is so only after a batch whose first
/// answer was lost, they are written one by one.
async fn insert_rows<'a>(
    connection: &mut SqliteConnection,
    shape: &'static Shape,
    rows: &'a [UsageRecord],
) -> Result<Vec<&'a UsageRecord>, StoreError> {
    sqlx::query("SAVEPOINT rows").execute(&mut *connection).await?;
    let written = write_rows(connection, shape, rows).await?;
    if written == rows.len() as u64 {
        sqlx::query("RELEASE rows").execute(&mut *connection).await?;
        return Ok(rows.iter().collect());
    }
    sqlx::query("ROLLBACK TO rows").execute(&mut *connection).await?;
    let mut new = Vec::new();
    if let Some(single) = SHAPES.last() {
        for record in rows {
            if write_rows(connection, single, std::slice::from_ref(record)).await? > 0 {
                new.push(record);
            }
        }
    }
    sqlx::query("RELEASE rows").execute(&mut *connection).await?;
    Ok(new)
}

async fn write_rows(
    connection: &mut SqliteConnection,
    shape: &'static Shape,
    rows: &[UsageRecord],
) -> Result<u64, StoreError> {
    let mut query = sqlx::query(shape.text.as_str());
    for record in rows {
        query = query.bind(micros(record.at)).bind(record.id.as_str());
        query = query.bind(record.tenant.as_deref().unwrap_or_default()).bind(&record.key);
        query = query.bind(&record.backend).bind(record.counted_model());
        query = query.bind(Facts::of(record).text());
    }
    Ok(query.execute(connection).await?.rows_affected())
}

fn add<'a>(sums: &mut BTreeMap<Place<'a>, Counts>, record: &'a UsageRecord, step: Step) {
    let usage = &record.usage;
    let start = seconds(record.at);
    let start = start - start.rem_euclid(step.seconds());
    let tenant = record.tenant.as_deref().unwrap_or_default();
    let counts =
        sums.entry((start, tenant, &record.key, &record.backend, record.counted_model())).or_insert([0; 9]);
    let failed = matches!(record.outcome, Outcome::Failed | Outcome::Cut);
    let unpriced = record.cost.is_none() && *usage != headgate_providers::Usage::default();
    let own = [
        1,
        i64::from(failed),
        i64::from(unpriced),
        whole(usage.input),
        whole(usage.output),
        whole(usage.cache_read),
        whole(usage.cache_write_5m),
        whole(usage.cache_write_1h),
        record.cost.map_or(0, whole),
    ];
    for (sum, own) in counts.iter_mut().zip(own) {
        *sum = sum.saturating_add(own);
    }
}

async fn add_to(
    connection: &mut SqliteConnection,
    table: &'static str,
    sums: BTreeMap<Place<'_>, Counts>,
) -> Result<(), StoreError> {
    macro_rules! upsert {
        ($table:literal) => {
            concat!(
                "INSERT INTO ",
                $table,
                " AS t (start, tenant, key, backend, model, requests, failed, unpriced, input, output, cache_read, \
                 cache_write_5m, cache_write_1h, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (start, tenant, key, backend, model) DO UPDATE SET \
                 requests = t.requests + excluded.requests, failed = t.failed + excluded.failed, \
                 unpriced = t.unpriced + excluded.unpriced, input = t.input + excluded.input, \
                 output = t.output + excluded.output, cache_read = t.cache_read + excluded.cache_read, \
                 cache_write_5m = t.cache_write_5m + excluded.cache_write_5m, \
                 cache_write_1h = t.cache_write_1h + excluded.cache_write_1h, cost = t.cost + excluded.cost",
            )
        };
    }
    let text = if table == "usage_hourly" { upsert!("usage_hourly") } else { upsert!("usage_daily") };
    for ((start, tenant, key, backend, model), counts) in sums {
        let query = sqlx::query(text).bind(start).bind(tenant).bind(key).bind(backend).bind(model);
        let query = counts.into_iter().fold(query, |query, count| query.bind(count));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Deletes up to `most` rows of each table; `true` where one may have more.
async fn delete(connection: &mut SqliteConnection, before: Retention, most: i64) -> Result<bool, StoreError> {
    let records =
        "DELETE FROM usage WHERE (at, id) IN (SELECT at, id FROM usage WHERE at < ? ORDER BY at LIMIT ?)";
    let hourly = "DELETE FROM usage_hourly WHERE (start, tenant, key, backend, model) IN \
                  (SELECT start, tenant, key, backend, model FROM usage_hourly WHERE start < ? ORDER BY start LIMIT ?)";
    let daily = "DELETE FROM usage_daily WHERE (start, tenant, key, backend, model) IN \
                 (SELECT start, tenant, key, backend, model FROM usage_daily WHERE start < ? ORDER BY start LIMIT ?)";
    // A sum goes once all of its time is too old.
    let ends = |at: SystemTime, step: Step| seconds(at) - step.seconds() + 1;
    let mut more = false;
    for (text, before) in [
        (records, micros(before.records)),
        (hourly, ends(before.hourly, Step::Hour)),
        (daily, ends(before.daily, Step::Day)),
    ] {
        let gone = sqlx::query(text).bind(before).bind(most).execute(&mut *connection).await?.rows_affected();
        more |= i64::try_from(gone).unwrap_or(i64::MAX) >= most;
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
