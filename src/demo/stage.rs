//! The stage: a simulated upstream of three providers and eight keys, and the settings of a gateway over it.
//!
//! Two backends in the first tier, as a deployment with two places has them: `anthropic-us` with org-a and org-b,
//! `anthropic-eu` with org-c. Behind them `bedrock` with an AWS account, and behind that `vertex` with a Google project.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::config::checked::Settings;
use crate::config::{self, ConfigError, Environment};
use crate::simulator::SimulatorConfig;
use crate::simulator::bedrock::config::{AccountConfig, AwsKeyConfig, BedrockConfig, BedrockLimitConfig};
use crate::simulator::config::{OrganizationConfig, RecordConfig, Timings};
use crate::simulator::vertex::config::{GoogleKeyConfig, ProjectConfig, QuotaConfig, VertexConfig};

/// The account of AWS, a limit group like the organizations.
pub const ACCOUNT: &str = "aws";
/// The project of Google.
const PROJECT: &str = "gcp";
const ACCESS_KEY: &str = "AKIASIMULATED";
const SECRET_KEY: &str = "simulated";
const REFRESH_TOKEN: &str = "1//simulated";

/// The upstream: real limits, answers that take their time, no memory of bodies.
pub fn upstream() -> SimulatorConfig {
    SimulatorConfig {
        timings: Timings { latency_ms: 40, ttft_ms: 60, pace_ms: 10 },
        record: RecordConfig { requests: 0, body_bytes: 0 },
        bedrock: BedrockConfig { accounts: vec![account()], ..BedrockConfig::default() },
        vertex: VertexConfig { projects: vec![project()], ..VertexConfig::default() },
        ..SimulatorConfig::default()
    }
}

fn account() -> AccountConfig {
    let key = AwsKeyConfig {
        name: format!("{ACCOUNT}-1"),
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: SECRET_KEY.to_owned(),
        ..AwsKeyConfig::default()
    };
    let limits = vec![BedrockLimitConfig::default()];
    AccountConfig { name: ACCOUNT.to_owned(), limits, keys: vec![key], ..AccountConfig::default() }
}

fn project() -> ProjectConfig {
    let key = GoogleKeyConfig {
        name: format!("{PROJECT}-1"),
        refresh_token: REFRESH_TOKEN.to_owned(),
        client_id: PROJECT.to_owned(),
        client_secret: PROJECT.to_owned(),
        ..GoogleKeyConfig::default()
    };
    let quotas = vec![QuotaConfig::default()];
    ProjectConfig { name: PROJECT.to_owned(), quotas, keys: vec![key], ..ProjectConfig::default() }
}

/// The gateway's settings over the upstream at `url`. Nothing of the process's environment takes part. Waits are shorter
/// than by default, so that the story shows their ends.
///
/// # Errors
/// None, unless an option of this file is no more.
pub fn settings(url: &str, listen: (SocketAddr, SocketAddr)) -> Result<Settings, ConfigError> {
    let organizations = upstream().organizations;
    let (us, eu) = organizations.split_at(organizations.len().min(2));
    let backends = json!([
        backend("anthropic-us", url, us),
        backend("anthropic-eu", url, eu),
        bedrock(url),
        vertex(url)
    ]);
    let routes = json!([{ "model": "*", "spill_after_ms": 100, "targets": [
        { "backend": "anthropic-us", "tier": 0 },
        { "backend": "anthropic-eu", "tier": 0 },
        { "backend": "bedrock", "model": "us.anthropic.{model}", "tier": 1 },
        { "backend": "vertex", "tier": 2 },
    ] }]);
    let options = [
        ("BACKENDS", backends.to_string()),
        ("ROUTES", routes.to_string()),
        ("SERVER__LISTEN", listen.0.to_string()),
        ("SERVER__ADMIN_LISTEN", listen.1.to_string()),
        ("SERVER__DRAIN_DELAY_S", "0".to_owned()),
        ("SERVER__DRAIN_TIMEOUT_S", "1".to_owned()),
        ("PARK__KEY_FAULT_FIRST_MS", "1500".to_owned()),
        ("PARK__KEY_FAULT_MAX_MS", "3000".to_owned()),
        ("BREAKER__OPEN_S", "1".to_owned()),
        ("BREAKER__OPEN_MAX_S", "2".to_owned()),
    ];
    let options = options.into_iter().map(|(name, value)| (format!("HEADGATE__{name}"), value));
    let keys = organizations.iter().flat_map(|organization| &organization.keys);
    let secrets = keys.map(|key| (variable(&key.name), key.secret.clone()));
    let user = json!({ "type": "authorized_user", "client_id": PROJECT, "client_secret": PROJECT,
                       "refresh_token": REFRESH_TOKEN, "token_uri": format!("{url}/token") });
    let clouds = [
        (variable("access"), ACCESS_KEY.to_owned()),
        (variable("secret"), SECRET_KEY.to_owned()),
        (variable("user"), user.to_string()),
    ];
    config::load(&[], &options.chain(secrets).chain(clouds).collect::<Environment>())
}

