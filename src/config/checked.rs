//! Checked settings: what the rest of the program sees. Only valid values exist here.
//!
//! [`super::raw`] mirrors the files; `raw -> checked` validates, resolves every secret reference and compiles every
//! pattern once. A snapshot is immutable: a reload builds a new one and swaps it in whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headgate_providers::Secret;
use serde::{Deserialize, Serialize};

/// A model name pattern: literal text with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPattern(wildmatch::WildMatchPattern<'*', '\0'>);

impl ModelPattern {
    /// Compiles `pattern`; every text is a valid pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(wildmatch::WildMatchPattern::new(pattern))
    }

    /// Whether the whole of `model` matches.
    #[must_use]
    pub fn matches(&self, model: &str) -> bool {
        self.0.matches(model)
    }

    /// Whether the pattern holds a `*`; otherwise it is a model's own name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.pattern().contains('*')
    }

    /// The pattern as written.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.0.pattern()
    }
}

/// One complete, valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listeners, workers, bounds and drain.
    pub server: Server,
    /// Who may call and who may operate.
    pub auth: Auth,
    /// Durable records.
    pub store: Store,
    /// Where limits and parks are counted.
    pub ledger: Ledger,
    /// Bounds of the failover loop and what replies show.
    pub relay: Relay,
    /// The clocks of one upstream attempt; a backend may override them.
    pub deadlines: Deadlines,
    /// Parking times; a backend may override them.
    pub park: Park,
    /// Circuit breakers.
    pub breaker: Breaker,
    /// Mirrored upstream budgets.
    pub budget: Budget,
    /// The queue of waiting calls.
    pub queue: Queue,
    /// How the process logs.
    pub log: Log,
    /// The backends in the order of the files.
    pub backends: Vec<Arc<Backend>>,
    /// The routes, first match wins; empty: every model goes to every Anthropic backend.
    pub routes: Vec<Arc<Route>>,
    /// The tenants; empty: the data plane is open where the listener's rule allows it.
    pub tenants: Vec<Arc<Tenant>>,
    /// Things an operator should know, each a sentence: insecure choices, parts not built yet, unset optional secrets.
    pub warnings: Vec<String>,
    /// The files this came from, for watching.
    pub files: Vec<PathBuf>,
}

/// Listeners, workers, bounds and drain.
#[derive(Clone, Debug)]
pub struct Server {
    /// Data plane address.
    pub listen: SocketAddr,
    /// Admin plane address.
    pub admin_listen: SocketAddr,
    /// Worker threads of the data plane, at least 1 (0 in the file means min(cores, 4)).
    pub workers: usize,
    /// Largest request body accepted, bytes after decoding.
    pub max_body_bytes: usize,
    /// Bytes of request bodies held at the same time by all calls.
    pub max_buffered_bytes: usize,
    /// Deepest nesting of a request body.
    pub max_nesting: usize,
    /// How long the rest of a body is read and dropped after an early answer.
    pub early_answer: Duration,
    /// How much of it, bytes.
    pub early_answer_bytes: u64,
    /// How long requests are still served after SIGTERM before the listener closes.
    pub drain_delay: Duration,
    /// How long live streams may take to finish after that.
    pub drain_timeout: Duration,
    /// Whether the admin API may point a backend at a private address or plain http.
    pub allow_private_upstreams: bool,
    /// TLS of the data plane.
    pub tls: Option<ListenerTls>,
    /// TLS of the admin plane.
    pub admin_tls: Option<ListenerTls>,
}

/// A listener's certificate chain and private key, PEM as read.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Certificate chain, leaf first.
    pub cert_pem: Vec<u8>,
    /// Private key.
    pub key_pem: Secret,
}

/// Who may call and who may operate.
#[derive(Clone, Debug)]
pub struct Auth {
    /// When the data plane asks for a key.
    pub tenants: TenantAuth,
    /// Admin tokens that resolved; empty switches the admin API off.
    pub admin_tokens: Vec<AdminToken>,
}

