//! What callers ask for and who they are: routes and tenants.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ModelPattern;

/// A client's model name and where it goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which models.
    pub model: ModelPattern,
    /// How long a call waits for a tier that is short before it spills to the next.
    pub spill_after: Duration,
    /// When fallback models are tried although targets remain; `None`: only when all targets are out.
    pub fallback_after: Option<Duration>,
    /// Overrides the backend's first-event clock.
    pub first_event: Option<Duration>,
    /// Where, in order of preference; at least one.
    pub targets: Vec<Target>,
    /// Models to serve instead when every target is out.
    pub fallback_models: Vec<String>,
}

/// One place of a route.
#[derive(Clone, Debug)]
pub struct Target {
    /// Index into [`Settings::backends`](super::Settings::backends).
    pub backend: usize,
    /// Upstream's model name; `{model}` stands for the asked one; absent: the asked one.
    pub model: Option<String>,
    /// Tiers are tried from 0 upwards.
    pub tier: u32,
}

impl Target {
    /// Upstream's name for the asked `model`.
    #[must_use]
    pub fn upstream_model(&self, model: &str) -> String {
        self.model.as_deref().map_or_else(|| model.to_owned(), |name| name.replace("{model}", model))
    }
}

/// Who calls us.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Unique name.
    pub name: String,
    /// SHA-256 of its virtual key.
    pub digest: [u8; 32],
    /// Class of its calls.
    pub priority: Priority,
    /// Relative share in the queue, above 0.
    pub weight: f64,
    /// Models it may use; empty: all.
    pub models: Vec<ModelPattern>,
    /// Its limits.
    pub limits: TenantLimits,
}

impl Tenant {
    /// Whether the tenant may ask for `model`.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }
}

/// Class of a call, the more urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Served first.
    Critical,
    /// The default.
    Normal,
    /// Served from what is left, never from the reserve.
    Background,
}

impl Priority {
    /// Its name in files and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

/// A tenant's limits; `None` = none (0 in the file).
#[derive(Clone, Debug, Default)]
pub struct TenantLimits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Requests per hour.
    pub rph: Option<u64>,
    /// Input tokens per minute.
    pub input_tpm: Option<u64>,
    /// Output tokens per minute.
    pub output_tpm: Option<u64>,
    /// Tokens of both kinds per minute.
    pub tpm: Option<u64>,
    /// Requests that may come at once.
    pub burst: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
    /// Tokens per day.
    pub tpd: Option<u64>,
    /// Tokens per week.
    pub tpw: Option<u64>,
    /// US dollars per day.
    pub usd_per_day: Option<f64>,
    /// US dollars per month.
    pub usd_per_month: Option<f64>,
}
