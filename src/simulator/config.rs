//! What a simulator is: organizations, keys, limits, timings, models and faults, as a YAML file says it.
//!
//! Every option is optional; `config/simulate.yaml` shows them all with their defaults. Without a file there are three
//! organizations of two keys each, `sk-ant-api03-sim-org-a-1` to `sk-ant-api03-sim-org-c-2`, with generous limits.
//! Unknown options are errors that carry their path. In limits, 0 means none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::answer::Scenario;
use super::bedrock::config::BedrockConfig;
use super::fault::FaultRule;
use super::vertex::config::VertexConfig;

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// Who owns the keys; each shares its limits among its keys.
    pub organizations: Vec<OrganizationConfig>,
    /// Bedrock: accounts in place of organizations.
    pub bedrock: BedrockConfig,
    /// Vertex: projects in place of organizations.
    pub vertex: VertexConfig,
    /// Requests at once over all keys; beyond it every answer is a 529 (503 on Bedrock, 429 on Vertex).
    pub concurrent: usize,
    /// How fast answers come.
    pub timings: Timings,
    /// What answers hold when a prompt does not say.
    pub answer: AnswerConfig,
    /// How connections behave.
    pub connection: ConnectionConfig,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// The models that `/v1/models` lists.
    pub models: Vec<ModelConfig>,
    /// Models that are answered, with `*`; any other is 404.
    pub accept_models: Vec<String>,
    /// Refuses top-level fields the API does not know.
    pub reject_unknown_fields: bool,
    /// The shortest prefix that is cached, in tokens.
    pub cache_min_tokens: u64,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// How much is remembered.
    pub record: RecordConfig,
    /// The seed of all chance.
    pub seed: u64,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            organizations: ["org-a", "org-b", "org-c"].map(OrganizationConfig::sample).to_vec(),
            bedrock: BedrockConfig::default(),
            vertex: VertexConfig::default(),
            concurrent: 0,
            timings: Timings::default(),
            answer: AnswerConfig::default(),
            connection: ConnectionConfig::default(),
            faults: Vec::new(),
            models: MODELS.iter().map(|(id, name, day)| ModelConfig::sample(id, name, day)).collect(),
            accept_models: vec!["claude-*".to_owned()],
            reject_unknown_fields: false,
            cache_min_tokens: 1_024,
            max_body_bytes: 32 * 1024 * 1024,
            record: RecordConfig::default(),
            seed: 1,
        }
    }
}

/// An organization.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrganizationConfig {
    /// Its name here.
    pub name: String,
    /// Its id on the wire; by default a UUID made from the name.
    pub id: Option<String>,
    /// The value of `anthropic-workspace-id`; by default there is none.
    pub workspace_id: Option<String>,
    /// Limits by model class: the first that fits; none fits = unlimited.
    pub limits: Vec<LimitConfig>,
    /// Requests at once.
    pub concurrent: usize,
    /// The acceleration limit.
    pub ramp: Option<RampConfig>,
    /// `count_tokens` calls a minute.
    pub count_tokens_rpm: u64,
    /// Its keys.
    pub keys: Vec<KeyConfig>,
}

impl OrganizationConfig {
    /// Two keys and generous limits.
    pub fn sample(name: &str) -> Self {
        let key = |number: u8| KeyConfig {
            name: format!("{name}-{number}"),
            secret: format!("sk-ant-api03-sim-{name}-{number}"),
            ..KeyConfig::default()
        };
        Self {
            name: name.to_owned(),
            limits: vec![LimitConfig::default()],
            count_tokens_rpm: 5_000,
            keys: vec![key(1), key(2)],
            ..Self::default()
        }
    }
}

/// The limits of a model class. 0 = none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// The models of the class, with `*`.
    pub models: String,
    /// Requests a minute.
    pub rpm: u64,
    /// Input tokens a minute, cache reads excluded.
    pub input_tpm: u64,
    /// Output tokens a minute.
    pub output_tpm: u64,
    /// How many seconds of refill a full bucket holds.
    pub burst_s: f64,
    /// Cache reads count as input (old models).
    pub count_cache_reads: bool,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            models: "*".to_owned(),
            rpm: 60_000,
            input_tpm: 100_000_000,
            output_tpm: 20_000_000,
            burst_s: 60.0,
            count_cache_reads: false,
        }
    }
}

/// An acceleration limit: a window may hold `factor` times the requests of the one before, and at least `floor`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RampConfig {
    /// The window.
    pub window_s: f64,
    /// The growth from one window to the next.
    pub factor: f64,
    /// What a window may always hold.
    pub floor: u64,
}

impl Default for RampConfig {
    fn default() -> Self {
        Self { window_s: 10.0, factor: 2.0, floor: 100 }
    }
}

/// An API key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// Its name here.
    pub name: String,
    /// What clients send.
    pub secret: String,
    /// Requests at once.
    pub concurrent: usize,
    /// Starts revoked: 401.
    pub revoked: bool,
}

/// How fast answers come, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// Until the head.
    pub latency_ms: u64,
    /// From the head to the first event (whole answers: added to the latency).
    pub ttft_ms: u64,
    /// Between two events.
    pub pace_ms: u64,
}

/// What answers hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerConfig {
    /// The scenario; `auto` follows the request.
    pub scenario: Scenario,
    /// Deltas of the text; 0 = by length.
    pub events: usize,
    /// Bytes of the text; 0 = a short text.
    pub bytes: usize,
}

/// How connections behave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionConfig {
    /// Kept-alive connections are closed when idle for so long; 0 = never.
    pub idle_close_ms: u64,
    /// Every answer ends its connection, announced by `connection: close`.
    pub close_each: bool,
    /// What happens to new connections.
    pub accept: Accept,
}

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// It is served.
    #[default]
    Serve,
    /// It is closed at once.
    Close,
    /// It is reset at once.
    Reset,
}

