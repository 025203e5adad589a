//! Settlements as the log tells them: one line a request, read by a subscriber instead of a person.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What a line of the request log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    pub request: String,
    pub outcome: String,
    pub status: u64,
    pub attempts: u64,
}

/// Keeps the settlements of this thread until they are taken.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<Settlement>>>);

impl Ledger {
    pub fn take(&self) -> Vec<Settlement> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Ledger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "headgate::request"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut settlement = Settlement::default();
        event.record(&mut settlement);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(settlement);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Settlement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => value.clone_into(&mut self.request),
            "outcome" => value.clone_into(&mut self.outcome),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = value,
            "attempts" => self.attempts = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
