//! `GET /admin/v1/usage` and `/admin/v1/usage/records`: what is asked, and the answer as JSON, CSV or lines of JSON.
//!
//! Both take a decoded query and give an [`Answer`], which is whole or comes in pages; of HTTP they know no more than a
//! content type. Times are RFC 3339, a day (`2026-01-31`, its midnight in UTC) or seconds of Unix time.

mod export;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::checked::UsageRecords;
use crate::store::{Store, StoreError};
use crate::usage::report::{Cursor, Filter, Grouping, Kept, RecordsPage, Step, Sum, SumsPage};

pub use export::Export;

/// Rows of a page where the query does not say.
const DEFAULT_LIMIT: u32 = 100;
/// Most rows of a page.
const MAX_LIMIT: u32 = 10_000;
/// How far back a query reaches that does not say.
const DEFAULT_SPAN: Duration = Duration::from_secs(86_400);

/// Sums of usage.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Sums {
    /// From when on they count: what was asked, rounded down to a whole hour or day.
    pub from: String,
    /// Until when: what was asked, rounded up.
    pub to: String,
    /// The sums, in the order of what they are apart by.
    pub data: Vec<Sum>,
    /// Whether there are more behind these.
    pub has_more: bool,
    /// The next page's `after`; null where there is nothing.
    pub last_id: Option<String>,
}

/// Records of usage.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Records {
    /// The records, in the order of their time.
    pub data: Vec<Kept>,
    /// Whether there are more behind these.
    pub has_more: bool,
    /// The next page's `after`; null where there is nothing.
    pub last_id: Option<String>,
}

/// An answer.
pub enum Answer {
    /// All of it.
    Whole {
        /// Its `content-type`.
        content_type: &'static str,
        /// Its body.
        body: Vec<u8>,
    },
    /// One that is read from the store while it is sent.
    Pages {
        /// Its `content-type`.
        content_type: &'static str,
        /// Where the body comes from.
        export: Box<Export>,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// The query is wrong: 400.
    #[error("{field} {text}")]
    Query {
        /// Which parameter.
        field: String,
        /// What is wrong with it, as the end of a sentence.
        text: String,
    },
    /// The store does not answer: 503.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer cannot be written down, which never happens: 500.
    #[error("the answer cannot be written: {0}")]
    Unwritable(String),
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    JsonLines,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::JsonLines => "application/x-ndjson",
        }
    }
}

/// `GET /admin/v1/usage`: sums, apart by what `by` lists (tenant, key, backend, model, and hour or day).
///
/// # Errors
/// A wrong query, or a store that does not answer.
pub async fn usage(
    store: &Store,
    settings: &UsageRecords,
    query: &BTreeMap<String, String>,
    now: SystemTime,
) -> Result<Answer, UsageError> {
    let known = ["from", "to", "by", "tenant", "key", "backend", "model", "format", "limit", "after"];
    let asked = Asked::new(query, &known)?;
    let mut filter = asked.filter(now)?;
    let by = asked.grouping()?;
    let format = asked.format(&[Format::Json, Format::Csv])?;
    let (limit, skip) = (asked.limit()?, asked.skip()?);
    let too_old = now.checked_sub(settings.keep_hourly).is_some_and(|oldest| filter.from < oldest);
    let whole_days = [filter.from, filter.to].into_iter().all(|at| down(at, Step::Day) == at);
    let table = by.step.unwrap_or(if too_old || whole_days { Step::Day } else { Step::Hour });
    filter.from = down(filter.from, table);
    filter.to = up(filter.to, table);
    let (from, to) = (filter.from, filter.to);
    // One more than asked tells whether there is more.
    let page = SumsPage { filter, by, table, skip, limit: limit + 1 };
    let mut data = store.usage_sums(page).await?;
    let has_more = data.len() > limit as usize;
    data.truncate(limit as usize);
    let body = if format == Format::Csv {
        export::sums_as_csv(by, &data)?
    } else {
        let last_id = (!data.is_empty()).then(|| (skip + data.len() as u64).to_string());
        json(&Sums { from: date(from), to: date(to), data, has_more, last_id })?
    };
    Ok(Answer::Whole { content_type: format.content_type(), body })
}

/// `GET /admin/v1/usage/records`: single records. As CSV or lines of JSON all of them come, in pages, unless `limit` is
/// given.
///
/// # Errors
/// As [`usage`].
pub async fn records(
    store: &Store,
    query: &BTreeMap<String, String>,
    now: SystemTime,
) -> Result<Answer, UsageError> {
    let known = ["from", "to", "tenant", "key", "backend", "model", "format", "limit", "after"];
    let asked = Asked::new(query, &known)?;
    let (filter, after) = (asked.filter(now)?, asked.cursor()?);
    let format = asked.format(&[Format::Json, Format::Csv, Format::JsonLines])?;
    let (limit, content_type) = (asked.limit()?, format.content_type());
    if format != Format::Json {
        let left = asked.query.contains_key("limit").then_some(u64::from(limit));
        let page = RecordsPage { filter, after, limit: MAX_LIMIT };
        let mut export = Export::new(store.clone(), page, left, format == Format::Csv);
        // A store that is away is told of while there still is a status to tell it with.
        export.prepare().await?;
        return Ok(Answer::Pages { content_type, export: Box::new(export) });
    }
    let (mut data, mut last) =
        store.usage_records(RecordsPage { filter: filter.clone(), after, limit }).await?;
    let has_more = match &last {
        Some(cursor) if data.len() == limit as usize => {
            let next = RecordsPage { filter, after: Some(cursor.clone()), limit: 1 };
            !store.usage_records(next).await?.0.is_empty()
        }
        Some(_) | None => false,
    };
    data.truncate(limit as usize);
    let last_id = last.take().map(|cursor| format!("{}-{}", cursor.at, cursor.id));
    Ok(Answer::Whole { content_type, body: json(&Records { data, has_more, last_id })? })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, UsageError> {
    serde_json::to_vec(value).map_err(|error| UsageError::Unwritable(error.to_string()))
}

/// A query whose names are all known.
struct Asked<'a> {
    query: &'a BTreeMap<String, String>,
}

