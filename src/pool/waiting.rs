//! Waiting calls: bounded in count and bytes, woken by what changes or at the moment a key frees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Who waits, and the bell that wakes them.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Rung when a probe ends, a park is lifted or the settings change.
    pub bell: Notify,
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// How many calls wait.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

/// A place in the queue; dropping it leaves.
#[derive(Debug)]
pub struct Place {
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl Place {
    /// Joins with a body of `bytes`; `None` when the queue is full.
    #[must_use]
    pub fn join(waiting: &Arc<Waiting>, bytes: usize, max_calls: usize, max_bytes: usize) -> Option<Self> {
        let calls = waiting.calls.fetch_add(1, Relaxed) + 1;
        let total = waiting.bytes.fetch_add(bytes, Relaxed) + bytes;
        let place = Self { waiting: waiting.clone(), bytes };
        // Counted before it is checked, so that a burst cannot slip in between; a refused one counts itself down again.
        (calls <= max_calls && total <= max_bytes).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.calls.fetch_sub(1, Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_in_calls_and_bytes_and_a_refusal_consumes_nothing() {
        let waiting = Arc::new(Waiting::default());
        let first = Place::join(&waiting, 60, 2, 100);
        assert!(first.is_some());
        assert!(Place::join(&waiting, 50, 2, 100).is_none(), "too many bytes");
        let second = Place::join(&waiting, 40, 2, 100);
        assert!(second.is_some());
        assert!(Place::join(&waiting, 0, 2, 100).is_none(), "too many calls");
        drop((first, second));
        assert_eq!((waiting.calls(), waiting.bytes.load(Relaxed)), (0, 0));
    }
}
