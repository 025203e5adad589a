//! One change at a time: drafted on what is known, composed, judged, stored, then in force. A dry run stops before it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use headgate_providers::Secret;
use serde_json::Value;

use super::entry::Entry;
use super::{View, load_in_turn};
use crate::config::checked::{AdminRole, Settings, TenantAuth};
use crate::config::{self, Kind, LeftOut};
use crate::events::{Changed, What};
use crate::gateway::Gateway;
use crate::store::{Change, NewAnswer, NewAudit, Resource, SealedField, Store, StoreError, Write};
use crate::vault::Vault;

/// Who changes something.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The token's name.
    pub name: String,
    /// Its role's name.
    pub role: &'static str,
    /// The address it comes from.
    pub source: Option<String>,
}

/// One resource as it shall be.
#[derive(Clone, Debug)]
pub enum Intent {
    /// New, or in place of one of the same kind and id.
    Put {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
        /// Order among its kind.
        position: i64,
        /// The object without secrets.
        body: Value,
        /// Secrets by option; those that stay as they are included.
        secrets: BTreeMap<String, Secret>,
    },
    /// Gone.
    Delete {
        /// What.
        kind: Kind,
        /// Which.
        id: String,
    },
}

impl Intent {
    fn target(&self) -> (Kind, String) {
        match self {
            Self::Put { kind, id, .. } | Self::Delete { kind, id } => (*kind, id.clone()),
        }
    }
}

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What was done, as `create` or `rotate`.
    pub action: &'static str,
    /// All or nothing, but for `lenient`.
    pub intents: Vec<Intent>,
    /// The answer to keep for a repeat.
    pub answer: Option<NewAnswer>,
    /// Leave out of the change what does not fit, and tell it, instead of refusing all.
    pub lenient: bool,
    /// Keys that begin switched off.
    pub off: Vec<String>,
    /// What is there has the revision that the request means.
    pub expected: bool,
}

impl Default for Draft {
    fn default() -> Self {
        let intents = Vec::new();
        Self { action: "", intents, answer: None, lenient: false, off: Vec::new(), expected: true }
    }
}

/// What became of a draft.
#[derive(Clone, Default)]
pub struct Made {
    /// The view with the change in it.
    pub view: Arc<View>,
    /// What a lenient draft left out.
    pub left_out: Vec<LeftOut>,
    /// What changes besides, where an operator may not expect it.
    pub warning: Option<&'static str>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A value does not fit, at this field where it is one.
    Wrong {
        /// The field, as the request has it.
        field: Option<String>,
        /// What is wrong.
        text: String,
    },
    /// No such resource.
    Unknown(Kind, String),
    /// It does not fit what is there.
    Conflict(String),
    /// It is of the files.
    OfTheFiles(Kind, String),
    /// It has another revision.
    Changed,
    /// There is no master key to seal a secret with.
    NoMasterKey,
    /// The idempotency key is in use by another request of this moment.
    Repeated,
    /// The store does not take it.
    Unavailable(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } | StoreError::NewerSchema { .. } | StoreError::Damaged { .. } => {
                Self::Unavailable(error.to_string())
            }
            StoreError::Conflict { .. } | StoreError::Missing { .. } => Self::Changed,
            StoreError::Exists { .. } => Self::Conflict(error.to_string()),
            StoreError::Answered => Self::Repeated,
        }
    }
}

/// Makes the change that `draft` wants of what is known in its turn; with `dry` only says what would be.
///
/// It runs to its end even where the operator hangs up, so that what is stored is in force too.
///
/// # Errors
/// A [`Refusal`], and nothing has changed.
pub async fn change(
    gateway: Arc<Gateway>,
    actor: Actor,
    dry: bool,
    draft: impl FnOnce(&View) -> Result<Draft, Refusal> + Send + 'static,
) -> Result<Made, Refusal> {
    let running = tokio::spawn(async move {
        let store =
            gateway.registry.store().ok_or_else(|| Refusal::Unavailable("there is no store".to_owned()))?;
        // Behind others that wait for a store that is away.
        let turn = async { Ok(gateway.reloads.turn().await) };
        let _turn = store.in_time(turn).await?;
        if gateway.registry.doubtful.load(Relaxed) || gateway.auth.is_unsure() {
            load_in_turn(&gateway).await?;
        }
        let view = gateway.registry.view(&gateway);
        let draft = draft(&view)?;
        make(&gateway, &store, &actor, dry, draft).await
    });
    running.await.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())))
}

