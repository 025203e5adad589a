//! Who of a plan can express a call: the table of what each target takes, asked once per call.
//!
//! Targets that cannot are not eligible, so that failover never asks a backend that would answer 400. What they are asked for
//! is read from the body only where a table of the plan restricts it: a plain pool pays a comparison of lengths.

use headgate_providers::Limits;
use headgate_providers::capability::{Obstacle, Passage};

use super::table::{Plan, Upstream};
use crate::call::Call;
use crate::config::checked::{BedrockSurface, ProviderSettings};

/// What a call cannot be asked of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unable {
    /// By the index of [`Plan::limits`]; shorter or empty: the rest can.
    targets: Vec<bool>,
    /// What stands against the first of them.
    pub obstacle: Option<Obstacle>,
}

impl Unable {
    /// Whether the target at `index` of [`Plan::limits`] cannot express the call.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.targets.get(index).copied().unwrap_or(false)
    }
}

impl Plan {
    /// Whether any of its tables depends on what a request uses.
    #[must_use]
    pub fn reads_features(&self) -> bool {
        self.limits.iter().any(Limits::reads_features)
    }

    /// Which of its targets cannot express `call`.
    #[must_use]
    pub fn unable(&self, call: &Call) -> Unable {
        let mut unable = Unable::default();
        for (index, limits) in self.limits.iter().enumerate() {
            if let Some(obstacle) = limits.obstacle(&call.request, || call.features()) {
                unable.targets.resize(self.limits.len(), false);
                unable.targets[index] = true;
                unable.obstacle.get_or_insert(obstacle);
            }
        }
        unable
    }
}

/// The limits of a backend for upstream's `model`.
pub fn limits(upstream: &Upstream, model: &str) -> Limits {
    let backend = &upstream.settings;
    let rule = backend.capabilities.iter().find(|rule| rule.is_for(model));
    rule.map(|rule| Limits::new(rule, passage(&backend.provider))).unwrap_or_default()
}

fn passage(settings: &ProviderSettings) -> Passage {
    match settings {
        ProviderSettings::Bedrock { surface: BedrockSurface::Runtime, tables, .. } => {
            let aliases = tables.beta_aliases.iter().map(|(from, _)| from);
            let betas = tables.betas.iter().chain(aliases).cloned().collect();
            Passage { betas: Some(betas), drops_nulls: true }
        }
        ProviderSettings::Vertex { tables, .. } => {
            Passage { betas: Some(tables.betas.clone()), drops_nulls: false }
        }
        ProviderSettings::Anthropic
        | ProviderSettings::Bedrock { surface: BedrockSurface::Mantle, .. }
        | ProviderSettings::OpenAi => Passage::default(),
    }
}
