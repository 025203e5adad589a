//! Who calls Bedrock: signatures verified for real, and bearer keys.

use hyper::header::HeaderMap;

use super::super::http::{Call, bearer, header};
use super::super::owner::Owner;
use super::super::world::{Credential, World};
use super::config::AwsKeyConfig;
use super::exception::Exception;
use super::signature::{Claim, second_of};

/// How far a signature's time may be off, in seconds.
const SKEW_S: i64 = 300;

/// The place of the key that a request names, whether or not it may use it.
pub fn identify(world: &World, headers: &HeaderMap) -> Option<usize> {
    if let Some(token) = bearer(headers) {
        return world.names.bearers.get(token).copied();
    }
    let claim = Claim::read(header(headers, "authorization")?)?;
    world.names.access_keys.get(claim.access_key_id).copied()
}

/// Verifies the caller; `services` are the names a signature may be scoped to.
///
/// # Errors
/// The exception that AWS answers.
pub fn verify(call: &Call, body: &[u8], services: &[&str]) -> Result<(), Exception> {
    let key = call.key().filter(|key| !key.revoked());
    if bearer(&call.parts.headers).is_some() {
        let message = "Authentication failed: Please make sure your API Key is valid.";
        return key.map(|_| ()).ok_or_else(|| Exception::new("AccessDeniedException", message));
    }
    let Some(authorization) = call.header("authorization") else {
        return Err(Exception::usual("MissingAuthenticationTokenException"));
    };
    let Some(claim) = Claim::read(authorization) else {
        return Err(Exception::usual("IncompleteSignatureException"));
    };
    let unknown = || Exception::usual("UnrecognizedClientException");
    let key = key.ok_or_else(unknown)?;
    let (Credential::Aws(credential), Owner::Account(account)) = (&key.credential, &key.owner) else {
        return Err(unknown());
    };
    check_session(call, credential)?;
    check_scope(call, &claim, services, &account.region)?;
    let found = claim.expected(&credential.secret_access_key, &call.parts, body);
    if found.as_deref() == Some(claim.signature) {
        Ok(())
    } else {
        Err(Exception::usual("InvalidSignatureException"))
    }
}

fn check_session(call: &Call, credential: &AwsKeyConfig) -> Result<(), Exception> {
    if call.header("x-amz-security-token") != credential.session_token.as_deref() {
        return Err(Exception::usual("UnrecognizedClientException"));
    }
    let second = call.world.clock.now().as_secs_f64();
    if credential.expires_s.is_some_and(|end| second >= end) {
        return Err(Exception::usual("ExpiredTokenException"));
    }
    Ok(())
}

fn check_scope(call: &Call, claim: &Claim<'_>, services: &[&str], region: &str) -> Result<(), Exception> {
    let invalid = |message: String| Err(Exception::new("InvalidSignatureException", message));
    let Some((date, at)) = call.header("x-amz-date").and_then(|date| Some((date, second_of(date)?))) else {
        return Err(Exception::usual("IncompleteSignatureException"));
    };
    if !services.contains(&claim.service) {
        let wanted = services.first().unwrap_or(&"");
        return invalid(format!("Credential should be scoped to correct service: '{wanted}'."));
    }
    if !region.is_empty() && claim.region != region {
        return invalid(format!("Credential should be scoped to a valid region, not '{}'.", claim.region));
    }
    let must = ["host", "x-amz-date", "x-amz-security-token"];
    let unsigned = must.iter().find(|name| call.header(name).is_some() && !claim.signed.contains(*name));
    if let Some(name) = unsigned {
        return invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
    }
    let now = call.world.clock.wall_second(call.world.clock.now()) + call.world.config.bedrock.clock_ahead_s;
    if (now - at).abs() > SKEW_S || date.get(..8) != Some(claim.day) {
        return invalid(format!("Signature expired: {date} is now out of the allowed time (5 min.)"));
    }
    Ok(())
}
