//! Every instrument, with unit and labels. Label values come from the configuration or from fixed lists only.
//!
//! Counters and histograms are fed as things happen; gauges of keys and queue are read from the pool when asked for, so
//! that they cannot drift.

mod families;
mod pool;

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Registry, TextEncoder};

use crate::clock::Moment;
use crate::pool::Pool;
use crate::prices::dollars;
use crate::settle::Record;

use families::{Keeping, Maker, Requests, Upstream};
use pool::PoolGauges;

/// Every instrument of the process.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    upstream: Upstream,
    keeping: Keeping,
    pool: PoolGauges,
}

impl Metrics {
    /// Registers every instrument.
    ///
    /// # Errors
    /// Two instruments of one name: a mistake in this module.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("headgate".to_owned()), None)?;
        let make = Maker(&registry);
        Ok(Self {
            requests: Requests::new(&make)?,
            upstream: Upstream::new(&make)?,
            keeping: Keeping::new(&make)?,
            pool: PoolGauges::new(&make)?,
            registry,
        })
    }

    /// A request ended.
    pub fn request(&self, record: &Record, duration: Duration, first_content: Option<Duration>) {
        let mut digits = [0; 3];
        let status = three_digits(record.status, &mut digits);
        self.requests.ended.with_label_values(&[record.operation, status, record.outcome.name()]).inc();
        let stream = if record.stream { "true" } else { "false" };
        self.requests.duration.with_label_values(&[record.operation, stream]).observe(duration.as_secs_f64());
        if let Some(first_content) = first_content {
            self.requests.first_token.observe(first_content.as_secs_f64());
        }
        if let (Some(before), Some(after)) = (record.before, record.after) {
            self.requests.overhead.observe((before + after).as_secs_f64());
        }
        if !record.queued.is_zero() {
            self.requests.queue_wait.observe(record.queued.as_secs_f64());
        }
        let usage = &record.usage;
        let counts = [usage.input, usage.output, usage.cache_read, usage.cache_written()];
        for (counter, count) in self.requests.tokens.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    /// A request's tokens cost `nanos` nano-dollars at `backend`.
    pub fn cost(&self, backend: &str, nanos: u64) {
        self.upstream.cost.with_label_values(&[backend]).inc_by(dollars(nanos));
    }

    /// A caller of this class was refused since `limit` was reached.
    pub fn rejected(&self, limit: &str, class: &str) {
        self.requests.rejected.with_label_values(&[limit, class]).inc();
    }

    /// Records of usage were lost.
    pub fn usage_dropped(&self, records: u64) {
        self.keeping.usage_dropped.inc_by(records);
    }

    /// Records of usage lost so far.
    #[must_use]
    pub fn usage_dropped_total(&self) -> u64 {
        self.keeping.usage_dropped.get()
    }

    /// The store took what was written, or did not. Until the first word there is no such series.
    pub fn store_up(&self, up: bool) {
        self.keeping.store_up.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// An attempt at `backend` ended.
    pub fn attempt(&self, backend: &str, outcome: &str) {
        self.upstream.attempts.with_label_values(&[backend, outcome]).inc();
    }

    /// Attempts so far by how they ended, once for each backend that had such an end.
    #[must_use]
    pub fn attempts_by_outcome(&self) -> Vec<(String, u64)> {
        counted(&self.upstream.attempts, "outcome")
    }

    /// Attempts so far by backend.
    #[must_use]
    pub fn attempts_by_backend(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (backend, count) in counted(&self.upstream.attempts, "backend") {
            *sums.entry(backend).or_default() += count;
        }
        sums
    }

    /// Moves so far of calls from one backend to another.
    #[must_use]
    pub fn failovers_total(&self) -> u64 {
        counted(&self.upstream.failovers, "cause").into_iter().map(|(_, count)| count).sum()
    }

    /// A call moved to another backend because of `cause`.
    pub fn failover(&self, from: &str, to: &str, cause: &str) {
        self.upstream.failovers.with_label_values(&[from, to, cause]).inc();
    }

    /// A connection to `backend` was made, or could not be.
    pub fn connect(&self, backend: &str, outcome: &str) {
        self.upstream.connects.with_label_values(&[backend, outcome]).inc();
    }

    /// A reload took effect or was rejected.
    pub fn reload(&self, outcome: &str) {
        self.keeping.reloads.with_label_values(&[outcome]).inc();
    }

    /// The configuration of this generation took effect at this Unix time.
    pub fn configuration(&self, generation: u64, unix_seconds: u64) {
        self.keeping.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.keeping.applied.set(i64::try_from(unix_seconds).unwrap_or(i64::MAX));
    }

    /// All of it in Prometheus's text format, gauges read from `pool` at `now`.
    ///
    /// # Errors
    /// An instrument that cannot be written: a mistake in this file.
    pub fn text(&self, pool: &Pool, now: Moment) -> Result<String, prometheus::Error> {
        self.pool.read(pool, now);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Every counter of a family with the value of one of its labels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the family holds whole numbers; only its reading is of floats"
)]
fn counted(family: &IntCounterVec, label: &str) -> Vec<(String, u64)> {
    let families = family.collect();
    let counters = families.iter().flat_map(|family| family.get_metric());
    let counted = counters.map(|counter| {
        let value = counter.get_label().iter().find(|pair| pair.name() == label);
        (
            value.map_or_else(String::new, |pair| pair.value().to_owned()),
            counter.get_counter().get_value() as u64,
        )
    });
    counted.collect()
}

fn three_digits(status: u16, digits: &mut [u8; 3]) -> &str {
    for (place, digit) in [100, 10, 1].into_iter().zip(digits.iter_mut()) {
        *digit = b'0' + u8::try_from(status / place % 10).unwrap_or(0);
    }
    std::str::from_utf8(digits).unwrap_or("000")
}
