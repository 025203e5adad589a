//! An AWS account's quotas: paid ahead with `max_tokens`, settled by what was used.
//!
//! At the start a request costs its input and `max_tokens`; at the end input, cache writes and output times the burndown
//! rate, so that a large `max_tokens` throttles although little is produced. Each model has its own quota, and
//! cross-region profiles apart from the model itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wildmatch::WildMatch;

use super::super::bucket::Bucket;
use super::super::clock::Clock;
use super::super::weigh::{Prompt, PromptCache, Split};
use super::config::{AccountConfig, BedrockLimitConfig, ProfileConfig};

/// A running account.
#[derive(Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: String,
    /// Its twelve digits.
    pub id: String,
    /// The region that signatures must name; empty = any.
    pub region: String,
    /// Requests at once; 0 = no limit.
    pub concurrent: usize,
    /// What opaque ids stand for.
    pub profiles: Vec<ProfileConfig>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Vec<BedrockLimitConfig>,
    quotas: HashMap<String, Quota>,
    cache: PromptCache,
}

/// Why a request is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Tokens a day.
    Day,
}

impl Throttle {
    /// What Bedrock says.
    pub fn message(self) -> &'static str {
        match self {
            Self::Requests => "Too many requests, please wait before trying again.",
            Self::Tokens => "Too many tokens, please wait before trying again.",
            Self::Day => "Too many tokens per day, please wait before trying again.",
        }
    }
}

/// What a request asks of its quota.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The model, in the name of the first-party API.
    pub model: &'a str,
    /// The quota's name: the model and the kind of profile.
    pub quota: &'a str,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The shortest prefix that is cached.
    pub cache_min: u64,
    /// `max_tokens`.
    pub max_tokens: u64,
}

impl Account {
    /// A fresh account with full quotas.
    pub fn new(config: &AccountConfig) -> Self {
        let limits = config.limits.clone();
        Self {
            name: config.name.clone(),
            id: config.id.clone().unwrap_or_else(|| digits_of(&config.name)),
            region: config.region.clone(),
            concurrent: config.concurrent,
            profiles: config.profiles.clone(),
            state: Mutex::new(State { limits, quotas: HashMap::new(), cache: PromptCache::default() }),
        }
    }

    /// Replaces the limits; every quota starts full.
    pub fn set_limits(&self, limits: &[BedrockLimitConfig]) {
        let mut state = self.state();
        state.limits = limits.to_vec();
        state.quotas.clear();
    }

    /// Admits a request and reserves its tokens, or says what is exhausted. A refused request costs nothing.
    pub fn admit(
        self: &Arc<Self>,
        asked: Asked<'_>,
        clock: &Clock,
    ) -> Result<(Split, Reservation), Throttle> {
        let (now, day) = (clock.now(), day_of(clock));
        let mut state = self.state();
        let split = state.cache.split(asked.prompt, asked.cache_min, now);
        let reserved = asked.prompt.tokens.saturating_add(asked.max_tokens);
        let State { limits, quotas, cache } = &mut *state;
        if !quotas.contains_key(asked.quota)
            && let Some(limit) =
                limits.iter().find(|limit| WildMatch::new(&limit.models).matches(asked.model))
        {
            quotas.insert(asked.quota.to_owned(), Quota::new(limit, now, day));
        }
        if let Some(quota) = quotas.get_mut(asked.quota) {
            quota.admit(reserved, now, day)?;
        }
        cache.remember(asked.prompt, asked.cache_min, now);
        let reservation = Reservation {
            account: Arc::clone(self),
            quota: asked.quota.to_owned(),
            reserved,
            input: split.input + split.written_5m + split.written_1h,
            produced: 0,
            clock: *clock,
        };
        Ok((split, reservation))
    }

