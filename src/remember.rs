//! What the pool must not forget over a restart: long parks and the keys an operator switched off.
//!
//! A [`Memory`] lives on the store's own runtime and is alone in writing them. It puts back what the store holds, as soon as the
//! store can be read, then looks at the pool once a second, and whenever a [`Reminder`] asks, and writes what changed. A park goes
//! back to the same secret only: a rotated one starts clean. What belongs to a key that the settings do not name (yet) stays in
//! the store until its time is over. It also forgets what is too old of the audit trail.

mod pool;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::pool::table::Table;
use crate::store::{Store, StoreError, StoreState, StoredPark, StoredSwitch};
use pool::Parked;

/// How often the pool is looked at: what a crash may lose.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often entries of the audit trail are looked for that are too old.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Entries forgotten at one look.
const FORGOTTEN_AT_ONCE: u32 = 500;
/// Reminders that wait.
const REMINDERS: usize = 64;

/// Asks a [`Memory`] to write down what is now.
#[derive(Clone, Debug)]
pub struct Reminder {
    ask: mpsc::Sender<Ask>,
    end: Arc<Notify>,
}

/// The other end of a [`Reminder`].
#[derive(Debug)]
pub struct Asked {
    asked: mpsc::Receiver<Ask>,
    end: Arc<Notify>,
}

/// Where to tell that it is written.
type Ask = oneshot::Sender<Result<(), StoreError>>;

impl Reminder {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Asked) {
        let (ask, asked) = mpsc::channel(REMINDERS);
        let end = Arc::new(Notify::new());
        (Self { ask, end: end.clone() }, Asked { asked, end })
    }

    /// Returns once the pool, as it is at this call or later, is written.
    ///
    /// # Errors
    /// What kept it from being written; the memory goes on trying.
    pub async fn write_down(&self) -> Result<(), StoreError> {
        let (told, tell) = oneshot::channel();
        let ended = || StoreError::unavailable("what would be written is not looked at any more");
        self.ask.send(told).await.map_err(|_| ended())?;
        tell.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Ends the memory, once it has written a last time.
    pub fn end(&self) {
        self.end.notify_one();
    }
}

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
    /// Likewise, of the keys that the settings name.
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
        let result = self.claim_and_save(&mut kept).await;
        self.kept = Some(kept);
        result
    }

    async fn claim_and_save(&self, kept: &mut Kept) -> Result<(), StoreError> {
        let table = self.gateway.pool.table();
        let is_named = |switch: &StoredSwitch| table.seats().any(|(_, seat)| seat.id.name == switch.key);
        if kept.unclaimed_switches.iter().any(is_named) {
            // What was switched may be another key of that name, which is gone, and its switch with it.
            let stored = self.store.switches().await?;
            kept.unclaimed_switches.retain(|switch| stored.contains(switch));
        }
        self.claim(kept);
        self.save_over(kept).await
    }

    /// Looks once a second and whenever it is asked, until it is told to end.
    pub async fn keep(mut self, mut asked: Asked) {
        let mut forget_at = self.gateway.clock.now();
        let mut is_last = false;
        let mut waiting: Vec<Ask> = Vec::new();
        loop {
            let now = self.gateway.clock.now();
            if let (false, Some(kept)) = (waiting.is_empty(), self.kept.as_mut()) {
                // A key that was made switched off, and switched on since: the store has what was never seen here.
                kept.switches = None;
            }
            // The store notes its failures itself, once each.
            let saved = self.save().await;
            for told in waiting.drain(..) {
                // Who has gone away does not want to know.
                let _gone = told.send(saved.clone());
            }
            if is_last {
                return;
            }
            if saved.is_ok() && matches!(self.store.state(), StoreState::Failing { .. }) {
                let _still_failing = self.store.probe().await;
            }
            if saved.is_ok() && now >= forget_at && self.forget().await {
                forget_at = now + FORGET_EVERY;
            }
            tokio::select! {
                () = asked.end.notified() => is_last = true,
                Some(told) = asked.asked.recv() => waiting.push(told),
                () = self.gateway.clock.sleep_until(now + LOOK_EVERY) => {}
            }
            while let Ok(told) = asked.asked.try_recv() {
                waiting.push(told);
            }
        }
    }

    /// Forgets some of what is too old of the audit trail; `true` once nothing is left to forget.
    async fn forget(&self) -> bool {
        let keep = self.gateway.settings().store.keep_audit;
        let oldest = self.gateway.clock.wall().checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
        self.store.forget_audit(oldest, FORGOTTEN_AT_ONCE).await == Ok(false)
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
        self.save_switches(kept, pool::switches(&table), &table).await
    }

    async fn save_switches(
        &self,
        kept: &mut Kept,
        switches: BTreeSet<StoredSwitch>,
        table: &Table,
    ) -> Result<(), StoreError> {
        if kept.switches.as_ref() == Some(&switches) {
            return Ok(());
        }
        let off: BTreeSet<&str> = switches.iter().map(|switch| switch.key.as_str()).collect();
        let named: BTreeSet<&str> = table.seats().map(|(_, seat)| seat.id.name.as_str()).collect();
        // Keys come and go with their switches, so what is stored is asked and not remembered.
        let stored = self.store.switches().await?;
        let on = stored.iter().map(|switch| &switch.key);
        let on: Vec<String> =
            on.filter(|key| named.contains(key.as_str()) && !off.contains(key.as_str())).cloned().collect();
        let new: Vec<StoredSwitch> =
            switches.iter().filter(|switch| !stored.contains(switch)).cloned().collect();
        if !new.is_empty() || !on.is_empty() {
            self.store.save_switches(&new, &on).await?;
        }
        kept.switches = Some(switches);
        Ok(())
    }
}

/// The date of `moment`, which may lie before `now`.
fn date(moment: Moment, now: Moment, wall: SystemTime) -> SystemTime {
    if moment >= now { wall + moment.since(now) } else { wall - now.since(moment) }
}