/// When the data plane asks for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantAuth {
    /// Once any tenant exists every call needs a key.
    Required,
    /// Never.
    Open,
}

/// One operator's token.
#[derive(Clone, Debug)]
pub struct AdminToken {
    /// Name for the audit trail.
    pub name: String,
    /// The bearer token.
    pub token: Secret,
    /// What it may do.
    pub role: AdminRole,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Read.
    Viewer,
    /// Read, park, un-park, drain, enable, disable.
    Operator,
    /// Everything.
    Admin,
}

/// Durable records.
#[derive(Clone, Debug)]
pub struct Store {
    /// `sqlite://...` or `postgres://...`; a secret, since it may carry a password.
    pub url: Secret,
    /// The key that seals stored secrets: 32 bytes as 64 lower-case hex digits, however the operator wrote them;
    /// absent: the admin API refuses to store secrets.
    pub master_key: Option<Secret>,
}

/// Where limits and parks are counted.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Memory of one process, or Redis for several replicas.
    pub kind: LedgerKind,
    /// Redis address; a secret, since it may carry a password.
    pub url: Secret,
    /// What happens while Redis is away.
    pub on_outage: OnOutage,
    /// Prefix of every key written.
    pub key_prefix: String,
}

/// Memory or Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerKind {
    /// One process.
    Memory,
    /// Several replicas.
    Redis,
}

/// What happens while the shared ledger is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// Limits are kept locally at this replica's share.
    Local,
    /// Requests are refused.
    Reject,
}

/// Bounds of the failover loop and what replies show.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Most attempts whose failure is blamed on a backend, at least 1.
    pub max_attempts: u32,
    /// Most attempts whose failure is blamed on a key or group, at least 1.
    pub max_key_attempts: u32,
    /// Longest wait for a key to free.
    pub max_wait: Duration,
    /// Share of recent requests that may be repeated after backend faults, percent 0..=100.
    pub retry_budget_percent: u32,
    /// How long after upstream's 200 the reply stays held before it sends its own 200 and pings.
    pub hold: Duration,
    /// Largest `retry-after` told to a caller.
    pub retry_after_max: Duration,
    /// Whether upstream limit headers reach the caller.
    pub expose_upstream_limits: bool,
    /// Whether `x-headgate-key` names the key.
    pub expose_key_names: bool,
    /// Longest silence of a pinging reply between two pings.
    pub ping_interval: Duration,
    /// How long the end of upstream's body is awaited after `message_stop`, so that its connection can be used again.
    pub linger: Duration,
    /// Largest single event of a stream, bytes.
    pub max_event_bytes: usize,
    /// Largest whole answer, bytes.
    pub max_answer_bytes: usize,
}

/// The clocks of one upstream attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS connect.
    pub connect: Duration,
    /// From dispatch to the first valid event of a stream.
    pub first_event: Duration,
    /// From dispatch to the end of a whole answer.
    pub whole: Duration,
    /// Longest silence between two bytes of a stream.
    pub idle: Duration,
    /// Longest time a caller may refuse to take bytes.
    pub write_stall: Duration,
    /// Longest life of one call.
    pub total: Duration,
}

/// Parking times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Park {
    /// Added (jittered up to twice) to a stated `retry-after`.
    pub retry_after_buffer: Duration,
    /// First back-off of a 429 without a stated time.
    pub backoff_first: Duration,
    /// Largest such back-off.
    pub backoff_max: Duration,
    /// First park of a key for 401 or 403; grows by 4.
    pub key_fault_first: Duration,
    /// Largest such park.
    pub key_fault_max: Duration,
    /// Cap on stated quota dates; `None` trusts them (0 in the file).
    pub quota_max: Option<Duration>,
    /// How long a backend or group is not used for a model it does not have.
    pub missing_model: Duration,
    /// Park after an overload.
    pub overloaded: Duration,
    /// Park after Bedrock's ModelNotReady.
    pub not_ready: Duration,
}