/// A model of the list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// When it came out, RFC 3339.
    pub created_at: String,
}

impl ModelConfig {
    fn sample(id: &str, name: &str, day: &str) -> Self {
        Self { id: id.to_owned(), display_name: name.to_owned(), created_at: format!("{day}T00:00:00Z") }
    }
}

/// How much is remembered of what came in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// Requests kept.
    pub requests: usize,
    /// Bytes of bodies kept over all requests.
    pub body_bytes: usize,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self { requests: 2_000, body_bytes: 128 * 1024 * 1024 }
    }
}

const MODELS: [(&str, &str, &str); 8] = [
    ("claude-opus-5-5", "Claude Opus 5.5", "2026-09-22"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-22"),
    ("claude-haiku-5-5", "Claude Haiku 5.5", "2026-09-22"),
    ("claude-opus-5", "Claude Opus 5", "2026-05-20"),
    ("claude-sonnet-5", "Claude Sonnet 5", "2026-05-20"),
    ("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15"),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29"),
];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is no YAML.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: config::ConfigError,
    },
    /// An option is unknown or has a wrong value.
    #[error("{option}: {message}")]
    Option {
        /// Its path.
        option: String,
        /// What is wrong.
        message: String,
    },
}

impl SimulatorConfig {
    /// Reads a file and checks it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = |source| ConfigError::File { path: path.to_owned(), source };
        let source = config::File::from(path).format(config::FileFormat::Yaml);
        let read = config::Config::builder().add_source(source).build().map_err(file)?;
        Self::from_json(read.try_deserialize().map_err(file)?)
    }

    /// Reads YAML text and checks it.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let file = |source| ConfigError::File { path: PathBuf::from("configuration"), source };
        let source = config::File::from_str(text, config::FileFormat::Yaml);
        let read = config::Config::builder().add_source(source).build().map_err(file)?;
        Self::from_json(read.try_deserialize().map_err(file)?)
    }

    fn from_json(value: serde_json::Value) -> Result<Self, ConfigError> {
        let config: Self = serde_path_to_error::deserialize(value).map_err(|error| ConfigError::Option {
            option: error.path().to_string(),
            message: error.into_inner().to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong =
            |option: String, message: &str| Err(ConfigError::Option { option, message: message.to_owned() });
        let mut secrets = std::collections::HashSet::new();
        for (at, organization) in self.organizations.iter().enumerate() {
            if organization.name.is_empty() {
                return wrong(format!("organizations[{at}].name"), "an organization needs a name");
            }
            for (number, key) in organization.keys.iter().enumerate() {
                let option = format!("organizations[{at}].keys[{number}]");
                if key.name.is_empty() || key.secret.is_empty() {
                    return wrong(option, "a key needs a name and a secret");
                }
                if !secrets.insert(&key.secret) {
                    return wrong(option, "this secret is given twice");
                }
            }
        }
        self.bedrock
            .check()
            .and_then(|()| self.vertex.check())
            .or_else(|(option, why)| wrong(option, why))?;
        let mut owners = std::collections::HashSet::new();
        let organizations = self.organizations.iter().map(|owner| &owner.name);
        let accounts = self.bedrock.accounts.iter().map(|owner| &owner.name);
        let projects = self.vertex.projects.iter().map(|owner| &owner.name);
        match organizations.chain(accounts).chain(projects).find(|name| !owners.insert(*name)) {
            Some(name) => wrong(name.clone(), "this name is given twice"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_is_valid_and_shows_the_defaults() {
        let example = SimulatorConfig::from_yaml(include_str!("../../config/simulate.yaml")).unwrap();
        let (example, default) =
            (serde_json::to_value(example), serde_json::to_value(SimulatorConfig::default()));
        assert_eq!(example.unwrap(), default.unwrap());
    }

    #[test]
    fn an_unknown_option_is_named_with_its_path() {
        let error = SimulatorConfig::from_yaml("timings: { latency: 3 }").unwrap_err().to_string();
        assert!(error.starts_with("timings") && error.contains("`latency`"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_cloud_is_named_with_its_path() {
        let cases = [
            (
                "bedrock: { accounts: [ { name: a, keys: [ { name: k, access_key_id: x } ] } ] }",
                "accounts[0].keys[0]",
            ),
            (
                "bedrock: { accounts: [ { name: a, keys: [ { name: k, bearer: x }, { name: l, bearer: x } ] } ] }",
                "twice",
            ),
            (
                "vertex: { projects: [ { name: p, keys: [ { name: k } ] } ] }",
                "projects[0].keys[0]: a key needs",
            ),
            (
                "vertex: { projects: [ { name: p, keys: [ { name: k, client_email: e, public_key: x } ] } ] }",
                "PEM",
            ),
            ("bedrock: { accounts: [ { name: org-a } ] }", "org-a: this name is given twice"),
        ];
        for (text, part) in cases {
            let error = SimulatorConfig::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn faults_and_limits_are_read() {
        let text = "
            organizations:
              - name: solo
                limits: [ { models: 'claude-*', rpm: 5, burst_s: 1 } ]
                keys: [ { name: k, secret: s } ]
            faults:
              - { keys: [k], rate: 0.5, fault: { kind: rate_limited, retry_after: 37 } }
              - { script: [overloaded, none] }";
        let config = SimulatorConfig::from_yaml(text).unwrap();
        assert_eq!(config.organizations[0].limits[0].rpm, 5);
        assert_eq!(config.faults[0].fault.as_ref().unwrap().knobs.retry_after, Some(37.0));
        assert_eq!(config.faults[1].script.len(), 2);
    }
}
