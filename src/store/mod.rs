//! The store: what must outlive the process. Resources of the admin API, the audit trail, kept answers, long parks, usage.
//!
//! SQLite today; every SQL statement of the program is in this folder. [`Store`] is cheap to clone and works on a runtime of its
//! own: a caller never waits longer than `store.timeout_ms`, and what it gave up on is not done later unless its commit was
//! already under way. Nothing a request needs waits for the store.

mod address;
mod answers;
mod audit;
mod fault;
mod remembered;
mod resources;
mod schema;
mod sqlite;
mod standing;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Mutex;

pub use crate::config::Kind;
pub use address::{Place, StoreAddress};
pub use answers::{Answered, NewAnswer};
pub use audit::{AuditEntry, AuditPage, NewAudit};
pub use fault::StoreError;
pub use remembered::{ParkScope, StoredPark, StoredSwitch, SwitchState};
pub use resources::{Change, Resealed, Resource, SealedField, Write};
pub use standing::StoreState;

use crate::background::step_back;
use crate::clock::Clock;
use sqlite::Pools;
use standing::{Side, Standing};

/// Durable records. Clones share everything.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    address: StoreAddress,
    clock: Clock,
    /// Open, until a file that was read-only is to be tried anew.
    pools: ArcSwapOption<Pools>,
    opening: Mutex<()>,
    standing: Standing,
    runtime: Option<Runtime>,
}

impl Store {
    /// A store that opens itself at its first use, and tries again at every use until that works.
    ///
    /// # Errors
    /// `Unavailable` where no thread can be had.
    pub fn prepare(address: &StoreAddress) -> Result<Self, StoreError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("headgate-store").on_thread_start(step_back);
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::unavailable(error.kind().to_string()))?;
        Ok(Self(Arc::new(Inner {
            address: address.clone(),
            clock: Clock::machine(),
            pools: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            standing: Standing::default(),
            runtime: Some(runtime),
        })))
    }

    /// Opens the store: makes its file where none is and brings its schema up to date.
    ///
    /// # Errors
    /// `Unavailable`, `NewerSchema`, `Damaged`.
    pub async fn open(address: &StoreAddress) -> Result<Self, StoreError> {
        let store = Self::prepare(address)?;
        store.ready().await?;
        Ok(store)
    }

    /// Whether something may be stored there already: a file that is there, or that cannot be looked for.
    #[must_use]
    pub fn may_exist(&self) -> bool {
        match &self.0.address.place {
            Place::File(path) => path.try_exists().unwrap_or(true),
            Place::Memory => false,
        }
    }

    /// Opens what [`prepare`](Self::prepare) made; nothing where it is open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.read(|connection| Box::pin(sqlite::look(connection))).await
    }

    /// Whether it works, as far as its last uses tell.
    #[must_use]
    pub fn state(&self) -> StoreState {
        self.0.standing.state(self.0.pools.load().is_some())
    }

    /// Reads and writes one small row, to learn whether a store that failed works again.
    ///
    /// # Errors
    /// As [`open`](Self::open), while it does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.ready().await?;
        let at = micros(self.0.clock.wall());
        self.write(move |connection| Box::pin(sqlite::beat(connection, at))).await
    }

    /// Closes the files after what is under way; later uses fail. A shutdown awaits it last.
    pub async fn close(&self) {
        let inner = self.0.clone();
        let closing = self.background().spawn(async move {
            if let Some(pools) = inner.pools.load_full() {
                pools.close().await;
            }
        });
        // A hung disk must not keep the process: what was answered is durable already.
        let _late = tokio::time::timeout(self.0.address.timeout, closing).await;
    }

    /// The runtime of the store, also for tasks that keep it up to date; apart from those that serve requests.
    #[must_use]
    pub fn background(&self) -> Handle {
        match &self.0.runtime {
            Some(runtime) => runtime.handle().clone(),
            None => Handle::current(),
        }
    }

    /// Waits for `work` no longer than for one operation of the store.
    ///
    /// # Errors
    /// Those of `work`; `Unavailable` when it takes longer.
    pub async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let timeout = self.0.address.timeout;
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(StoreError::late(timeout)))
    }

    fn keep_answers(&self) -> Duration {
        self.0.address.keep_answers
    }

    /// Runs `work` on a connection that only reads.
    pub(in crate::store) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>,
        F: Send + 'static,
    {
        let inner = self.0.clone();
        self.bounded(Side::Reading, |awaited| async move {
            let pools = inner.pools(&awaited).await?;
            let mut connection = pools.reader.acquire().await?;
            let result = work(&mut connection).await;
            pools.put_back(connection, result.as_ref().err().is_none_or(StoreError::is_a_caller_s)).await;
            result
        })
        .await
    }

    /// Runs `work` in a transaction of its own, one at a time, and commits it to the disk. What `work` refuses, and what the
    /// caller no longer waits for, is rolled back.
    pub(in crate::store) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>,
        F: Send + 'static,
    {
        let inner = self.0.clone();
        self.bounded(Side::Writing, |awaited| async move {
            let pools = inner.pools(&awaited).await?;
            let mut connection = pools.writer.acquire().await?;
            let (result, is_sound) = sqlite::transact(&mut connection, work, &awaited).await;
            pools.put_back(connection, is_sound).await;
            if result.as_ref().err().is_some_and(sqlite::is_read_only) {
                // Connections to a file that could not be written stay as they are, whatever becomes of the file.
                inner.open_anew(&pools).await;
            }
            result
        })
        .await
    }

    /// Runs a task on the store's own runtime, so that it ends in order even where the caller goes away, and waits for it no
    /// longer than the timeout. Tasks that wait for a hung disk are as few as there are connections; all others end in time.
    async fn bounded<T: Send + 'static, W>(
        &self,
        side: Side,
        task: impl FnOnce(Awaited) -> W,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let timeout = self.0.address.timeout;
        let waits = Waits::default();
        let task = self.background().spawn(task(Awaited(waits.0.clone())));
        let result = match tokio::time::timeout(timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::unavailable("its task has ended early")),
            Err(_) => Err(StoreError::late(timeout)),
        };
        self.0.standing.note(side, result.as_ref().err(), self.0.clock.wall());
        result
    }
}

