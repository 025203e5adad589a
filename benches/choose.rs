//! What a choice costs: about a microsecond among 10 keys, at most 10 microseconds among 1,000 (one core, all keys usable).
//!
//! `choose` is the walk alone; `lease` adds the lock, the taking and the giving back.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use headgate::chance::Chance;
use headgate::clock::{Clock, Moment};
use headgate::config::{Environment, load};
use headgate::pool::{Avoid, Pool, choose};

const MODEL: &str = "claude-sonnet-4-5";

fn pool(keys: usize) -> Pool {
    let mut yaml = "backends:\n  - name: a\n    provider: anthropic\n    keys:\n".to_owned();
    for key in 0..keys {
        writeln!(yaml, "      - {{ name: k{key}, secret: 'value:k{key}' }}").unwrap();
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let settings = load(&[file.path().to_owned()], &Environment::default()).unwrap();
    Pool::new(Arc::new(settings), Clock::starting_at(SystemTime::UNIX_EPOCH), Chance::seeded(1))
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    let now = Moment::from_micros(1);
    for keys in [10, 100, 1_000] {
        let pool = pool(keys);
        let plan = pool.plan(MODEL).unwrap();
        let avoid = Avoid::default();
        criterion.bench_function(&format!("choose/{keys}"), |bench| {
            bench.iter(|| choose::choose(black_box(&plan), &avoid, now, now).unwrap());
        });
        criterion.bench_function(&format!("lease/{keys}"), |bench| {
            bench.iter(|| drop(pool.lease(black_box(&plan), &avoid, now, now)));
        });
    }
    criterion.final_summary();
}
