//! What Vertex is: projects with their quotas and credentials, and how tokens are issued.

use serde::{Deserialize, Serialize};

use super::assertion::public_key;

/// Beta flags that Google's front end lets through.
const BETAS: [&str; 9] = [
    "computer-use-2025-01-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "search-results-2025-06-09",
    "token-efficient-tools-2025-02-19",
    "tool-search-tool-2025-10-19",
    "web-search-2025-03-05",
];

/// Vertex AI, and Google's token endpoint and metadata server beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VertexConfig {
    /// Who owns the credentials; without any, Vertex is not spoken.
    pub projects: Vec<ProjectConfig>,
    /// Known `anthropic-beta` flags; any other is 400.
    pub betas: Vec<String>,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// Seconds an issued token lives.
    pub expires_in: f64,
    /// What an assertion's `aud` may be, besides the address it was sent to.
    pub audiences: Vec<String>,
}

impl Default for VertexConfig {
    fn default() -> Self {
        Self {
            projects: vec![ProjectConfig::sample("gcp-a"), ProjectConfig::sample("gcp-b")],
            betas: BETAS.map(str::to_owned).to_vec(),
            max_body_bytes: 30 * 1024 * 1024,
            expires_in: 3_599.0,
            audiences: vec!["https://oauth2.googleapis.com/token".to_owned()],
        }
    }
}

impl VertexConfig {
    /// What is wrong, by the path of the option.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        for (at, project) in self.projects.iter().enumerate() {
            let place = format!("vertex.projects[{at}]");
            if project.name.is_empty() {
                return Err((format!("{place}.name"), "a project needs a name"));
            }
            for (number, key) in project.keys.iter().enumerate() {
                let option = format!("{place}.keys[{number}]");
                let forms = [&key.token, &key.client_email, &key.refresh_token, &key.subject_token];
                if key.name.is_empty() || (forms.iter().all(|form| form.is_empty()) && !key.metadata) {
                    return Err((option, "a key needs a name and a credential"));
                }
                if !key.client_email.is_empty() && public_key(&key.public_key).is_none() {
                    return Err((format!("{option}.public_key"), "PEM of an RSA key is expected"));
                }
            }
        }
        Ok(())
    }
}

/// A project.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectConfig {
    /// Its name here.
    pub name: String,
    /// Its id in paths; by default the name.
    pub id: Option<String>,
    /// Quotas by location and model: the first that fits; none fits = unlimited. Each location and model has its own.
    pub quotas: Vec<QuotaConfig>,
    /// Requests at once.
    pub concurrent: usize,
    /// Refusals for quota say by `RetryInfo` when to come back.
    pub retry_info: bool,
    /// The organization's policy allows `web_search_20250305`.
    pub web_search: bool,
    /// Its credentials.
    pub keys: Vec<GoogleKeyConfig>,
}

impl ProjectConfig {
    /// A static token, the metadata server's token and generous quotas.
    pub fn sample(name: &str) -> Self {
        let key = |number: u8| GoogleKeyConfig { name: format!("{name}-{number}"), ..<_>::default() };
        let fixed = GoogleKeyConfig { token: format!("ya29.sim-{name}-1"), ..key(1) };
        let metadata = GoogleKeyConfig { metadata: true, ..key(2) };
        let quotas = vec![QuotaConfig::default()];
        Self { name: name.to_owned(), quotas, keys: vec![fixed, metadata], ..Self::default() }
    }
}

/// The quotas of each location and model that fits. 0 = none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// The locations, with `*`.
    pub locations: String,
    /// The models, with `*`, in the names of the first-party API.
    pub models: String,
    /// Requests a minute.
    pub rpm: u64,
    /// Input tokens a minute, cache reads excluded.
    pub input_tpm: u64,
    /// Output tokens a minute.
    pub output_tpm: u64,
    /// How many seconds of refill a full bucket holds.
    pub burst_s: f64,
    /// The quota is zero, as a new project's is: every request is refused.
    pub zero: bool,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            locations: "*".to_owned(),
            models: "*".to_owned(),
            rpm: 60_000,
            input_tpm: 100_000_000,
            output_tpm: 20_000_000,
            burst_s: 60.0,
            zero: false,
        }
    }
}

/// A credential: any of a static token, a service account, an authorized user, a federated identity, and the identity of
/// the metadata server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleKeyConfig {
    /// Its name here.
    pub name: String,
    /// An access token that never expires.
    pub token: String,
    /// The service account's `client_email`.
    pub client_email: String,
    /// What its assertions are verified with: PEM of a public RSA key (or of the PKCS#8 private key that holds it).
    pub public_key: String,
    /// An authorized user's refresh token.
    pub refresh_token: String,
    /// Its OAuth client.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// A federated identity's token, exchanged for one of Google's.
    pub subject_token: String,
    /// The metadata server hands out tokens of this key; of several, the first.
    pub metadata: bool,
    /// Requests at once.
    pub concurrent: usize,
    /// Starts revoked: no new tokens, 401 for the old.
    pub revoked: bool,
}
