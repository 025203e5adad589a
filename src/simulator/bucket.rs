//! A continuously refilled token bucket as pure arithmetic.
//!
//! Levels are integers in units of one sixty-millionth of a token: a rate of R per minute adds exactly R units each
//! microsecond, so no rounding ever accumulates. A level may go below zero: output tokens are charged as they are
//! produced, and the next request pays.

use std::time::Duration;

const UNITS_PER_TOKEN: i128 = 60_000_000;

/// One limit of so many per minute.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_minute: u64,
    capacity: i128,
    level: i128,
    at: Duration,
}

impl Bucket {
    /// A full bucket that holds what `burst` refills (at least one token).
    pub fn new(per_minute: u64, burst: Duration, now: Duration) -> Self {
        let capacity = (i128::from(per_minute) * micros(burst)).max(UNITS_PER_TOKEN);
        Self { per_minute, capacity, level: capacity, at: now }
    }

    /// The rate.
    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// How long until `amount` could be taken; zero when it can be taken now. More than the capacity waits for a full
    /// bucket.
    pub fn wait(&mut self, amount: u64, now: Duration) -> Duration {
        self.refill(now);
        let need = (i128::from(amount) * UNITS_PER_TOKEN).min(self.capacity);
        self.time_to_gain(need - self.level)
    }

    /// Takes `amount`, below zero if need be.
    pub fn take(&mut self, amount: u64, now: Duration) {
        self.refill(now);
        self.level -= i128::from(amount) * UNITS_PER_TOKEN;
    }

    /// Gives back what was taken too much; never beyond a full bucket.
    pub fn give(&mut self, amount: u64, now: Duration) {
        self.level = self.level.saturating_add(i128::from(amount) * UNITS_PER_TOKEN);
        self.refill(now);
    }

    /// Whole tokens left.
    pub fn remaining(&mut self, now: Duration) -> u64 {
        self.refill(now);
        u64::try_from(self.level.max(0) / UNITS_PER_TOKEN).unwrap_or(u64::MAX)
    }

    /// The moment the bucket is full again.
    pub fn full_at(&mut self, now: Duration) -> Duration {
        self.refill(now);
        now.saturating_add(self.time_to_gain(self.capacity - self.level))
    }

    fn refill(&mut self, now: Duration) {
        let gained = i128::from(self.per_minute) * micros(now.saturating_sub(self.at));
        self.level = self.level.saturating_add(gained).min(self.capacity);
        self.at = self.at.max(now);
    }

    fn time_to_gain(&self, units: i128) -> Duration {
        if units <= 0 {
            return Duration::ZERO;
        }
        let rate = i128::from(self.per_minute);
        if rate == 0 {
            return Duration::from_secs(86_400);
        }
        Duration::from_micros(u64::try_from((units + rate - 1) / rate).unwrap_or(u64::MAX))
    }
}

/// Whole seconds, rounded up: what `retry-after` says. At least 1.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn micros(time: Duration) -> i128 {
    i128::try_from(time.as_micros()).unwrap_or(i128::MAX >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_fresh_bucket_serves_a_minutes_worth_and_then_waits_one_refill() {
        let mut bucket = Bucket::new(60, MINUTE, Duration::ZERO);
        for _ in 0..60 {
            assert_eq!(bucket.wait(1, Duration::ZERO), Duration::ZERO);
            bucket.take(1, Duration::ZERO);
        }
        assert_eq!(bucket.wait(1, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(bucket.wait(1, Duration::from_millis(400)), Duration::from_millis(600));
        assert_eq!(bucket.wait(1, Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(bucket.full_at(Duration::from_secs(1)), MINUTE);
    }

    #[test]
    fn debt_is_paid_before_the_next_request() {
        let mut bucket = Bucket::new(6_000, MINUTE, Duration::ZERO);
        bucket.take(6_500, Duration::ZERO);
        assert_eq!(bucket.remaining(Duration::ZERO), 0);
        assert_eq!(bucket.wait(1, Duration::ZERO), Duration::from_millis(5_010));
        assert_eq!(bucket.remaining(Duration::from_secs(6)), 100);
    }

    #[test]
    fn what_is_given_back_serves_at_once_and_never_overflows() {
        let mut bucket = Bucket::new(600, MINUTE, Duration::ZERO);
        bucket.take(600, Duration::ZERO);
        bucket.give(400, Duration::ZERO);
        assert_eq!(bucket.remaining(Duration::ZERO), 400);
        bucket.give(400, Duration::ZERO);
        assert_eq!(bucket.remaining(Duration::ZERO), 600);
    }

    #[test]
    fn a_short_burst_enforces_the_rate_by_the_second() {
        let mut bucket = Bucket::new(60, Duration::from_secs(1), Duration::ZERO);
        bucket.take(1, Duration::ZERO);
        assert_eq!(bucket.wait(1, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(bucket.remaining(MINUTE), 1);
    }

    #[test]
    fn more_than_the_capacity_waits_for_a_full_bucket() {
        let mut bucket = Bucket::new(600, MINUTE, Duration::ZERO);
        assert_eq!(bucket.wait(10_000, Duration::ZERO), Duration::ZERO);
        bucket.take(10, Duration::ZERO);
        assert_eq!(bucket.wait(10_000, Duration::ZERO), Duration::from_secs(1));
    }

    #[test]
    fn a_thousand_steps_lose_nothing() {
        let mut bucket = Bucket::new(7, MINUTE, Duration::ZERO);
        bucket.take(7, Duration::ZERO);
        for step in 1..=1_000 {
            bucket.remaining(Duration::from_millis(step * 60));
        }
        assert_eq!(bucket.full_at(MINUTE), MINUTE);
    }

    #[test]
    fn retry_after_rounds_up_and_is_never_zero() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(37)), 37);
        assert_eq!(whole_seconds(Duration::from_micros(37_000_001)), 38);
    }
}