async fn make(
    gateway: &Gateway,
    store: &Store,
    actor: &Actor,
    dry: bool,
    mut draft: Draft,
) -> Result<Made, Refusal> {
    let old = gateway.registry.view(gateway);
    let (mut view, settings) = propose(gateway, &old, &draft).await?;
    let left_out = misfits(&old, &view, &settings, &draft).await?;
    if let (Some(out), false) = (left_out.first(), draft.lenient) {
        return Err(Refusal::Wrong { field: out.field.clone(), text: out.text.clone() });
    }
    // What is wrong in itself is told before that it comes too late.
    if !draft.expected {
        return Err(Refusal::Changed);
    }
    leave_as_they_were(&left_out, &old, &mut view, &mut draft);
    let warning = judge(gateway, &settings)?;
    let view = Arc::new(view);
    if !dry && !draft.intents.is_empty() {
        let change = record(&old, &view, actor, &draft, gateway);
        if let Err(error) = store.change(change).await {
            // A write that was given up on may be done all the same.
            gateway.registry.doubtful.store(matches!(error, StoreError::Unavailable { .. }), Relaxed);
            return Err(error.into());
        }
        gateway.pool.switch_off_by_name(&draft.off);
        gateway.registry.view.store(view.clone());
        crate::reload::put_in_force(gateway, settings);
        tell(gateway, actor, &draft, warning);
    }
    Ok(Made { view, left_out, warning })
}

/// What would be known with the draft in it, and the settings that this makes.
async fn propose(gateway: &Gateway, old: &View, draft: &Draft) -> Result<(View, Settings), Refusal> {
    let vault = Vault::of(&gateway.settings().store);
    let mut view = old.clone();
    for intent in &draft.intents {
        put(&mut view, intent, vault.as_ref(), gateway)?;
    }
    compose(gateway, view).await
}

/// What of the draft does not fit.
///
/// # Errors
/// Something that is there already would not fit any more.
async fn misfits(
    old: &View,
    new: &View,
    settings: &Settings,
    draft: &Draft,
) -> Result<Vec<LeftOut>, Refusal> {
    let targets: BTreeSet<(Kind, String)> = draft.intents.iter().map(Intent::target).collect();
    let mut found = Vec::new();
    for (target, out) in &new.left_out {
        if targets.contains(target) {
            found.push(out.clone());
        } else if !old.left_out.contains_key(target) {
            let (kind, id) = (out.kind.name(), &out.id);
            return Err(Refusal::Conflict(format!("the {kind} `{id}` needs it: {}", out.text)));
        }
    }
    found.extend(private(settings, &targets).await);
    Ok(found)
}

/// Takes what does not fit out of the view and the draft again.
fn leave_as_they_were(left_out: &[LeftOut], old: &View, view: &mut View, draft: &mut Draft) {
    for out in left_out {
        let target = (out.kind, out.id.clone());
        match old.entries.get(&target) {
            Some(entry) => view.entries.insert(target.clone(), entry.clone()),
            None => view.entries.remove(&target),
        };
        view.left_out.remove(&target);
        draft.intents.retain(|intent| intent.target() != target);
    }
}

/// Whether these settings may follow those in force, and what an operator may not expect of them.
fn judge(gateway: &Gateway, new: &Settings) -> Result<Option<&'static str>, Refusal> {
    if let Some(problem) = crate::reload::judge(gateway.reloads.started(), new) {
        return Err(Refusal::Conflict(problem));
    }
    let in_force = gateway.settings();
    match last_of_all(&in_force, new) {
        Some(text) => Err(Refusal::Conflict(text.to_owned())),
        None => Ok(other_models(&in_force, new)),
    }
}

/// Tells the log and those who watch events of a change that is in force.
fn tell(gateway: &Gateway, actor: &Actor, draft: &Draft, warning: Option<&str>) {
    for intent in &draft.intents {
        let (kind, id) = intent.target();
        let action = format!("{}.{}", kind.name(), draft.action);
        tracing::info!(operator = actor.name, action, id, "changed through the admin API");
        let changed = Changed { action, kind: kind.name(), id, by: actor.name.clone() };
        gateway.pool.events().tell(gateway.clock.now(), What::Change(changed));
    }
    if let Some(warning) = warning {
        tracing::warn!(operator = actor.name, "{warning}");
    }
}

/// Why what goes must stay: without the last tenant nobody is asked for a key, without the last administrator nobody could
/// change anything through this API again.
fn last_of_all(old: &Settings, new: &Settings) -> Option<&'static str> {
    if new.auth.tenants == TenantAuth::Required && new.tenants.is_empty() && !old.tenants.is_empty() {
        return Some(
            "Without its last tenant the data plane would serve everyone who reaches it, this tenant's key included. \
             Make another tenant first, or set auth.tenants: open in the configuration's files.",
        );
    }
    let has_admin = |of: &Settings| of.auth.admin_tokens.iter().any(|token| token.role == AdminRole::Admin);
    (has_admin(old) && !has_admin(new)).then_some(
        "Without its last token of the role admin nobody could change anything through the admin API again. \
         Make another one first, or name one under auth.admin_tokens in the configuration's files.",
    )
}

/// What becomes of the models that no route names, where the first route is made or the last one goes.
fn other_models(old: &Settings, new: &Settings) -> Option<&'static str> {
    match (old.routes.is_empty(), new.routes.is_empty()) {
        (true, false) => Some(
            "This is the first route: until now every model was served everywhere, from now on a model that no route names is \
             answered 404. A last route with the model * keeps serving all.",
        ),
        (false, true) => Some(
            "This was the last route: from now on every model is served, by every backend of the provider anthropic or, where \
             there is none, by every backend.",
        ),
        (true, true) | (false, false) => None,
    }
}

