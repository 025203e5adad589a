//! Keeping: what outlives the process while it serves. The store, what the admin API made, long parks and switches, usage.
//!
//! Nothing here can keep the process from serving: a store that cannot be opened is tried again in the background, and until it
//! was read, callers whose keys are not known are told to try again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::registry;
use crate::remember::{Memory, Reminder};
use crate::store::{Store, StoreAddress};
use crate::usage::writer::Writer;

/// How long the last writes may take at the end, all together.
pub const LAST_WRITES: Duration = Duration::from_secs(4);

/// What is kept, and the tasks that keep it.
pub struct Keeping(Option<Kept>);

struct Kept {
    store: Store,
    memory: JoinHandle<()>,
    reminder: Reminder,
    loading: Option<JoinHandle<()>>,
    writer: Option<Writer>,
}

impl Keeping {
    /// Begins to keep what the settings say: what is stored is in force when this returns, unless it cannot be read.
    pub async fn begin(gateway: &Arc<Gateway>) -> Self {
        let settings = gateway.settings().clone();
        let store = match StoreAddress::of(&settings.store).and_then(|address| Store::prepare(&address)) {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(%error, "there is no store: nothing is kept");
                return Self(None);
            }
        };
        let loading = registry::start(gateway, store.clone()).await.err().map(|error| {
            tracing::error!(%error, "the store cannot be read; it is tried again");
            let (gateway, again) = (gateway.clone(), store.clone());
            store.background().spawn(async move { registry::start_at_last(&gateway, again).await })
        });
        let mut memory = Memory::new(gateway.clone(), store.clone());
        if let Err(error) = memory.restore().await {
            tracing::warn!(%error, "long parks and switched keys are not restored yet");
        }
        let (reminder, asked) = Reminder::new();
        let memory = store.background().spawn(memory.keep(asked));
        gateway.registry.remind_with(reminder.clone());
        let writer = gateway.usage.open(settings.usage.queue).and_then(|waiting| {
            let (usage, metrics) = (settings.usage.clone(), gateway.metrics.clone());
            let started = Writer::start(store.clone(), waiting, usage, gateway.clock, metrics);
            started.inspect_err(|error| tracing::error!(%error, "usage is not written")).ok()
        });
        Self(Some(Kept { store, memory, reminder, loading, writer }))
    }

    /// Writes what is still to be written and closes the store, within [`LAST_WRITES`].
    pub async fn end(self) {
        let Some(kept) = self.0 else { return };
        if let Some(loading) = kept.loading {
            loading.abort();
        }
        let writing = async {
            if let Some(writer) = kept.writer {
                let lost = writer.close().await;
                if lost > 0 {
                    tracing::error!(records = lost, "records of usage are lost: the store did not take them");
                }
            }
            kept.reminder.end();
            if let Err(error) = kept.memory.await {
                tracing::warn!(%error, "the last parks and switches are not written");
            }
            kept.store.close().await;
        };
        if tokio::time::timeout(LAST_WRITES, writing).await.is_err() {
            tracing::error!("the store hangs: what it did not take is lost");
        }
    }
}
