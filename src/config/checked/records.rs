//! Records of usage, and what tokens cost.

use std::time::Duration;

use super::ModelPattern;

/// Records of usage: how they reach the store and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecords {
    /// Most records that wait to be written; further ones are dropped and counted.
    pub queue: usize,
    /// How often what waits is written.
    pub flush: Duration,
    /// Most records of one transaction.
    pub batch_rows: usize,
    /// Most models that sums name; further ones count as `other`.
    pub max_models: usize,
    /// Longest pause between two tries while the store takes nothing.
    pub retry_max: Duration,
    /// How long the end of the process waits for the last records.
    pub close: Duration,
    /// How long single records are kept.
    pub keep_records: Duration,
    /// How long sums by the hour are kept.
    pub keep_hourly: Duration,
    /// How long sums by the day are kept.
    pub keep_daily: Duration,
}

/// What the tokens of some models cost from a day on.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The models it is for: upstream's names, or what is common to them in all dialects.
    pub models: Vec<ModelPattern>,
    /// The backends it is for; empty: all.
    pub backends: Vec<ModelPattern>,
    /// From when on it counts, seconds of Unix time; `None`: ever since.
    pub from: Option<i64>,
    /// Per token.
    pub rates: Rates,
    /// What a batch costs of it, in millionths.
    pub batch_millionths: u32,
    /// Other rates for all tokens of a request with a long prompt.
    pub long_context: Option<LongContext>,
    /// Whether an operator wrote it, and it so goes before the compiled-in ones.
    pub configured: bool,
}

/// Millionths of a nano-dollar per token, which is US dollars per million tokens times 10⁹: every price that is written in
/// dollars per million tokens with up to nine decimals is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Uncached input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the five-minute cache.
    pub cache_write_5m: u64,
    /// Input written to the one-hour cache.
    pub cache_write_1h: u64,
}

/// Rates of requests with a long prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongContext {
    /// Input of all kinds above which they count, tokens.
    pub above_input_tokens: u64,
    /// Per token, for all tokens of the request.
    pub rates: Rates,
}
