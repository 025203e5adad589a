//! The writer: empties the queue into the store, in batches, again and again.
//!
//! It looks at the queue every `usage.flush_ms` instead of being woken by it, so that settling a request never wakes a
//! thread. While the store takes nothing, the batch in hand and the queue behind it are the buffer. A batch may be tried
//! twice when its first answer was lost, so a sink must know a record again by its id.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::{UsageRecord, Waiting};
use crate::background::step_back;
use crate::clock::{Clock, Moment};
use crate::config::checked::UsageRecords;
use crate::metrics::Metrics;

/// Why a batch was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// The store is away; the same batch may be written later.
    #[error("the store is unavailable: {0}")]
    Later(String),
    /// It never will be.
    #[error("the store refuses it: {0}")]
    Never(String),
}

/// The oldest moments of which something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of single records.
    pub records: SystemTime,
    /// Of sums by the hour.
    pub hourly: SystemTime,
    /// Of sums by the day.
    pub daily: SystemTime,
}

/// Keeps records.
pub trait Sink: Send + Sync + 'static {
    /// Writes a batch, all of it or nothing; records whose ids it has are skipped.
    fn write(&self, batch: &Arc<Vec<UsageRecord>>) -> impl Future<Output = Result<(), Unwritten>> + Send;

    /// Forgets up to `most` rows of what is too old; `true` when there is more of it.
    fn forget(&self, before: Retention, most: usize) -> impl Future<Output = Result<bool, Unwritten>> + Send;
}

/// How often what is too old is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// A writer at work on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    close: oneshot::Sender<()>,
    closed: oneshot::Receiver<u64>,
}

impl Writer {
    /// Starts writing what comes out of `waiting` to `sink`.
    ///
    /// # Errors
    /// No thread, or no runtime on it, can be had.
    pub fn start<S: Sink>(
        sink: S,
        waiting: Waiting,
        settings: UsageRecords,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (close, closing) = oneshot::channel();
        let (tell, closed) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let book = Book::new(sink, waiting, settings, clock, metrics);
        std::thread::Builder::new().name("headgate-usage".to_owned()).spawn(move || {
            step_back();
            let lost = runtime.block_on(book.keep(closing));
            if tell.send(lost).is_err() {
                tracing::debug!(lost, "nobody asked what became of the last records");
            }
        })?;
        Ok(Self { close, closed })
    }

    /// Writes what still waits, for at most `usage.close_ms` and one write; tells how many records were lost.
    pub async fn close(self) -> u64 {
        drop(self.close);
        self.closed.await.unwrap_or(0)
    }
}

/// The writer's state.
struct Book<S> {
    sink: S,
    waiting: Waiting,
    settings: UsageRecords,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Shared with a sink's task that may outlive its answer.
    batch: Arc<Vec<UsageRecord>>,
    pause: Duration,
    forget_at: Moment,
    /// The models that sums name.
    models: HashSet<Arc<str>>,
}

impl<S: Sink> Book<S> {
    fn new(sink: S, waiting: Waiting, settings: UsageRecords, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let batch = Arc::default();
        let (pause, forget_at) = (settings.flush, clock.now());
        let models = HashSet::new();
        Self { sink, waiting, settings, clock, metrics, batch, pause, forget_at, models }
    }

    /// Writes until `closing`, then once more; returns how many records were lost.
    async fn keep(mut self, mut closing: oneshot::Receiver<()>) -> u64 {
        loop {
            let next = self.clock.now() + self.pause;
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                _ = &mut closing => break,
            }
            if self.write_waiting().await {
                self.forget().await;
            }
        }
        self.waiting.close();
        self.finish().await
    }

    /// Writes all that waits; `false` where the store took none of it for now. What comes meanwhile waits for the next flush
    /// unless it fills a batch: each of them costs a sync of the disk.
    async fn write_waiting(&mut self) -> bool {
        loop {
            self.fill();
            let is_last = self.batch.len() < self.settings.batch_rows;
            if self.batch.is_empty() {
                return true;
            }
            if !self.write_batch().await {
                return false;
            }
            if is_last {
                return true;
            }
        }
    }

    fn fill(&mut self) {
        while self.batch.len() < self.settings.batch_rows {
            let Ok(record) = self.waiting.try_recv() else { return };
            self.take(record);
        }
    }

    /// Takes a record into the batch, without the name of its model where sums name enough of them.
    fn take(&mut self, mut record: UsageRecord) {
        if let Some(model) = &record.served
            && !self.models.contains(model)
        {
            record.named = self.models.len() < self.settings.max_models;
            if record.named {
                self.models.insert(model.clone());
            }
        }
        Arc::make_mut(&mut self.batch).push(record);
    }

    /// Writes the batch in hand; `false` where it stays in hand.
    async fn write_batch(&mut self) -> bool {
        match self.sink.write(&self.batch).await {
            Ok(()) => {
                self.metrics.store_up(true);
                if self.pause > self.settings.flush {
                    tracing::info!("usage is written again");
                }
                self.pause = self.settings.flush;
            }
            Err(error @ Unwritten::Later(_)) => {
                self.metrics.store_up(false);
                if self.pause == self.settings.flush {
                    tracing::warn!(%error, waiting = self.waiting.len(), "usage cannot be written for now");
                }
                self.pause = (self.pause * 2).min(self.settings.retry_max).max(self.settings.flush);
                return false;
            }
            Err(error @ Unwritten::Never(_)) => {
                tracing::error!(%error, records = self.batch.len(), "records of usage are lost");
                self.lose(self.batch.len());
            }
        }
        self.empty();
        true
    }

    fn empty(&mut self) {
        match Arc::get_mut(&mut self.batch) {
            Some(batch) => batch.clear(),
            None => self.batch = Arc::default(),
        }
    }

    /// Forgets what is too old, in steps, unless more is to be written meanwhile.
    async fn forget(&mut self) {
        while self.clock.now() >= self.forget_at && self.waiting.len() < self.settings.batch_rows {
            let today = self.clock.wall();
            let before = |keep| today.checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
            let retention = Retention {
                records: before(self.settings.keep_records),
                hourly: before(self.settings.keep_hourly),
                daily: before(self.settings.keep_daily),
            };
            match self.sink.forget(retention, self.settings.batch_rows).await {
                Ok(true) => {}
                Ok(false) => self.forget_at = self.clock.now() + FORGET_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "old usage cannot be deleted for now");
                    self.forget_at = self.clock.now() + self.settings.retry_max;
                }
            }
        }
    }

    async fn finish(&mut self) -> u64 {
        let end = self.clock.now() + self.settings.close;
        let mut lost = 0;
        loop {
            // After the close this waits only for records that are just being put in.
            while self.batch.len() < self.settings.batch_rows {
                let Some(record) = self.waiting.recv().await else { break };
                self.take(record);
            }
            if self.batch.is_empty() {
                return lost;
            }
            let in_time = self.clock.now() < end;
            if in_time && self.write_batch().await {
                continue;
            }
            let next = self.clock.now() + self.pause.min(self.settings.flush);
            if in_time && next < end {
                self.clock.sleep_until(next).await;
                continue;
            }
            lost += self.batch.len() as u64;
            self.lose(self.batch.len());
            self.empty();
            if self.waiting.is_empty() {
                tracing::error!(lost, "the last records of usage could not be written");
                return lost;
            }
        }
    }

    fn lose(&self, records: usize) {
        self.metrics.usage_dropped(records as u64);
    }
}

#[cfg(test)]
mod tests;
