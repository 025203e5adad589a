//! Google's credential files, and where the default chain looks for one.
//!
//! Facts: RFC 7523, RFC 8693, AIP-4110 to 4117 (google.aip.dev), and the source of the official google-auth library.

use headgate_providers::Secret;
use serde_json::Value as Json;

use crate::config::Environment;
use crate::credentials::state::{Again, Refusal};

/// Where token grants go by default.
pub const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// The metadata server of an instance.
const METADATA_HOST: &str = "metadata.google.internal";

/// A credential as its file describes it.
#[derive(Debug)]
pub struct Account {
    /// How tokens are got.
    pub kind: Kind,
    /// The project that quota is counted against, where the file names one.
    pub quota_project: Option<String>,
}

/// How tokens are got.
#[derive(Debug)]
pub enum Kind {
    /// `service_account`: a signed assertion (RFC 7523).
    Service(Service),
    /// `authorized_user`: a refresh token.
    User(User),
    /// `external_account`: another issuer's token is exchanged (RFC 8693).
    Federated(Federated),
    /// `impersonated_service_account`: with the token of another account.
    Impersonated {
        /// The account that may impersonate.
        source: Box<Kind>,
        /// Where the token of the impersonated one is made.
        url: String,
        /// Accounts in between.
        delegates: Vec<String>,
    },
    /// The metadata server of the machine, at this host.
    Instance(String),
}

/// A service account's key.
#[derive(Debug)]
pub struct Service {
    /// `client_email`.
    pub email: String,
    /// `private_key_id`.
    pub key_id: Option<String>,
    /// `private_key`, PEM.
    pub key_pem: Secret,
    /// Where the grant goes.
    pub token_uri: String,
}

/// A user's refresh token.
#[derive(Debug)]
pub struct User {
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The user's consent.
    pub refresh_token: Secret,
    /// Where the grant goes.
    pub token_uri: String,
}

/// A workload known to another issuer.
#[derive(Debug)]
pub struct Federated {
    /// The provider in Google's workload identity pool.
    pub audience: String,
    /// What kind of token the subject's is.
    pub subject_token_type: String,
    /// Where it is exchanged.
    pub token_url: String,
    /// Where it is found.
    pub source: SubjectSource,
    /// Where the token of a service account is made with it.
    pub impersonation_url: Option<String>,
    /// How long that one shall last, seconds.
    pub impersonation_seconds: Option<u64>,
    /// The exchanging application, where the pool asks for one.
    pub client: Option<(String, Secret)>,
    /// The project of a workforce pool's user.
    pub workforce_project: Option<String>,
}

/// Where a subject's token is found.
#[derive(Debug)]
pub struct SubjectSource {
    /// A file, or a URL with the header lines it wants.
    pub place: Place,
    /// The field that holds it in a JSON document; `None`: it is all of the text.
    pub field: Option<String>,
}

/// A file or a URL.
#[derive(Debug)]
pub enum Place {
    /// Path of a file.
    File(String),
    /// A URL and header lines.
    Url(String, Vec<(String, Secret)>),
}

impl Account {
    /// Reads a credential file.
    ///
    /// # Errors
    /// What it lacks; [`Again::Later`], since the file may be replaced.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let json: Json = serde_json::from_str(text).map_err(|_| wrong("is no JSON"))?;
        let quota_project = optional(&json, "quota_project_id");
        Ok(Self { kind: Kind::read(&json, 0)?, quota_project })
    }

    /// The default chain: `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's own file, the machine's metadata server.
    ///
    /// # Errors
    /// A file that is named but of no use.
    pub async fn ambient(environment: &Environment) -> Result<Self, Refusal> {
        if let Some(path) = environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
            let text = tokio::fs::read_to_string(path.trim()).await.map_err(|error| {
                Refusal::new(Again::Later, format!("GOOGLE_APPLICATION_CREDENTIALS cannot be read: {error}"))
            })?;
            return Self::read(&text);
        }
        let folder = environment.get("CLOUDSDK_CONFIG").map(str::to_owned);
        let folder = folder.or_else(|| Some(format!("{}/.config/gcloud", environment.get("HOME")?)));
        if let Some(folder) = folder {
            let path = format!("{folder}/application_default_credentials.json");
            match tokio::fs::read_to_string(&path).await {
                Ok(text) => return Self::read(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Refusal::new(
                        Again::Later,
                        format!("gcloud's credentials cannot be read: {error}"),
                    ));
                }
            }
        }
        let host = environment.get("GCE_METADATA_HOST").unwrap_or(METADATA_HOST).trim().to_owned();
        Ok(Self { kind: Kind::Instance(host), quota_project: None })
    }
}

