//! `Health`: what we know of a key, a group and a model there, apart from their settings and keyed by id.
//!
//! It survives reloads: a new snapshot of settings finds the old state by id. A key's id includes its secret's generation,
//! so a rotated secret starts clean while leases of the old one finish on their own `Arc`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;

use super::breaker::Breaker;
use super::park::Park;
use super::trouble::Trouble;
use crate::clock::Moment;

/// Most model classes, and most missing models, remembered of one group.
const MAX_CLASSES: usize = 64;
/// The class that shares what is past the bound.
const OTHER: &str = "other";

/// A key's state.
#[derive(Debug, Default)]
pub struct Health {
    /// Requests under way.
    pub in_flight: AtomicU32,
    /// The pool's counter at the last lease: smaller is longer ago.
    pub last_used: AtomicU64,
    /// An operator switched it off.
    pub disabled: AtomicBool,
    /// The settings in force have it switched off; not an operator's to change, and not remembered.
    pub withheld: AtomicBool,
    /// It was switched off so that what runs with it may end, and an operator watches for that.
    pub draining: AtomicBool,
    /// The key as a whole.
    pub park: Arc<Park>,
    /// An operator's last park of the key.
    hold: Mutex<Option<Hold>>,
    /// The key with one model class (403 for a model).
    classes: Named<Park>,
    /// The key with one upstream model.
    troubles: Named<Trouble>,
}

/// An operator's park, as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The end it was given; the park is still the operator's while its notice has the same.
    pub until: Moment,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

impl Health {
    /// An operator's last park of the key.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an operator's park, or that it was lifted.
    pub fn set_hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    /// The key's park for one model class.
    #[must_use]
    pub fn class(&self, name: &str) -> Arc<Park> {
        bounded(&self.classes, name)
    }

    /// The key's own trouble with one upstream model.
    #[must_use]
    pub fn trouble(&self, model: &str) -> Arc<Trouble> {
        bounded(&self.troubles, model)
    }

    /// Every upstream model the key was used with, and its trouble with it.
    #[must_use]
    pub fn troubles(&self) -> Vec<(String, Arc<Trouble>)> {
        listed(&self.troubles)
    }

    /// Every class parked or remembered, by name.
    #[must_use]
    pub fn classes(&self) -> Vec<(String, Arc<Park>)> {
        listed(&self.classes)
    }

    /// Whether operators and settings let it be used.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.disabled.load(Relaxed) && !self.withheld.load(Relaxed)
    }

    /// Whether new calls may use it: it is neither switched off nor drained.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.is_enabled() && !self.draining.load(Relaxed)
    }
}

/// A limit group's state: keys that share one upstream quota.
#[derive(Debug, Default)]
pub struct Group {
    /// The whole group (spend, credit, quota).
    pub park: Arc<Park>,
    /// One model class (rate limits, overload).
    classes: Named<Park>,
    /// One model that upstream says it does not have.
    missing: Named<Park>,
}

impl Group {
    /// The group's park for one model class.
    #[must_use]
    pub fn class(&self, name: &str) -> Arc<Park> {
        bounded(&self.classes, name)
    }

    /// The group's park for one upstream model that was missing.
    #[must_use]
    pub fn missing(&self, model: &str) -> Arc<Park> {
        bounded(&self.missing, model)
    }

    /// Every class by name.
    #[must_use]
    pub fn classes(&self) -> Vec<(String, Arc<Park>)> {
        listed(&self.classes)
    }

    /// Every model that was ever looked up here, by name.
    #[must_use]
    pub fn missing_models(&self) -> Vec<(String, Arc<Park>)> {
        listed(&self.missing)
    }
}

/// A backend's state: its breakers.
#[derive(Debug, Default)]
pub struct BackendState {
    /// The breaker of its connections.
    pub connections: Arc<Breaker>,
    models: Named<Breaker>,
}

impl BackendState {
    /// The breaker of one upstream model.
    #[must_use]
    pub fn model(&self, name: &str) -> Arc<Breaker> {
        bounded(&self.models, name)
    }