/// Circuit breakers.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// Failures in a row that open it, at least 1.
    pub consecutive_failures: u32,
    /// Share of failures in the window that opens it, above 0 up to 1.
    pub failure_rate: f64,
    /// Fewest samples for that share to count.
    pub min_samples: u32,
    /// The sliding window.
    pub window: Duration,
    /// First open period.
    pub open: Duration,
    /// Longest open period.
    pub open_max: Duration,
}

/// Mirrored upstream budgets.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Seconds' worth of requests that may leave at once.
    pub burst: Duration,
    /// Share left unspent, 0..1.
    pub margin: f64,
    /// How long a cold group takes to reach its limit; `None` = off (0 in the file).
    pub ramp: Option<Duration>,
    /// Share kept from background work, 0..1.
    pub background_reserve: f64,
}

/// The queue of waiting calls.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Most calls that may wait.
    pub max_waiting: usize,
    /// Most body bytes that may wait.
    pub max_waiting_bytes: usize,
}

/// How the process logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// Least level written.
    pub level: LogLevel,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Least level written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// Degraded and recovered.
    Warn,
    /// Lifecycle and one line a request.
    Info,
    /// Details for developers.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level's name as log filters spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// One provider at one place.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Unique name.
    pub name: String,
    /// The dialect, with what only it needs.
    pub provider: ProviderSettings,
    /// Everything before the API's own path, without a trailing slash; absent: the provider's own host.
    pub base_url: Option<BaseUrl>,
    /// How a plain secret is presented.
    pub auth: AuthScheme,
    /// Headers added to every request, names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// Proxy reached by CONNECT; the environment's `HTTPS_PROXY` is already applied.
    pub proxy: Option<Proxy>,
    /// Extra trusted roots, PEM as read.
    pub ca_pem: Option<Vec<u8>>,
    /// Read on after the caller left, to learn the usage.
    pub drain_on_disconnect: bool,
    /// Effective clocks.
    pub deadlines: Deadlines,
    /// Effective parking times.
    pub park: Park,
    /// Groups that share one upstream quota; the groups of keys that name none come last.
    pub limit_groups: Vec<LimitGroup>,
    /// Credentials.
    pub keys: Vec<Key>,
}

/// The dialect of a backend, with what only it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSettings {
    /// The Messages API itself, or a relative that speaks it.
    Anthropic,
    /// AWS Bedrock.
    Bedrock {
        /// Which of its two APIs.
        surface: BedrockSurface,
        /// AWS region.
        region: String,
    },
    /// Google Vertex AI.
    Vertex {
        /// Google Cloud project.
        project: String,
        /// Region, multi-region or `global`.
        location: String,
    },
    /// Chat Completions, or a server that speaks it.
    OpenAi,
}

/// Which of Bedrock's APIs is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BedrockSurface {
    /// InvokeModel and the event stream.
    Runtime,
    /// Native Messages.
    Mantle,
}

/// An upstream address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Host name or address, without brackets for IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path before the API's own, empty or beginning with `/`, never ending with `/`.
    pub path: String,
}

impl BaseUrl {
    /// The `host` header: the port is left out where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// How a plain secret is presented upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthScheme {
    /// `x-api-key: SECRET`.
    XApiKey,
    /// `authorization: Bearer SECRET`.
    Bearer,
    /// Not at all.
    None,
}

/// A proxy reached by CONNECT.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The value of `proxy-authorization`, where the URL carried credentials.
    pub authorization: Option<Secret>,
}

/// Keys that share one upstream quota.
#[derive(Clone, Debug)]
pub struct LimitGroup {
    /// Unique within the backend.
    pub name: String,
    /// Known limits by model pattern, first match wins; empty: learned.
    pub limits: Vec<GroupLimit>,
    /// Our own ceiling, US dollars per month.
    pub usd_per_month: Option<f64>,
    /// Our own ceiling, US dollars per day.
    pub usd_per_day: Option<f64>,
}

