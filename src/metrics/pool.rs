//! The gauges that are read from the pool when someone asks: keys, parks, breakers, queue. Nothing keeps them, so they cannot
//! drift.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::{GaugeVec, IntGauge, IntGaugeVec};

use super::families::Maker;
use crate::clock::Moment;
use crate::pool::breaker::Breaker;
use crate::pool::park::Gate;
use crate::pool::seat::KeyState;
use crate::pool::table::Upstream;
use crate::pool::{Pool, Table};

/// What is read from the pool.
pub struct PoolGauges {
    in_flight: IntGaugeVec,
    state: IntGaugeVec,
    parked_until: GaugeVec,
    breaker_state: IntGaugeVec,
    queue_depth: IntGauge,
}

impl PoolGauges {
    /// Registers the gauges.
    ///
    /// # Errors
    /// Two instruments of one name: a mistake in this module.
    pub fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let state = "1 for the state a key is in, 0 for the others: ready, parked, probing, disabled, draining, drained.";
        let parked = "Seconds until a key's longest park ends; 0 when not parked.";
        let breaker = "A backend's breakers: 0 closed, 1 half-open, 2 open. `connections` is that of its connections, `models` \
                       the one of its models that stands worst; the admin API names them.";
        let key = ["backend", "key"];
        Ok(Self {
            in_flight: make.gauges("key_in_flight", &key, "Requests under way with a key.")?,
            state: make.gauges("key_state", &["backend", "key", "state"], state)?,
            parked_until: make.spans("parked_until_seconds", &key, parked)?,
            breaker_state: make.gauges("breaker_state", &["backend", "breaker"], breaker)?,
            queue_depth: make.gauge("queue_depth", "Calls waiting for a key.")?,
        })
    }

    /// Sets them to what the pool says at `now`.
    pub fn read(&self, pool: &Pool, now: Moment) {
        self.queue_depth.set(i64::try_from(pool.waiting()).unwrap_or(i64::MAX));
        let table = pool.table();
        self.read_keys(&table, now);
        self.breaker_state.reset();
        for upstream in &table.upstreams {
            self.read_breakers(upstream, now);
        }
    }

    fn read_keys(&self, table: &Table, now: Moment) {
        self.in_flight.reset();
        self.state.reset();
        self.parked_until.reset();
        for (upstream, seat) in table.seats() {
            let labels = [upstream.settings.name.as_str(), seat.id.name.as_str()];
            self.in_flight.with_label_values(&labels).set(i64::from(seat.health.in_flight.load(Relaxed)));
            let (state, remaining) = seat.state(now);
            for known in KeyState::ALL {
                let gauge = self.state.with_label_values(&[labels[0], labels[1], known.name()]);
                gauge.set(i64::from(known == state));
            }
            self.parked_until.with_label_values(&labels).set(remaining.as_secs_f64());
        }
    }

    /// Models are named by callers where a route is a wildcard, so they are no label: only the worst of them is told.
    fn read_breakers(&self, upstream: &Upstream, now: Moment) {
        let models = upstream.state.models();
        let worst = models.iter().map(|(_, breaker)| degree(breaker, now)).max().unwrap_or(0);
        for (name, degree) in [("connections", degree(&upstream.state.connections, now)), ("models", worst)] {
            self.breaker_state.with_label_values(&[upstream.settings.name.as_str(), name]).set(degree);
        }
    }
}

fn degree(breaker: &Breaker, now: Moment) -> i64 {
    match breaker.gate(now) {
        Gate::Open => 0,
        Gate::Probe | Gate::Probing => 1,
        Gate::Until(_) => 2,
    }
}