    /// Quota tokens of this minute that are left; `None` where there is no such quota.
    #[cfg(test)]
    fn left(&self, quota: &str, now: Duration) -> Option<u64> {
        let mut state = self.state();
        state.quotas.get_mut(quota)?.tokens.as_mut().map(|bucket| bucket.remaining(now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens taken ahead; settled when dropped.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    quota: String,
    reserved: u64,
    input: u64,
    produced: u64,
    clock: Clock,
}

impl Reservation {
    /// Counts produced tokens.
    pub fn produced(&mut self, tokens: u64) {
        self.produced += tokens;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (now, day) = (self.clock.now(), day_of(&self.clock));
        if let Some(quota) = self.account.state().quotas.get_mut(&self.quota) {
            let used = self.input + self.produced * quota.burndown;
            quota.settle(self.reserved, used, (now, day));
        }
    }
}

#[derive(Debug)]
struct Quota {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    daily: u64,
    used_today: u64,
    day: i64,
    burndown: u64,
}

impl Quota {
    fn new(limit: &BedrockLimitConfig, now: Duration, day: i64) -> Self {
        let burst = Duration::from_secs_f64(limit.burst_s.clamp(0.0, 86_400.0));
        let bucket = |rate: u64| (rate > 0).then(|| Bucket::new(rate, burst, now));
        Self {
            requests: bucket(limit.rpm),
            tokens: bucket(limit.tpm),
            daily: limit.tpd,
            used_today: 0,
            day,
            burndown: limit.burndown,
        }
    }

    /// A request for more than a whole minute's tokens is never admitted.
    fn admit(&mut self, tokens: u64, now: Duration, day: i64) -> Result<(), Throttle> {
        if self.day != day {
            (self.day, self.used_today) = (day, 0);
        }
        if self.requests.as_mut().is_some_and(|bucket| !bucket.wait(1, now).is_zero()) {
            return Err(Throttle::Requests);
        }
        let beyond =
            |bucket: &mut Bucket| tokens > bucket.per_minute() || !bucket.wait(tokens, now).is_zero();
        if self.tokens.as_mut().is_some_and(beyond) {
            return Err(Throttle::Tokens);
        }
        if self.daily > 0 && self.used_today.saturating_add(tokens) > self.daily {
            return Err(Throttle::Day);
        }
        for (bucket, amount) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.take(amount, now);
            }
        }
        self.used_today = self.used_today.saturating_add(tokens);
        Ok(())
    }

    fn settle(&mut self, reserved: u64, used: u64, (now, day): (Duration, i64)) {
        if let Some(bucket) = &mut self.tokens {
            bucket.give(reserved.saturating_sub(used), now);
            bucket.take(used.saturating_sub(reserved), now);
        }
        if self.day == day {
            self.used_today = self.used_today.saturating_sub(reserved).saturating_add(used);
        }
    }
}

/// Days since the epoch.
fn day_of(clock: &Clock) -> i64 {
    clock.wall_second(clock.now()).div_euclid(86_400)
}

/// Twelve digits that belong to a name.
fn digits_of(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().take(12).map(|byte| char::from(b'0' + byte % 10)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static PROMPT: Prompt = Prompt { tokens: 100, prefixes: Vec::new() };

    fn account(limit: BedrockLimitConfig) -> Arc<Account> {
        let limits = vec![limit];
        Arc::new(Account::new(&AccountConfig { name: "a".into(), limits, ..AccountConfig::default() }))
    }

    fn ask(quota: &str, max_tokens: u64) -> Asked<'_> {
        Asked { model: "claude-x", quota, prompt: &PROMPT, cache_min: 0, max_tokens }
    }

    fn limit(rpm: u64, tpm: u64, tpd: u64) -> BedrockLimitConfig {
        BedrockLimitConfig { rpm, tpm, tpd, ..BedrockLimitConfig::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn max_tokens_are_reserved_and_output_is_settled_fivefold() {
        let (account, clock) = (account(limit(0, 6_000, 0)), Clock::start());
        let (_, mut reservation) = account.admit(ask("m", 5_000), &clock).unwrap();
        assert_eq!(account.left("m", clock.now()), Some(900));
        assert_eq!(account.admit(ask("m", 1_000), &clock).unwrap_err(), Throttle::Tokens);
        reservation.produced(200);
        drop(reservation);
        assert_eq!(account.left("m", clock.now()), Some(6_000 - 100 - 5 * 200));
        assert!(account.admit(ask("m", 1_000), &clock).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn each_model_has_its_own_quota_and_more_than_a_minutes_worth_never_passes() {
        let (account, clock) = (account(limit(1, 6_000, 0)), Clock::start());
        assert!(account.admit(ask("m", 10), &clock).is_ok());
        assert_eq!(account.admit(ask("m", 10), &clock).unwrap_err(), Throttle::Requests);
        assert!(account.admit(ask("us/m", 10), &clock).is_ok());
        assert_eq!(account.admit(ask("eu/m", 6_000), &clock).unwrap_err(), Throttle::Tokens);
    }

    #[test]
    fn a_day_of_tokens_lasts_until_the_day_rolls_over() {
        let mut quota = Quota::new(&limit(0, 0, 1_000), Duration::ZERO, 7);
        assert_eq!(quota.admit(900, Duration::ZERO, 7), Ok(()));
        assert_eq!(quota.admit(200, Duration::from_secs(3_600), 7), Err(Throttle::Day));
        quota.settle(900, 100, (Duration::ZERO, 7));
        assert_eq!(quota.admit(900, Duration::ZERO, 7), Ok(()));
        assert_eq!(quota.admit(1, Duration::ZERO, 7), Err(Throttle::Day));
        assert_eq!(quota.admit(1_000, Duration::ZERO, 8), Ok(()));
    }
}
