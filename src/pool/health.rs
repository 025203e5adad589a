//! `Health`: what we know of a key, a group and a model there, apart from their settings and keyed by id.
//!
//! It survives reloads: a new snapshot of settings finds the old state by id. A key's id includes its secret's generation,
//! so a rotated secret starts clean while leases of the old one finish on their own `Arc`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use super::park::Park;

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
    /// The key as a whole.
    pub park: Arc<Park>,
    /// The key with one model class (403 for a model).
    classes: Mutex<HashMap<String, Arc<Park>>>,
}

impl Health {
    /// The key's park for one model class.
    #[must_use]
    pub fn class(&self, name: &str) -> Arc<Park> {
        bounded(&self.classes, name)
    }

    /// Every class parked or remembered, by name.
    #[must_use]
    pub fn classes(&self) -> Vec<(String, Arc<Park>)> {
        listed(&self.classes)
    }

    /// Whether an operator lets it be used.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.disabled.load(Relaxed)
    }
}

/// A limit group's state: keys that share one upstream quota.
#[derive(Debug, Default)]
pub struct Group {
    /// The whole group (spend, credit, quota).
    pub park: Arc<Park>,
    /// One model class (rate limits, overload).
    classes: Mutex<HashMap<String, Arc<Park>>>,
    /// One model that upstream says it does not have.
    missing: Mutex<HashMap<String, Arc<Park>>>,
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

type Parks = Mutex<HashMap<String, Arc<Park>>>;

fn bounded(parks: &Parks, name: &str) -> Arc<Park> {
    let mut parks = parks.lock().unwrap_or_else(PoisonError::into_inner);
    let name = if parks.len() >= MAX_CLASSES && !parks.contains_key(name) { OTHER } else { name };
    if let Some(park) = parks.get(name) {
        return park.clone();
    }
    parks.entry(name.to_owned()).or_default().clone()
}

fn listed(parks: &Parks) -> Vec<(String, Arc<Park>)> {
    let parks = parks.lock().unwrap_or_else(PoisonError::into_inner);
    parks.iter().map(|(name, park)| (name.clone(), park.clone())).collect()
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
}

impl States {
    /// The state of a key, new when it is not known.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Arc<Health> {
        self.keys.entry(id.clone()).or_default().clone()
    }

    /// The state of a backend's group, new when it is not known.
    #[must_use]
    pub fn group(&self, backend: &str, group: &str) -> Arc<Group> {
        self.groups.entry((backend.to_owned(), group.to_owned())).or_default().clone()
    }

    /// Forgets keys and groups that no snapshot names any more; leases keep theirs until they end.
    pub fn retain(&self, keys: &[KeyId], groups: &[(String, String)]) {
        self.keys.retain(|id, _| keys.contains(id));
        self.groups.retain(|id, _| groups.contains(id));
    }
}
