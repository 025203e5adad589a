//! The pool: which key serves a call.
//!
//! [`Pool::lease`] chooses and takes in one step, so that concurrent calls never all pick the same key from the same reading.
//! Those who wait stand in line ([`waiting`]) and are woken when something changes. Settings come as snapshots ([`table::Table`]), state is kept by id
//! ([`health::States`]), decisions are pure ([`choose`], [`park`]).

pub mod breaker;
pub mod capability;
pub mod choose;
pub mod class;
pub mod health;
pub mod lease;
pub mod park;
pub mod seat;
pub mod table;
mod told;
pub mod trouble;
pub mod waiting;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::chance::Chance;
use crate::clock::{Clock, Moment};
use crate::config::checked::{self, Settings};
use crate::credentials::Credentials;
use crate::events::Events;

pub use choose::{Avoid, Cause, Shortage};
pub use lease::{Deferred, Lease};
pub use table::{Candidate, Plan, Table, Upstream};

use health::States;
use waiting::{Line, Waiting};

/// What leases and waiters share.
pub struct Shared {
    /// Jitter.
    pub chance: Chance,
    /// What operators watch.
    pub events: Events,
    clock: Clock,
    waiting: Arc<Waiting>,
    breaker: ArcSwap<checked::Breaker>,
    /// Counts leases; locked around choosing and taking, so that both are one step.
    uses: Mutex<u64>,
}

impl Shared {
    /// Something changed that may let a waiting call go.
    pub fn changed(&self) {
        self.waiting.ring();
    }

    fn breaker(&self) -> Guard<Arc<checked::Breaker>> {
        self.breaker.load()
    }
}

/// All keys of all backends.
pub struct Pool {
    shared: Arc<Shared>,
    states: States,
    credentials: Credentials,
    table: ArcSwap<Table>,
}

impl Pool {
    /// A pool over `settings`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, clock: Clock, chance: Chance) -> Self {
        let credentials = Credentials::machine(clock, settings.credentials.clone());
        Self::with_credentials(settings, clock, chance, credentials)
    }

    /// The same with credentials from elsewhere.
    #[must_use]
    pub fn with_credentials(
        settings: Arc<Settings>,
        clock: Clock,
        chance: Chance,
        credentials: Credentials,
    ) -> Self {
        let states = States::default();
        let breaker = ArcSwap::from_pointee(settings.breaker.clone());
        let table = Table::build(settings, &states, &credentials);
        let shared = Arc::new(Shared {
            chance,
            events: Events::since_start(clock.wall()),
            clock,
            waiting: Arc::default(),
            breaker,
            uses: Mutex::new(0),
        });
        Self { shared, states, credentials, table: ArcSwap::new(table) }
    }

    /// Swaps the settings; state is kept by id.
    pub fn reload(&self, settings: Arc<Settings>) {
        self.shared.breaker.store(Arc::new(settings.breaker.clone()));
        self.credentials.reload(settings.credentials.clone());
        self.table.store(Table::build(settings, &self.states, &self.credentials));
        self.shared.changed();
    }

    /// The current snapshot.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The plan for a model in the current snapshot; `None` where routes exist and none matches.
    #[must_use]
    pub fn plan(&self, model: &str) -> Option<Arc<Plan>> {
        self.table.load().plan(model)
    }

    /// The plan for a model where the settings have changed since `old` was made.
    #[must_use]
    pub fn newer_plan(&self, old: &Plan, model: &str) -> Option<Arc<Plan>> {
        self.table.load().newer_plan(old, model)
    }

    /// Chooses and takes a key.
    ///
    /// # Errors
    /// The [`Shortage`] when none may be used now.
    pub fn lease(
        &self,
        plan: &Arc<Plan>,
        avoid: &Avoid,
        now: Moment,
        spill_until: Moment,
    ) -> Result<Lease, Shortage> {
        let mut uses = self.shared.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let place = choose::choose(plan, avoid, now, spill_until)?;
        *uses += 1;
        Ok(Lease::take(&self.shared, plan.clone(), place, *uses, now))
    }

    /// The same look without taking.
    ///
    /// # Errors
    /// The [`Shortage`] when none may be used now.
    pub fn look(&self, plan: &Plan, avoid: &Avoid, now: Moment, spill_until: Moment) -> Result<(), Shortage> {
        choose::choose(plan, avoid, now, spill_until).map(drop)
    }

    /// Keys that are about to be made under these names begin switched off.
    pub fn switch_off_by_name(&self, names: &[String]) {
        names.iter().for_each(|name| self.states.begin_off(name));
    }

    /// Calls under way with secrets that this key had before it was rotated.
    #[must_use]
    pub fn retiring(&self, id: &health::KeyId) -> u32 {
        self.states.retiring(id)
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.calls()
    }

    /// An operator or a reload changed what may be used: those who wait look again.
    pub fn changed(&self) {
        self.shared.changed();
    }

    /// A place in the queue for a call that began at `began` with a body of `bytes`; `None` when it is full.
    #[must_use]
    pub fn join(&self, began: Moment, bytes: usize) -> Option<waiting::Place> {
        let bounds = &self.table.load().settings.queue;
        let (calls, most) = (bounds.max_waiting, bounds.max_waiting_bytes);
        waiting::Place::join(&self.shared.waiting, (began, bytes), calls, most)
    }

    /// Whether anyone waits for what a call could use that is left this much of its plan: they came first.
    #[must_use]
    pub fn is_waited_for(&self, plan: &Arc<Plan>, avoid: &Avoid) -> bool {
        self.waiting() > 0 && self.shared.waiting.ring_line(&Line::of(plan, avoid))
    }

    /// What operators watch.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The pool's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }
}
