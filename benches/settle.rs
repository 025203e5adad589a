//! What settling a request costs: its metrics, its price and the record of usage, a few microseconds at most (one core).
//!
//! `alone` has no store attached; `kept` puts every record into the queue, as with one.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use headgate::call::RequestId;
use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::{Environment, load};
use headgate::gateway::Gateway;
use headgate::pool::Avoid;
use headgate::settle::{Outcome, Record};
use headgate_providers::Usage;

const MODEL: &str = "claude-sonnet-4-5";

fn gateway() -> Arc<Gateway> {
    let yaml = "backends: [ { name: a, provider: anthropic, keys: [ { name: k, secret: 'value:k' } ] } ]";
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let settings = load(&[file.path().to_owned()], &Environment::default()).unwrap();
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH);
    Arc::new(Gateway::new(settings, clock, Chance::seeded(1)).unwrap())
}

fn record(gateway: &Arc<Gateway>, id: &RequestId) -> Record {
    let now = gateway.clock.now();
    let plan = gateway.pool.plan(MODEL).unwrap();
    let lease =
        gateway.pool.lease(&plan, &Avoid::default(), now, now).unwrap_or_else(|_| std::process::abort());
    let mut record = Record::open(gateway.clone(), id.clone(), "messages", now);
    record.model = MODEL.to_owned();
    record.attempt(&lease);
    record.sent(now);
    (record.status, record.answered, record.outcome) = (200, true, Outcome::Ok);
    record.after = Some(Duration::from_micros(20));
    record.usage =
        Usage { input: 1000, output: 100, cache_read: 5000, cache_write_5m: 100, ..Usage::default() };
    record
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    for kept in [false, true] {
        let (gateway, id) = (gateway(), RequestId::new());
        let mut waiting = kept.then(|| gateway.usage.open(1 << 16).unwrap());
        criterion.bench_function(if kept { "settle/kept" } else { "settle/alone" }, |bench| {
            let prepare = || {
                while waiting.as_mut().is_some_and(|waiting| waiting.try_recv().is_ok()) {}
                record(&gateway, &id)
            };
            bench.iter_batched(prepare, drop, criterion::BatchSize::SmallInput);
        });
    }
    criterion.final_summary();
}
