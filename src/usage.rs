//! Records of usage: one for each request, on its way from settlement to the store.
//!
//! Settling never waits: a record goes into a bounded queue, or is dropped and counted. The [`writer`] empties the queue in
//! batches, on a runtime of its own. Without a writer nothing is kept and nothing is spent.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use headgate_providers::Usage;
use tokio::sync::mpsc;

use crate::call::RequestId;
use crate::settle::Outcome;

pub mod report;
pub mod writer;

/// Most bytes kept of the model's name a caller asked for: any text may stand there.
pub const MODEL_BYTES: usize = 256;
/// What sums say in place of a model they may not name, so that callers add no rows by their spelling.
pub const OTHER_MODEL: &str = "other";

/// What one request was, for bills and reports.
#[derive(Clone, Debug)]
pub struct UsageRecord {
    /// The request's id.
    pub id: RequestId,
    /// When its head arrived.
    pub at: SystemTime,
    /// Which endpoint, as a fixed name.
    pub operation: &'static str,
    /// Who called; `None` where the data plane is open, or the caller unknown.
    pub tenant: Option<String>,
    /// The key that served, or was tried last; empty where none was.
    pub key: Arc<str>,
    /// That key's backend.
    pub backend: Arc<str>,
    /// The asked model, as the caller wrote it.
    pub model: String,
    /// The model that served, by upstream's name; `None` where none did.
    pub served: Option<Arc<str>>,
    /// Whether sums may name the model: one that served, or one that a route names. Any other may be any text.
    pub named: bool,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Tokens, as far as upstream told.
    pub usage: Usage,
    /// What they cost, nano-dollars; `None` where upstream told none or the model has no price.
    pub cost: Option<u64>,
    /// Attempts made.
    pub attempts: u32,
    /// Time spent waiting for a key.
    pub queued: Duration,
    /// From the head to the first content.
    pub first_content: Option<Duration>,
    /// From the head to the end.
    pub duration: Duration,
    /// Status sent to the caller; 0 when none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// The kind of the last fault; empty where there was none.
    pub cause: &'static str,
}

impl UsageRecord {
    /// The model that sums count it under.
    #[must_use]
    pub fn counted_model(&self) -> &str {
        match &self.served {
            _ if !self.named => OTHER_MODEL,
            Some(model) => model,
            None => &self.model,
        }
    }
}

/// Where settlement puts records. Closed until a store is there to take them.
#[derive(Debug, Default)]
pub struct UsageQueue(OnceLock<mpsc::Sender<UsageRecord>>);

/// The other end of a [`UsageQueue`].
pub type Waiting = mpsc::Receiver<UsageRecord>;

impl UsageQueue {
    /// Opens it for `most` records; `None` when it was opened before.
    #[must_use]
    pub fn open(&self, most: usize) -> Option<Waiting> {
        let (sender, waiting) = mpsc::channel(most.max(1));
        self.0.set(sender).ok().map(|()| waiting)
    }

    /// Whether records are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    /// Takes a record, without waiting; `false` where it could not and the record is lost.
    #[must_use]
    pub fn push(&self, mut record: UsageRecord) -> bool {
        let Some(sender) = self.0.get() else { return false };
        if record.model.len() > MODEL_BYTES {
            record.model.truncate(record.model.floor_char_boundary(MODEL_BYTES));
        }
        sender.try_send(record).is_ok()
    }
}