impl Kind {
    fn read(json: &Json, depth: usize) -> Result<Self, Refusal> {
        let token_uri = || optional(json, "token_uri").unwrap_or_else(|| TOKEN_URI.to_owned());
        Ok(match required(json, "type")?.as_str() {
            "service_account" => Self::Service(Service {
                email: required(json, "client_email")?,
                key_id: optional(json, "private_key_id"),
                key_pem: secret(json, "private_key")?,
                token_uri: token_uri(),
            }),
            "authorized_user" => Self::User(User {
                client_id: required(json, "client_id")?,
                client_secret: secret(json, "client_secret")?,
                refresh_token: secret(json, "refresh_token")?,
                token_uri: token_uri(),
            }),
            "external_account" => Self::Federated(federated(json)?),
            "impersonated_service_account" if depth == 0 => {
                let delegates = json.get("delegates").and_then(Json::as_array);
                let delegates = delegates.into_iter().flatten().filter_map(Json::as_str);
                Self::Impersonated {
                    source: Box::new(Self::read(json.get("source_credentials").unwrap_or(&Json::Null), 1)?),
                    url: required(json, "service_account_impersonation_url")?,
                    delegates: delegates.map(str::to_owned).collect(),
                }
            }
            _ => return Err(wrong("is of a type that is not known here")),
        })
    }
}

fn federated(json: &Json) -> Result<Federated, Refusal> {
    let source = json.get("credential_source").ok_or_else(|| wrong("lacks credential_source"))?;
    let place = if let Some(file) = optional(source, "file") {
        Place::File(file)
    } else if source.get("environment_id").is_some() || source.get("executable").is_some() {
        return Err(wrong("takes its subject from AWS or a program, expected a file or a URL"));
    } else {
        let headers = source.get("headers").and_then(Json::as_object);
        let line = |(name, value): (&String, &Json)| {
            Some((name.to_lowercase(), Secret::new(value.as_str()?.to_owned())))
        };
        Place::Url(required(source, "url")?, headers.into_iter().flatten().filter_map(line).collect())
    };
    let format = source.get("format").unwrap_or(&Json::Null);
    let field = match optional(format, "type").as_deref() {
        Some("json") => Some(required(format, "subject_token_field_name")?),
        Some(_) | None => None,
    };
    let lifetime = json.get("service_account_impersonation").and_then(|it| it.get("token_lifetime_seconds"));
    let client = optional(json, "client_id").zip(optional(json, "client_secret").map(Secret::new));
    Ok(Federated {
        audience: required(json, "audience")?,
        subject_token_type: required(json, "subject_token_type")?,
        token_url: required(json, "token_url")?,
        source: SubjectSource { place, field },
        impersonation_url: optional(json, "service_account_impersonation_url"),
        impersonation_seconds: lifetime.and_then(Json::as_u64),
        client,
        workforce_project: optional(json, "workforce_pool_user_project"),
    })
}

fn wrong(what: &str) -> Refusal {
    Refusal::new(Again::Later, format!("the credential file {what}"))
}

fn optional(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn required(json: &Json, name: &str) -> Result<String, Refusal> {
    optional(json, name).ok_or_else(|| wrong(&format!("lacks {name}")))
}

fn secret(json: &Json, name: &str) -> Result<Secret, Refusal> {
    required(json, name).map(Secret::new)
}
