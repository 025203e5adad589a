//! The registry: what the admin API made, held in memory beside the store, and laid over the files.
//!
//! [`change()`] is the one way in: overlay, composed settings, store, settings in force, in that order and one at a time, in turn with
//! reloads. Requests never wait for it. A secret that cannot be opened takes its resource out of force, and is told.

pub mod answer;
mod change;
mod entry;
mod reseal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::Value;

use crate::config::checked::Settings;
use crate::config::{self, Base, Composed, ConfigError, Environment, Kind, LeftOut, Overlay};
use crate::gateway::Gateway;
use crate::remember::Reminder;
use crate::store::{Store, StoreError};
use crate::vault::Vault;

pub use change::{Actor, Draft, Intent, Made, Refusal, change, note};
pub use entry::Entry;
pub use reseal::reseal;

/// How long a start that cannot read the store waits for its next try.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the admin API made and how it fits.
#[derive(Default)]
pub struct Registry {
    store: ArcSwapOption<Store>,
    view: ArcSwap<View>,
    reminder: ArcSwapOption<Reminder>,
    /// A write ended without a word of the store: what is stored must be read before the next change.
    doubtful: AtomicBool,
}

/// One moment of the registry.
#[derive(Clone, Default)]
pub struct View {
    /// The stored resources; routes go by position.
    pub entries: BTreeMap<(Kind, String), Arc<Entry>>,
    /// What is stored but not in force.
    pub left_out: BTreeMap<(Kind, String), LeftOut>,
    /// The whole configuration as one tree, references in place of secrets.
    pub document: Arc<Value>,
    base: Option<Arc<Base>>,
}

impl View {
    /// A stored resource.
    #[must_use]
    pub fn entry(&self, kind: Kind, id: &str) -> Option<&Arc<Entry>> {
        self.entries.get(&(kind, id.to_owned()))
    }

    /// Why a stored resource is not in force.
    #[must_use]
    pub fn problem(&self, kind: Kind, id: &str) -> Option<&str> {
        self.left_out.get(&(kind, id.to_owned())).map(|left_out| left_out.text.as_str())
    }

    /// The stored routes in the order in which they match.
    #[must_use]
    pub fn routes(&self) -> Vec<&Arc<Entry>> {
        let all = self.entries.values().filter(|entry| entry.resource.kind == Kind::Route);
        let mut routes: Vec<&Arc<Entry>> = all.collect();
        routes.sort_by_key(|entry| (entry.resource.position, entry.resource.id.as_str()));
        routes
    }

    fn overlay(&self) -> Overlay {
        let others = self.entries.values().filter(|entry| entry.resource.kind != Kind::Route);
        let all = others.chain(self.routes()).filter(|entry| entry.sealed_shut.is_none());
        Overlay { resources: all.map(|entry| entry.laid()).collect() }
    }

    /// The same resources with what composing them gave.
    fn with(&self, base: Arc<Base>, composed: &Composed) -> Self {
        let shut = self.entries.values().filter_map(|entry| {
            let text = entry.sealed_shut.clone()?;
            let (kind, id) = (entry.resource.kind, entry.resource.id.clone());
            Some(LeftOut { kind, id, field: None, text })
        });
        let left_out = composed.left_out.iter().cloned().chain(shut);
        Self {
            entries: self.entries.clone(),
            left_out: left_out.map(|out| ((out.kind, out.id.clone()), out)).collect(),
            document: Arc::new(composed.document()),
            base: Some(base),
        }
    }
}

impl Registry {
    /// What is known now; before anything was stored or reloaded, what the files said at the start.
    #[must_use]
    pub fn view(&self, gateway: &Gateway) -> Arc<View> {
        let known = self.view.load_full();
        let (None, Some(source)) = (&known.base, gateway.reloads.source()) else { return known };
        let (base, document) = (source.base.clone(), source.document.clone());
        let begun = Arc::new(View { document, base: Some(base), ..View::default() });
        // Who was faster knows more.
        let before = self.view.compare_and_swap(&known, begun.clone());
        if Arc::ptr_eq(&before, &known) { begun } else { self.view.load_full() }
    }

