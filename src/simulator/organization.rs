//! An organization's limits: what its keys share, and what its headers say about them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wildmatch::WildMatch;

use super::bucket::{Bucket, whole_seconds};
use super::clock::Clock;
use super::config::{LimitConfig, OrganizationConfig, RampConfig};
use super::error::ApiError;
use super::weigh::{Prompt, PromptCache, Split};

/// A running organization.
#[derive(Debug)]
pub struct Organization {
    /// Its name in the configuration.
    pub name: String,
    /// Its id on the wire.
    pub id: String,
    /// Its workspace on the wire.
    pub workspace_id: Option<String>,
    /// Requests at once; 0 = no limit.
    pub concurrent: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    classes: Vec<Class>,
    counting: Option<Bucket>,
    ramp: Option<Ramp>,
    cache: PromptCache,
}

#[derive(Debug)]
struct Class {
    models: WildMatch,
    count_cache_reads: bool,
    requests: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A bucket is empty.
    Limit {
        /// What it counts.
        what: &'static str,
        /// Its rate.
        per_minute: u64,
        /// Until it could serve.
        wait: Duration,
    },
    /// Too sharp an increase.
    Ramp {
        /// Until the next window.
        wait: Duration,
    },
}

impl Refusal {
    /// The value of `retry-after`.
    pub fn retry_after(&self) -> u64 {
        match self {
            Self::Limit { wait, .. } | Self::Ramp { wait } => whole_seconds(*wait),
        }
    }

    /// The error the API answers.
    pub fn error(&self, organization: &Organization) -> ApiError {
        let id = &organization.id;
        match self {
            Self::Limit { what, per_minute, .. } => {
                let limit = grouped(*per_minute);
                ApiError::new(
                    429,
                    format!(
                        "This request would exceed the rate limit for your organization ({id}) of {limit} {what} per \
                         minute. The response headers show the current usage; wait or send less."
                    ),
                )
            }
            Self::Ramp { .. } => ramp_error(id),
        }
    }
}

/// The acceleration limit's error.
pub fn ramp_error(organization_id: &str) -> ApiError {
    let message = format!(
        "This request would exceed the acceleration limit for your organization ({organization_id}). Increase the \
         usage more gradually."
    );
    ApiError::new(429, message).code("ramp_limit_exceeded")
}

impl Organization {
    /// A fresh organization with full buckets.
    pub fn new(config: &OrganizationConfig, now: Duration) -> Self {
        Self {
            name: config.name.clone(),
            id: config.id.clone().unwrap_or_else(|| uuid_of(&config.name)),
            workspace_id: config.workspace_id.clone(),
            concurrent: config.concurrent,
            state: Mutex::new(State {
                classes: config.limits.iter().map(|limit| Class::new(limit, now)).collect(),
                counting: bucket(config.count_tokens_rpm, 60.0, now),
                ramp: config.ramp.clone().map(Ramp::new),
                cache: PromptCache::default(),
            }),
        }
    }

    /// Replaces the limits; buckets start full.
    pub fn set_limits(&self, limits: &[LimitConfig], now: Duration) {
        self.state().classes = limits.iter().map(|limit| Class::new(limit, now)).collect();
    }

    /// Admits a request and charges its input, or says why not. A refused request costs nothing.
    pub fn admit(
        &self,
        model: &str,
        prompt: &Prompt,
        cache_min: u64,
        now: Duration,
    ) -> Result<Split, Refusal> {
        let mut state = self.state();
        let split = state.cache.split(prompt, cache_min, now);
        let State { classes, ramp, cache, .. } = &mut *state;
        if let Some(class) = classes.iter_mut().find(|class| class.models.matches(model)) {
            class.admit(&split, now)?;
        }
        if let Some(ramp) = ramp {
            ramp.admit(now)?;
        }
        if let Some(class) = classes.iter_mut().find(|class| class.models.matches(model)) {
            class.charge(&split, now);
        }
        cache.remember(prompt, cache_min, now);
        Ok(split)
    }

    /// Charges output as it is produced.
    pub fn produced(&self, model: &str, tokens: u64, now: Duration) {
        let mut state = self.state();
        let class = state.classes.iter_mut().find(|class| class.models.matches(model));
        if let Some(output) = class.and_then(|class| class.output.as_mut()) {
            output.take(tokens, now);
        }
    }

