//! `Gateway`: all shared state in one struct, `Send + Sync`, made once and handed to every worker.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::{ArcSwap, Guard};
use headgate_providers::Bounds;

use crate::auth::Auth;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::checked::Settings;
use crate::credentials::Credentials;
use crate::drain::Drain;
use crate::memory::Load;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::relay::retry_budget::RetryBudget;
use crate::reload::Reloads;
use crate::usage::UsageQueue;

/// All shared state.
pub struct Gateway {
    /// Time.
    pub clock: Clock,
    /// Which key serves.
    pub pool: Pool,
    /// Who calls.
    pub auth: Auth,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How many attempts may repeat after backend faults.
    pub retry_budget: RetryBudget,
    /// Upstream's lists of models.
    pub models: crate::models::Lists,
    /// Bytes of request bodies held by all calls.
    pub buffered: Arc<AtomicUsize>,
    /// How many requests are open.
    pub load: Load,
    /// Where records of usage go.
    pub usage: UsageQueue,
    /// How far shutdown has come.
    pub drain: Drain,
    /// What became of the configuration since the start.
    pub reloads: Reloads,
    /// What the admin API made.
    pub registry: Registry,
    settings: ArcSwap<Settings>,
}

/// Whether the gateway can serve, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It is shutting down.
    Draining,
    /// No usable key is configured.
    NoKeys,
}

impl Gateway {
    /// Builds everything from `settings`.
    ///
    /// # Errors
    /// An instrument that cannot be registered: a mistake in [`crate::metrics`].
    pub fn new(settings: Settings, clock: Clock, chance: Chance) -> Result<Self, prometheus::Error> {
        let credentials = Credentials::machine(clock, settings.credentials.clone());
        Self::with_credentials(settings, clock, chance, credentials)
    }

    /// The same with credentials from elsewhere.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_credentials(
        settings: Settings,
        clock: Clock,
        chance: Chance,
        credentials: Credentials,
    ) -> Result<Self, prometheus::Error> {
        let settings = Arc::new(settings);
        let gateway = Self {
            clock,
            pool: Pool::with_credentials(settings.clone(), clock, chance, credentials),
            auth: Auth::new(&settings),
            metrics: Arc::new(Metrics::new()?),
            retry_budget: RetryBudget::default(),
            models: crate::models::Lists::default(),
            buffered: Arc::default(),
            load: Load::default(),
            usage: UsageQueue::default(),
            drain: Drain::default(),
            reloads: Reloads::new(settings.clone(), clock.now()),
            registry: Registry::default(),
            settings: ArcSwap::new(settings),
        };
        gateway.tell_configuration(1);
        Ok(gateway)
    }

    /// The current settings.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Swaps the settings: calls under way finish on the old ones, state is kept by id. [`crate::reload`] calls it with
    /// settings that have been judged.
    pub fn reload(&self, settings: Settings) {
        let settings = Arc::new(settings);
        self.auth.reload(&settings);
        self.pool.reload(settings.clone());
        self.models.forget();
        self.settings.store(settings);
    }

    /// Tells the metrics which settings are in force, and that they are from now on.
    pub fn tell_configuration(&self, generation: u64) {
        let unix = self.clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.metrics.configuration(generation, unix.as_secs());
    }

    /// Bounds of what a decoder holds.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let relay = &self.settings().relay;
        Bounds { event_bytes: relay.max_event_bytes, answer_bytes: relay.max_answer_bytes }
    }

    /// Whether it can serve.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.drain.has_begun() {
            return Readiness::Draining;
        }
        let table = self.pool.table();
        let usable = table.seats().any(|(up, seat)| up.provider.is_some() && seat.health.takes_calls());
        if usable { Readiness::Ready } else { Readiness::NoKeys }
    }

    /// Shutdown has begun: `/readyz` says so from now on.
    pub fn begin_drain(&self) {
        self.drain.begin();
    }
}
