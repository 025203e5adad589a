//! What is asked of kept usage, and what comes out: sums by what one wants to know, and single records.

use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

/// Which requests; what is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// From then on.
    pub from: SystemTime,
    /// Before then.
    pub to: SystemTime,
    /// Whose; empty: those of nobody known.
    pub tenant: Option<String>,
    /// By which key.
    pub key: Option<String>,
    /// At which backend.
    pub backend: Option<String>,
    /// Of which model: the one that sums count a request under.
    pub model: Option<String>,
}

/// Length of a sum in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day of UTC.
    Day,
}

impl Step {
    /// Its seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

/// What sums are apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// By tenant.
    pub tenant: bool,
    /// By key.
    pub key: bool,
    /// By backend.
    pub backend: bool,
    /// By model.
    pub model: bool,
    /// By time.
    pub step: Option<Step>,
}

/// Sums to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumsPage {
    /// Of which requests.
    pub filter: Filter,
    /// Apart by what.
    pub by: Grouping,
    /// Which length of sums to add up.
    pub table: Step,
    /// How many sums to pass over.
    pub skip: u64,
    /// How many at most.
    pub limit: u32,
}

/// Records to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsPage {
    /// Which requests.
    pub filter: Filter,
    /// Only those behind this one.
    pub after: Option<Cursor>,
    /// How many at most.
    pub limit: u32,
}

/// A place among records: they are in the order of their time and, within a microsecond, of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Microseconds since 1970 UTC.
    pub at: i64,
    /// The request's id.
    pub id: String,
}

/// The sum of some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Sum {
    /// When the hour or day began, RFC 3339; only where sums are apart by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Whose; empty where nobody is known. Only where sums are apart by tenant, as the next three by theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// By which key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// At which backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Of which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Those that ended in an error, before or amid the answer.
    pub failed: u64,
    /// Those with tokens whose price is unknown: their cost is not in `cost_usd`.
    pub unpriced: u64,
    /// Uncached input, tokens.
    pub input_tokens: u64,
    /// Output, tokens.
    pub output_tokens: u64,
    /// Input read from the prompt cache, tokens.
    pub cache_read_tokens: u64,
    /// Input written to the five-minute cache, tokens.
    pub cache_write_5m_tokens: u64,
    /// Input written to the one-hour cache, tokens.
    pub cache_write_1h_tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// The same in whole nano-dollars, exact.
    pub cost_nano_usd: u64,
}

/// One request as kept.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Kept {
    /// The request's id.
    pub id: String,
    /// When its head arrived, RFC 3339.
    pub at: String,
    /// Which endpoint.
    pub operation: String,
    /// Who called; null where nobody is known.
    pub tenant: Option<String>,
    /// The key that served, or was tried last; null where none was.
    pub key: Option<String>,
    /// That key's backend.
    pub backend: Option<String>,
    /// The asked model, as the caller wrote it, cut after 256 bytes.
    pub model: String,
    /// The model that served, by upstream's name.
    pub model_served: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Uncached input, tokens.
    pub input_tokens: u64,
    /// Output, tokens.
    pub output_tokens: u64,
    /// Input read from the prompt cache, tokens.
    pub cache_read_tokens: u64,
    /// Input written to the five-minute cache, tokens.
    pub cache_write_5m_tokens: u64,
    /// Input written to the one-hour cache, tokens.
    pub cache_write_1h_tokens: u64,
    /// US dollars; null where the price is unknown or no tokens were told.
    pub cost_usd: Option<f64>,
    /// The same in whole nano-dollars, exact.
    pub cost_nano_usd: Option<u64>,
    /// Attempts made.
    pub attempts: u32,
    /// Time spent waiting for a key, milliseconds.
    pub queue_ms: f64,
    /// From the head to the first content, milliseconds.
    pub first_content_ms: Option<f64>,
    /// From the head to the end, milliseconds.
    pub duration_ms: f64,
    /// Status sent to the caller; 0 when none was.
    pub status: u16,
    /// ok, failed, cut or `client_closed`.
    pub outcome: String,
    /// The kind of the last fault; null where there was none.
    pub cause: Option<String>,
}
