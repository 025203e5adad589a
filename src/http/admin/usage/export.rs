//! Usage for other programs: CSV as RFC 4180 has it, and lines of JSON, in pages so that no export fills the memory.

use super::UsageError;
use crate::store::Store;
use crate::usage::report::{Grouping, Kept, RecordsPage, Sum};

/// The columns of a record.
const COLUMNS: [&str; 23] = [
    "id",
    "at",
    "operation",
    "tenant",
    "key",
    "backend",
    "model",
    "model_served",
    "stream",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_usd",
    "cost_nano_usd",
    "attempts",
    "queue_ms",
    "first_content_ms",
    "duration_ms",
    "status",
    "outcome",
    "cause",
];

/// All records a query asks for, page by page.
pub struct Export {
    store: Store,
    page: RecordsPage,
    /// How many records may still come; `None`: all.
    left: Option<u64>,
    csv: bool,
    begun: bool,
    ended: bool,
    prepared: Option<Vec<u8>>,
}

impl Export {
    pub(super) fn new(store: Store, page: RecordsPage, left: Option<u64>, csv: bool) -> Self {
        Self { store, page, left, csv, begun: false, ended: false, prepared: None }
    }

    /// Reads the first page ahead.
    pub(super) async fn prepare(&mut self) -> Result<(), UsageError> {
        self.prepared = self.read().await?;
        Ok(())
    }

    /// The next bytes; `None` at the end. After an error nothing more comes, and what was sent is not the whole.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, UsageError> {
        if let Some(bytes) = self.prepared.take() {
            return Ok(Some(bytes));
        }
        let read = self.read().await;
        self.ended |= read.is_err();
        read
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, UsageError> {
        if self.ended {
            return Ok(None);
        }
        let wanted = self.left.unwrap_or(u64::MAX).min(u64::from(self.page.limit));
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let page = RecordsPage { limit: wanted, ..self.page.clone() };
        let (records, last) = self.store.usage_records(page).await?;
        let read = records.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(read));
        self.ended = read < u64::from(wanted) || self.left == Some(0);
        self.page.after = last.or(self.page.after.take());
        let head = self.csv && !self.begun;
        self.begun = true;
        let bytes = if self.csv { records_as_csv(head, &records)? } else { as_lines(&records)? };
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

fn as_lines(records: &[Kept]) -> Result<Vec<u8>, UsageError> {
    let mut lines = Vec::with_capacity(records.len() * 512);
    for record in records {
        serde_json::to_writer(&mut lines, record)
            .map_err(|error| UsageError::Unwritable(error.to_string()))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn records_as_csv(head: bool, records: &[Kept]) -> Result<Vec<u8>, UsageError> {
    let rows = records.iter().map(|record| {
        let optional = |text: &Option<String>| text.as_deref().map(harmless).unwrap_or_default();
        vec![
            record.id.clone(),
            record.at.clone(),
            record.operation.clone(),
            optional(&record.tenant),
            optional(&record.key),
            optional(&record.backend),
            harmless(&record.model),
            optional(&record.model_served),
            record.stream.to_string(),
            record.input_tokens.to_string(),
            record.output_tokens.to_string(),
            record.cache_read_tokens.to_string(),
            record.cache_write_5m_tokens.to_string(),
            record.cache_write_1h_tokens.to_string(),
            record.cost_nano_usd.map(exact_dollars).unwrap_or_default(),
            record.cost_nano_usd.map(|nanos| nanos.to_string()).unwrap_or_default(),
            record.attempts.to_string(),
            record.queue_ms.to_string(),
            record.first_content_ms.map(|span| span.to_string()).unwrap_or_default(),
            record.duration_ms.to_string(),
            record.status.to_string(),
            record.outcome.clone(),
            optional(&record.cause),
        ]
    });
    csv(head.then(|| COLUMNS.iter().map(|&name| name.to_owned()).collect()), rows)
}

/// A column of what sums may be apart by: whether they are, its name, its text.
type Apart = (bool, &'static str, fn(&Sum) -> &Option<String>);
/// A column of a count.
type Count = (&'static str, fn(&Sum) -> u64);

/// Sums as CSV, with a column for each thing they are apart by.
pub(super) fn sums_as_csv(by: Grouping, sums: &[Sum]) -> Result<Vec<u8>, UsageError> {
    let apart: [Apart; 5] = [
        (by.step.is_some(), "start", |sum| &sum.start),
        (by.tenant, "tenant", |sum| &sum.tenant),
        (by.key, "key", |sum| &sum.key),
        (by.backend, "backend", |sum| &sum.backend),
        (by.model, "model", |sum| &sum.model),
    ];
    let apart = || apart.iter().filter(|(asked, ..)| *asked);
    let counts: [Count; 8] = [
        ("requests", |sum| sum.requests),
        ("failed", |sum| sum.failed),
        ("unpriced", |sum| sum.unpriced),
        ("input_tokens", |sum| sum.input_tokens),
        ("output_tokens", |sum| sum.output_tokens),
        ("cache_read_tokens", |sum| sum.cache_read_tokens),
        ("cache_write_5m_tokens", |sum| sum.cache_write_5m_tokens),
        ("cache_write_1h_tokens", |sum| sum.cache_write_1h_tokens),
    ];
    let names = apart().map(|(_, name, _)| *name).chain(counts.iter().map(|(name, _)| *name));
    let head = names.chain(["cost_usd", "cost_nano_usd"]).map(str::to_owned).collect();
    let rows = sums.iter().map(|sum| {
        let texts = apart().map(|(_, _, text)| text(sum).as_deref().map(harmless).unwrap_or_default());
        let counts = counts.iter().map(|(_, count)| count(sum).to_string());
        let cost = [exact_dollars(sum.cost_nano_usd), sum.cost_nano_usd.to_string()];
        texts.chain(counts).chain(cost).collect()
    });
    csv(Some(head), rows)
}

fn csv(head: Option<Vec<String>>, rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>, UsageError> {
    let unwritable = |error: csv::Error| UsageError::Unwritable(error.to_string());
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in head.into_iter().chain(rows) {
        writer.write_record(row).map_err(unwritable)?;
    }
    writer.into_inner().map_err(|error| UsageError::Unwritable(error.to_string()))
}

/// A text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

/// Dollars with nine decimals, exact.
fn exact_dollars(nanos: u64) -> String {
    let one = crate::prices::NANOS_PER_DOLLAR;
    format!("{}.{:09}", nanos / one, nanos % one)
}
