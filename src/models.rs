//! What upstreams list as their models, kept for a while so that asking for models does not ask them each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock::Moment;

/// How long upstream's list is kept.
const FRESH: Duration = Duration::from_secs(600);

/// One model: its id, and the object as listed.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its id.
    pub id: String,
    /// The object as listed, byte for byte.
    pub object: Arc<RawValue>,
}

/// Upstream's lists by route pattern, with the moment each was read.
#[derive(Debug, Default)]
pub struct Lists(Mutex<HashMap<String, Kept>>);

/// A list with the moment it was read.
type Kept = (Moment, Arc<Vec<Model>>);

impl Lists {
    /// A list that is young enough at `now`.
    #[must_use]
    pub fn get(&self, pattern: &str, now: Moment) -> Option<Arc<Vec<Model>>> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(pattern).filter(|(read, _)| now.since(*read) < FRESH).map(|(_, list)| list.clone())
    }

    /// Keeps a list read at `now`.
    pub fn put(&self, pattern: String, now: Moment, list: Arc<Vec<Model>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pattern, (now, list));
    }

    /// Forgets every list: the routes have changed.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
