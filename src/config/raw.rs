//! The shape of the files: every option by its name, nothing checked beyond its type.
//!
//! The options of the fixed sections are all required here because the compiled-in defaults hold every one. What a
//! deployment lists itself (backends, routes, tenants) is optional here, so that the checks can report all that is
//! missing at once. What each option means is in `config/default.yaml`. Secrets are [`Reference`]s: serialising a shape never writes one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checked::{
    AdminRole, AuthScheme, BedrockSurface, LedgerKind, Log, OnOutage, Priority, TenantAuth,
};
use super::reference::Reference;

/// A whole configuration.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub server: Server,
    pub auth: Auth,
    pub store: Store,
    pub ledger: Ledger,
    pub relay: Relay,
    pub deadlines: Deadlines,
    pub park: Park,
    pub credentials: Credentials,
    pub breaker: Breaker,
    pub budget: Budget,
    pub queue: Queue,
    pub log: Log,
    pub usage: Usage,
    #[serde(default)]
    pub prices: Vec<Price>,
    pub providers: Providers,
    #[serde(default)]
    pub backends: Vec<Backend>,
    #[serde(default)]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub tenants: Vec<Tenant>,
}

/// `server`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: String,
    pub admin_listen: String,
    pub workers: usize,
    pub max_body_bytes: u64,
    pub max_nesting: u64,
    pub max_buffered_bytes: u64,
    pub early_answer_ms: u64,
    pub early_answer_bytes: u64,
    pub drain_delay_s: u64,
    pub drain_timeout_s: u64,
    pub reload_debounce_ms: u64,
    pub allow_private_upstreams: bool,
    pub tls: Option<Tls>,
    pub admin_tls: Option<Tls>,
}

/// `server.tls` and `server.admin_tls`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert: Option<Reference>,
    pub key: Option<Reference>,
}

/// `auth`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub tenants: TenantAuth,
    pub admin_tokens: Vec<AdminToken>,
    pub admin_failures_per_minute: u32,
}

/// `auth.admin_tokens[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    pub name: Option<String>,
    pub token: Option<Reference>,
    pub token_sha256: Option<String>,
    pub role: Option<AdminRole>,
}

/// `store`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub url: Reference,
    pub master_key: Option<Reference>,
    #[serde(default)]
    pub previous_master_keys: Vec<Reference>,
    pub timeout_ms: u64,
    pub idempotency_s: u64,
    pub durable_park_s: u64,
    pub keep_audit_days: u64,
}

/// `ledger`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub kind: LedgerKind,
    pub url: Reference,
    pub on_outage: OnOutage,
    pub key_prefix: String,
}

/// `relay`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub max_attempts: u32,
    pub max_key_attempts: u32,
    pub max_wait_ms: u64,
    pub retry_budget_percent: u32,
    pub retry_budget_floor_per_s: u32,
    pub retry_budget_window_s: u64,
    pub hold_ms: u64,
    pub retry_after_max_s: u64,
    pub expose_upstream_limits: bool,
    pub expose_key_names: bool,
    pub strip_refused_thinking: bool,
    pub ping_interval_ms: u64,
    pub linger_ms: u64,
    pub drain_on_disconnect_ms: u64,
    pub drain_on_disconnect_bytes: u64,
    pub max_event_bytes: u64,
    pub max_answer_bytes: u64,
}

/// `deadlines`, here, in `providers` and in a backend.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    pub connect_ms: Option<u64>,
    pub first_event_ms: Option<u64>,
    pub whole_ms: Option<u64>,
    pub error_body_ms: Option<u64>,
    pub idle_ms: Option<u64>,
    pub write_stall_ms: Option<u64>,
    pub total_ms: Option<u64>,
}

/// `park`, here, in `providers` and in a backend.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Park {
    pub retry_after_buffer_ms: Option<u64>,
    pub backoff_first_ms: Option<u64>,
    pub backoff_max_ms: Option<u64>,
    pub key_fault_first_ms: Option<u64>,
    pub key_fault_max_ms: Option<u64>,
    pub quota_max_ms: Option<u64>,
    pub missing_model_ms: Option<u64>,
    pub overloaded_ms: Option<u64>,
    pub not_ready_ms: Option<u64>,
}

/// `credentials`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub refresh_ahead_ms: u64,
    pub timeout_ms: u64,
    pub retry_first_ms: u64,
    pub retry_max_ms: u64,
    pub revoked_ms: u64,
}

/// `breaker`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub consecutive_failures: u32,
    pub failure_rate: f64,
    pub min_samples: u32,
    pub window_s: u64,
    pub open_s: u64,
    pub open_max_s: u64,
}

/// `budget`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub burst_s: f64,
    pub margin: f64,
    pub ramp_s: f64,
    pub background_reserve: f64,
}

/// `queue`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub max_waiting: usize,
    pub max_waiting_bytes: usize,
}

/// `usage`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub queue: usize,
    pub flush_ms: u64,
    pub batch_rows: usize,
    pub max_models: usize,
    pub retry_max_ms: u64,
    pub close_ms: u64,
    pub keep_records_days: u64,
    pub keep_hourly_days: u64,
    pub keep_daily_days: u64,
}