/// The usual addresses where they are free, else free ones.
pub fn addresses() -> (SocketAddr, SocketAddr) {
    let usual = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() { address } else { free() }
    };
    (usual(8080), usual(9090))
}

/// A loopback address with whatever port is free.
pub fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn backend(name: &str, url: &str, organizations: &[OrganizationConfig]) -> serde_json::Value {
    let groups: Vec<_> =
        organizations.iter().map(|organization| json!({ "name": organization.name })).collect();
    let keys = organizations.iter().flat_map(|organization| {
        organization.keys.iter().map(|key| {
            json!({ "name": key.name, "secret": format!("env:{}", variable(&key.name)),
                    "limit_group": organization.name })
        })
    });
    let keys: Vec<_> = keys.collect();
    json!({ "name": name, "provider": "anthropic", "base_url": url, "limit_groups": groups, "keys": keys })
}

fn bedrock(url: &str) -> serde_json::Value {
    json!({ "name": "bedrock", "provider": "bedrock", "region": "us-east-1", "base_url": url,
            "park": { "backoff_first_ms": 1000, "backoff_max_ms": 2000 },
            "limit_groups": [{ "name": ACCOUNT }],
            "keys": [{ "name": format!("{ACCOUNT}-1"), "limit_group": ACCOUNT,
                       "access_key_id": format!("env:{}", variable("access")),
                       "secret_access_key": format!("env:{}", variable("secret")) }] })
}

fn vertex(url: &str) -> serde_json::Value {
    json!({ "name": "vertex", "provider": "vertex", "project": PROJECT, "location": "global", "base_url": url,
            "limit_groups": [{ "name": PROJECT }],
            "keys": [{ "name": format!("{PROJECT}-1"), "limit_group": PROJECT,
                       "service_account": format!("env:{}", variable("user")) }] })
}

fn variable(key: &str) -> String {
    format!("SIMULATED_{}", key.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_valid_and_hold_eight_keys_of_three_providers() {
        let settings = settings("http://127.0.0.1:1", (free(), free())).unwrap();
        let keys: Vec<_> = settings
            .backends
            .iter()
            .flat_map(|backend| {
                backend.keys.iter().map(|key| (backend.name.as_str(), key.limit_group.as_str()))
            })
            .collect();
        let (us, eu) = ("anthropic-us", "anthropic-eu");
        let wanted =
            [(us, "org-a"), (us, "org-a"), (us, "org-b"), (us, "org-b"), (eu, "org-c"), (eu, "org-c")];
        assert_eq!(keys[..6], wanted);
        assert_eq!(keys[6..], [("bedrock", ACCOUNT), ("vertex", PROJECT)]);
        let of_backends = settings.warnings.iter().filter(|warning| warning.starts_with("backends"));
        assert_eq!(of_backends.count(), 0, "{:?}", settings.warnings);
    }
}
