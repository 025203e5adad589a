//! `prices`, and the compiled-in table: dollars per million tokens made exact integers, dates made Unix time.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::findings::Findings;
use crate::config::checked::{LongContext, ModelPattern, Price, Rates};
use crate::config::{layers, raw};

/// The list prices.
const TABLE: &str = include_str!("../../../config/prices.yaml");
/// Dearer than this per million tokens is a slip of the pen; it also keeps costs far from overflowing.
const MOST_DOLLARS: f64 = 1_000_000.0;

/// The configured prices, then the compiled-in ones.
pub fn prices(raw: &[raw::Price], findings: &mut Findings<'_>) -> Arc<[Price]> {
    let mut prices: Vec<Price> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        prices.push(price(&format!("prices[{index}]"), raw, true, findings));
    }
    match table() {
        Ok(table) => {
            for (index, raw) in table.iter().enumerate() {
                prices.push(price(&format!("config/prices.yaml: prices[{index}]"), raw, false, findings));
            }
        }
        Err(text) => findings.wrong("config/prices.yaml", text),
    }
    prices.into()
}

fn table() -> Result<Vec<raw::Price>, String> {
    let mut read = layers::parse(TABLE)?;
    let prices = read.remove("prices").ok_or("has no prices")?;
    prices.try_deserialize().map_err(|error| error.to_string())
}

fn price(path: &str, raw: &raw::Price, configured: bool, findings: &mut Findings<'_>) -> Price {
    if raw.models.is_empty() {
        findings.wrong(format!("{path}.models"), "is missing, expected names of models");
    }
    let mut patterns = |name: &str, list: &[String]| -> Vec<ModelPattern> {
        let mut compiled = Vec::with_capacity(list.len());
        for (index, pattern) in list.iter().enumerate() {
            let pattern = findings.text(&format!("{path}.{name}[{index}]"), Some(pattern));
            compiled.push(ModelPattern::new(&pattern));
        }
        compiled
    };
    let (models, backends) = (patterns("models", &raw.models), patterns("backends", &raw.backends));
    let from = raw.from.as_deref().and_then(|text| day(&format!("{path}.from"), text, findings));
    let mut rate = |name: &str, dollars: Option<f64>| rate(&format!("{path}.{name}"), dollars, findings);
    let (input, output) = (rate("input", raw.input), rate("output", raw.output));
    let (read, write_5m, write_1h) = (
        rate("cache_read", raw.cache_read),
        rate("cache_write_5m", raw.cache_write_5m),
        rate("cache_write_1h", raw.cache_write_1h),
    );
    for (name, missing) in [("input", raw.input.is_none()), ("output", raw.output.is_none())] {
        if missing {
            findings.wrong(format!("{path}.{name}"), "is missing, expected US dollars per million tokens");
        }
    }
    let input = input.unwrap_or_default();
    let rates = Rates {
        input,
        output: output.unwrap_or_default(),
        cache_read: read.unwrap_or(input),
        cache_write_5m: write_5m.unwrap_or(input),
        cache_write_1h: write_1h.unwrap_or(input),
    };
    let long = raw.long_context.as_ref();
    let long_context = long.map(|raw| long_context(&format!("{path}.long_context"), raw, &rates, findings));
    let batch_millionths = multiplier(&format!("{path}.batch_multiplier"), raw.batch_multiplier, findings);
    Price { models, backends, from, rates, batch_millionths, long_context, configured }
}

fn long_context(
    path: &str,
    raw: &raw::LongContext,
    base: &Rates,
    findings: &mut Findings<'_>,
) -> LongContext {
    let above_input_tokens = raw.above_input_tokens.unwrap_or_default();
    if above_input_tokens == 0 {
        findings.wrong(format!("{path}.above_input_tokens"), "is missing, expected a number of tokens");
    }
    let mut rate = |name: &str, dollars: Option<f64>, base: u64| {
        rate(&format!("{path}.{name}"), dollars, findings).unwrap_or(base)
    };
    let rates = Rates {
        input: rate("input", raw.input, base.input),
        output: rate("output", raw.output, base.output),
        cache_read: rate("cache_read", raw.cache_read, base.cache_read),
        cache_write_5m: rate("cache_write_5m", raw.cache_write_5m, base.cache_write_5m),
        cache_write_1h: rate("cache_write_1h", raw.cache_write_1h, base.cache_write_1h),
    };
    LongContext { above_input_tokens, rates }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be from 0 to a million dollars, which is 10^15"
)]
fn rate(path: &str, dollars: Option<f64>, findings: &mut Findings<'_>) -> Option<u64> {
    let dollars = dollars?;
    findings.within(path, dollars, 0.0..=MOST_DOLLARS);
    Some((dollars.clamp(0.0, MOST_DOLLARS) * 1e9).round() as u64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be from 0 to 1")]
fn multiplier(path: &str, share: Option<f64>, findings: &mut Findings<'_>) -> u32 {
    let share = share.unwrap_or(1.0);
    findings.within(path, share, 0.0..=1.0);
    (share.clamp(0.0, 1.0) * 1e6).round() as u32
}

fn day(path: &str, text: &str, findings: &mut Findings<'_>) -> Option<i64> {
    let midnight = |day: Date| day.to_zoned(TimeZone::UTC).ok();
    let Some(midnight) = text.parse::<Date>().ok().and_then(midnight) else {
        findings.wrong(path, format!("is `{text}`, expected a day such as 2026-01-31"));
        return None;
    };
    Some(midnight.timestamp().as_second())
}
