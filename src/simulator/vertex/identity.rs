//! Google's token endpoint, STS exchange, impersonation and metadata server: where access tokens come from.
//!
//! Rules of faults strike here by `paths` (`/token`, `/computeMetadata/*`), so that it fails, stalls and comes back.

use std::time::Duration;

use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::fault::FaultKind;
use super::super::http::Call;
use super::super::reply::Reply;
use super::super::world::{Credential, World};
use super::assertion::{Assertion, Denied, SCOPE};
use super::config::GoogleKeyConfig;
use super::status::Status;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Answers a call.
pub fn answer(call: &mut Call, body: &[u8]) -> Reply {
    if let Some(mishap) = call.mishap() {
        return mishap;
    }
    let path = call.path().to_owned();
    if matches!(path.as_str(), "/token" | "/v1/token") {
        if call.parts.method != "POST" {
            return Reply::whole(405, "text/html; charset=UTF-8", "Method Not Allowed");
        }
        return grant(call, body).unwrap_or_else(|denied| denial(400, denied.error, denied.description));
    }
    metadata(call, &path)
}

/// An error of RFC 6749.
pub fn denial(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, json!({"error": error, "error_description": description}).to_string())
}

/// A fault's answer in the words of the token endpoint.
pub fn mishap(kind: FaultKind, status: u16) -> Reply {
    match status {
        _ if kind == FaultKind::InvalidKey => denial(400, "invalid_grant", "Invalid JWT Signature."),
        400..=499 if status != 429 => denial(status, "invalid_request", "Bad Request"),
        429 => denial(429, "rate_limit_exceeded", "Rate limit exceeded."),
        503 | 529 => denial(503, "temporarily_unavailable", "Try again later."),
        _ => denial(status, "internal_failure", "Backend Error"),
    }
}

fn grant(call: &Call, body: &[u8]) -> Result<Reply, Denied> {
    let form: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| {
        form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let world = &call.world;
    let unknown = Denied { error: "invalid_grant", description: "Invalid grant: account not found" };
    let key = match field("grant_type") {
        JWT_BEARER => {
            let assertion = Assertion::read(field("assertion"))?;
            let found =
                find(world, |key| !key.client_email.is_empty() && key.client_email == assertion.issuer());
            let (at, credential) = found.ok_or(unknown)?;
            assertion.verify(
                &credential.public_key,
                &audiences(call),
                world.clock.wall_second(world.clock.now()),
            )?;
            at
        }
        "refresh_token" => {
            let fits = |key: &GoogleKeyConfig| {
                !key.refresh_token.is_empty()
                    && key.refresh_token == field("refresh_token")
                    && key.client_id == field("client_id")
                    && key.client_secret == field("client_secret")
            };
            let wrong = Denied { error: "invalid_grant", description: "Token has been expired or revoked." };
            find(world, fits).ok_or(wrong)?.0
        }
        EXCHANGE => {
            let token = field("subject_token");
            let wrong = Denied { error: "invalid_grant", description: "The subject token is not valid." };
            if field("audience").is_empty() || field("requested_token_type") != ACCESS_TOKEN {
                let description = "audience and requested_token_type are required";
                return Err(Denied { error: "invalid_request", description });
            }
            find(world, |key| !key.subject_token.is_empty() && key.subject_token == token).ok_or(wrong)?.0
        }
        _ => return Err(Denied { error: "unsupported_grant_type", description: "Invalid grant_type." }),
    };
    let (token, lifetime) = issue(world, key);
    let mut answer = json!({"access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer"});
    match field("grant_type") {
        EXCHANGE => answer["issued_token_type"] = json!(ACCESS_TOKEN),
        "refresh_token" => answer["scope"] = json!(SCOPE),
        _ => {}
    }
    Ok(Reply::json(200, answer.to_string()))
}

/// What an assertion may be meant for: what is configured, and the address it came to.
fn audiences(call: &Call) -> Vec<String> {
    let mut known = call.world.config.vertex.audiences.clone();
    let host = call.header("host").unwrap_or_default();
    known.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}{}", call.path())));
    known
}

/// The place of the first sound key that fits, and what it is.
fn find(world: &World, fits: impl Fn(&GoogleKeyConfig) -> bool) -> Option<(usize, &GoogleKeyConfig)> {
    let mut known = world.keys.iter().enumerate().filter_map(|(at, key)| match &key.credential {
        Credential::Google(credential) if !key.revoked() => Some((at, credential)),
        Credential::Google(_) | Credential::Aws(_) | Credential::Secret => None,
    });
    known.find(|(_, credential)| fits(credential))
}

fn issue(world: &World, key: usize) -> (String, Duration) {
    let token = world.id("ya29.sim-", 40);
    let lifetime = world.tokens.issue(token.clone(), key, world.clock.now());
    world.book.issued(key);
    (token, lifetime)
}

/// `generateAccessToken` of IAM credentials, for a caller whose own token was checked.
pub fn impersonate(world: &World, email: &str) -> Result<Reply, Status> {
    let denied = || Status::usual("PERMISSION_DENIED");
    let (key, _) = find(world, |key| key.client_email == email).ok_or_else(denied)?;
    let (token, lifetime) = issue(world, key);
    let end = world.clock.rfc3339(world.clock.now() + lifetime);
    Ok(Reply::json(200, json!({"accessToken": token, "expireTime": end}).to_string()))
}

fn metadata(call: &Call, path: &str) -> Reply {
    let forbidden = "Missing Metadata-Flavor:Google header.";
    if call.header("metadata-flavor") != Some("Google") {
        return Reply::whole(403, "text/html; charset=UTF-8", forbidden);
    }
    let world = &call.world;
    let text = |text: &str| Reply::whole(200, "application/text", text.to_owned());
    let Some((key, _)) = find(world, |key| key.metadata) else {
        return Reply::whole(404, "text/html; charset=UTF-8", "Not Found");
    };
    let project = world.keys.get(key).map_or("", |key| key.owner.id());
    let email = format!("default@{project}.iam.gserviceaccount.com");
    match path.trim_start_matches("/computeMetadata/v1/").trim_end_matches('/') {
        "" => text("computeMetadata/"),
        "project/project-id" => text(project),
        "universe/universe-domain" | "universe/universe_domain" => text("googleapis.com"),
        "instance/service-accounts/default/email" => text(&email),
        "instance/service-accounts/default" => {
            let account: Value = json!({"aliases": ["default"], "email": email, "scopes": [SCOPE]});
            Reply::json(200, account.to_string())
        }
        "instance/service-accounts/default/token" => {
            let now = world.clock.now();
            let (token, left) = world.tokens.current(key, now).unwrap_or_else(|| issue(world, key));
            let token = json!({"access_token": token, "expires_in": left.as_secs(), "token_type": "Bearer"});
            Reply::json(200, token.to_string())
        }
        _ => Reply::whole(404, "text/html; charset=UTF-8", "Not Found"),
    }
}
