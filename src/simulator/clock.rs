//! The only reader of clocks in the simulator: algorithms take the values it hands out.
//!
//! A moment is a `Duration` since the start; the wall clock is read once, so that both stay in step.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Sleep};

/// Monotonic moments since the start, and the wall time they stand for.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Timestamp,
}

impl Clock {
    /// A clock that reads zero now.
    #[allow(clippy::disallowed_methods, reason = "the simulator's one reader of clocks")]
    pub fn start() -> Self {
        Self { started: Instant::now(), wall: Timestamp::now() }
    }

    /// Time since the start.
    #[allow(clippy::disallowed_methods, reason = "the simulator's one reader of clocks")]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall time of a moment, in whole seconds since the epoch (rounded up).
    pub fn wall_second(&self, at: Duration) -> i64 {
        let nanos = self.wall.as_nanosecond() + i128::try_from(at.as_nanos()).unwrap_or(i128::MAX / 2);
        let rounded = nanos.div_euclid(1_000_000_000) + i128::from(nanos.rem_euclid(1_000_000_000) > 0);
        i64::try_from(rounded).unwrap_or(i64::MAX)
    }

    /// The wall time of a moment as RFC 3339 with a resolution of seconds.
    pub fn rfc3339(&self, at: Duration) -> String {
        Timestamp::from_second(self.wall_second(at)).unwrap_or(Timestamp::MAX).to_string()
    }

    /// The wall time of a moment as an HTTP date.
    pub fn http_date(&self, at: Duration) -> String {
        let second = u64::try_from(self.wall_second(at)).unwrap_or(0);
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(second))
    }

    /// The first day of the next month, as `YYYY-MM-DD`.
    pub fn next_month(&self) -> String {
        let now = Timestamp::from_second(self.wall_second(self.now())).unwrap_or(Timestamp::MAX).to_string();
        let year: u32 = now.get(0..4).and_then(|text| text.parse().ok()).unwrap_or(1970);
        let month: u32 = now.get(5..7).and_then(|text| text.parse().ok()).unwrap_or(1);
        if month == 12 { format!("{}-01-01", year + 1) } else { format!("{year}-{:02}-01", month + 1) }
    }
}

/// A pause.
pub fn sleep(pause: Duration) -> Sleep {
    tokio::time::sleep(pause)
}
