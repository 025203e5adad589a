//! Every instrument, with unit and labels. Label values come from the configuration or from fixed lists only.
//!
//! Counters and histograms are fed as things happen; gauges of keys and queue are read from the pool when asked for, so
//! that they cannot drift.

mod pool;

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::clock::Moment;
use crate::pool::Pool;
use crate::prices::dollars;
use crate::settle::Record;

use pool::PoolGauges;

/// Bounds of durations, seconds: from microseconds of overhead to minutes of streams.
const DURATION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 600.0, 1800.0,
];

/// Bounds of the gateway's own share of a request, seconds.
const OVERHEAD_BUCKETS: &[f64] = &[
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    1.0,
];

/// Every instrument of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    first_token: Histogram,
    overhead: Histogram,
    queue_wait: Histogram,
    rejected: IntCounterVec,
    attempts: IntCounterVec,
    failovers: IntCounterVec,
    tokens: [IntCounter; 4],
    cost: CounterVec,
    usage_dropped: IntCounter,
    store_up: IntGaugeVec,
    connects: IntCounterVec,
    reloads: IntCounterVec,
    generation: IntGauge,
    applied: IntGauge,
    pool: PoolGauges,
}

impl Metrics {
    /// Registers every instrument.
    ///
    /// # Errors
    /// Two instruments of one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("headgate".to_owned()), None)?;
        let tokens = counters(&registry, "tokens_total", "Tokens as upstream counted them.", &["direction"])?;
        let direction = |name: &str| tokens.with_label_values(&[name]);
        Ok(Self {
            requests: counters(
                &registry,
                "requests_total",
                "Requests answered.",
                &["operation", "status", "outcome"],
            )?,
            duration: registered(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new("request_duration_seconds", "From the head of a request to its end.")
                        .buckets(DURATION_BUCKETS.to_vec()),
                    &["operation", "stream"],
                ),
            )?,
            first_token: histogram(
                &registry,
                "time_to_first_token_seconds",
                "From the head of a request to its first content.",
                DURATION_BUCKETS,
            )?,
            overhead: histogram(
                &registry,
                "overhead_seconds",
                "The gateway's own share of an answered request: from its head until the first attempt leaves, waits for \
                 the body and for a key left out, and from the first content to the first byte handed on.",
                OVERHEAD_BUCKETS,
            )?,
            queue_wait: histogram(
                &registry,
                "queue_wait_seconds",
                "Time spent waiting for a key, of those that waited.",
                DURATION_BUCKETS,
            )?,
            rejected: counters(
                &registry,
                "admission_rejected_total",
                "Requests refused before any attempt, by what was full and the caller's class.",
                &["limit", "class"],
            )?,
            attempts: counters(
                &registry,
                "attempts_total",
                "Attempts at a backend by how they ended.",
                &["backend", "outcome"],
            )?,
            failovers: counters(
                &registry,
                "failovers_total",
                "Moves of a call from one backend to another.",
                &["from", "to", "cause"],
            )?,
            tokens: [
                direction("input"),
                direction("output"),
                direction("cache_read"),
                direction("cache_written"),
            ],
            cost: registered(
                &registry,
                CounterVec::new(
                    Opts::new("cost_usd_total", "US dollars that tokens cost, of models with a known price."),
                    &["backend"],
                ),
            )?,
            usage_dropped: registered(
                &registry,
                IntCounter::new("usage_dropped_total", "Records of usage that were lost instead of written."),
            )?,
            store_up: registered(
                &registry,
                IntGaugeVec::new(
                    Opts::new("store_up", "1 where the store took what was last written to it, else 0."),
                    &[],
                ),
            )?,
            connects: counters(
                &registry,
                "connects_total",
                "Connections made to a backend.",
                &["backend", "outcome"],
            )?,
            reloads: counters(&registry, "reloads_total", "Configuration reloads.", &["outcome"])?,
            generation: registered(
                &registry,
                IntGauge::new(
                    "config_generation",
                    "Configurations put in force since the start, that of the start included.",
                ),
            )?,
            applied: registered(
                &registry,
                IntGauge::new(
                    "config_applied_timestamp_seconds",
                    "When the configuration in force took effect, Unix time.",
                ),
            )?,
            pool: PoolGauges::new(&registry)?,
            registry,
        })
    }

    /// A request ended.
    pub fn request(&self, record: &Record, duration: Duration, first_content: Option<Duration>) {
        let mut digits = [0; 3];
        let status = three_digits(record.status, &mut digits);
        self.requests.with_label_values(&[record.operation, status, record.outcome.name()]).inc();
        let stream = if record.stream { "true" } else { "false" };
        self.duration.with_label_values(&[record.operation, stream]).observe(duration.as_secs_f64());
        if let Some(first_content) = first_content {
            self.first_token.observe(first_content.as_secs_f64());
        }
        if let (Some(before), Some(after)) = (record.before, record.after) {
            self.overhead.observe((before + after).as_secs_f64());
        }
        if !record.queued.is_zero() {
            self.queue_wait.observe(record.queued.as_secs_f64());
        }
        let usage = &record.usage;
        let counts = [usage.input, usage.output, usage.cache_read, usage.cache_written()];
        for (counter, count) in self.tokens.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    /// A request's tokens cost `nanos` nano-dollars at `backend`.
    pub fn cost(&self, backend: &str, nanos: u64) {
        self.cost.with_label_values(&[backend]).inc_by(dollars(nanos));
    }

    /// A caller of this class was refused since `limit` was reached.
    pub fn rejected(&self, limit: &str, class: &str) {
        self.rejected.with_label_values(&[limit, class]).inc();
    }

    /// Records of usage were lost.
    pub fn usage_dropped(&self, records: u64) {
        self.usage_dropped.inc_by(records);
    }

    /// Records of usage lost so far.
    #[must_use]
    pub fn usage_dropped_total(&self) -> u64 {
        self.usage_dropped.get()
    }

    /// The store took what was written, or did not. Until the first word there is no such series.
    pub fn store_up(&self, up: bool) {
        self.store_up.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// An attempt at `backend` ended.
    pub fn attempt(&self, backend: &str, outcome: &str) {
        self.attempts.with_label_values(&[backend, outcome]).inc();
    }

    /// Attempts so far by how they ended, once for each backend that had such an end.
    #[must_use]
    pub fn attempts_by_outcome(&self) -> Vec<(String, u64)> {
        counted(&self.attempts, "outcome")
    }

    /// Attempts so far by backend.
    #[must_use]
    pub fn attempts_by_backend(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (backend, count) in counted(&self.attempts, "backend") {
            *sums.entry(backend).or_default() += count;
        }
        sums
    }

    /// Moves so far of calls from one backend to another.
    #[must_use]
    pub fn failovers_total(&self) -> u64 {
        counted(&self.failovers, "cause").into_iter().map(|(_, count)| count).sum()
    }

    /// A call moved to another backend because of `cause`.
    pub fn failover(&self, from: &str, to: &str, cause: &str) {
        self.failovers.with_label_values(&[from, to, cause]).inc();
    }

    /// A connection to `backend` was made, or could not be.
    pub fn connect(&self, backend: &str, outcome: &str) {
        self.connects.with_label_values(&[backend, outcome]).inc();
    }

    /// A reload took effect or was rejected.
    pub fn reload(&self, outcome: &str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// The configuration of this generation took effect at this Unix time.
    pub fn configuration(&self, generation: u64, unix_seconds: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.applied.set(i64::try_from(unix_seconds).unwrap_or(i64::MAX));
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

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, Histogram::with_opts(opts))
}
