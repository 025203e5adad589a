//! The pool's table: one snapshot of backends and keys with their live state, and a plan per model.
//!
//! A plan lists, tier by tier, every key that may serve a model and the parks that concern it, so that a choice is one walk
//! over ready facts. Plans are made on first use and live as long as the snapshot.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use headgate_providers::anthropic::Anthropic;
use headgate_providers::bedrock::{Bedrock, Surface, Tables};
use headgate_providers::vertex::{self, Vertex};
use headgate_providers::{Limits, Provider};
use sha2::{Digest as _, Sha256};

use super::breaker::Breaker;
use super::capability;
use super::class::model_class;
use super::health::{BackendState, Health, KeyId, States};
use super::park::Park;
use super::seat::Seat;
use super::trouble::Trouble;
use crate::config::checked::{
    Backend, BedrockSurface, Credential, Key, ModelPattern, ProviderSettings, Route, Settings, Target,
};
use crate::credentials::Credentials;
use crate::prices::Schedule;

/// Most models with a remembered plan; beyond it plans are made anew each time.
const MAX_PLANS: usize = 1024;

/// A backend of this snapshot.
pub struct Upstream {
    /// Its settings.
    pub settings: Arc<Backend>,
    /// Its name, for what keeps it a while.
    pub name: Arc<str>,
    /// The `host` header of its requests.
    pub authority: String,
    /// Its dialect; `None` while that dialect is not built.
    pub provider: Option<Arc<dyn Provider>>,
    /// Its keys.
    pub keys: Vec<Arc<Seat>>,
    /// Its breakers, across snapshots.
    pub state: Arc<BackendState>,
}

/// A key that may serve a model.
#[derive(Clone)]
pub struct Candidate {
    /// Its backend.
    pub upstream: Arc<Upstream>,
    /// The key.
    pub seat: Arc<Seat>,
    /// The key's state and weight, here too so that a choice among many reads one place less of each.
    pub health: Arc<Health>,
    /// Relative share.
    pub weight: f64,
    /// The parks that concern it, by [`Scope`].
    pub parks: [Arc<Park>; 4],
    /// The breakers of its backend: with this model, and of its connections.
    pub breakers: [Arc<Breaker>; 2],
    /// The park of the model where upstream said it is missing.
    pub missing: Arc<Park>,
    /// The key's own trouble with the model.
    pub trouble: Arc<Trouble>,
    /// Upstream's name for the model.
    pub upstream_model: Arc<str>,
    /// The model class within the group.
    pub class: Arc<str>,
    /// Which of [`Plan::limits`] it is held to.
    pub limits: usize,
    /// What its tokens cost.
    pub prices: Schedule,
}

/// What a park covers; the index into [`Candidate::parks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Scope {
    /// The key.
    Key = 0,
    /// The key with one model class.
    KeyClass = 1,
    /// The group.
    Group = 2,
    /// The group with one model class.
    GroupClass = 3,
}

/// Who may serve one model, in order of preference.
pub struct Plan {
    /// Tiers, each a list of equals; no tier is empty.
    pub tiers: Vec<Vec<Candidate>>,
    /// What each target takes of the Messages API.
    pub limits: Vec<Limits>,
    /// How long a call waits for a tier that is short before it spills.
    pub spill_after: Duration,
    /// Overrides a backend's first-event clock.
    pub first_event: Option<Duration>,
    /// Which snapshot it was made from.
    snapshot: u64,
}

/// One snapshot.
pub struct Table {
    /// The settings it was built from.
    pub settings: Arc<Settings>,
    /// The backends in the settings' order.
    pub upstreams: Vec<Arc<Upstream>>,
    plans: RwLock<HashMap<String, Arc<Plan>>>,
    /// Its number: every later snapshot of the same pool has a larger one.
    number: u64,
}

