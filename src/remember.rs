//! What the pool must not forget over a restart: long parks and the keys an operator switched off.
//!
//! A [`Memory`] lives on the store's own runtime. It puts back what the store holds, as soon as the store can be read, then looks
//! at the pool once a second and writes what changed. A park goes back to the same secret only: a rotated one starts clean. What
//! belongs to a key that the settings do not name (yet) stays in the store until its time is over.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::store::{Store, StoreError, StoreState, StoredPark, StoredSwitch};
use pool::Parked;

/// How often the pool is looked at: what a crash may lose.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the store as the pool is.
pub struct Memory {
    gateway: Arc<Gateway>,
    store: Store,
    /// What the store holds; `None` until it was read.
    kept: Option<Kept>,
}

/// What the store holds.
#[derive(Default)]
struct Kept {
    /// `None` until it was written once, for what was read may be outdated by then.
    parks: Option<Vec<Parked>>,
    /// Likewise.
    switches: Option<BTreeSet<StoredSwitch>>,
    /// Of the parks and switches it held at first, those whose key or group is not in the settings.
    unclaimed_parks: Vec<StoredPark>,
    unclaimed_switches: Vec<StoredSwitch>,
}

impl Memory {
    /// Of this gateway, in this store.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, store: Store) -> Self {
        Self { gateway, store, kept: None }
    }

    /// Puts back what the store holds. Best done before the first request; [`keep`](Self::keep) tries again where it failed.
    ///
    /// # Errors
    /// What kept the store from being read; the pool is then as it was.
    pub async fn restore(&mut self) -> Result<(), StoreError> {
        let unclaimed_parks = self.store.parks().await?;
        let unclaimed_switches = self.store.switches().await?;
        let mut kept = Kept { unclaimed_parks, unclaimed_switches, ..Kept::default() };
        self.claim(&mut kept);
        self.kept = Some(kept);
        Ok(())
    }

    /// Writes what changed since the last time.
    ///
    /// # Errors
    /// What kept it from being read or written; the next call tries again.
    pub async fn save(&mut self) -> Result<(), StoreError> {
        // What was never read must not be written over.
        if self.kept.is_none() {
            self.restore().await?;
        }
        let Some(mut kept) = self.kept.take() else { return Ok(()) };
        self.claim(&mut kept);
        let result = self.save_over(&mut kept).await;
        self.kept = Some(kept);
        result
    }

    /// Looks once a second, for as long as it is polled.
    pub async fn keep(mut self) {
        loop {
            let now = self.gateway.clock.now();
            // The store notes its failures itself, once each.
            let saved = self.save().await;
            if saved.is_ok() && matches!(self.store.state(), StoreState::Failing { .. }) {
                let _still_failing = self.store.probe().await;
            }
            self.gateway.clock.sleep_until(now + LOOK_EVERY).await;
        }
    }

    /// Puts back what belongs to a key or a group that the settings name now.
    fn claim(&self, kept: &mut Kept) {
        if kept.unclaimed_parks.is_empty() && kept.unclaimed_switches.is_empty() {
            return;
        }
        let (now, wall) = (self.gateway.clock.now(), self.gateway.clock.wall());
        let table = self.gateway.pool.table();
        let before = kept.unclaimed_parks.len() + kept.unclaimed_switches.len();
        kept.unclaimed_parks.retain(|park| park.until > wall && !pool::put_back(&table, park, now, wall));
        kept.unclaimed_switches.retain(|switch| !pool::switch_back(&table, switch));
        if kept.unclaimed_parks.len() + kept.unclaimed_switches.len() < before {
            self.gateway.pool.changed();
        }
    }

    async fn save_over(&self, kept: &mut Kept) -> Result<(), StoreError> {
        let (now, wall) = (self.gateway.clock.now(), self.gateway.clock.wall());
        let long = self.gateway.settings().store.durable_park;
        let table = self.gateway.pool.table();
        let is_long = |park: &Parked| park.notice.until.since(now) > long;
        // A kept park that has become short stays until it ends: writing that would tell nothing.
        let is_kept = |park: &Parked| {
            park.notice.until > now && kept.parks.as_ref().is_some_and(|parks| parks.contains(park))
        };
        let parks: Vec<Parked> =
            pool::parks(&table).into_iter().filter(|park| is_long(park) || is_kept(park)).collect();
        if kept.parks.as_ref() != Some(&parks) {
            let rows = parks.iter().map(|park| park.stored(|moment| date(moment, now, wall)));
            let rows: Vec<StoredPark> = rows.chain(kept.unclaimed_parks.iter().cloned()).collect();
            self.store.save_parks(&rows).await?;
            kept.parks = Some(parks);
        }
        let switches = pool::switches(&table);
        if kept.switches.as_ref() != Some(&switches) {
            let rows: Vec<StoredSwitch> = switches.iter().chain(&kept.unclaimed_switches).cloned().collect();
            self.store.save_switches(&rows).await?;
            kept.switches = Some(switches);
        }
        Ok(())
    }
}

/// The date of `moment`, which may lie before `now`.
fn date(moment: Moment, now: Moment, wall: SystemTime) -> SystemTime {
    if moment >= now { wall + moment.since(now) } else { wall - now.since(moment) }
}
