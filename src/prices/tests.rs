//! To the cent, and finer: what the list prices and an operator's own make of tokens.

use headgate_providers::Usage;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Schedule, bare_name};
use crate::config::checked::Settings;
use crate::config::{Environment, load};

const CENT: u64 = 10_000_000;

fn settings(yaml: &str) -> Settings {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    load(&[file.path().to_owned()], &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn at(day: &str) -> i64 {
    day.parse::<Date>().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp().as_second()
}

fn list_price(model: &str, usage: Usage) -> Option<u64> {
    Schedule::of(&settings("").prices, "anthropic", model).cost(&usage, at("2026-11-22"))
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

#[test]
fn a_plain_answer_costs_input_and_output() {
    // 1000 x $3 + 200 x $15 per million.
    assert_eq!(list_price("claude-sonnet-4-5", usage(1000, 200)), Some(6_000_000));
    // A million of each at $5 and $25.
    assert_eq!(list_price("claude-opus-5", usage(1_000_000, 1_000_000)), Some(3000 * CENT));
}

#[test]
fn cache_reads_and_both_kinds_of_writes_have_prices_of_their_own() {
    let session = Usage {
        input: 2_000,
        output: 1_000,
        cache_read: 100_000,
        cache_write_5m: 8_000,
        cache_write_1h: 4_000,
        ..Usage::default()
    };
    // $0.01 + $0.025 + $0.05 + $0.05 + $0.04.
    assert_eq!(list_price("claude-opus-4-5-20251101", session), Some(17 * CENT + CENT / 2));
    let only = |usage: Usage| list_price("claude-haiku-4-5", usage);
    assert_eq!(only(Usage { cache_read: 1_000_000, ..Usage::default() }), Some(10 * CENT));
    assert_eq!(only(Usage { cache_write_5m: 1_000_000, ..Usage::default() }), Some(125 * CENT));
    assert_eq!(only(Usage { cache_write_1h: 1_000_000, ..Usage::default() }), Some(200 * CENT));
}

#[test]
fn a_long_prompt_makes_every_token_dearer_and_the_cache_counts_as_prompt() {
    let short = Usage {
        input: 100_000,
        cache_read: 99_000,
        cache_write_5m: 500,
        cache_write_1h: 500,
        ..usage(0, 10_000)
    };
    // $0.30 + $0.0297 + $0.001875 + $0.003 + $0.15: 200000 tokens are not above 200000.
    assert_eq!(list_price("claude-sonnet-4-5", short), Some(484_575_000));
    // One more: $0.600006 + $0.0594 + $0.00375 + $0.006 + $0.225.
    let long = Usage { input: 100_001, ..short };
    assert_eq!(list_price("claude-sonnet-4-5", long), Some(894_156_000));
    // Output is no prompt, and models without such a price have none.
    assert_eq!(list_price("claude-sonnet-4-5", usage(1, 300_000)), Some(4_500_003_000));
    assert_eq!(list_price("claude-sonnet-4-6", usage(300_000, 0)), Some(90 * CENT));
    // Haiku 5.5 counts from 100000 on.
    assert_eq!(list_price("claude-haiku-5-5", usage(100_000, 1000)), Some(10_500_000));
    assert_eq!(list_price("claude-haiku-5-5", usage(100_001, 1000)), Some(52_500_500));
}

#[test]
fn a_batch_costs_half_of_it() {
    let batch = Usage { batch: true, ..usage(1000, 200) };
    assert_eq!(list_price("claude-sonnet-4-5", batch), Some(3_000_000));
    let long = Usage { batch: true, cache_read: 300_000, ..usage(0, 1000) };
    // Half of $0.18 + $0.0225.
    assert_eq!(list_price("claude-sonnet-4-5", long), Some(101_250_000));
    // Half of a token at $0.125 per million is 62.5 nano-dollars: rounded up, once.
    let one = Usage { batch: true, cache_write_5m: 1, ..Usage::default() };
    assert_eq!(list_price("claude-haiku-5-5", one), Some(63));
}

#[test]
fn a_price_counts_from_its_day_on() {
    let schedule = Schedule::of(&settings("").prices, "anthropic", "claude-sonnet-5-5");
    let read = Usage { cache_read: 1_000_000, ..Usage::default() };
    let border = at("2026-10-07");
    assert_eq!(schedule.cost(&read, border - 1), Some(20 * CENT));
    assert_eq!(schedule.cost(&read, border), Some(10 * CENT));
    assert_eq!(schedule.cost(&read, at("2030-01-01")), Some(10 * CENT));
}

#[test]
fn an_operators_prices_go_before_the_compiled_in_ones_and_the_newest_of_them_counts() {
    let yaml = r#"
prices:
  - { models: ["claude-sonnet-*"], from: "2026-01-01", input: 2, output: 8 }
  - { models: ["claude-sonnet-*"], from: 2026-06-01, input: 1, output: 4, batch_multiplier: 0.25 }
  - { models: ["claude-sonnet-4-5"], from: "2026-06-01", input: 9, output: 9 }
  - { models: ["gpt-5.1", "gpt-5.1-*"], backends: ["openai*"], input: 1.25, output: 10, cache_read: 0.125,
      long_context: { above_input_tokens: 272000, input: 2.5 } }
"#;
    let settings = settings(yaml);
    let cost = |backend: &str, model: &str, tokens: Usage, day: &str| {
        Schedule::of(&settings.prices, backend, model).cost(&tokens, at(day))
    };
    let million = usage(1_000_000, 0);
    // Before the first of them the list price counts; a price whose cache is left out takes input's.
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", usage(1000, 0), "2025-12-31"), Some(3_000_000));
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", million, "2026-05-31"), Some(200 * CENT));
    assert_eq!(
        cost("anthropic", "claude-sonnet-4-5", million, "2026-06-01"),
        Some(100 * CENT),
        "the first of a day"
    );
    let batch = Usage { batch: true, cache_read: 1_000_000, ..usage(0, 0) };
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", batch, "2026-06-02"), Some(25 * CENT));
    assert_eq!(cost("openai-eu", "gpt-5.1", million, "2026-06-01"), Some(250 * CENT));
    assert_eq!(cost("openai-eu", "gpt-5.1-2025-11-13", usage(1000, 0), "2026-06-01"), Some(1_250_000));
    assert_eq!(cost("elsewhere", "gpt-5.1", million, "2026-06-01"), None);
}

#[test]
fn a_model_nobody_priced_is_unpriced_and_not_free() {
    assert_eq!(list_price("gpt-7", usage(1, 1)), None);
    assert_eq!(list_price("claude-sonnet-4-5", Usage::default()), Some(0));
    let yaml = r#"prices: [ { models: ["mine"], from: "2026-01-01", input: 1, output: 1 } ]"#;
    let schedule = Schedule::of(&settings(yaml).prices, "a", "mine");
    assert_eq!(schedule.cost(&usage(1, 1), at("2026-01-01") - 1), None);
}

#[test]
fn every_place_s_name_of_a_model_finds_its_price() {
    for (name, bare) in [
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5@default", "claude-haiku-4-5"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
            "claude-sonnet-4",
        ),
        ("publishers/anthropic/models/claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("claude-sonnet-5-5[1m]", "claude-sonnet-5-5"),
        ("gpt-5.1", "gpt-5.1"),
        ("", ""),
        ("-v1", ""),
    ] {
        assert_eq!(bare_name(name), bare);
        if bare.starts_with("claude") {
            assert!(list_price(name, usage(1, 1)).is_some(), "{name} is unpriced");
        }
    }
}

#[test]
fn no_sum_overflows() {
    let most = Usage {
        input: 1 << 48,
        output: 1 << 48,
        cache_read: 1 << 48,
        cache_write_5m: 1 << 48,
        cache_write_1h: 1 << 48,
        batch: false,
    };
    let yaml = r#"prices: [ { models: ["*"], input: 1000000, output: 1000000 } ]"#;
    assert_eq!(Schedule::of(&settings(yaml).prices, "a", "b").cost(&most, 0), Some(u64::MAX));
}
