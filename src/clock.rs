//! The only reader of clocks: `now()` monotonic, `wall()` for dates, `sleep_until()` for waiting.
//!
//! Algorithms take a [`Moment`], never the clock. The monotonic clock is tokio's, so tests pause it; a paused clock's wall
//! time moves with it.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep};

/// A point of monotonic time: microseconds since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// From microseconds since the clock was made.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock was made.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` before; the clock's start where that is earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Where wall time comes from.
#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The machine.
    Machine,
    /// This date at the clock's start, moving with the monotonic clock.
    From(SystemTime),
}

/// The clock of one process, or of one test.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn machine() -> Self {
        Self { start: Instant::now(), wall: Wall::Machine }
    }

    /// A clock whose date is `wall` now and moves with tokio's, which tests pause.
    #[must_use]
    pub fn starting_at(wall: SystemTime) -> Self {
        Self { start: Instant::now(), wall: Wall::From(wall) }
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The date.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match self.wall {
            Wall::Machine => SystemTime::now(),
            Wall::From(start) => start + self.start.elapsed(),
        }
    }
}

impl Clock {
    /// Waits for `moment`; at once when it has passed.
    pub fn sleep_until(&self, moment: Moment) -> Sleep {
        tokio::time::sleep_until(self.instant(moment))
    }

    /// The runtime's own form of `moment`, to re-arm a [`Sleep`].
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // A moment centuries away must not overflow the runtime's arithmetic.
        const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
        self.start + Duration::from_micros(moment.0).min(FAR)
    }
}