    /// The store, where there is one.
    #[must_use]
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.load_full()
    }

    /// What operators do to live state is written by the memory behind `reminder` from now on.
    pub fn remind_with(&self, reminder: Reminder) {
        self.reminder.store(Some(Arc::new(reminder)));
    }

    fn base(&self, gateway: &Gateway) -> Option<Arc<Base>> {
        self.view(gateway).base.clone()
    }
}

/// What a reload reads is laid under what the admin API made; called in the turn of reloads, off the async threads.
///
/// # Errors
/// All that is wrong with the files.
pub fn recompose(
    view: &View,
    base: Base,
    environment: &Environment,
) -> Result<(Settings, View), ConfigError> {
    let base = Arc::new(base);
    let composed = config::compose(&base, environment, &view.overlay())?;
    let view = view.with(base, &composed);
    Ok((composed.settings, view))
}

/// Puts a recomposed view in place of the old one; the settings are put in force by the caller.
pub(crate) fn install(gateway: &Gateway, view: View) {
    for left_out in view.left_out.values() {
        tracing::error!(
            kind = left_out.kind.name(),
            id = left_out.id,
            problem = left_out.text,
            "a stored resource is not in force"
        );
    }
    gateway.registry.view.store(Arc::new(view));
}

/// Takes `store` into use: reads what is stored and puts it in force. Until that works, callers whose keys are not known are told
/// to try again.
///
/// # Errors
/// The store cannot be read. Calling it again tries again.
pub async fn start(gateway: &Gateway, store: Store) -> Result<(), StoreError> {
    // A store that is not there yet holds no tenant.
    gateway.auth.set_unsure(store.may_exist());
    gateway.registry.store.store(Some(Arc::new(store)));
    load(gateway).await?;
    gateway.auth.set_unsure(false);
    Ok(())
}

/// [`start`], again and again until it works; the errors go to the log.
pub async fn start_at_last(gateway: &Gateway, store: Store) {
    let mut pause = RETRY_FIRST;
    while let Err(error) = start(gateway, store.clone()).await {
        tracing::error!(%error, "the store cannot be read; callers with unknown keys are told to try again");
        gateway.clock.sleep_until(gateway.clock.now() + pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
    if gateway.settings().exposed {
        // The start would have been refused, had the store been readable then.
        gateway.auth.set_unsure(true);
        tracing::error!("the data plane is on the network and the store holds no tenant: nothing is served");
    }
}

/// Reads what is stored and puts it in force.
async fn load(gateway: &Gateway) -> Result<(), StoreError> {
    let _turn = gateway.reloads.turn().await;
    load_in_turn(gateway).await
}

async fn load_in_turn(gateway: &Gateway) -> Result<(), StoreError> {
    let Some(store) = gateway.registry.store() else { return Ok(()) };
    let resources = store.resources().await?;
    let vault = Vault::of(&gateway.settings().store);
    let entries = resources.into_iter().map(|resource| {
        let entry = Entry::open(resource, vault.as_ref());
        ((entry.resource.kind, entry.resource.id.clone()), Arc::new(entry))
    });
    let view = View { entries: entries.collect(), ..(*gateway.registry.view(gateway)).clone() };
    let (Some(base), Some(source)) = (gateway.registry.base(gateway), gateway.reloads.source()) else {
        return Ok(());
    };
    let environment = source.environment.clone();
    let composing = tokio::task::spawn_blocking(move || {
        let composed = config::compose(&base, &environment, &view.overlay());
        composed.map(|composed| (view.with(base, &composed), composed.settings))
    });
    match composing.await {
        Ok(Ok((view, settings))) => {
            // A store without a resource, at the start as ever, changes nothing.
            let changes = !view.entries.is_empty() || !gateway.registry.view.load().entries.is_empty();
            install(gateway, view);
            if changes {
                crate::reload::put_in_force(gateway, settings);
            }
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the files have changed and cannot be used; what is stored waits for them")
        }
        Err(error) => tracing::error!(%error, "what is stored could not be composed"),
    }
    gateway.registry.doubtful.store(false, Relaxed);
    Ok(())
}
