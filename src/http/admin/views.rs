//! The shapes of what the admin API answers, and of the bodies that are no resource: for the OpenAPI document and its tests.

use std::collections::BTreeMap;

use super::usage::{Records, Sums};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema as _, ToSchema};

/// An error, after RFC 9457.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Problem {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    /// The field at fault, as the request has it.
    field: Option<String>,
}

/// What a key presents.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct SecretShown {
    kind: String,
    /// The first 12 hex digits of its SHA-256.
    fingerprint: Option<String>,
    last4: Option<String>,
}

/// A park.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ParkShown {
    scope: String,
    class: Option<String>,
    reason: String,
    dimension: Option<String>,
    source: String,
    since: Option<String>,
    until: Option<String>,
    remaining_ms: u64,
    by: Option<String>,
    detail: Option<String>,
}

/// A model with which a key alone fails again and again: other keys are asked before it.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AskedLast {
    /// Upstream's name of it.
    model: String,
    remaining_ms: u64,
}

/// Where a resource comes from.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Origin {
    id: String,
    /// `file` or `store`.
    source: String,
    revision: Option<u64>,
    created_at: Option<String>,
    updated_at: Option<String>,
    /// Why it is not in force.
    problem: Option<String>,
}

/// A key.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Key {
    #[serde(flatten)]
    origin: Origin,
    name: String,
    backend: String,
    group: String,
    weight: f64,
    enabled: bool,
    draining: bool,
    in_flight: u64,
    /// Calls under way with a secret it had before it was rotated.
    retiring_in_flight: u64,
    state: String,
    remaining_ms: u64,
    parks: Vec<ParkShown>,
    asked_last: Vec<AskedLast>,
    secret: Option<SecretShown>,
}

/// A breaker.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct BreakerShown {
    model: Option<String>,
    state: String,
}

/// A backend; besides these, its options as a file has them.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Backend {
    #[serde(flatten)]
    origin: Origin,
    name: String,
    provider: String,
    served: bool,
    keys: u64,
    keys_ready: u64,
    in_flight: u64,
    breakers: Vec<BreakerShown>,
}

/// A limit group; besides these, its options as a file has them.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Group {
    #[serde(flatten)]
    origin: Origin,
    name: String,
    backend: String,
    keys: Vec<String>,
    parks: Vec<ParkShown>,
}

/// A route; besides these, its options as a file has them.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Route {
    #[serde(flatten)]
    origin: Origin,
    model: String,
    targets: Vec<Map<String, Value>>,
    /// After a change that ends or begins "every model everywhere".
    warning: Option<String>,
}

/// A tenant; besides these, its options as a file has them.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Tenant {
    #[serde(flatten)]
    origin: Origin,
    name: String,
    /// The first 12 hex digits of the SHA-256 of its key.
    fingerprint: Option<String>,
}

/// A tenant, with its key where it was just made.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct NewTenant {
    #[serde(flatten)]
    tenant: Tenant,
    /// Shown this once.
    key: Option<String>,
}

/// An admin token.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Token {
    #[serde(flatten)]
    origin: Origin,
    name: String,
    role: Option<String>,
    fingerprint: Option<String>,
}

/// An admin token, with its text where it was just made.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct NewToken {
    #[serde(flatten)]
    shown: Token,
    /// Shown this once.
    token: Option<String>,
}

/// What became of a resource.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Deleted {
    id: String,
    /// False after a dry run.
    deleted: bool,
    /// After the last route.
    warning: Option<String>,
}

/// One entry of the audit trail.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct AuditEntry {
    id: String,
    at: Option<String>,
    actor: String,
    role: String,
    source: Option<String>,
    action: String,
    kind: String,
    resource: String,
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
}

/// How the store is.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct StoreShown {
    /// `none`, `opening`, `open` or `failing`.
    state: String,
    reason: Option<String>,
    since: Option<String>,
}

/// A stored resource that is not in force.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct LeftOutShown {
    kind: String,
    id: String,
    problem: String,
}

/// One reload.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ReloadShown {
    at: Option<String>,
    trigger: String,
    outcome: String,
    problems: Vec<String>,
}

/// The last reload.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct LastReload {
    config_generation: u64,
    last_reload: Option<ReloadShown>,
    needs_restart: Vec<String>,
}

/// A reload that was asked for.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Reloaded {
    #[serde(flatten)]
    reload: ReloadShown,
    config_generation: u64,
    needs_restart: Vec<String>,
}

/// The process at a glance.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Status {
    version: String,
    started_at: Option<String>,
    uptime_s: u64,
    readiness: String,
    draining: bool,
    in_flight: u64,
    waiting: u64,
    buffered_bytes: u64,
    config_generation: u64,
    config_applied_at: Option<String>,
    last_reload: Option<ReloadShown>,
    needs_restart: Vec<String>,
    warnings: Vec<String>,
    store: StoreShown,
    master_key: bool,
    previous_master_keys: u64,
    stored_resources: u64,
    /// Stored resources whose secrets cannot be opened, as `KIND/ID`.
    undecryptable: Vec<String>,
    left_out: Vec<LeftOutShown>,
}

/// What became of the secrets.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Resealed {
    resealed: u64,
    undecryptable: u64,
}

/// What became of one key of an import.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ImportedKey {
    name: String,
    /// `created`, `unchanged`, `conflict` or `invalid`.
    status: String,
    detail: Option<String>,
}

/// What became of an import.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Imported {
    results: Vec<ImportedKey>,
}

/// What a test of a key showed.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Tested {
    ok: bool,
    decrypts: bool,
    authenticates: Option<bool>,
    model: Option<String>,
    model_reachable: Option<bool>,
    status: Option<u16>,
    detail: Option<String>,
    duration_ms: u64,
}

/// Every schema by name.
pub fn schemas() -> BTreeMap<String, Value> {
    let mut all: Vec<(String, RefOr<Schema>)> = Vec::new();
    macro_rules! take {
        ($($shape:ty),*) => { $(
            all.push((<$shape>::name().into_owned(), <$shape>::schema()));
            <$shape>::schemas(&mut all);
        )* };
    }
    take!(
        Problem, Key, Backend, Group, Route, Tenant, NewTenant, Token, NewToken, Deleted, AuditEntry, Status
    );
    take!(LastReload, Reloaded, Resealed, Imported, Tested, Sums, Records);
    let value = |schema| serde_json::to_value(schema).unwrap_or_default();
    all.into_iter().map(|(name, schema)| (name, value(schema))).collect()
}
