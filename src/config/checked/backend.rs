//! Backends, their limit groups and their keys.

use std::sync::Arc;

use headgate_providers::{Secret, capability::Rule};
use serde::{Deserialize, Serialize};

use super::{Deadlines, ModelPattern, Park};
use crate::config::Environment;

/// One provider at one place.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Unique name.
    pub name: String,
    /// The dialect, with what only it needs.
    pub provider: ProviderSettings,
    /// Where it is: as configured, else the provider's own host.
    pub base_url: BaseUrl,
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
    /// What it takes of the Messages API: the first rule for a model counts; a model without one takes everything.
    pub capabilities: Arc<[Rule]>,
    /// Groups that share one upstream quota; the groups of keys that name none come last.
    pub limit_groups: Vec<LimitGroup>,
    /// Credentials.
    pub keys: Vec<Key>,
    /// The admin API made it, so it may lead to public addresses only, whatever its name resolves to.
    pub guarded: bool,
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
        /// Beta flags and versions by model.
        tables: Arc<CloudTables>,
    },
    /// Google Vertex AI.
    Vertex {
        /// Google Cloud project.
        project: String,
        /// Region, multi-region or `global`.
        location: String,
        /// Beta flags and versions by model.
        tables: Arc<CloudTables>,
    },
    /// Chat Completions, or a server that speaks it.
    OpenAi,
}

impl ProviderSettings {
    /// Whether both speak the same dialect, wherever they are.
    #[must_use]
    pub fn is_kin(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The name a file uses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Bedrock { .. } => "bedrock",
            Self::Vertex { .. } => "vertex",
            Self::OpenAi => "openai",
        }
    }
}

/// What a cloud knows of the API (`providers.bedrock`, `providers.vertex`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudTables {
    /// Beta flags that pass; others are dropped.
    pub betas: Vec<String>,
    /// A flag, and what the cloud calls it; Vertex has no names of its own.
    pub beta_aliases: Vec<(String, String)>,
    /// Patterns of the cloud's model names that take the version `2026-10-21`.
    pub version_2026_models: Vec<String>,
}

/// Which of Bedrock's APIs is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
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
    /// The admin API named it, so it may be at a public address only.
    pub guarded: bool,
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
    /// Whether it may be used, as far as the settings go.
    pub enabled: bool,
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
    /// A Google credential file (service account, authorized user, external account), JSON as read.
    ServiceAccount(Secret),
    /// The platform's own chain (profile, container, instance, workload identity), with the variables that steer it.
    Chain(Environment),
    /// Nothing: `auth: none`.
    None,
}
