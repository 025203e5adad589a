//! What tokens cost. Pure: prices, tokens and a date go in, nano-dollars come out.
//!
//! Money is whole nano-dollars (10⁻⁹ US dollars), rounded once for each kind of token; a price of whole nano-dollars per token,
//! which every published one is, comes out exact. What has no price is unpriced, never free.

use std::cmp::Reverse;
use std::sync::Arc;

use headgate_providers::Usage;

use crate::config::checked::{Price, Rates};

/// Nano-dollars of one dollar.
pub const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

/// Nano-dollars as dollars, for people and programs that count in floats.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact to a nano-dollar up to nine million dollars")]
pub fn dollars(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_DOLLAR as f64
}

/// The prices of one model at one backend, newest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Schedule(Arc<[Price]>);

impl Schedule {
    /// Those of `prices` that are for the model upstream calls `model`, at `backend`.
    #[must_use]
    pub fn of(prices: &[Price], backend: &str, model: &str) -> Self {
        let bare = bare_name(model);
        let is_for = |price: &&Price| {
            let here = price.backends.is_empty() || price.backends.iter().any(|name| name.matches(backend));
            here && price.models.iter().any(|name| name.matches(model) || name.matches(bare))
        };
        let mut matching: Vec<Price> = prices.iter().filter(is_for).cloned().collect();
        // Stable: of equal dates the first written stays first.
        matching.sort_by_key(|price| (!price.configured, Reverse(price.from)));
        Self(matching.into())
    }

    /// What `usage` cost at `unix_seconds`, nano-dollars; `None` where no price counted then.
    #[must_use]
    pub fn cost(&self, usage: &Usage, unix_seconds: i64) -> Option<u64> {
        let counts = |price: &&Price| price.from.is_none_or(|from| from <= unix_seconds);
        let price = self.0.iter().find(counts)?;
        let prompt = usage.input + usage.cache_read + usage.cache_written();
        let long = price.long_context.as_ref().filter(|long| prompt > long.above_input_tokens);
        let rates = long.map_or(&price.rates, |long| &long.rates);
        Some(total(usage, rates, if usage.batch { price.batch_millionths } else { MILLION }))
    }
}

const MILLION: u32 = 1_000_000;

fn total(usage: &Usage, rates: &Rates, millionths: u32) -> u64 {
    let kinds = [
        (usage.input, rates.input),
        (usage.output, rates.output),
        (usage.cache_read, rates.cache_read),
        (usage.cache_write_5m, rates.cache_write_5m),
        (usage.cache_write_1h, rates.cache_write_1h),
    ];
    kinds.into_iter().fold(0, |sum, (tokens, rate)| sum.saturating_add(cost(tokens, rate, millionths)))
}

/// Nano-dollars of `tokens` at `rate` (millionths of one each), rounded half up.
fn cost(tokens: u64, rate: u64, millionths: u32) -> u64 {
    const SCALE: u128 = 1_000_000_000_000;
    let exact = u128::from(tokens) * u128::from(rate) * u128::from(millionths);
    u64::try_from((exact + SCALE / 2) / SCALE).unwrap_or(u64::MAX)
}

/// What is left of a model's name without what a place adds to it: `us.anthropic.claude-x-4-5-20250929-v1:0` of Bedrock, also
/// at the end of a resource name, and `claude-x-4-5@20250929` of Vertex AI are `claude-x-4-5`, as is the dated first-party name.
#[must_use]
pub fn bare_name(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split_once("anthropic.").map_or(name, |(_, name)| name);
    let name = name.split(['@', ':', '[']).next().unwrap_or(name);
    let name = without_suffix(name, |suffix| {
        suffix.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && all_digits(digits))
    });
    without_suffix(name, |suffix| suffix.len() == 8 && all_digits(suffix))
}

fn without_suffix(name: &str, is_addition: impl FnOnce(&str) -> bool) -> &str {
    name.rsplit_once('-').filter(|(_, suffix)| is_addition(suffix)).map_or(name, |(name, _)| name)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