    /// Admits a `count_tokens` call.
    pub fn admit_count(&self, now: Duration) -> Result<(), Refusal> {
        let mut state = self.state();
        let Some(bucket) = &mut state.counting else { return Ok(()) };
        check(bucket, 1, "token counting requests", now)?;
        bucket.take(1, now);
        Ok(())
    }

    /// The `anthropic-ratelimit-*` headers for a model.
    pub fn headers(&self, model: &str, now: Duration, clock: &Clock) -> Vec<(String, String)> {
        let mut state = self.state();
        let Some(class) = state.classes.iter_mut().find(|class| class.models.matches(model)) else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        let mut add = |name: &str, gauge: Gauge| {
            headers.push((format!("anthropic-ratelimit-{name}-limit"), gauge.limit.to_string()));
            headers.push((format!("anthropic-ratelimit-{name}-remaining"), gauge.remaining.to_string()));
            headers.push((format!("anthropic-ratelimit-{name}-reset"), clock.rfc3339(gauge.full_at)));
        };
        if let Some(requests) = &mut class.requests {
            add("requests", Gauge::read(requests, now));
        }
        let input = class.input.as_mut().map(|bucket| Gauge::read(bucket, now).rounded());
        let output = class.output.as_mut().map(|bucket| Gauge::read(bucket, now).rounded());
        for (name, gauge) in [("input-tokens", input), ("output-tokens", output)] {
            if let Some(gauge) = gauge {
                add(name, gauge);
            }
        }
        if let Some(total) = input.into_iter().chain(output).reduce(Gauge::plus) {
            add("tokens", total);
        }
        headers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Class {
    fn new(limit: &LimitConfig, now: Duration) -> Self {
        Self {
            models: WildMatch::new(&limit.models),
            count_cache_reads: limit.count_cache_reads,
            requests: bucket(limit.rpm, limit.burst_s, now),
            input: bucket(limit.input_tpm, limit.burst_s, now),
            output: bucket(limit.output_tpm, limit.burst_s, now),
        }
    }

    fn input_of(&self, split: &Split) -> u64 {
        let read = if self.count_cache_reads { split.read } else { 0 };
        split.input + split.written_5m + split.written_1h + read
    }

    /// The refusal of the bucket that takes longest, if any cannot serve.
    fn admit(&mut self, split: &Split, now: Duration) -> Result<(), Refusal> {
        let input = self.input_of(split);
        let asked = [
            (&mut self.requests, 1, "requests"),
            (&mut self.input, input, "input tokens"),
            (&mut self.output, 1, "output tokens"),
        ];
        let refusals = asked
            .into_iter()
            .filter_map(|(bucket, amount, what)| check(bucket.as_mut()?, amount, what, now).err());
        refusals
            .max_by_key(|refusal| match refusal {
                Refusal::Limit { wait, .. } | Refusal::Ramp { wait } => *wait,
            })
            .map_or(Ok(()), Err)
    }

    fn charge(&mut self, split: &Split, now: Duration) {
        let input = self.input_of(split);
        for (bucket, amount) in [(&mut self.requests, 1), (&mut self.input, input)] {
            if let Some(bucket) = bucket {
                bucket.take(amount, now);
            }
        }
    }
}

/// A limit's headers before they are written.
#[derive(Clone, Copy)]
struct Gauge {
    limit: u64,
    remaining: u64,
    full_at: Duration,
}

impl Gauge {
    fn read(bucket: &mut Bucket, now: Duration) -> Self {
        Self { limit: bucket.per_minute(), remaining: bucket.remaining(now), full_at: bucket.full_at(now) }
    }

    /// Tokens are reported to the nearest thousand.
    fn rounded(self) -> Self {
        Self { remaining: (self.remaining + 500) / 1_000 * 1_000, ..self }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            limit: self.limit + other.limit,
            remaining: self.remaining + other.remaining,
            full_at: self.full_at.max(other.full_at),
        }
    }
}

/// An acceleration limit: admissions of the current and of the last window.
#[derive(Debug)]
struct Ramp {
    config: RampConfig,
    admitted: VecDeque<Duration>,
}

impl Ramp {
    fn new(config: RampConfig) -> Self {
        Self { config, admitted: VecDeque::new() }
    }

