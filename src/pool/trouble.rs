//! `Trouble`: a key that alone fails with a model, while its backend serves others. It is asked last for a while.
//!
//! A key that fails at once is never busy: as the least busy one it would draw nearly every call, and more repeats than the
//! budget has. No park: it keeps nobody from the only key there is. Its numbers are the breaker's (failures in a row, first and
//! longest period), and after each period one call finds out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::breaker::period;
use crate::clock::Moment;
use crate::config::checked;

/// The trouble of one key with one model.
#[derive(Debug, Default)]
pub struct Trouble {
    in_a_row: AtomicU32,
    /// Periods in a row without a success.
    step: AtomicU32,
    /// The end of the period, microseconds; 0: none was begun since the last success.
    until: AtomicU64,
    /// Whether a call was let through to find out.
    trying: AtomicBool,
}

impl Trouble {
    /// Whether others are to be asked before it.
    #[must_use]
    pub fn is_asked_last(&self, now: Moment) -> bool {
        now.as_micros() < self.until.load(Relaxed)
    }

    /// How long others are still asked before it; `None` where it stands among them.
    #[must_use]
    pub fn left(&self, now: Moment) -> Option<Duration> {
        self.is_asked_last(now).then(|| Moment::from_micros(self.until.load(Relaxed)).since(now))
    }

    /// Forgets it all, as an operator may want.
    pub fn clear(&self) {
        self.succeeded();
        self.trying.store(false, Relaxed);
    }

    /// A call takes the key: after a period it is the one that finds out, so that the next waits as long. Called under the
    /// pool's lock.
    pub fn taken(&self, now: Moment, settings: &checked::Breaker) {
        let until = self.until.load(Relaxed);
        if until > 0 && until <= now.as_micros() {
            self.trying.store(true, Relaxed);
            self.until.store((now + settings.open).as_micros(), Relaxed);
        }
    }

    /// The key was answered well.
    pub fn succeeded(&self) {
        if self.in_a_row.load(Relaxed) > 0 {
            self.in_a_row.store(0, Relaxed);
            self.step.store(0, Relaxed);
            self.until.store(0, Relaxed);
        }
    }

    /// The key failed; `jitter` is a fraction from 0 to 1. True when that was the failure from which it is asked last.
    pub fn failed(&self, now: Moment, settings: &checked::Breaker, jitter: f64) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        let tried = self.trying.swap(false, Relaxed);
        // What was under way when the period began says nothing new.
        if in_a_row < settings.consecutive_failures || self.is_asked_last(now) && !tried {
            return false;
        }
        let step = self.step.fetch_add(1, Relaxed);
        self.until.store((now + period(settings, step, jitter)).as_micros(), Relaxed);
        step == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn at(seconds: f64) -> Moment {
        Moment::default() + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn after_five_failures_in_a_row_it_is_asked_last_and_one_call_a_period_finds_out() {
        let settings = load(&[], &Environment::default()).unwrap().breaker;
        let trouble = Trouble::default();
        let failed = |now| trouble.failed(now, &settings, 0.0);
        for _ in 0..4 {
            assert!(!failed(at(1.0)) && !trouble.is_asked_last(at(1.0)));
        }
        assert!(failed(at(1.0)) && trouble.is_asked_last(at(10.9)));
        assert!(!failed(at(2.0)) && !trouble.is_asked_last(at(11.0)), "what was under way prolongs nothing");
        trouble.taken(at(11.0), &settings);
        assert!(trouble.is_asked_last(at(11.0)), "one finds out");
        assert!(!failed(at(11.5)) && trouble.is_asked_last(at(31.4)) && !trouble.is_asked_last(at(31.5)));
        trouble.taken(at(32.0), &settings);
        trouble.succeeded();
        assert!(!trouble.is_asked_last(at(32.0)));
        assert!(!failed(at(33.0)), "the count begins anew");
    }

    #[test]
    fn what_is_left_of_a_period_is_told_until_it_is_cleared() {
        let settings = load(&[], &Environment::default()).unwrap().breaker;
        let trouble = Trouble::default();
        assert_eq!(trouble.left(at(1.0)), None);
        assert!((0..5).any(|_| trouble.failed(at(1.0), &settings, 0.0)));
        assert_eq!(trouble.left(at(3.0)), Some(Duration::from_secs(8)));
        trouble.clear();
        assert_eq!(trouble.left(at(3.0)), None);
    }
}