    /// Every model's breaker by name.
    #[must_use]
    pub fn models(&self) -> Vec<(String, Arc<Breaker>)> {
        listed(&self.models)
    }
}

type Named<T> = Mutex<HashMap<String, Arc<T>>>;

fn bounded<T: Default>(all: &Named<T>, name: &str) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let name = if all.len() >= MAX_CLASSES && !all.contains_key(name) { OTHER } else { name };
    if let Some(known) = all.get(name) {
        return known.clone();
    }
    all.entry(name.to_owned()).or_default().clone()
}

fn listed<T>(all: &Named<T>) -> Vec<(String, Arc<T>)> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(|(name, known)| (name.clone(), known.clone())).collect()
}

/// A key's id: its name and the generation of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// The configured name.
    pub name: String,
    /// A digest of the credential, so that a rotated secret is another key.
    pub generation: u64,
}

/// All state by id, across snapshots of settings.
#[derive(Debug, Default)]
pub struct States {
    keys: DashMap<KeyId, Arc<Health>>,
    groups: DashMap<(String, String), Arc<Group>>,
    backends: DashMap<String, Arc<BackendState>>,
    /// Names of keys to come that begin switched off.
    off: DashMap<String, ()>,
    /// Keys no snapshot names any more, for as long as a lease holds them.
    retired: DashMap<KeyId, Weak<Health>>,
    snapshots: AtomicU64,
}

impl States {
    /// The number of a new snapshot of settings.
    pub(super) fn next_snapshot(&self) -> u64 {
        self.snapshots.fetch_add(1, Relaxed)
    }

    /// The next key that is made under this name begins switched off.
    pub(super) fn begin_off(&self, name: &str) {
        self.off.insert(name.to_owned(), ());
    }

    /// Calls under way with secrets that a key of this name had before.
    #[must_use]
    pub fn retiring(&self, id: &KeyId) -> u32 {
        self.retired
            .iter()
            .filter(|known| known.key().name == id.name && known.key().generation != id.generation)
            .filter_map(|known| known.value().upgrade())
            .map(|health| health.in_flight.load(Relaxed))
            .sum()
    }

    /// The state of a key, new when it is not known. A rotated secret starts clean, but what an operator switched off by
    /// name stays off.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Arc<Health> {
        if let Some(known) = self.keys.get(id) {
            return known.clone();
        }
        let same =
            |known: &dashmap::mapref::multiple::RefMulti<'_, KeyId, Arc<Health>>| known.key().name == id.name;
        let off = self.off.remove(&id.name).is_some()
            || self.keys.iter().any(|known| same(&known) && known.disabled.load(Relaxed));
        let draining = self.keys.iter().any(|known| same(&known) && known.draining.load(Relaxed));
        let health = self.keys.entry(id.clone()).or_default().clone();
        health.disabled.fetch_or(off, Relaxed);
        health.draining.fetch_or(draining, Relaxed);
        health
    }

    /// The state of a backend's group, new when it is not known.
    #[must_use]
    pub fn group(&self, backend: &str, group: &str) -> Arc<Group> {
        self.groups.entry((backend.to_owned(), group.to_owned())).or_default().clone()
    }

    /// The state of a backend, new when it is not known.
    #[must_use]
    pub fn backend(&self, name: &str) -> Arc<BackendState> {
        self.backends.entry(name.to_owned()).or_default().clone()
    }

    /// Forgets backends, keys and groups that no snapshot names any more; leases keep theirs until they end.
    pub fn retain(&self, keys: &[KeyId], groups: &[(String, String)], backends: &[&str]) {
        self.backends.retain(|name, _| backends.contains(&name.as_str()));
        self.retired.retain(|_, health| health.strong_count() > 0);
        self.keys.retain(|id, health| {
            let stays = keys.contains(id);
            if !stays {
                self.retired.insert(id.clone(), Arc::downgrade(health));
            }
            stays
        });
        self.groups.retain(|id, _| groups.contains(id));
    }
}
