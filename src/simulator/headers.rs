//! The headers that every answer of a dialect carries, whatever it says.

use super::dialect::Dialect;
use super::http::Call;
use super::owner::Owner;
use super::reply::Reply;

/// Adds them, where the answer does not say otherwise.
pub fn dress(call: &Call, reply: &mut Reply) {
    let mut usual = match call.dialect {
        Dialect::Anthropic => anthropic(call, reply),
        Dialect::Bedrock => vec![pair("x-amzn-requestid", &call.request_id)],
        Dialect::Mantle => vec![pair("request-id", &call.request_id), pair("server", "envoy")],
        Dialect::Vertex => google(call),
        Dialect::Identity => vec![
            pair("metadata-flavor", "Google"),
            pair("server", "Metadata Server for VM"),
            pair("cache-control", "no-cache, no-store"),
        ],
    };
    if call.dialect == Dialect::Identity
        && !call.path().starts_with("/computeMetadata/")
        && call.path() != "/"
    {
        usual = vec![pair("server", "scaffolding on HTTPServer2"), pair("cache-control", "private")];
    }
    if call.world.manners().connection.close_each {
        usual.push(pair("connection", "close"));
    }
    usual.retain(|(name, _)| !reply.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)));
    reply.headers.extend(usual);
}

fn anthropic(call: &Call, reply: &Reply) -> Vec<(String, String)> {
    let mut usual = vec![pair("request-id", &call.request_id)];
    if let Some(Owner::Organization(organization)) = call.key().map(|key| &key.owner) {
        usual.push(pair("anthropic-organization-id", &organization.id));
        if let Some(workspace) = &organization.workspace_id {
            usual.push(pair("anthropic-workspace-id", workspace));
        }
    }
    let ray = call.request_id.get(6..22).unwrap_or_default().bytes();
    let ray: String = ray.map(|byte| char::from_digit(u32::from(byte) % 16, 16).unwrap_or('0')).collect();
    usual.extend([
        pair("via", "1.1 google"),
        pair("x-envoy-upstream-service-time", &reply.latency.as_millis().to_string()),
        pair("server", "cloudflare"),
        pair("cf-ray", &format!("{ray}-FRA")),
    ]);
    usual
}

fn google(call: &Call) -> Vec<(String, String)> {
    vec![
        pair("request-id", &call.request_id),
        pair("vary", "Origin, X-Origin, Referer"),
        pair("server", "scaffolding on HTTPServer2"),
        pair("x-xss-protection", "0"),
        pair("x-frame-options", "SAMEORIGIN"),
        pair("x-content-type-options", "nosniff"),
    ]
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
