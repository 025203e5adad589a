//! What the pool tells operators: parks, their ends, breakers, drained keys.

use std::time::Duration;

use super::Shared;
use super::table::Candidate;
use crate::clock::Moment;
use crate::events::{BreakerMoved, Parked, Place, Switched, Unparked, What};

/// Scopes in the order of a lease's parks.
const SCOPES: [&str; 5] = ["key", "key_class", "group", "group_class", "model"];

/// Where the park of `candidate` at `index` is.
pub(super) fn place(candidate: &Candidate, index: usize) -> Place {
    let scope = SCOPES.get(index).copied().unwrap_or("model");
    let class = match scope {
        "key" | "group" => None,
        "model" => Some(candidate.upstream_model.to_string()),
        _ => Some(candidate.class.to_string()),
    };
    Place {
        scope,
        backend: candidate.upstream.settings.name.clone(),
        group: candidate.seat.group_name.clone(),
        key: Some(candidate.seat.id.name.clone()),
        class,
    }
}

impl Shared {
    pub(super) fn tell_parked(&self, place: Place, reason: &'static str, now: Moment, until: Moment) {
        let for_ms = millis(until.since(now));
        self.events.tell(now, What::Park(Parked { place, reason, for_ms, by: None }));
    }

    pub(super) fn tell_unparked(&self, place: Place, now: Moment) {
        self.events.tell(now, What::Unpark(Unparked { place, by: None }));
    }

    /// `index` 0 is the breaker of the model, 1 that of the connections.
    pub(super) fn tell_breaker(
        &self,
        candidate: &Candidate,
        index: usize,
        state: (&'static str, Option<&'static str>),
        now: Moment,
    ) {
        let moved = BreakerMoved {
            backend: candidate.upstream.settings.name.clone(),
            model: (index == 0).then(|| candidate.upstream_model.to_string()),
            state: state.0,
            cause: state.1,
            by: None,
        };
        self.events.tell(now, What::Breaker(moved));
    }

    pub(super) fn tell_drained(&self, candidate: &Candidate, now: Moment) {
        let switched = Switched {
            key: candidate.seat.id.name.clone(),
            backend: candidate.upstream.settings.name.clone(),
            state: "drained",
            by: None,
        };
        self.events.tell(now, What::Key(switched));
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
