//! What token endpoints answer: a token with its lifetime, or why there is none.
//!
//! Repeats follow the official google-auth library: 408, 429, 5xx and three error codes are worth asking again. Codes that say
//! the credential itself is refused (RFC 6749, 5.2) are for an operator.

use std::time::{Duration, SystemTime};

use headgate_providers::Secret;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::credentials::exchange::Answer;
use crate::credentials::state::{Again, Refusal};

/// What is assumed of a token that does not say how long it lasts; Google's last an hour.
const UNSAID: Duration = Duration::from_secs(3600);

/// A token.
#[derive(Debug)]
pub struct Grant {
    /// The access token.
    pub token: Secret,
    /// How long it lasts from now on; zero where the answer says so.
    pub lifetime: Duration,
}

/// Reads `{"access_token", "expires_in"}`.
///
/// # Errors
/// Why there is no token.
pub fn token(answer: &Answer) -> Result<Grant, Refusal> {
    let json = document(answer)?;
    let token = text(&json, "access_token").ok_or_else(|| odd("its answer holds no access_token"))?;
    let lifetime = match json.get("expires_in") {
        None | Some(Json::Null) => UNSAID,
        Some(said) => seconds(said).ok_or_else(|| odd("its expires_in is no number"))?,
    };
    Ok(Grant { token: Secret::new(token), lifetime })
}

/// Reads `{"accessToken", "expireTime"}`.
///
/// # Errors
/// Why there is no token.
pub fn impersonated(answer: &Answer, wall: SystemTime) -> Result<Grant, Refusal> {
    let json = document(answer)?;
    let token = text(&json, "accessToken").ok_or_else(|| odd("its answer holds no accessToken"))?;
    let end = text(&json, "expireTime").and_then(|end| end.parse::<Timestamp>().ok());
    let end = end.ok_or_else(|| odd("its expireTime is no date"))?;
    let lifetime = SystemTime::from(end).duration_since(wall).unwrap_or_default();
    Ok(Grant { token: Secret::new(token), lifetime })
}

/// A subject's token from where it was found.
///
/// # Errors
/// An empty text, or a document without `field`.
pub fn subject(found: String, field: Option<&str>) -> Result<Secret, Refusal> {
    let token = match field {
        None => Some(found.trim().to_owned()),
        Some(field) => serde_json::from_str(&found).ok().and_then(|json: Json| text(&json, field)),
    };
    let token = token.filter(|token| !token.is_empty());
    token
        .map(Secret::new)
        .ok_or_else(|| Refusal::new(Again::Later, "the subject's token is not where it should be"))
}

/// Why an answer that is no success is none.
#[must_use]
pub fn refusal(answer: &Answer) -> Refusal {
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    // OAuth's own shape, or Google's API error.
    let nested = json.get("error").filter(|error| error.is_object());
    let code = text(&json, "error").or_else(|| text(nested?, "status")).unwrap_or_default();
    let described = text(&json, "error_description").or_else(|| text(nested?, "message")).unwrap_or_default();
    let status = answer.status.as_u16();
    let again = match code.as_str() {
        // An assertion from a machine whose clock is off; clocks get set.
        "invalid_grant" if described.contains("reasonable timeframe") => Again::Later,
        "invalid_grant" | "invalid_client" | "unauthorized_client" | "account_disabled" | "access_denied" => {
            Again::Never
        }
        "internal_failure" | "server_error" | "temporarily_unavailable" => Again::Soon,
        _ if matches!(status, 408 | 429 | 500..=599) => Again::Soon,
        _ => Again::Later,
    };
    Refusal::new(again, format!("the token endpoint answered {status} {code} {described}"))
}

fn document(answer: &Answer) -> Result<Json, Refusal> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|_| odd("its answer is no JSON"))
}

fn odd(what: &str) -> Refusal {
    Refusal::new(Again::Later, format!("the token endpoint is of no use: {what}"))
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A number of seconds, or a text that spells one; what is negative is over.
fn seconds(said: &Json) -> Option<Duration> {
    let number = said.as_f64().or_else(|| said.as_str()?.trim().parse().ok())?;
    if !number.is_finite() {
        return None;
    }
    Some(Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX))
}