/// `prices[]`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub backends: Vec<String>,
    pub from: Option<String>,
    pub input: Option<f64>,
    pub output: Option<f64>,
    pub cache_read: Option<f64>,
    pub cache_write_5m: Option<f64>,
    pub cache_write_1h: Option<f64>,
    pub batch_multiplier: Option<f64>,
    pub long_context: Option<LongContext>,
}

/// `prices[].long_context`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LongContext {
    pub above_input_tokens: Option<u64>,
    pub input: Option<f64>,
    pub output: Option<f64>,
    pub cache_read: Option<f64>,
    pub cache_write_5m: Option<f64>,
    pub cache_write_1h: Option<f64>,
}

/// `providers`: what differs by dialect, between the global sections and a backend's own.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Providers {
    pub anthropic: ProviderDefaults,
    pub bedrock: Bedrock,
    pub vertex: Vertex,
    pub openai: ProviderDefaults,
}

/// `providers.NAME`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderDefaults {
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub park: Park,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
}

/// `providers.bedrock`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bedrock {
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub park: Park,
    pub capabilities: Vec<Capability>,
    pub betas: Vec<String>,
    pub beta_aliases: Vec<BetaAlias>,
    pub version_2026_models: Vec<String>,
}

/// `providers.vertex`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Vertex {
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub park: Park,
    pub capabilities: Vec<Capability>,
    pub betas: Vec<String>,
    pub version_2026_models: Vec<String>,
}

/// `providers.bedrock.beta_aliases[]`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BetaAlias {
    pub from: String,
    pub to: String,
}

/// `providers.NAME.capabilities[]` and `backends[].capabilities[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    pub models: Option<String>,
    pub max_body_bytes: Option<u64>,
    pub operations: Option<Vec<Operation>>,
    pub fields: Option<Vec<String>>,
    pub tools: Option<Vec<String>>,
    pub blocks: Option<Vec<String>>,
    pub sources: Option<Vec<String>>,
    #[serde(default)]
    pub refuses: Vec<String>,
    #[serde(default)]
    pub vital_betas: Vec<String>,
}

/// An endpoint's name.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Messages,
    CountTokens,
    Models,
}

/// A dialect's name.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Anthropic,
    Bedrock,
    Vertex,
    OpenAi,
}

impl Provider {
    /// The name a file uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::OpenAi => "openai",
        }
    }
}

/// `backends[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    pub name: Option<String>,
    pub provider: Option<Provider>,
    pub base_url: Option<String>,
    pub surface: Option<BedrockSurface>,
    pub region: Option<String>,
    pub project: Option<String>,
    pub location: Option<String>,
    pub auth: Option<AuthScheme>,
    #[serde(default)]
    pub headers: BTreeMap<String, Reference>,
    pub proxy: Option<Reference>,
    pub ca_file: Option<String>,
    #[serde(default)]
    pub drain_on_disconnect: bool,
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub park: Park,
    pub capabilities: Option<Vec<Capability>>,
    #[serde(default)]
    pub limit_groups: Vec<LimitGroup>,
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// `backends[].limit_groups[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitGroup {
    pub name: Option<String>,
    #[serde(default)]
    pub limits: Vec<GroupLimit>,
    pub usd_per_day: Option<f64>,
    pub usd_per_month: Option<f64>,
}

/// `backends[].limit_groups[].limits[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupLimit {
    pub models: Option<String>,
    pub rpm: Option<u64>,
    pub input_tpm: Option<u64>,
    pub output_tpm: Option<u64>,
    pub tpm: Option<u64>,
    pub rpd: Option<u64>,
    pub tpd: Option<u64>,
    pub tpw: Option<u64>,
    pub concurrent: Option<u64>,
}

/// `backends[].keys[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub name: Option<String>,
    pub secret: Option<Reference>,
    pub bearer_token: Option<Reference>,
    pub access_key_id: Option<Reference>,
    pub secret_access_key: Option<Reference>,
    pub session_token: Option<Reference>,
    pub service_account: Option<Reference>,
    pub credential_chain: Option<Chain>,
    pub limit_group: Option<String>,
    pub weight: Option<f64>,
    pub enabled: Option<bool>,
}

/// `credential_chain`.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    Default,
}

/// `routes[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub model: Option<String>,
    pub spill_after_ms: Option<u64>,
    pub fallback_after_ms: Option<u64>,
    pub first_event_ms: Option<u64>,
    #[serde(default)]
    pub targets: Vec<Target>,
    #[serde(default)]
    pub fallback_models: Vec<String>,
}

/// `routes[].targets[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub backend: Option<String>,
    pub model: Option<String>,
    pub tier: Option<u32>,
}

/// `tenants[]`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub name: Option<String>,
    pub key: Option<Reference>,
    pub key_sha256: Option<String>,
    pub priority: Option<Priority>,
    pub weight: Option<f64>,
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub limits: TenantLimits,
}

/// `tenants[].limits`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    pub rpm: Option<u64>,
    pub rph: Option<u64>,
    pub input_tpm: Option<u64>,
    pub output_tpm: Option<u64>,
    pub tpm: Option<u64>,
    pub burst: Option<u64>,
    pub concurrent: Option<u64>,
    pub rpd: Option<u64>,
    pub tpd: Option<u64>,
    pub tpw: Option<u64>,
    pub usd_per_day: Option<f64>,
    pub usd_per_month: Option<f64>,
}
