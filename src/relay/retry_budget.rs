//! The retry budget: how many attempts may repeat after backend faults, so that an outage cannot multiply load.
//!
//! Every call earns a share of a repeat, spent within the window; besides, a small floor refills by itself, so that a quiet
//! gateway may repeat too. Pure arithmetic under one lock; the time is an argument.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::config::checked::Relay;

/// How long the parts of the window are, microseconds.
const SLICE_MICROS: u64 = 1_000_000;

/// One repeat, in hundredths.
const REPEAT: u64 = 100;

#[derive(Debug, Default)]
struct Book {
    /// (slice number, hundredths of a repeat earned and not yet spent), oldest first.
    earned: VecDeque<(u64, u64)>,
    /// What is left of the floor, repeats.
    floor: Option<f64>,
    refilled: Moment,
}

/// The budget of the whole process.
#[derive(Debug, Default)]
pub struct RetryBudget(Mutex<Book>);

impl RetryBudget {
    /// A call begins: it earns its share.
    pub fn earn(&self, now: Moment, bounds: &Relay) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut book.earned, now, bounds.retry_budget_window);
        let share = u64::from(bounds.retry_budget_percent);
        let number = now.as_micros() / SLICE_MICROS;
        match book.earned.back_mut() {
            Some((last, earned)) if *last == number => *earned += share,
            Some(_) | None => book.earned.push_back((number, share)),
        }
    }

    /// A call wants to repeat after a backend's fault; false when the budget is spent.
    pub fn spend(&self, now: Moment, bounds: &Relay) -> bool {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut book.earned, now, bounds.retry_budget_window);
        let earned: u64 = book.earned.iter().map(|(_, earned)| earned).sum();
        let most = f64::from(bounds.retry_budget_floor_per_s);
        let refill = now.since(book.refilled).as_secs_f64() * most;
        let floor = (book.floor.unwrap_or(most) + refill).min(most);
        book.refilled = now;
        book.floor = Some(floor);
        if earned >= REPEAT {
            take_earned(&mut book.earned);
            return true;
        }
        if floor >= 1.0 {
            book.floor = Some(floor - 1.0);
            return true;
        }
        false
    }
}

/// Takes one repeat, the oldest shares first.
fn take_earned(earned: &mut VecDeque<(u64, u64)>) {
    let mut wanted = REPEAT;
    while let Some((_, share)) = earned.front_mut() {
        let taken = (*share).min(wanted);
        *share -= taken;
        wanted -= taken;
        if wanted == 0 {
            return;
        }
        earned.pop_front();
    }
}

fn forget(earned: &mut VecDeque<(u64, u64)>, now: Moment, window: Duration) {
    let number = now.as_micros() / SLICE_MICROS;
    while earned.front().is_some_and(|(slice, _)| slice + window.as_secs() < number) {
        earned.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn bounds() -> Relay {
        load(&[], &Environment::default()).expect("the defaults").relay
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn spendable(budget: &RetryBudget, now: Moment) -> usize {
        let bounds = bounds();
        (0..10_000).take_while(|_| budget.spend(now, &bounds)).count()
    }

    #[test]
    fn a_quiet_gateway_has_the_floor_and_it_refills_by_the_second() {
        let budget = RetryBudget::default();
        assert_eq!(spendable(&budget, at(100)), 10);
        assert_eq!(spendable(&budget, at(101)), 10);
        assert_eq!(spendable(&budget, at(200)), 10, "it does not pile up");
    }

    #[test]
    fn a_fifth_of_recent_calls_may_be_repeated_and_old_ones_do_not_count() {
        let (budget, bounds) = (RetryBudget::default(), bounds());
        for _ in 0..1000 {
            budget.earn(at(100), &bounds);
        }
        assert_eq!(spendable(&budget, at(105)), 200 + 10);
        for _ in 0..1000 {
            budget.earn(at(106), &bounds);
        }
        assert_eq!(spendable(&budget, at(120)), 10);
    }
}