/// Puts one intent into the view, its secrets sealed.
fn put(view: &mut View, intent: &Intent, vault: Option<&Vault>, gateway: &Gateway) -> Result<(), Refusal> {
    let target = intent.target();
    let old = view.entries.get(&target).cloned();
    let Intent::Put { kind, id, position, body, secrets } = intent else {
        view.entries.remove(&target);
        return Ok(());
    };
    let now = gateway.clock.wall();
    let row = old.as_ref().map_or_else(|| uuid::Uuid::now_v7().to_string(), |old| old.resource.row.clone());
    let mut sealed = Vec::with_capacity(secrets.len());
    for (field, secret) in secrets {
        let vault = vault.ok_or(Refusal::NoMasterKey)?;
        sealed.push(SealedField::new(vault, &row, field, secret));
    }
    let resource = Resource {
        kind: *kind,
        id: id.clone(),
        row,
        position: *position,
        body: body.clone(),
        sealed,
        revision: old.as_ref().map_or(1, |old| old.resource.revision + 1),
        created_at: old.as_ref().map_or(now, |old| old.resource.created_at),
        updated_at: now,
    };
    let entry = Entry { resource, secrets: secrets.clone(), sealed_shut: None };
    view.entries.insert(target, Arc::new(entry));
    Ok(())
}

async fn compose(gateway: &Gateway, view: View) -> Result<(View, Settings), Refusal> {
    let nothing = || {
        Refusal::Conflict("This process was not started from a configuration it could read again.".to_owned())
    };
    let base = gateway.registry.base(gateway).ok_or_else(nothing)?;
    let environment = gateway.reloads.source().ok_or_else(nothing)?.environment.clone();
    let composing = tokio::task::spawn_blocking(move || {
        let composed = config::compose(&base, &environment, &view.overlay())?;
        Ok((view.with(base, &composed), composed.settings))
    });
    match composing.await {
        Ok(composed) => composed.map_err(|error: config::ConfigError| Refusal::Conflict(error.to_string())),
        Err(error) => Err(Refusal::Unavailable(error.to_string())),
    }
}

/// Backends of the change whose names lead inside, as they resolve now.
async fn private(settings: &Settings, targets: &BTreeSet<(Kind, String)>) -> Vec<LeftOut> {
    let mut found = Vec::new();
    for backend in settings.backends.iter().filter(|backend| backend.guarded) {
        let target = (Kind::Backend, backend.name.clone());
        let (host, port) = (&backend.base_url.host, backend.base_url.port);
        if targets.contains(&target) && crate::dial::leads_inside(host, port).await == Some(true) {
            let text = "resolves to a private or special address, expected a public one \
                        (server.allow_private_upstreams allows it)";
            let (kind, id) = target;
            found.push(LeftOut { kind, id, field: Some("base_url".to_owned()), text: text.to_owned() });
        }
    }
    found
}

fn record(old: &View, new: &View, actor: &Actor, draft: &Draft, gateway: &Gateway) -> Change {
    let mut writes = Vec::with_capacity(draft.intents.len());
    let mut audit = Vec::with_capacity(draft.intents.len());
    for intent in &draft.intents {
        let target = intent.target();
        let (before, after) = (old.entries.get(&target), new.entries.get(&target));
        let (kind, id) = target;
        match (before, after) {
            (None, Some(after)) => {
                writes.push(Write::Create(after.resource.clone()));
                if kind == Kind::Key && draft.off.contains(&id) {
                    writes.push(Write::SwitchOff { key: id.clone() });
                }
            }
            (Some(before), Some(after)) => writes
                .push(Write::Update { resource: after.resource.clone(), expected: before.resource.revision }),
            (Some(before), None) => {
                writes.push(Write::Delete { kind, id: id.clone(), expected: before.resource.revision })
            }
            (None, None) => {}
        }
        audit.push(NewAudit {
            actor: actor.name.clone(),
            role: actor.role.to_owned(),
            source: actor.source.clone(),
            action: format!("{}.{}", kind.name(), draft.action),
            kind: kind.name().to_owned(),
            id,
            before: before.map(|entry| entry.shown()),
            after: after.map(|entry| entry.shown()),
        });
    }
    Change { writes, audit, answer: draft.answer.clone(), at: gateway.clock.wall() }
}

/// Writes down what an operator did to live state, and how that is now, where there is a store.
///
/// # Errors
/// The store does not take it: what was done is in force in this process, but not written down.
pub async fn note(gateway: &Gateway, entry: NewAudit) -> Result<(), Refusal> {
    tracing::info!(operator = entry.actor, action = entry.action, id = entry.id, "an operator acts");
    let Some(store) = gateway.registry.store() else { return Ok(()) };
    let change = Change { writes: Vec::new(), audit: vec![entry], answer: None, at: gateway.clock.wall() };
    let reminder = gateway.registry.reminder.load_full();
    let writing = async {
        match reminder {
            Some(reminder) => tokio::try_join!(store.change(change), reminder.write_down()).map(|_| ()),
            None => store.change(change).await,
        }
    };
    Ok(store.in_time(writing).await?)
}
