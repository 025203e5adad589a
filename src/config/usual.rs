//! Backends from the variables every tool of these providers reads, for a start without a file.
//!
//! Used only where no layer configures backends: a configured pool never takes a credential from outside it.

use serde_json::{Value as Json, json};

use super::environment::Environment;

/// The backends the usual variables describe, as a file would write them, and what was left out and why.
pub fn backends(env: &Environment, listen: Option<&str>) -> (Vec<Json>, Vec<String>) {
    let mut warnings = Vec::new();
    let all = [
        anthropic(env, listen, &mut warnings),
        bedrock(env, &mut warnings),
        vertex(env),
        env.get("OPENAI_API_KEY").map(|_| {
            json!({ "name": "openai", "provider": "openai",
                    "keys": [{ "name": "openai-1", "secret": "env:OPENAI_API_KEY" }] })
        }),
    ];
    (all.into_iter().flatten().collect(), warnings)
}

fn anthropic(env: &Environment, listen: Option<&str>, warnings: &mut Vec<String>) -> Option<Json> {
    let mut secrets = Vec::new();
    let mut references = Vec::new();
    let mut take = |secret: &str, reference: String| {
        let secret = secret.trim().to_owned();
        if !secret.is_empty() && !secrets.contains(&secret) {
            secrets.push(secret);
            references.push(reference);
        }
    };
    if let Some(secret) = env.get("ANTHROPIC_API_KEY") {
        take(secret, "env:ANTHROPIC_API_KEY".to_owned());
    }
    for (index, secret) in env.get("ANTHROPIC_API_KEYS").unwrap_or_default().split(',').enumerate() {
        take(secret, format!("env:ANTHROPIC_API_KEYS[{index}]"));
    }
    if references.is_empty() {
        return None;
    }
    let keys: Vec<Json> = references
        .iter()
        .enumerate()
        .map(|(index, reference)| json!({ "name": format!("anthropic-{}", index + 1), "secret": reference }))
        .collect();
    let mut backend = json!({ "name": "anthropic", "provider": "anthropic", "keys": keys });
    if let Some(url) = env.get("ANTHROPIC_BASE_URL") {
        if leads_back(url, listen) {
            warnings.push(
                "ANTHROPIC_BASE_URL: is this gateway's own address, so it is not used for upstream"
                    .to_owned(),
            );
        } else {
            backend["base_url"] = json!(url.trim());
        }
    }
    Some(backend)
}

/// Whether `url` is the address this process listens on: a shell set up for clients of the gateway.
fn leads_back(url: &str, listen: Option<&str>) -> bool {
    let (Ok(url), Some(listen)) = (super::check::base_url(url.trim()), listen) else { return false };
    let listen: Option<std::net::SocketAddr> = listen.parse().ok();
    listen.is_some_and(|listen| {
        listen.port() == url.port
            && (super::check::is_loopback(&url.host) || url.host == listen.ip().to_string())
    })
}

fn bedrock(env: &Environment, warnings: &mut Vec<String>) -> Option<Json> {
    let region = env.get("AWS_REGION");
    let key = if env.get("AWS_BEARER_TOKEN_BEDROCK").is_some() {
        if region.is_none() {
            warnings.push("AWS_BEARER_TOKEN_BEDROCK: is not used, since AWS_REGION is not set".to_owned());
        }
        json!({ "name": "bedrock-1", "bearer_token": "env:AWS_BEARER_TOKEN_BEDROCK" })
    } else {
        env.get("AWS_ACCESS_KEY_ID").and(env.get("AWS_SECRET_ACCESS_KEY"))?;
        let mut key = json!({ "name": "bedrock-1", "access_key_id": "env:AWS_ACCESS_KEY_ID",
                              "secret_access_key": "env:AWS_SECRET_ACCESS_KEY" });
        if env.get("AWS_SESSION_TOKEN").is_some() {
            key["session_token"] = json!("env:AWS_SESSION_TOKEN");
        }
        key
    };
    Some(json!({ "name": "bedrock", "provider": "bedrock", "region": region?.trim(), "keys": [key] }))
}

fn vertex(env: &Environment) -> Option<Json> {
    let file = env.get("GOOGLE_APPLICATION_CREDENTIALS")?.trim();
    let project = env.get("ANTHROPIC_VERTEX_PROJECT_ID")?.trim();
    let location = env.get("CLOUD_ML_REGION")?.trim();
    Some(json!({ "name": "vertex", "provider": "vertex", "project": project, "location": location,
                 "keys": [{ "name": "vertex-1", "service_account": format!("file:{file}") }] }))
}
