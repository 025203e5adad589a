//! `POST /v1/messages` and `/v1/messages/count_tokens`, at Anthropic and on Bedrock's native surface.

use serde_json::{Value, json};

use super::bedrock::exception::Exception;
use super::bedrock::model_id::ModelId;
use super::dialect::Dialect;
use super::error::ApiError;
use super::exchange::{self, Manner, Stop, early_mishap};
use super::http::Call;
use super::organization::Refusal;
use super::owner::Owner;
use super::reply::Reply;
use super::request::{Version, check, parse};
use super::weigh::weigh;

/// Answers a message.
pub fn create(call: &mut Call, body: &[u8]) -> Result<Reply, ApiError> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let (request, quota) = read(call, body, false)?;
    let mark = if call.dialect == Dialect::Mantle { "bdrk_" } else { "" };
    let (answer, timings) = match exchange::answer(call, &request, Manner { mark, quota: &quota }) {
        Ok(answered) => answered,
        Err(stop) => return stopped(call, stop),
    };
    let mut reply = if request["stream"] == true {
        Reply::stream(&answer, timings)
    } else {
        Reply::message(&answer, timings)
    };
    reply.headers.extend(limits(call));
    Ok(reply)
}

/// Counts a prompt's tokens.
pub fn count(call: &mut Call, body: &[u8]) -> Result<Reply, ApiError> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let (request, _) = read(call, body, true)?;
    let directions = match exchange::direct(call, &request) {
        Ok(directions) => directions,
        Err(stop) => return stopped(call, stop),
    };
    if let Some(Owner::Organization(organization)) = call.key().map(|key| &key.owner)
        && let Err(refusal) = organization.admit_count(call.world.clock.now())
    {
        return stopped(call, Stop::Refused(refusal));
    }
    let mut reply = Reply::json(200, format!(r#"{{"input_tokens":{}}}"#, weigh(&request).tokens));
    reply.latency = std::time::Duration::from_millis(directions.timings.latency_ms);
    Ok(reply)
}

/// Reads and checks a body; with it the name of its quota.
fn read(call: &Call, body: &[u8], counting: bool) -> Result<(Value, String), ApiError> {
    let version = Version::read(call.header("anthropic-version"))?;
    let mut request = parse(body)?;
    check(&request, version, counting, call.world.config.reject_unknown_fields)?;
    if call.dialect != Dialect::Mantle {
        return Ok((request, String::new()));
    }
    let given = request["model"].as_str().unwrap_or_default();
    let unknown = |_: Exception| ApiError::new(404, format!("model: {given}"));
    let id = ModelId::read(given, |_| None).map_err(unknown)?;
    request["model"] = json!(id.model);
    Ok((request, id.quota()))
}

fn stopped(call: &Call, stop: Stop) -> Result<Reply, ApiError> {
    let owner = call.key().map_or("", |key| key.owner.id());
    match stop {
        Stop::Mishap(reply) => Ok(reply),
        Stop::Directions(message) => Err(ApiError::invalid(message)),
        Stop::UnknownModel => Err(ApiError::new(404, format!("model: {}", call.model))),
        Stop::Crowded => {
            let message = format!("Too many concurrent requests for your organization ({owner}).");
            let mut reply = Reply::error(&ApiError::new(429, message), &call.request_id);
            reply.header("retry-after", "1");
            Ok(reply)
        }
        Stop::Overloaded => Err(ApiError::new(529, "Overloaded")),
        Stop::Refused(refusal) => Ok(refused(call, refusal)),
        Stop::Throttled(throttle) => Err(ApiError::new(429, throttle.message())),
        Stop::Exhausted(exhausted) => Err(ApiError::new(429, exhausted.message())),
        Stop::Stranger => Err(ApiError::new(401, "invalid x-api-key")),
    }
}

fn refused(call: &Call, refusal: Refusal) -> Reply {
    let Some(Owner::Organization(organization)) = call.key().map(|key| &key.owner) else {
        return Reply::error(&ApiError::new(429, "Too many requests"), &call.request_id);
    };
    let mut reply = Reply::error(&refusal.error(organization), &call.request_id);
    reply.header("retry-after", refusal.retry_after().to_string());
    reply.headers.extend(limits(call));
    reply
}

/// What an organization's limits say of themselves.
fn limits(call: &Call) -> Vec<(String, String)> {
    let (world, model) = (&call.world, &call.model);
    match call.key().map(|key| &key.owner) {
        Some(Owner::Organization(organization)) => {
            organization.headers(model, world.clock.now(), &world.clock)
        }
        Some(Owner::Account(_) | Owner::Project(_)) | None => Vec::new(),
    }
}
