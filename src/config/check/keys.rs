//! Keys of a backend and their limit groups.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::pem;
use crate::config::checked::{AuthScheme, Credential, GroupLimit, Key, LimitGroup, ModelPattern};
use crate::config::raw::{self, Provider};

/// What a key is judged against.
pub struct Place<'a> {
    /// Path of the backend.
    pub path: &'a str,
    /// Its dialect.
    pub provider: Provider,
    /// How plain secrets are presented.
    pub auth: AuthScheme,
    /// Its limit groups; a key that names none adds one of its own.
    pub groups: Vec<LimitGroup>,
}

/// What all backends' keys share.
#[derive(Default)]
pub struct Seen {
    names: BTreeSet<String>,
    secrets: BTreeMap<String, String>,
}

/// `backends[].limit_groups`.
pub fn groups(path: &str, raw: &[raw::LimitGroup], findings: &mut Findings<'_>) -> Vec<LimitGroup> {
    let mut names = BTreeSet::new();
    let mut groups = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("{path}.limit_groups[{index}]");
        let name = findings.name(&format!("{path}.name"), raw.name.as_deref(), &mut names);
        let limits = raw.limits.iter().enumerate();
        let limits =
            limits.map(|(at, limit)| group_limit(&format!("{path}.limits[{at}]"), limit, findings)).collect();
        groups.push(LimitGroup {
            name,
            limits,
            usd_per_month: findings.dollars(&format!("{path}.usd_per_month"), raw.usd_per_month),
            usd_per_day: findings.dollars(&format!("{path}.usd_per_day"), raw.usd_per_day),
        });
    }
    groups
}

fn group_limit(path: &str, raw: &raw::GroupLimit, findings: &mut Findings<'_>) -> GroupLimit {
    let some = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    GroupLimit {
        models: ModelPattern::new(&findings.text(&format!("{path}.models"), raw.models.as_deref())),
        rpm: some(raw.rpm),
        input_tpm: some(raw.input_tpm),
        output_tpm: some(raw.output_tpm),
        tpm: some(raw.tpm),
        rpd: some(raw.rpd),
        tpd: some(raw.tpd),
        tpw: some(raw.tpw),
        concurrent: some(raw.concurrent),
    }
}

/// `backends[].keys`.
pub fn keys(
    place: &mut Place<'_>,
    raw: &[raw::Key],
    seen: &mut Seen,
    findings: &mut Findings<'_>,
) -> Vec<Key> {
    let configured: BTreeSet<String> = place.groups.iter().map(|group| group.name.clone()).collect();
    let mut keys = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("{}.keys[{index}]", place.path);
        let name = findings.name(&format!("{path}.name"), raw.name.as_deref(), &mut seen.names);
        let limit_group = match &raw.limit_group {
            Some(group) => {
                if !configured.contains(group) {
                    let known: Vec<&str> = configured.iter().map(String::as_str).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    let text = format!(
                        "no limit group of this backend is called `{group}`, known are: {known}; without one a key gets its own"
                    );
                    findings.wrong(format!("{path}.limit_group"), text);
                }
                group.clone()
            }
            None => {
                if configured.contains(&name) {
                    let text =
                        "is missing, and a group has the key's name: write it here, or rename one of the two";
                    findings.wrong(format!("{path}.limit_group"), text);
                }
                place.groups.push(LimitGroup {
                    name: name.clone(),
                    limits: Vec::new(),
                    usd_per_month: None,
                    usd_per_day: None,
                });
                name.clone()
            }
        };
        let weight = findings.weight(&format!("{path}.weight"), raw.weight);
        let enabled = raw.enabled.unwrap_or(true);
        let Some(credential) = credential(place, &path, raw, findings) else { continue };
        if let Credential::Secret(secret) = &credential
            && let Some(other) = seen.secrets.insert(secret.expose().to_owned(), name.clone())
        {
            findings.warn(
                &path,
                format_args!("holds the same secret as the key `{other}`: they share one quota"),
            );
        }
        keys.push(Key { name, credential, limit_group, weight, enabled });
    }
    keys
}