impl Inner {
    /// The connections. One task at a time opens the store, and nothing stops it midway: a hung disk then holds one thread.
    async fn pools(&self, awaited: &Awaited) -> Result<Arc<Pools>, StoreError> {
        if let Some(pools) = self.pools.load_full() {
            return Ok(pools);
        }
        let turn = tokio::time::timeout(self.address.timeout, self.opening.lock()).await;
        let _turn = turn.map_err(|_| StoreError::unavailable("it is still being opened"))?;
        if let Some(pools) = self.pools.load_full() {
            return Ok(pools);
        }
        awaited.still()?;
        let pools = Arc::new(Pools::open(&self.address, self.clock).await?);
        self.pools.store(Some(pools.clone()));
        Ok(pools)
    }

    /// Closes `pools` where they are still in use, so that the next use opens others.
    async fn open_anew(&self, pools: &Arc<Pools>) {
        if pools.in_memory {
            return;
        }
        let known = self.pools.compare_and_swap(pools, None);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, pools)) {
            pools.close().await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A caller waits until this is dropped.
struct Waits(Arc<AtomicBool>);

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// Whether the caller of a task still waits for it.
struct Awaited(Arc<AtomicBool>);

impl Awaited {
    /// An error once nobody waits.
    fn still(&self) -> Result<(), StoreError> {
        let waits = self.0.load(Relaxed);
        if waits { Ok(()) } else { Err(StoreError::unavailable("nobody waits for it any more")) }
    }
}

/// `at` in whole microseconds since 1970, as the store keeps times.
#[must_use]
pub fn micros(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The time that is `micros` microseconds after 1970; a negative number counts as 0.
#[must_use]
pub fn from_micros(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
