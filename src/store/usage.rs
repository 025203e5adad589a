//! Usage as kept: single records, and their sums by the hour and the day, written together in one transaction.
//!
//! A record is known by its request's id: written again it changes nothing, neither itself nor the sums, so a batch whose
//! first answer was lost may be sent again. Rows are touched in the order of their keys.

mod read;

use std::collections::BTreeMap;
use std::time::SystemTime;

use sqlx::SqliteConnection;

use super::{Store, StoreError, micros};
use crate::settle::Outcome;
use crate::usage::UsageRecord;
use crate::usage::report::Step;
use crate::usage::writer::{Retention, Sink, Unwritten};

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
    for record in &batch {
        if insert_one(connection, record).await? {
            add(&mut hours, record, Step::Hour);
            add(&mut days, record, Step::Day);
        }
    }
    add_to(connection, "usage_hourly", hours).await?;
    add_to(connection, "usage_daily", days).await
}

/// Writes a record; `false` where it is there already.
async fn insert_one(connection: &mut SqliteConnection, record: &UsageRecord) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO usage (id, at, operation, tenant, key, backend, model, served, counted, stream, input, output, \
         cache_read, cache_write_5m, cache_write_1h, cost, attempts, queue_us, first_content_us, duration_us, status, \
         outcome, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO NOTHING",
    );
    let usage = &record.usage;
    let span = |span: std::time::Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let query = query.bind(record.id.as_str()).bind(micros(record.at)).bind(record.operation);
    let query = query.bind(record.tenant.as_deref().unwrap_or_default()).bind(&record.key);
    let query = query.bind(&record.backend).bind(&record.model).bind(record.served.as_deref());
    let query = query.bind(record.counted_model()).bind(record.stream);
    let query = query.bind(whole(usage.input)).bind(whole(usage.output)).bind(whole(usage.cache_read));
    let query = query.bind(whole(usage.cache_write_5m)).bind(whole(usage.cache_write_1h));
    let query = query.bind(record.cost.map(whole)).bind(i64::from(record.attempts));
    let query =
        query.bind(span(record.queued)).bind(record.first_content.map(span)).bind(span(record.duration));
    let query = query.bind(i64::from(record.status)).bind(record.outcome.name()).bind(record.cause);
    Ok(query.execute(connection).await?.rows_affected() > 0)
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
        "DELETE FROM usage WHERE rowid IN (SELECT rowid FROM usage WHERE at < ? ORDER BY at LIMIT ?)";
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
