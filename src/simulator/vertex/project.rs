//! A Google project's quotas: by location and base model, each a bucket of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wildmatch::WildMatch;

use super::super::bucket::Bucket;
use super::super::weigh::{Prompt, PromptCache, Split};
use super::config::{ProjectConfig, QuotaConfig};

/// A running project.
#[derive(Debug)]
pub struct Project {
    /// Its name in the configuration.
    pub name: String,
    /// Its id in paths.
    pub id: String,
    /// Requests at once; 0 = no limit.
    pub concurrent: usize,
    /// Refusals say when to come back.
    pub retry_info: bool,
    /// `web_search_20250305` is allowed.
    pub web_search: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    quotas: Vec<QuotaConfig>,
    buckets: HashMap<String, Buckets>,
    cache: PromptCache,
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    zero: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The model, in the name of the first-party API.
    pub model: &'a str,
    /// The location.
    pub location: &'a str,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The shortest prefix that is cached.
    pub cache_min: u64,
}

/// A quota that cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The metric's name.
    pub metric: String,
    /// The base model's label.
    pub base_model: String,
    /// Until it could serve.
    pub wait: Duration,
}

impl Exhausted {
    /// What Google says.
    pub fn message(&self) -> String {
        format!(
            "Quota exceeded for aiplatform.googleapis.com/{} with base model: {}. Please submit a quota increase request. \
             https://cloud.google.com/vertex-ai/docs/generative-ai/quotas-genai.",
            self.metric, self.base_model
        )
    }
}

impl Project {
    /// A fresh project with full buckets.
    pub fn new(config: &ProjectConfig) -> Self {
        let quotas = config.quotas.clone();
        Self {
            name: config.name.clone(),
            id: config.id.clone().unwrap_or_else(|| config.name.clone()),
            concurrent: config.concurrent,
            retry_info: config.retry_info,
            web_search: config.web_search,
            state: Mutex::new(State { quotas, buckets: HashMap::new(), cache: PromptCache::default() }),
        }
    }

    /// Replaces the quotas; buckets start full.
    pub fn set_quotas(&self, quotas: &[QuotaConfig]) {
        let mut state = self.state();
        state.quotas = quotas.to_vec();
        state.buckets.clear();
    }

    /// Admits a request and charges its input, or says which quota cannot serve. With it the name of its buckets.
    pub fn admit(&self, wanted: Wanted<'_>, now: Duration) -> Result<(Split, String), Exhausted> {
        let mut state = self.state();
        let split = state.cache.split(wanted.prompt, wanted.cache_min, now);
        let name = format!("{}/{}", wanted.location, wanted.model);
        let State { quotas, buckets, cache } = &mut *state;
        let fits = |quota: &&QuotaConfig| {
            WildMatch::new(&quota.locations).matches(wanted.location)
                && WildMatch::new(&quota.models).matches(wanted.model)
        };
        if !buckets.contains_key(&name)
            && let Some(quota) = quotas.iter().find(fits)
        {
            buckets.insert(name.clone(), Buckets::new(quota, now));
        }
        if let Some(buckets) = buckets.get_mut(&name) {
            let input = split.input + split.written_5m + split.written_1h;
            buckets.admit(input, now).map_err(|(metric, wait)| exhausted(metric, wanted, wait))?;
        }
        cache.remember(wanted.prompt, wanted.cache_min, now);
        Ok((split, name))
    }

    /// Charges output as it is produced.
    pub fn produced(&self, buckets: &str, tokens: u64, now: Duration) {
        let mut state = self.state();
        if let Some(output) = state.buckets.get_mut(buckets).and_then(|buckets| buckets.output.as_mut()) {
            output.take(tokens, now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn new(quota: &QuotaConfig, now: Duration) -> Self {
        let burst = Duration::from_secs_f64(quota.burst_s.clamp(0.0, 86_400.0));
        let bucket = |rate: u64| (rate > 0).then(|| Bucket::new(rate, burst, now));
        Self {
            requests: bucket(quota.rpm),
            input: bucket(quota.input_tpm),
            output: bucket(quota.output_tpm),
            zero: quota.zero,
        }
    }

    fn admit(&mut self, input: u64, now: Duration) -> Result<(), (&'static str, Duration)> {
        if self.zero {
            return Err(("requests", Duration::from_secs(60)));
        }
        let asked = [
            (&mut self.requests, 1, "requests"),
            (&mut self.input, input, "input_tokens_per_minute"),
            (&mut self.output, 1, "output_tokens_per_minute"),
        ];
        for (bucket, amount, metric) in asked {
            let wait = bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(amount, now));
            if !wait.is_zero() {
                return Err((metric, wait));
            }
        }
        for (bucket, amount) in [(&mut self.requests, 1), (&mut self.input, input)] {
            if let Some(bucket) = bucket {
                bucket.take(amount, now);
            }
        }
        Ok(())
    }
}

fn exhausted(metric: &str, wanted: Wanted<'_>, wait: Duration) -> Exhausted {
    let kind = match wanted.location {
        "global" => "global_",
        "us" => "us_multi_region_",
        "eu" => "eu_multi_region_",
        _ => "",
    };
    let metric = format!("{kind}online_prediction_{metric}_per_base_model");
    Exhausted { metric, base_model: format!("anthropic-{}", undated(wanted.model)), wait }
}

/// A model's name without its date.
fn undated(model: &str) -> &str {
    let dated = |day: &str| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    model.rsplit_once('-').filter(|(_, day)| dated(day)).map_or(model, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    static PROMPT: Prompt = Prompt { tokens: 100, prefixes: Vec::new() };

    fn admit(project: &Project, location: &str, model: &str) -> Result<(Split, String), Exhausted> {
        project.admit(Wanted { model, location, prompt: &PROMPT, cache_min: 0 }, Duration::ZERO)
    }

    fn project(quota: QuotaConfig) -> Project {
        Project::new(&ProjectConfig { name: "p".into(), quotas: vec![quota], ..ProjectConfig::default() })
    }

    #[test]
    fn a_location_is_a_bucket_of_its_own_and_the_metric_is_named() {
        let project = project(QuotaConfig { rpm: 1, ..QuotaConfig::default() });
        assert!(admit(&project, "global", "claude-sonnet-4-5-20250929").is_ok());
        let refused = admit(&project, "global", "claude-sonnet-4-5-20250929").unwrap_err();
        let message = refused.message();
        assert!(message.starts_with("Quota exceeded for aiplatform.googleapis.com/global_online_prediction_requests_per_base_model with base model: anthropic-claude-sonnet-4-5."), "{message}");
        assert!(admit(&project, "us-east5", "claude-sonnet-4-5-20250929").is_ok());
        assert!(admit(&project, "global", "claude-sonnet-5").is_ok());
    }

    #[test]
    fn a_quota_of_zero_never_serves_and_output_is_paid_by_the_next() {
        let zero = project(QuotaConfig { zero: true, ..QuotaConfig::default() });
        assert!(admit(&zero, "us", "m").unwrap_err().metric.starts_with("us_multi_region_"));
        let small = project(QuotaConfig { output_tpm: 60, ..QuotaConfig::default() });
        let (_, name) = admit(&small, "eu", "m").unwrap();
        small.produced(&name, 61, Duration::ZERO);
        let refused = admit(&small, "eu", "m").unwrap_err();
        assert_eq!(
            refused.metric,
            "eu_multi_region_online_prediction_output_tokens_per_minute_per_base_model"
        );
        assert_eq!(refused.wait, Duration::from_secs(2));
    }
}
