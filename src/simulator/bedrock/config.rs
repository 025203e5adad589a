//! What Bedrock is: accounts with their keys and quotas, the beta flags it knows, its limit of bodies.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// The flags that a third party's allow-list of August 2026 names.
const BETAS: [&str; 17] = [
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "pdfs-2024-09-25",
    "search-results-2025-06-09",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "tool-search-tool-2025-10-19",
    "web-search-2025-03-05",
];

/// Bedrock, both surfaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BedrockConfig {
    /// Who owns the keys; without any, Bedrock is not spoken.
    pub accounts: Vec<AccountConfig>,
    /// Known `anthropic_beta` flags; any other is 400.
    pub betas: Vec<String>,
    /// The longest body of the runtime, in bytes.
    pub max_body_bytes: usize,
    /// Seconds that AWS's clock is ahead of ours; signatures may be five minutes old or early.
    pub clock_ahead_s: i64,
}

impl Default for BedrockConfig {
    fn default() -> Self {
        Self {
            accounts: vec![AccountConfig::sample("aws-a"), AccountConfig::sample("aws-b")],
            betas: BETAS.map(str::to_owned).to_vec(),
            max_body_bytes: 20 * 1024 * 1024,
            clock_ahead_s: 0,
        }
    }
}

impl BedrockConfig {
    /// What is wrong, by the path of the option.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        let mut seen = HashSet::new();
        for (at, account) in self.accounts.iter().enumerate() {
            let place = format!("bedrock.accounts[{at}]");
            if account.name.is_empty() {
                return Err((format!("{place}.name"), "an account needs a name"));
            }
            for (number, key) in account.keys.iter().enumerate() {
                let option = format!("{place}.keys[{number}]");
                let signs = !key.access_key_id.is_empty() && !key.secret_access_key.is_empty();
                let bears = !key.bearer.is_empty();
                if key.name.is_empty() || signs == bears {
                    return Err((
                        option,
                        "a key needs a name, and either an access key with its secret or a bearer key",
                    ));
                }
                if !seen.insert((&key.access_key_id, &key.bearer)) {
                    return Err((option, "this key is given twice"));
                }
            }
        }
        Ok(())
    }
}

/// An account in one region.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// Its name here.
    pub name: String,
    /// Its twelve digits; by default made from the name.
    pub id: Option<String>,
    /// The region that signatures must name; empty = any.
    pub region: String,
    /// Quotas by model: the first that fits; none fits = unlimited. Each model has its own.
    pub limits: Vec<BedrockLimitConfig>,
    /// Requests at once.
    pub concurrent: usize,
    /// Application inference profiles and provisioned models: what their ARNs or ids stand for.
    pub profiles: Vec<ProfileConfig>,
    /// Its keys.
    pub keys: Vec<AwsKeyConfig>,
}

impl AccountConfig {
    /// A signing key, a bearer key and generous quotas.
    pub fn sample(name: &str) -> Self {
        let access = name.to_uppercase().replace('-', "");
        let signing = AwsKeyConfig {
            name: format!("{name}-1"),
            access_key_id: format!("AKIASIM{access}0001"),
            secret_access_key: format!("sim-secret-{name}-1"),
            ..AwsKeyConfig::default()
        };
        let bearer = AwsKeyConfig {
            name: format!("{name}-2"),
            bearer: format!("bedrock-api-key-sim-{name}-2"),
            ..AwsKeyConfig::default()
        };
        let limits = vec![BedrockLimitConfig::default()];
        Self { name: name.to_owned(), limits, keys: vec![signing, bearer], ..Self::default() }
    }
}

/// The quotas of each model that fits. 0 = none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BedrockLimitConfig {
    /// The models, with `*`, in the names of the first-party API.
    pub models: String,
    /// Requests a minute.
    pub rpm: u64,
    /// Tokens a minute: input and `max_tokens` at the start, what was used at the end.
    pub tpm: u64,
    /// Tokens a day (UTC).
    pub tpd: u64,
    /// How many seconds of refill a full bucket holds.
    pub burst_s: f64,
    /// Quota tokens that one output token costs.
    pub burndown: u64,
}

impl Default for BedrockLimitConfig {
    fn default() -> Self {
        Self { models: "*".to_owned(), rpm: 60_000, tpm: 200_000_000, tpd: 0, burst_s: 60.0, burndown: 5 }
    }
}

/// What an id without a model's name stands for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// The ARN, or the id at its end.
    pub id: String,
    /// The model, in the name of the first-party API.
    pub model: String,
}

/// A signing key or a bearer key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsKeyConfig {
    /// Its name here.
    pub name: String,
    /// The access key id; empty for a bearer key.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token that must come with it.
    pub session_token: Option<String>,
    /// Seconds after the start at which the session is over.
    pub expires_s: Option<f64>,
    /// The bearer key; empty for a signing key.
    pub bearer: String,
    /// Requests at once.
    pub concurrent: usize,
    /// Starts revoked: 403.
    pub revoked: bool,
}
