//! `Source`: one credential, refreshed ahead of its end by one task, asked by any number of calls.
//!
//! Single flight by construction: only the task of [`keep`] fetches. A call takes what is held, or waits for the refresh under
//! way up to its own deadline; it starts nothing itself. The task lives on a runtime of its own and ends with its source.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use headgate_providers::{Fault, FaultKind, Source as StatedBy, Stated};
use tokio::sync::{Notify, watch};

use super::state::{Again, At, Fresh, Held, Refusal, Standing, State};
use crate::clock::{Clock, Moment};
use crate::config::checked;

/// How often one refresh asks, where asking again soon may help.
const TRIES: u32 = 3;

/// A fetch under way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fresh, Refusal>> + Send + 'a>>;

/// Gets a fresh credential from wherever it is made.
pub trait Fetch: Send + Sync {
    /// Gets one; `at` is now. The caller bounds the time and repeats it.
    fn fetch(&self, at: At) -> Fetching<'_>;
}

/// One refreshed credential.
pub struct Source {
    /// The key's name, for the log.
    name: String,
    clock: Clock,
    settings: Arc<ArcSwap<checked::Credentials>>,
    fetch: Mutex<Arc<dyn Fetch>>,
    state: watch::Sender<State>,
    wake: Arc<Notify>,
}

impl Source {
    /// A source that holds nothing yet; [`keep`] fills it.
    #[must_use]
    pub fn new(
        name: String,
        clock: Clock,
        settings: Arc<ArcSwap<checked::Credentials>>,
        fetch: Arc<dyn Fetch>,
    ) -> Arc<Self> {
        let (state, wake) = (watch::Sender::default(), Arc::default());
        Arc::new(Self { name, clock, settings, fetch: Mutex::new(fetch), state, wake })
    }

    /// From now on `fetch` is asked: after a reload the way to the endpoint may be another.
    pub fn retarget(&self, fetch: Arc<dyn Fetch>) {
        *self.fetch.lock().unwrap_or_else(PoisonError::into_inner) = fetch;
    }

    /// The credential: at once while one is held, else when the refresh under way brings it.
    ///
    /// # Errors
    /// [`FaultKind::KeyRefused`] where there is none before the next attempt, or none by `deadline`.
    pub async fn obtain(&self, deadline: Moment) -> Result<Arc<Held>, Fault> {
        if let Standing::Usable(held) = self.state.borrow().standing(self.at()) {
            return Ok(held.clone());
        }
        tokio::select! {
            biased;
            found = self.awaited() => found,
            () = self.clock.sleep_until(deadline) => Err(refused("no credential came in time", Duration::ZERO)),
        }
    }

    async fn awaited(&self) -> Result<Arc<Held>, Fault> {
        let mut state = self.state.subscribe();
        loop {
            let at = self.at();
            match state.borrow_and_update().standing(at) {
                Standing::Usable(held) => return Ok(held.clone()),
                Standing::Refused(failed) => {
                    return Err(refused(&failed.refusal.detail, failed.retry_at.since(at.now)));
                }
                // It may have ended by the wall, of which the task's timer knows nothing.
                Standing::Awaited => self.wake.notify_one(),
            }
            if state.changed().await.is_err() {
                return Err(refused("the key is gone", Duration::ZERO));
            }
        }
    }

    /// Upstream refused the credential of `generation`: tells whether [`obtain`](Self::obtain) may bring a better one.
    #[must_use]
    pub fn refuse(&self, generation: u64) -> bool {
        let now = self.clock.now();
        let mut worth = false;
        self.state.send_modify(|state| worth = state.refuse(generation, now));
        self.wake.notify_one();
        worth
    }

    fn at(&self) -> At {
        At { now: self.clock.now(), wall: self.clock.wall() }
    }

    /// One refresh: a few tries within the time limit, then the outcome.
    async fn refresh(&self) {
        self.state.send_modify(|state| state.busy = true);
        let settings = self.settings.load_full();
        let until = self.clock.now() + settings.timeout;
        let tries = AssertUnwindSafe(self.tries(&settings)).catch_unwind();
        let outcome = tokio::select! {
            biased;
            outcome = tries => outcome.unwrap_or_else(|_| Err(Refusal::new(Again::Later, "the fetch failed inside"))),
            () = self.clock.sleep_until(until) => Err(Refusal::new(Again::Soon, "the endpoint did not answer in time")),
        };
        let now = self.clock.now();
        self.state.send_modify(|state| {
            let streak = state.streak;
            match outcome.and_then(|(fresh, begun)| state.renewed(fresh, begun, &settings)) {
                Ok(()) if streak > 0 => tracing::info!(key = %self.name, "the credential is refreshed again"),
                Ok(()) => tracing::debug!(key = %self.name, "the credential was refreshed"),
                Err(refusal) => self.tell_and_note(state, refusal, now, &settings),
            }
            state.busy = false;
        });
    }

    fn tell_and_note(
        &self,
        state: &mut State,
        refusal: Refusal,
        now: Moment,
        settings: &checked::Credentials,
    ) {
        let detail = refusal.detail.clone();
        match (refusal.again, state.failed(refusal, now, settings)) {
            (Again::Never, true) => {
                tracing::error!(key = %self.name, %detail, "the credential is revoked or cannot be used");
            }
            (Again::Soon | Again::Later, true) => {
                tracing::warn!(key = %self.name, %detail, "the credential cannot be refreshed for now");
            }
            (Again::Soon | Again::Later | Again::Never, false) => {
                tracing::debug!(key = %self.name, %detail, "the credential still cannot be refreshed");
            }
        }
    }

    async fn tries(&self, settings: &checked::Credentials) -> Result<(Fresh, At), Refusal> {
        let mut tried = 0;
        loop {
            let begun = self.at();
            let fetch = self.fetch.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let refusal = match fetch.fetch(begun).await {
                Ok(fresh) => return Ok((fresh, begun)),
                Err(refusal) => refusal,
            };
            tried += 1;
            if tried >= TRIES || refusal.again != Again::Soon {
                return Err(refusal);
            }
            let pause = settings.retry_first.saturating_mul(1 << (tried - 1));
            self.clock.sleep_until(self.clock.now() + pause).await;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

fn refused(detail: &str, after: Duration) -> Fault {
    // A rest that is nothing would be no rest: the next call would ask at once.
    let stated = Some(after).filter(|after| !after.is_zero());
    let stated = stated.map(|after| Stated { after, source: StatedBy::Credential });
    Fault { stated, ..Fault::new(FaultKind::KeyRefused, format!("no credential: {detail}")) }
}

/// Refreshes `source` whenever it is due, until nobody else holds it.
pub async fn keep(source: Weak<Source>) {
    loop {
        let Some(strong) = source.upgrade() else { return };
        let (clock, wake) = (strong.clock, strong.wake.clone());
        let at = strong.at();
        let due = strong.state.borrow().due(at);
        if due <= at.now {
            strong.refresh().await;
            continue;
        }
        drop(strong);
        tokio::select! {
            () = clock.sleep_until(due) => {}
            () = wake.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
