//! Whether the store works, as its last uses told: for the status page and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::StoreError;

/// Whether the store works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It was not opened yet.
    Opening,
    /// Its last uses worked.
    Open,
    /// Reading or writing fails.
    Failing {
        /// Why, without values.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
}

/// What a use of the store wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Side {
    Reading,
    Writing,
}

/// The last failures that no success has followed.
#[derive(Debug, Default)]
pub(in crate::store) struct Standing(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    reading: Option<(String, SystemTime)>,
    writing: Option<(String, SystemTime)>,
}

impl Standing {
    /// Notes how a use ended. What the caller got wrong (a conflict, a missing row) is no failure of the store.
    pub fn note(&self, side: Side, error: Option<&StoreError>, wall: SystemTime) {
        let failed = match error {
            Some(
                StoreError::Unavailable { .. } | StoreError::NewerSchema { .. } | StoreError::Damaged { .. },
            ) => error.map(StoreError::to_string),
            Some(
                StoreError::Conflict { .. }
                | StoreError::Exists { .. }
                | StoreError::Missing { .. }
                | StoreError::Answered,
            )
            | None => None,
        };
        let mut failures = self.failures();
        let known = match side {
            Side::Reading => &mut failures.reading,
            Side::Writing => &mut failures.writing,
        };
        match (failed, known.as_mut()) {
            (None, None) => {}
            (None, Some((reason, _))) => {
                tracing::info!(was = %reason, "the store works again");
                *known = None;
            }
            (Some(failed), Some((reason, _))) => *reason = failed,
            (Some(failed), None) => {
                tracing::warn!(reason = %failed, "the store fails");
                *known = Some((failed, wall));
            }
        }
    }

    pub fn state(&self, is_open: bool) -> StoreState {
        let failures = self.failures();
        match failures.writing.as_ref().or(failures.reading.as_ref()) {
            Some((reason, since)) => StoreState::Failing { reason: reason.clone(), since: *since },
            None if is_open => StoreState::Open,
            None => StoreState::Opening,
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
