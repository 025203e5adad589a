//! `usage` and `prices`: what is wrong with them is told by name, and the compiled-in table is right.

use std::time::Duration;

use super::Deployment;
use crate::config::checked::{LongContext, Rates};
use crate::config::{Environment, load};

#[test]
fn the_compiled_in_table_holds_for_every_entry() {
    let prices = load(&[], &Environment::default()).unwrap().prices;
    assert!(prices.len() > 10 && prices.iter().all(|price| !price.configured));
    for price in prices.iter() {
        let rates = price.rates;
        let name = price.models[0].pattern();
        assert!(rates.cache_read < rates.input && rates.input < rates.cache_write_5m, "{name}");
        assert!(rates.cache_write_5m < rates.cache_write_1h && rates.cache_write_1h < rates.output, "{name}");
        assert_eq!(price.batch_millionths, 500_000, "{name}");
        if let Some(LongContext { rates: long, .. }) = price.long_context {
            assert!(
                long.input > rates.input && long.output > rates.output && long.cache_read > rates.cache_read
            );
        }
        // Whole nano-dollars per token: costs come out exact.
        let all = [rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h];
        assert!(all.iter().all(|rate| rate % 1_000_000 == 0), "{name}");
    }
}

#[test]
fn a_price_is_exact_and_what_is_left_out_is_as_input() {
    let yaml = r#"
prices:
  - { models: [m], input: 0.1, output: 0.000000001, cache_read: 0, from: "1970-01-02",
      long_context: { above_input_tokens: 5, output: 3 } }
"#;
    let settings = Deployment::of(yaml).settings();
    let price = &settings.prices[0];
    let rates = Rates {
        input: 100_000_000,
        output: 1,
        cache_read: 0,
        cache_write_5m: 100_000_000,
        cache_write_1h: 100_000_000,
    };
    assert_eq!((price.rates, price.from, price.batch_millionths), (rates, Some(86_400), 1_000_000));
    let long = LongContext { above_input_tokens: 5, rates: Rates { output: 3_000_000_000, ..rates } };
    assert_eq!(price.long_context, Some(long));
    assert_eq!(settings.usage.keep_records, Duration::from_secs(30 * 86_400));
}

#[test]
fn what_is_wrong_is_told_by_its_path() {
    let yaml = r#"
usage: { queue: 0, flush_ms: 5, batch_rows: 0, max_models: 0, retry_max_ms: 1, close_ms: 60001, keep_records_days: 0 }
prices:
  - { input: -1, batch_multiplier: 2, from: "2026-02-30" }
  - { models: [""], backends: [" "], input: 1, output: 2000000, long_context: { cache_read: -0.5 } }
"#;
    let found = Deployment::of(yaml).problems();
    let paths = [
        "usage.queue",
        "usage.flush_ms",
        "usage.batch_rows",
        "usage.max_models",
        "usage.retry_max_ms",
        "usage.close_ms",
        "usage.keep_records_days",
        "prices[0].models",
        "prices[0].from",
        "prices[0].input",
        "prices[0].output",
        "prices[0].batch_multiplier",
        "prices[1].models[0]",
        "prices[1].backends[0]",
        "prices[1].output",
        "prices[1].long_context.above_input_tokens",
        "prices[1].long_context.cache_read",
    ];
    for path in paths {
        let told = format!("{path}: ");
        assert!(found.iter().any(|problem| problem.starts_with(&told)), "{path} in {found:#?}");
    }
    assert_eq!(found.len(), paths.len(), "{found:#?}");
}
