//! Memory after a rush: the allocator of glibc keeps what thousands of streams have used, scattered among what is still in use, and
//! gives only the very end of it back by itself. So it is asked to, once, when a rush is over.
//!
//! [`Load`] is the pure half: it counts open requests and says when a rush is over.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::Clock;
use crate::gateway::Gateway;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Fewer open requests at the same time leave nothing worth the asking.
const RUSH: usize = 64;

/// How many requests are open, and how many were at most since memory was given back.
#[derive(Debug, Default)]
pub struct Load {
    open: AtomicUsize,
    peak: AtomicUsize,
}

impl Load {
    /// A request begins.
    pub fn begin(&self) {
        let open = self.open.fetch_add(1, Relaxed) + 1;
        if open > self.peak.load(Relaxed) {
            self.peak.fetch_max(open, Relaxed);
        }
    }

    /// A request has ended.
    pub fn end(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Whether a rush is over: says so once for each.
    pub fn rush_is_over(&self) -> bool {
        let (open, peak) = (self.open.load(Relaxed), self.peak.load(Relaxed));
        let over = peak >= RUSH && open <= peak / 4;
        if over {
            self.peak.store(open, Relaxed);
        }
        over
    }
}

/// Gives memory back after every rush, for as long as it is polled.
pub async fn give_back_after_rushes(gateway: &Gateway) {
    let clock: Clock = gateway.clock;
    loop {
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
        if gateway.load.rush_is_over() {
            give_back();
        }
    }
}

/// Asks the allocator to give the system what nobody uses (`malloc_trim(3)`). Takes a few milliseconds for hundreds of megabytes.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "glibc has no safe interface for it")]
fn give_back() {
    // SAFETY: malloc_trim has no preconditions and may be called by any thread at any time (malloc_trim(3): MT-Safe).
    let given = unsafe { libc::malloc_trim(0) };
    tracing::debug!(given = given != 0, "asked the allocator to give memory back");
}

/// Other C libraries give memory back by themselves, or not at all.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::{Load, RUSH};

    #[test]
    fn a_rush_is_over_once_when_three_quarters_of_it_are_gone() {
        let load = Load::default();
        (0..RUSH - 1).for_each(|_| load.begin());
        (0..RUSH - 1).for_each(|_| load.end());
        assert!(!load.rush_is_over(), "that was none");
        (0..RUSH).for_each(|_| load.begin());
        assert!(!load.rush_is_over(), "it is on");
        (0..RUSH / 2).for_each(|_| load.end());
        assert!(!load.rush_is_over(), "half of it is");
        (0..RUSH / 4).for_each(|_| load.end());
        assert!(load.rush_is_over());
        assert!(!load.rush_is_over(), "said once");
        (0..RUSH).for_each(|_| load.begin());
        (0..RUSH).for_each(|_| load.end());
        assert!(load.rush_is_over(), "and again after the next");
    }
}