/// The options of a key that carry credentials, with whether each is there.
fn given(raw: &raw::Key) -> impl Iterator<Item = &'static str> {
    [
        ("secret", raw.secret.is_some()),
        ("bearer_token", raw.bearer_token.is_some()),
        ("access_key_id", raw.access_key_id.is_some()),
        ("secret_access_key", raw.secret_access_key.is_some()),
        ("session_token", raw.session_token.is_some()),
        ("service_account", raw.service_account.is_some()),
        ("credential_chain", raw.credential_chain.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
}

fn credential(
    place: &Place<'_>,
    path: &str,
    raw: &raw::Key,
    findings: &mut Findings<'_>,
) -> Option<Credential> {
    let given: Vec<&str> = given(raw).collect();
    if place.auth == AuthScheme::None {
        if let Some(option) = given.first() {
            findings
                .wrong(format!("{path}.{option}"), "is of no use with `auth: none`, expected no credentials");
        }
        return Some(Credential::None);
    }
    let expected = match place.provider {
        Provider::Anthropic | Provider::OpenAi => "secret",
        Provider::Bedrock => "access_key_id with secret_access_key, or bearer_token, or credential_chain",
        Provider::Vertex => "service_account or credential_chain",
    };
    match (place.provider, given.as_slice()) {
        (provider, []) => {
            let option = taken(provider)[0];
            let text = format!("is missing, a key of {} needs {expected}", provider.as_str());
            findings.wrong_in(path, option, text);
            None
        }
        (Provider::Anthropic | Provider::OpenAi, ["secret"]) => {
            findings.secret(&format!("{path}.secret"), raw.secret.as_ref()).map(Credential::Secret)
        }
        (Provider::Bedrock, ["bearer_token"]) => findings
            .secret(&format!("{path}.bearer_token"), raw.bearer_token.as_ref())
            .map(Credential::Secret),
        (
            Provider::Bedrock,
            ["access_key_id", "secret_access_key"] | ["access_key_id", "secret_access_key", "session_token"],
        ) => aws(path, raw, findings),
        (Provider::Vertex, ["service_account"]) => {
            let guarded = findings.is_guarded(path);
            let path = format!("{path}.service_account");
            let secret = findings.document(&path, raw.service_account.as_ref())?;
            if guarded && !pem::stays_with_google(&path, &secret, findings) {
                return None;
            }
            pem::service_account(&path, secret, findings).map(Credential::ServiceAccount)
        }
        (Provider::Bedrock | Provider::Vertex, ["credential_chain"]) => {
            Some(Credential::Chain(findings.env.clone()))
        }
        (
            provider @ (Provider::Anthropic | Provider::Bedrock | Provider::Vertex | Provider::OpenAi),
            given,
        ) => {
            let (option, text) = misfit(provider, given);
            findings.wrong(
                format!("{path}.{option}"),
                format!("{text}, a key of {} needs {expected}", provider.as_str()),
            );
            None
        }
    }
}

/// The credentials that keys of a dialect may have.
fn taken(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Anthropic | Provider::OpenAi => &["secret"],
        Provider::Bedrock => {
            &["access_key_id", "secret_access_key", "session_token", "bearer_token", "credential_chain"]
        }
        Provider::Vertex => &["service_account", "credential_chain"],
    }
}

/// The option at fault among credentials that do not go together, and what is wrong with it.
fn misfit(provider: Provider, given: &[&'static str]) -> (&'static str, String) {
    if let Some(option) = given.iter().find(|option| !taken(provider).contains(option)) {
        return (option, "is of no use here".to_owned());
    }
    let pair = ["access_key_id", "secret_access_key"];
    let alone = given.iter().all(|option| pair.contains(option) || *option == "session_token");
    if let (true, Some(missing)) = (alone, pair.into_iter().find(|option| !given.contains(option))) {
        return (missing, format!("is missing beside {}", given.join(" and ")));
    }
    let (last, others) = given.split_last().unwrap_or((&"secret", &[]));
    (last, format!("does not go with {}", others.join(" and ")))
}

fn aws(path: &str, raw: &raw::Key, findings: &mut Findings<'_>) -> Option<Credential> {
    let access_key_id = findings.secret(&format!("{path}.access_key_id"), raw.access_key_id.as_ref());
    let secret_access_key =
        findings.secret(&format!("{path}.secret_access_key"), raw.secret_access_key.as_ref());
    let token = raw.session_token.as_ref();
    let session_token = token.map(|token| findings.secret(&format!("{path}.session_token"), Some(token)));
    Some(Credential::Aws {
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token: match session_token {
            Some(token) => Some(token?),
            None => None,
        },
    })
}
