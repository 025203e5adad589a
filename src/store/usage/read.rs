//! Reading usage: sums, grouped as asked, and single records in the order of their time.

use std::borrow::Cow;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::super::{Store, StoreError, from_micros, micros};
use super::facts::Facts;
use super::many::Query;
use super::seconds;
use crate::prices::dollars;
use crate::usage::report::{Cursor, Filter, Kept, RecordsPage, Step, Sum, SumsPage};

macro_rules! sums_of {
    ($table:literal) => {
        concat!(
            "SELECT CASE WHEN ?7 > 0 THEN start - start % ?7 END AS start, CASE WHEN ?8 THEN tenant END AS tenant, \
             CASE WHEN ?9 THEN key END AS key, CASE WHEN ?10 THEN backend END AS backend, \
             CASE WHEN ?11 THEN model END AS model, sum(requests) AS requests, sum(failed) AS failed, \
             sum(unpriced) AS unpriced, sum(input) AS input, sum(output) AS output, sum(cache_read) AS cache_read, \
             sum(cache_write_5m) AS cache_write_5m, sum(cache_write_1h) AS cache_write_1h, sum(cost) AS cost FROM ",
            $table,
            " WHERE start >= ?1 AND start < ?2 AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR key = ?4) \
             AND (?5 IS NULL OR backend = ?5) AND (?6 IS NULL OR model = ?6) \
             GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT ?12 OFFSET ?13"
        )
    };
}

/// Records first, in the order of their key, then the labels of each.
const RECORDS: &str = "SELECT at, r.id AS id, facts, tenant, key, backend, counted, operation, served, stream, status, \
    outcome, cause FROM usage_records AS r CROSS JOIN usage_labels AS l ON l.id = r.labels \
    WHERE at >= ?1 AND at < ?2 AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR key = ?4) \
    AND (?5 IS NULL OR backend = ?5) AND (?6 IS NULL OR counted = ?6) AND (at, r.id) > (?7, ?8) ORDER BY at, r.id LIMIT ?9";

impl Store {
    /// Sums of usage, in the order of what they are apart by; without such they are one, if there is anything.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where a row cannot be understood.
    pub async fn usage_sums(&self, page: SumsPage) -> Result<Vec<Sum>, StoreError> {
        self.read(move |connection| Box::pin(sums(connection, page))).await
    }

    /// Records of usage in the order of their time, with the place of the last.
    ///
    /// # Errors
    /// As [`usage_sums`](Self::usage_sums).
    pub async fn usage_records(&self, page: RecordsPage) -> Result<(Vec<Kept>, Option<Cursor>), StoreError> {
        self.read(move |connection| Box::pin(records(connection, page))).await
    }
}

async fn sums(connection: &mut SqliteConnection, page: SumsPage) -> Result<Vec<Sum>, StoreError> {
    let text = match page.table {
        Step::Hour => sums_of!("usage_hourly"),
        Step::Day => sums_of!("usage_daily"),
    };
    let (from, to) = (seconds(page.filter.from), seconds(page.filter.to));
    let query = filtered(sqlx::query(text).bind(from).bind(to), page.filter);
    let by = page.by;
    let query = query.bind(by.step.map_or(0, Step::seconds));
    let query = query.bind(by.tenant).bind(by.key).bind(by.backend).bind(by.model);
    let query = query.bind(i64::from(page.limit)).bind(i64::try_from(page.skip).unwrap_or(i64::MAX));
    query.fetch_all(connection).await?.iter().map(sum).collect()
}

async fn records(
    connection: &mut SqliteConnection,
    page: RecordsPage,
) -> Result<(Vec<Kept>, Option<Cursor>), StoreError> {
    let after = page.after.unwrap_or(Cursor { at: i64::MIN, id: String::new() });
    let (from, to) = (micros(page.filter.from), micros(page.filter.to));
    let query = filtered(sqlx::query(RECORDS).bind(from).bind(to), page.filter);
    let query = query.bind(after.at).bind(after.id).bind(i64::from(page.limit));
    let rows = query.fetch_all(connection).await?;
    let last = match rows.last() {
        Some(row) => Some(Cursor { at: row.try_get("at")?, id: row.try_get("id")? }),
        None => None,
    };
    let kept: Result<Vec<Kept>, StoreError> = rows.iter().map(kept).collect();
    Ok((kept?, last))
}

fn filtered(query: Query, filter: Filter) -> Query {
    query.bind(filter.tenant).bind(filter.key).bind(filter.backend).bind(filter.model)
}

fn sum(row: &SqliteRow) -> Result<Sum, StoreError> {
    let start: Option<i64> = row.try_get("start")?;
    let cost = count(row, "cost")?;
    Ok(Sum {
        start: start.map(|start| date(start.saturating_mul(1_000_000))),
        tenant: row.try_get("tenant")?,
        key: row.try_get("key")?,
        backend: row.try_get("backend")?,
        model: row.try_get("model")?,
        requests: count(row, "requests")?,
        failed: count(row, "failed")?,
        unpriced: count(row, "unpriced")?,
        input_tokens: count(row, "input")?,
        output_tokens: count(row, "output")?,
        cache_read_tokens: count(row, "cache_read")?,
        cache_write_5m_tokens: count(row, "cache_write_5m")?,
        cache_write_1h_tokens: count(row, "cache_write_1h")?,
        cost_usd: dollars(cost),
        cost_nano_usd: cost,
    })
}

fn kept(row: &SqliteRow) -> Result<Kept, StoreError> {
    let text = |column: &str| -> Result<Option<String>, StoreError> {
        let text: String = row.try_get(column)?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    };
    let facts: &str = row.try_get("facts")?;
    let facts: Facts<'_> =
        serde_json::from_str(facts).map_err(|_| StoreError::damaged("a record of usage cannot be read"))?;
    let counted: &str = row.try_get("counted")?;
    let served: bool = row.try_get("served")?;
    let cost = facts.cost.map(natural);
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = facts.tokens.map(natural);
    Ok(Kept {
        id: row.try_get("id")?,
        at: date(row.try_get("at")?),
        operation: row.try_get("operation")?,
        tenant: text("tenant")?,
        key: text("key")?,
        backend: text("backend")?,
        model: facts.model.map_or_else(|| counted.to_owned(), Cow::into_owned),
        model_served: served.then(|| facts.served.map_or_else(|| counted.to_owned(), Cow::into_owned)),
        stream: row.try_get("stream")?,
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: cache_read,
        cache_write_5m_tokens: cache_write_5m,
        cache_write_1h_tokens: cache_write_1h,
        cost_usd: cost.map(dollars),
        cost_nano_usd: cost,
        attempts: facts.tries,
        queue_ms: millis(facts.queued),
        first_content_ms: facts.first.map(millis),
        duration_ms: millis(facts.took),
        status: row.try_get("status")?,
        outcome: row.try_get("outcome")?,
        cause: text("cause")?,
    })
}

fn natural(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
fn millis(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

/// RFC 3339 in UTC.
fn date(micros: i64) -> String {
    jiff::Timestamp::try_from(from_micros(micros)).map(|date| date.to_string()).unwrap_or_default()
}
