//! Memory after a rush: the allocator of glibc keeps what requests have used, scattered among what is still in use, and gives only
//! the very end of it back by itself. So it is asked to, once it has grown and a rush is over.
//!
//! [`Load`] counts open requests; `Keeper` decides.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::Clock;
use crate::gateway::Gateway;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Growth that is worth the asking: by an eighth of what was left the last time.
const GROWTH: usize = 8;

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

    /// Whether three quarters of the most that were open are gone.
    fn is_quiet(&self) -> bool {
        self.open.load(Relaxed) <= self.peak.load(Relaxed) / 4
    }

    /// From now on the most are those that are open now.
    fn begin_anew(&self) {
        self.peak.store(self.open.load(Relaxed), Relaxed);
    }
}

/// Remembers what was left when memory was given back last.
#[derive(Debug, Default)]
struct Keeper {
    left: Option<usize>,
}

impl Keeper {
    /// Looks at a process that has `resident` pages in memory; gives back with `give_back`, which tells what is left. What cannot be
    /// given back is in use, and is no reason to ask again.
    fn look(&mut self, load: &Load, resident: usize, give_back: impl FnOnce() -> usize) {
        let left = *self.left.get_or_insert(resident);
        if resident < left {
            self.left = Some(resident);
        } else if resident - left >= left / GROWTH && load.is_quiet() {
            self.left = Some(give_back());
            load.begin_anew();
        }
    }
}

/// Gives memory back after every rush, for as long as it is polled. Does nothing where the system does not tell how much it is.
pub async fn give_back_after_rushes(gateway: &Gateway) {
    let clock: Clock = gateway.clock;
    let mut keeper = Keeper::default();
    while let Some(resident) = resident() {
        keeper.look(&gateway.load, resident, || {
            give_back();
            self::resident().unwrap_or(resident)
        });
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
    }
    std::future::pending().await
}

/// Pages of the process that are in memory (`/proc/self/statm`, second number: proc_pid_statm(5)); `None` where that is not told.
fn resident() -> Option<usize> {
    let told = std::fs::read_to_string("/proc/self/statm").ok()?;
    told.split_ascii_whitespace().nth(1)?.parse().ok()
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
    use super::{Keeper, Load, resident};

    /// Whether memory is given back when the process has `resident`, of which `left` stays.
    fn gives(keeper: &mut Keeper, load: &Load, resident: usize, left: usize) -> bool {
        let mut asked = false;
        keeper.look(load, resident, || {
            asked = true;
            left
        });
        asked
    }

    #[test]
    fn memory_is_given_back_once_it_has_grown_and_the_rush_is_over() {
        let (load, mut keeper) = (Load::default(), Keeper::default());
        assert!(!gives(&mut keeper, &load, 80, 80), "that is what it begins with");
        (0..8).for_each(|_| load.begin());
        assert!(!gives(&mut keeper, &load, 800, 80), "the rush is on");
        (0..5).for_each(|_| load.end());
        assert!(!gives(&mut keeper, &load, 800, 80), "three of eight are left");
        load.end();
        assert!(gives(&mut keeper, &load, 800, 100));
        assert!(!gives(&mut keeper, &load, 112, 100), "a little more is worth nothing");
        assert!(!gives(&mut keeper, &load, 113, 100), "two of two are open");
        (0..2).for_each(|_| load.end());
        assert!(gives(&mut keeper, &load, 113, 113), "in use, it turns out");
        assert!(!gives(&mut keeper, &load, 113, 113), "no reason to ask again");
        assert!(!gives(&mut keeper, &load, 50, 50), "it fell by itself");
        assert!(gives(&mut keeper, &load, 57, 50), "and grew from there");
    }

    #[test]
    fn the_system_tells_how_much_memory_this_process_has() {
        if cfg!(target_os = "linux") {
            assert!(resident().is_some_and(|pages| pages > 100));
        }
    }
}