impl Table {
    /// Builds the snapshot, finding live state by id and forgetting state that nothing names.
    #[must_use]
    pub fn build(settings: Arc<Settings>, states: &States, credentials: &Credentials) -> Arc<Self> {
        let upstreams: Vec<Arc<Upstream>> = settings
            .backends
            .iter()
            .map(|backend| Arc::new(upstream(backend, states, credentials)))
            .collect();
        let keys: Vec<KeyId> =
            upstreams.iter().flat_map(|up| up.keys.iter().map(|seat| seat.id.clone())).collect();
        let groups: Vec<(String, String)> = upstreams
            .iter()
            .flat_map(|up| up.keys.iter().map(|seat| (up.settings.name.clone(), seat.group_name.clone())))
            .collect();
        let backends: Vec<&str> = upstreams.iter().map(|up| up.settings.name.as_str()).collect();
        states.retain(&keys, &groups, &backends);
        credentials.retain(&keys);
        Arc::new(Self { settings, upstreams, plans: RwLock::default(), number: states.next_snapshot() })
    }

    /// The plan for a model; `None` where routes exist and none matches.
    #[must_use]
    pub fn plan(&self, model: &str) -> Option<Arc<Plan>> {
        if let Some(plan) = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(model) {
            return Some(plan.clone());
        }
        let plan = Arc::new(self.make_plan(model)?);
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.len() < MAX_PLANS {
            plans.insert(model.to_owned(), plan.clone());
        }
        Some(plan)
    }

    /// The plan for a model where `old` is of another snapshot.
    #[must_use]
    pub fn newer_plan(&self, old: &Plan, model: &str) -> Option<Arc<Plan>> {
        if old.snapshot == self.number { None } else { self.plan(model) }
    }

    /// Every seat with its backend.
    pub fn seats(&self) -> impl Iterator<Item = (&Arc<Upstream>, &Arc<Seat>)> {
        self.upstreams.iter().flat_map(|up| up.keys.iter().map(move |seat| (up, seat)))
    }

    fn make_plan(&self, model: &str) -> Option<Plan> {
        let everywhere;
        let route = if self.settings.routes.is_empty() {
            everywhere = self.route_everywhere();
            &everywhere
        } else {
            self.settings.routes.iter().find(|route| route.model.matches(model))?.as_ref()
        };
        let mut targets: Vec<&Target> = route.targets.iter().collect();
        targets.sort_by_key(|target| target.tier);
        let (mut tiers, mut limits) = (Vec::new(), Vec::new());
        for tier in targets.chunk_by(|a, b| a.tier == b.tier) {
            let candidates: Vec<Candidate> =
                tier.iter().flat_map(|target| self.candidates(target, model, &mut limits)).collect();
            if !candidates.is_empty() {
                tiers.push(candidates);
            }
        }
        let (spill_after, first_event) = (route.spill_after, route.first_event);
        Some(Plan { tiers, limits, spill_after, first_event, snapshot: self.number })
    }

    /// Without routes every model goes to every Anthropic backend, all of one tier; where there is none, to every backend, by
    /// the name the caller gave: with a cloud's credential alone there is nothing else to serve it.
    fn route_everywhere(&self) -> Route {
        let speaks_it = |backend: &Arc<Backend>| backend.provider == ProviderSettings::Anthropic;
        let any = !self.settings.backends.iter().any(speaks_it);
        let targets = self.settings.backends.iter().enumerate();
        let targets = targets.filter(|(_, backend)| any || speaks_it(backend));
        Route {
            model: ModelPattern::new("*"),
            spill_after: Duration::ZERO,
            fallback_after: None,
            first_event: None,
            targets: targets.map(|(backend, _)| Target { backend, model: None, tier: 0 }).collect(),
            fallback_models: Vec::new(),
        }
    }

