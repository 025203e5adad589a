//! The instruments that are fed as things happen, in families by what they tell of; each is registered as it is made.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Error, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

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

/// Makes instruments and registers them. Every one of them fails where two have one name: a mistake in this module.
pub struct Maker<'a>(pub &'a Registry);

impl Maker<'_> {
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.registered(IntCounter::new(name, help))
    }

    pub fn counters(&self, name: &str, labels: &[&str], help: &str) -> Result<IntCounterVec, Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn sums(&self, name: &str, labels: &[&str], help: &str) -> Result<CounterVec, Error> {
        self.registered(CounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.registered(IntGauge::new(name, help))
    }

    pub fn gauges(&self, name: &str, labels: &[&str], help: &str) -> Result<IntGaugeVec, Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn spans(&self, name: &str, labels: &[&str], help: &str) -> Result<GaugeVec, Error> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn durations(&self, name: &str, labels: &[&str], help: &str) -> Result<HistogramVec, Error> {
        let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.registered(HistogramVec::new(opts, labels))
    }

    pub fn histogram(&self, name: &str, buckets: &[f64], help: &str) -> Result<Histogram, Error> {
        self.registered(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn registered<C: Collector + Clone + 'static>(&self, made: Result<C, Error>) -> Result<C, Error> {
        let made = made?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

/// What callers asked for and got.
pub struct Requests {
    pub ended: IntCounterVec,
    pub duration: HistogramVec,
    pub first_token: Histogram,
    pub overhead: Histogram,
    pub queue_wait: Histogram,
    pub rejected: IntCounterVec,
    /// Input, output, cache reads, cache writes.
    pub tokens: [IntCounter; 4],
}

impl Requests {
    pub fn new(make: &Maker<'_>) -> Result<Self, Error> {
        let tokens = make.counters("tokens_total", &["direction"], "Tokens as upstream counted them.")?;
        let first_token = "From the head of a request to its first content.";
        let overhead = "The gateway's own share of an answered request: from its head until the first attempt leaves, waits \
                        for the body and for a key left out, and from the first content to the first byte handed on.";
        let queue_wait = "Time spent waiting for a key, of those that waited.";
        let rejected = "Requests refused before any attempt, by what was full and the caller's class.";
        let directions = ["input", "output", "cache_read", "cache_written"];
        Ok(Self {
            ended: make.counters(
                "requests_total",
                &["operation", "status", "outcome"],
                "Requests answered.",
            )?,
            duration: make.durations(
                "request_duration_seconds",
                &["operation", "stream"],
                "From the head of a request to its end.",
            )?,
            first_token: make.histogram("time_to_first_token_seconds", DURATION_BUCKETS, first_token)?,
            overhead: make.histogram("overhead_seconds", OVERHEAD_BUCKETS, overhead)?,
            queue_wait: make.histogram("queue_wait_seconds", DURATION_BUCKETS, queue_wait)?,
            rejected: make.counters("admission_rejected_total", &["limit", "class"], rejected)?,
            tokens: directions.map(|direction| tokens.with_label_values(&[direction])),
        })
    }
}

/// What went upstream, and what it cost.
pub struct Upstream {
    pub attempts: IntCounterVec,
    pub failovers: IntCounterVec,
    pub connects: IntCounterVec,
    pub cost: CounterVec,
}

impl Upstream {
    pub fn new(make: &Maker<'_>) -> Result<Self, Error> {
        let outcome = ["backend", "outcome"];
        let moves = "Moves of a call from one backend to another.";
        let cost = "US dollars that tokens cost, of models with a known price.";
        Ok(Self {
            attempts: make.counters(
                "attempts_total",
                &outcome,
                "Attempts at a backend by how they ended.",
            )?,
            failovers: make.counters("failovers_total", &["from", "to", "cause"], moves)?,
            connects: make.counters("connects_total", &outcome, "Connections made to a backend.")?,
            cost: make.sums("cost_usd_total", &["backend"], cost)?,
        })
    }
}

/// The store, and the configuration in force.
pub struct Keeping {
    pub usage_dropped: IntCounter,
    /// Without labels; a family, so that there is no series before the first word of the store.
    pub store_up: IntGaugeVec,
    pub reloads: IntCounterVec,
    pub generation: IntGauge,
    pub applied: IntGauge,
}

impl Keeping {
    pub fn new(make: &Maker<'_>) -> Result<Self, Error> {
        let dropped = "Records of usage that were lost instead of written.";
        let up = "1 where the store took what was last written to it, else 0.";
        let generation = "Configurations put in force since the start, that of the start included.";
        let applied = "When the configuration in force took effect, Unix time.";
        Ok(Self {
            usage_dropped: make.counter("usage_dropped_total", dropped)?,
            store_up: make.gauges("store_up", &[], up)?,
            reloads: make.counters("reloads_total", &["outcome"], "Configuration reloads.")?,
            generation: make.gauge("config_generation", generation)?,
            applied: make.gauge("config_applied_timestamp_seconds", applied)?,
        })
    }
}