impl<'a> Asked<'a> {
    fn new(query: &'a BTreeMap<String, String>, known: &[&str]) -> Result<Self, UsageError> {
        match query.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(wrong(name, format!("is not known here, known are: {}", known.join(", ")))),
            None => Ok(Self { query }),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.query.get(name).map(String::as_str)
    }

    fn filter(&self, now: SystemTime) -> Result<Filter, UsageError> {
        let time = |name: &str| self.get(name).map(|text| moment(name, text)).transpose();
        let to = time("to")?.unwrap_or(now);
        let from = match time("from")? {
            Some(from) => from,
            None => to.checked_sub(DEFAULT_SPAN).unwrap_or(UNIX_EPOCH),
        };
        if from > to {
            return Err(wrong("from", "is later than `to`"));
        }
        let text = |name: &str| self.get(name).map(str::to_owned);
        let (tenant, key, backend) = (text("tenant"), text("key"), text("backend"));
        Ok(Filter { from, to, tenant, key, backend, model: text("model") })
    }

    fn grouping(&self) -> Result<Grouping, UsageError> {
        let mut by = Grouping::default();
        for name in
            self.get("by").unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty())
        {
            match name {
                "tenant" => by.tenant = true,
                "key" => by.key = true,
                "backend" => by.backend = true,
                "model" => by.model = true,
                "hour" | "day" if by.step.is_some() => {
                    return Err(wrong("by", "names hour or day twice, expected one of them"));
                }
                "hour" => by.step = Some(Step::Hour),
                "day" => by.step = Some(Step::Day),
                other => {
                    let expected = "expected any of tenant, key, backend, model, and hour or day";
                    return Err(wrong("by", format!("is `{other}`, {expected}")));
                }
            }
        }
        Ok(by)
    }

    fn format(&self, taken: &[Format]) -> Result<Format, UsageError> {
        let named = |format: &Format| match format {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        };
        let asked = self.get("format").unwrap_or("json");
        taken.iter().copied().find(|format| named(format) == asked).ok_or_else(|| {
            let names: Vec<&str> = taken.iter().map(named).collect();
            wrong("format", format!("is `{asked}`, expected one of {}", names.join(", ")))
        })
    }

    fn limit(&self) -> Result<u32, UsageError> {
        let Some(text) = self.get("limit") else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| wrong("limit", format!("is `{text}`, expected 1 to {MAX_LIMIT}")))
    }

    fn skip(&self) -> Result<u64, UsageError> {
        let Some(text) = self.get("after") else { return Ok(0) };
        text.parse().map_err(|_| wrong("after", "is not the `last_id` of a page"))
    }

    fn cursor(&self) -> Result<Option<Cursor>, UsageError> {
        let Some(text) = self.get("after") else { return Ok(None) };
        let cursor = text.split_once('-').and_then(|(at, id)| {
            Some(Cursor { at: at.parse().ok()?, id: id.to_owned() }).filter(|cursor| !cursor.id.is_empty())
        });
        cursor.map(Some).ok_or_else(|| wrong("after", "is not the `last_id` of a page"))
    }
}

fn wrong(field: &str, text: impl Into<String>) -> UsageError {
    UsageError::Query { field: field.to_owned(), text: text.into() }
}

fn moment(name: &str, text: &str) -> Result<SystemTime, UsageError> {
    let seconds = || text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let midnight =
        || text.parse::<Date>().ok().and_then(|day| Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    // A text with a time is a date's too, so the longer form comes first.
    let instant = || text.parse::<Timestamp>().ok();
    let found = instant().or_else(seconds).or_else(midnight).filter(|at| *at >= Timestamp::UNIX_EPOCH);
    found.map(SystemTime::from).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        wrong(name, format!("is `{shown}`, expected a time such as 2026-01-31T08:00:00Z or 2026-01-31"))
    })
}

fn down(at: SystemTime, step: Step) -> SystemTime {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    UNIX_EPOCH + Duration::from_secs(since - since % step.seconds().unsigned_abs())
}

fn up(at: SystemTime, step: Step) -> SystemTime {
    let whole = down(at, step);
    if whole == at { at } else { whole + Duration::from_secs(step.seconds().unsigned_abs()) }
}

fn date(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