    fn candidates(&self, target: &Target, model: &str, all_limits: &mut Vec<Limits>) -> Vec<Candidate> {
        let Some(up) = self.upstreams.get(target.backend) else { return Vec::new() };
        if up.provider.is_none() {
            return Vec::new();
        }
        let upstream_model: Arc<str> = target.upstream_model(model).into();
        let held_to = all_limits.len();
        let prices = Schedule::of(&self.settings.prices, &up.settings.name, &upstream_model);
        all_limits.push(capability::limits(up, &upstream_model));
        let candidate = |seat: &Arc<Seat>| {
            let limits = up.settings.limit_groups.iter().find(|group| group.name == seat.group_name);
            let limits = limits.map_or(&[][..], |group| &group.limits);
            let class: Arc<str> = model_class(limits, &upstream_model).into();
            Candidate {
                upstream: up.clone(),
                seat: seat.clone(),
                health: seat.health.clone(),
                weight: seat.weight,
                parks: [
                    seat.health.park.clone(),
                    seat.health.class(&class),
                    seat.group.park.clone(),
                    seat.group.class(&class),
                ],
                breakers: [up.state.model(&upstream_model), up.state.connections.clone()],
                missing: seat.group.missing(&upstream_model),
                trouble: seat.health.trouble(&upstream_model),
                upstream_model: upstream_model.clone(),
                class,
                limits: held_to,
                prices: prices.clone(),
            }
        };
        up.keys.iter().map(candidate).collect()
    }
}

fn upstream(backend: &Arc<Backend>, states: &States, credentials: &Credentials) -> Upstream {
    let provider = provider(&backend.provider);
    let seat = |key: &Key| {
        let id = KeyId { name: key.name.clone(), generation: generation(&key.credential) };
        let health = states.key(&id);
        health.withheld.store(!key.enabled, Relaxed);
        let group = states.group(&backend.name, &key.limit_group);
        let credential = credentials.holder(&id, backend, &key.credential);
        let (weight, group_name) = (key.weight, key.limit_group.clone());
        let name = id.name.as_str().into();
        Arc::new(Seat { id, name, weight, group_name, credential, health, group })
    };
    let keys = backend.keys.iter().map(seat).collect();
    let (name, authority) = (backend.name.as_str().into(), backend.base_url.authority());
    Upstream {
        settings: backend.clone(),
        name,
        authority,
        provider,
        keys,
        state: states.backend(&backend.name),
    }
}

/// The dialect; `None` while it is not built.
fn provider(settings: &ProviderSettings) -> Option<Arc<dyn Provider>> {
    match settings {
        ProviderSettings::Anthropic => Some(Arc::new(Anthropic)),
        ProviderSettings::Bedrock { surface, region, tables } => {
            let surface = match surface {
                BedrockSurface::Runtime => Surface::Runtime,
                BedrockSurface::Mantle => Surface::Mantle,
            };
            let (betas, aliases) = (tables.betas.clone(), tables.beta_aliases.clone());
            let tables = Tables::new(betas, aliases, &tables.version_2026_models);
            Some(Arc::new(Bedrock::new(surface, region.clone(), tables)))
        }
        ProviderSettings::Vertex { project, location, tables } => {
            let tables = vertex::Tables::new(tables.betas.clone(), &tables.version_2026_models);
            Some(Arc::new(Vertex::new(project.clone(), location.clone(), tables)))
        }
        ProviderSettings::OpenAi => None,
    }
}

/// A digest of the credential: equal secrets have equal generations, and it tells nothing of the secret.
fn generation(credential: &Credential) -> u64 {
    let mut hash = Sha256::new();
    match credential {
        Credential::Secret(secret) | Credential::ServiceAccount(secret) => hash.update(secret.expose()),
        Credential::Aws { access_key_id, secret_access_key, session_token } => {
            hash.update(access_key_id.expose());
            hash.update([0]);
            hash.update(secret_access_key.expose());
            hash.update([0]);
            hash.update(session_token.as_ref().map_or("", |token| token.expose()));
        }
        Credential::Chain(_) | Credential::None => {}
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