/// One group's known limits for the models that match.
#[derive(Clone, Debug)]
pub struct GroupLimit {
    /// Which models share them.
    pub models: ModelPattern,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Uncached input tokens per minute.
    pub input_tpm: Option<u64>,
    /// Output tokens per minute.
    pub output_tpm: Option<u64>,
    /// Tokens of both kinds per minute.
    pub tpm: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
    /// Tokens per day.
    pub tpd: Option<u64>,
    /// Tokens per week.
    pub tpw: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
}

/// One credential of a backend.
#[derive(Clone, Debug)]
pub struct Key {
    /// Unique over all backends: the id in logs, metrics and the admin API.
    pub name: String,
    /// What is presented.
    pub credential: Credential,
    /// Which group's quota it spends; a group of its own, with the key's name, when none was named.
    pub limit_group: String,
    /// Relative share, above 0.
    pub weight: f64,
}

/// What a key presents.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A plain API key or bearer token.
    Secret(Secret),
    /// AWS static keys.
    Aws {
        /// Access key id.
        access_key_id: Secret,
        /// Secret access key.
        secret_access_key: Secret,
        /// Session token of temporary keys.
        session_token: Option<Secret>,
    },
    /// A Google service account or authorized user, JSON as read.
    ServiceAccount(Secret),
    /// The platform's own chain (profile, container, instance, workload identity).
    Chain,
    /// Nothing: `auth: none`.
    None,
}

/// A client's model name and where it goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which models.
    pub model: ModelPattern,
    /// How long a call waits for a tier that is short before it spills to the next.
    pub spill_after: Duration,
    /// When fallback models are tried although targets remain; `None`: only when all targets are out.
    pub fallback_after: Option<Duration>,
    /// Overrides the backend's first-event clock.
    pub first_event: Option<Duration>,
    /// Where, in order of preference; at least one.
    pub targets: Vec<Target>,
    /// Models to serve instead when every target is out.
    pub fallback_models: Vec<String>,
}

/// One place of a route.
#[derive(Clone, Debug)]
pub struct Target {
    /// Index into [`Settings::backends`].
    pub backend: usize,
    /// Upstream's model name; `{model}` stands for the asked one; absent: the asked one.
    pub model: Option<String>,
    /// Tiers are tried from 0 upwards.
    pub tier: u32,
}

impl Target {
    /// Upstream's name for the asked `model`.
    #[must_use]
    pub fn upstream_model(&self, model: &str) -> String {
        self.model.as_deref().map_or_else(|| model.to_owned(), |name| name.replace("{model}", model))
    }
}

/// Who calls us.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Unique name.
    pub name: String,
    /// The virtual key; compared by digest.
    pub key: Secret,
    /// Class of its calls.
    pub priority: Priority,
    /// Relative share in the queue, above 0.
    pub weight: f64,
    /// Models it may use; empty: all.
    pub models: Vec<ModelPattern>,
    /// Its limits.
    pub limits: TenantLimits,
}

impl Tenant {
    /// Whether the tenant may ask for `model`.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }
}

/// Class of a call, the more urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Served first.
    Critical,
    /// The default.
    Normal,
    /// Served from what is left, never from the reserve.
    Background,
}

/// A tenant's limits; `None` = none (0 in the file).
#[derive(Clone, Debug, Default)]
pub struct TenantLimits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Requests per hour.
    pub rph: Option<u64>,
    /// Input tokens per minute.
    pub input_tpm: Option<u64>,
    /// Output tokens per minute.
    pub output_tpm: Option<u64>,
    /// Tokens of both kinds per minute.
    pub tpm: Option<u64>,
    /// Requests that may come at once.
    pub burst: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
    /// Tokens per day.
    pub tpd: Option<u64>,
    /// Tokens per week.
    pub tpw: Option<u64>,
    /// US dollars per day.
    pub usd_per_day: Option<f64>,
    /// US dollars per month.
    pub usd_per_month: Option<f64>,
}