    fn admit(&mut self, now: Duration) -> Result<(), Refusal> {
        let window = Duration::from_secs_f64(self.config.window_s.clamp(0.001, 86_400.0));
        while self.admitted.front().is_some_and(|at| now.saturating_sub(*at) >= window * 2) {
            self.admitted.pop_front();
        }
        let before = self.admitted.iter().filter(|at| now.saturating_sub(**at) >= window).count();
        let current = self.admitted.len() - before;
        let allowed = (before as f64 * self.config.factor).max(self.config.floor as f64);
        if current as f64 >= allowed {
            let oldest = self.admitted.get(before).copied().unwrap_or(now);
            return Err(Refusal::Ramp { wait: (oldest + window).saturating_sub(now) });
        }
        self.admitted.push_back(now);
        Ok(())
    }
}

fn bucket(per_minute: u64, burst_s: f64, now: Duration) -> Option<Bucket> {
    let burst = Duration::from_secs_f64(burst_s.clamp(0.0, 86_400.0));
    (per_minute > 0).then(|| Bucket::new(per_minute, burst, now))
}

fn check(bucket: &mut Bucket, amount: u64, what: &'static str, now: Duration) -> Result<(), Refusal> {
    let wait = bucket.wait(amount, now);
    if wait.is_zero() { Ok(()) } else { Err(Refusal::Limit { what, per_minute: bucket.per_minute(), wait }) }
}

/// A UUID that belongs to a name.
fn uuid_of(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// 50000 -> `50,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organization(limit: LimitConfig) -> Organization {
        let limits = vec![limit];
        let config = OrganizationConfig { name: "o".into(), limits, ..OrganizationConfig::default() };
        Organization::new(&config, Duration::ZERO)
    }

    fn prompt(tokens: u64) -> Prompt {
        Prompt { tokens, prefixes: Vec::new() }
    }

    const NONE: LimitConfig = LimitConfig {
        models: String::new(),
        rpm: 0,
        input_tpm: 0,
        output_tpm: 0,
        burst_s: 60.0,
        count_cache_reads: false,
    };

    #[test]
    fn the_refusal_is_exact_and_names_limit_and_organization() {
        let organization = organization(LimitConfig { models: "claude-*".into(), input_tpm: 6_000, ..NONE });
        assert!(organization.admit("claude-x", &prompt(5_000), 0, Duration::ZERO).is_ok());
        let refusal = organization.admit("claude-x", &prompt(2_550), 0, Duration::ZERO).unwrap_err();
        assert_eq!(refusal.retry_after(), 16);
        let message = refusal.error(&organization).message;
        assert!(message.contains(&organization.id) && message.contains("6,000 input tokens"), "{message}");
        assert!(organization.admit("claude-x", &prompt(2_550), 0, Duration::from_secs(16)).is_ok());
        assert!(organization.admit("gpt", &prompt(9_999_999), 0, Duration::ZERO).is_ok());
    }

    #[test]
    fn output_is_charged_as_produced_and_the_next_request_pays() {
        let organization = organization(LimitConfig { models: "*".into(), output_tpm: 600, ..NONE });
        assert!(organization.admit("m", &prompt(1), 0, Duration::ZERO).is_ok());
        organization.produced("m", 609, Duration::ZERO);
        assert_eq!(organization.admit("m", &prompt(1), 0, Duration::ZERO).unwrap_err().retry_after(), 1);
        organization.produced("m", 10, Duration::ZERO);
        assert_eq!(organization.admit("m", &prompt(1), 0, Duration::ZERO).unwrap_err().retry_after(), 2);
    }

    #[test]
    fn a_sharp_increase_is_refused_until_the_window_moves() {
        let ramp = RampConfig { window_s: 10.0, factor: 2.0, floor: 3 };
        let config =
            OrganizationConfig { name: "o".into(), ramp: Some(ramp), ..OrganizationConfig::default() };
        let organization = Organization::new(&config, Duration::ZERO);
        let admit = |second| organization.admit("m", &prompt(1), 0, Duration::from_secs(second));
        assert!(admit(0).is_ok() && admit(1).is_ok() && admit(1).is_ok());
        assert_eq!(admit(4), Err(Refusal::Ramp { wait: Duration::from_secs(6) }));
        assert_eq!((0..10).filter(|_| admit(11).is_ok()).count(), 6);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([5, 999, 50_000, 1_234_567].map(grouped), ["5", "999", "50,000", "1,234,567"]);
    }
}
