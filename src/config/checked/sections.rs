//! The sections of numbers, switches and addresses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_providers::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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
    /// How long the watched files must be quiet before they are read again.
    pub reload_debounce: Duration,
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
    /// Wrong admin tokens that one source address may present within a minute.
    pub admin_failures_per_minute: u32,
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
    /// SHA-256 of the bearer token.
    pub digest: [u8; 32],
    /// What it may do.
    pub role: AdminRole,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, utoipa::ToSchema)]
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
    /// The key that seals stored secrets; absent: the admin API refuses to store secrets.
    pub master_key: Option<MasterKey>,
    /// Keys that sealed before it and still open.
    pub previous_master_keys: Vec<MasterKey>,
    /// Longest time of any one operation.
    pub timeout: Duration,
    /// How long answers are kept for a repeated idempotency key.
    pub idempotency: Duration,
    /// Parks with more than this left outlive the process.
    pub durable_park: Duration,
    /// How long the audit trail is kept.
    pub keep_audit: Duration,
}

impl Store {
    /// Whether something may be stored there already: a file that is there, or that cannot be looked for.
    #[must_use]
    pub fn may_exist(&self) -> bool {
        match self.url.expose().split_once(':') {
            Some(("sqlite", rest)) if rest != ":memory:" => {
                std::path::Path::new(rest.strip_prefix("//").unwrap_or(rest)).try_exists().unwrap_or(true)
            }
            Some(_) | None => false,
        }
    }
}

/// A key that seals stored secrets: wiped when dropped, never shown.
#[derive(Clone)]
pub struct MasterKey(Arc<Zeroizing<[u8; 32]>>);

impl MasterKey {
    /// Takes the key over.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(Arc::new(bytes))
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[master key]")
    }
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
    /// Repeats per second that are allowed however few requests there were.
    pub retry_budget_floor_per_s: u32,
    /// What "recent" means for that share.
    pub retry_budget_window: Duration,
    /// How long after upstream's 200 the reply stays held before it sends its own 200 and pings.
    pub hold: Duration,
    /// Largest `retry-after` told to a caller.
    pub retry_after_max: Duration,
    /// Whether upstream limit headers reach the caller.
    pub expose_upstream_limits: bool,
    /// Whether `x-headgate-key` names the key.
    pub expose_key_names: bool,
    /// Whether a call whose thinking signatures were refused is tried once without the thinking of its earlier turns.
    pub strip_refused_thinking: bool,
    /// Longest silence of a pinging reply between two pings.
    pub ping_interval: Duration,
    /// How long the end of upstream's body is awaited after `message_stop`, so that its connection can be used again.
    pub linger: Duration,
    /// How long an upstream is read on after its caller left, where its backend wants that.
    pub drain_on_disconnect: Duration,
    /// How many bytes are then read at most.
    pub drain_on_disconnect_bytes: u64,
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
    /// From the head of an error answer until it is judged by what has come of its body.
    pub error_body: Duration,
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

/// Credentials that end (access tokens, session keys) and are refreshed ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How long before its end a credential is refreshed.
    pub refresh_ahead: Duration,
    /// Longest refresh, its repeats included.
    pub timeout: Duration,
    /// First pause after a failed refresh; doubles.
    pub retry_first: Duration,
    /// Longest such pause.
    pub retry_max: Duration,
    /// Pause after the endpoint said that the credential itself is refused.
    pub revoked: Duration,
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
