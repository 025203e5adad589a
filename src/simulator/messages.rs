//! `POST /v1/messages` and `/v1/messages/count_tokens`.

use serde_json::Value;
use wildmatch::WildMatch;

use super::answer::compose;
use super::config::Timings;
use super::error::ApiError;
use super::http::Call;
use super::marker::{self, Directions};
use super::organization::Refusal;
use super::reply::Reply;
use super::request::{Version, check, last_user_text, parse};
use super::weigh::weigh;

/// Answers a message.
pub fn create(call: &mut Call, body: &[u8]) -> Result<Reply, ApiError> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let (request, directions) = read(call, body, false)?;
    if let Some(mishap) = call.mishap() {
        return Ok(mishap);
    }
    if let Some(refused) = crowded(call) {
        return Ok(refused);
    }
    let Some(key) = call.key() else { return Err(ApiError::new(401, "invalid x-api-key")) };
    let (world, now) = (&call.world, call.world.clock.now());
    let prompt = weigh(&request);
    let split = match key.organization.admit(&call.model, &prompt, world.config.cache_min_tokens, now) {
        Ok(split) => split,
        Err(refusal) => return Ok(refused(call, refusal)),
    };
    let answer = compose(&request, &directions.answer, world.id("msg_01", 22), split);
    let mut reply = if request["stream"] == true {
        Reply::stream(&answer, directions.timings)
    } else {
        Reply::message(&answer, directions.timings)
    };
    reply.headers.extend(key.organization.headers(&call.model, now, &world.clock));
    Ok(reply)
}

/// Counts a prompt's tokens.
pub fn count(call: &mut Call, body: &[u8]) -> Result<Reply, ApiError> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let (request, directions) = read(call, body, true)?;
    if let Some(mishap) = call.mishap() {
        return Ok(mishap);
    }
    let Some(key) = call.key() else { return Err(ApiError::new(401, "invalid x-api-key")) };
    if let Err(refusal) = key.organization.admit_count(call.world.clock.now()) {
        return Ok(refused(call, refusal));
    }
    let Timings { latency_ms, .. } = directions.timings;
    let mut reply = Reply::json(200, format!(r#"{{"input_tokens":{}}}"#, weigh(&request).tokens));
    reply.latency = std::time::Duration::from_millis(latency_ms);
    Ok(reply)
}

/// A fault that is an answer and strikes whatever the body says. One that names the model reads the body for it.
fn early_mishap(call: &mut Call) -> Option<Reply> {
    Some(call.fault.as_ref()?).filter(|fault| fault.kind != super::fault::FaultKind::ModelNotFound)?;
    call.mishap()
}

/// Reads and checks a body, and looks for faults that ask for the model or stand in the prompt.
fn read(call: &mut Call, body: &[u8], counting: bool) -> Result<(Value, Directions), ApiError> {
    let version = Version::read(call.header("anthropic-version"))?;
    let request = parse(body)?;
    check(&request, version, counting, call.world.config.reject_unknown_fields)?;
    call.model = request["model"].as_str().unwrap_or_default().to_owned();
    let model = call.model.clone();
    call.look_for_fault(Some(&model));
    let manners = call.world.manners();
    let directions = marker::read(last_user_text(&request), manners.timings, &manners.answer)
        .map_err(ApiError::invalid)?;
    if call.fault.is_none() {
        call.fault.clone_from(&directions.fault);
    }
    let known = call.world.config.accept_models.iter().any(|pattern| WildMatch::new(pattern).matches(&model))
        || call.world.config.models.iter().any(|known| known.id == model);
    if known { Ok((request, directions)) } else { Err(ApiError::new(404, format!("model: {model}"))) }
}

fn refused(call: &Call, refusal: Refusal) -> Reply {
    let Some(key) = call.key() else {
        return Reply::error(&ApiError::new(429, "Too many requests"), &call.request_id);
    };
    let mut reply = Reply::error(&refusal.error(&key.organization), &call.request_id);
    reply.header("retry-after", refusal.retry_after().to_string());
    let world = &call.world;
    reply.headers.extend(key.organization.headers(&call.model, world.clock.now(), &world.clock));
    reply
}

/// Refuses a request beyond what may run at once; the request itself is counted already.
fn crowded(call: &Call) -> Option<Reply> {
    let (key, book) = (call.key()?, &call.world.book);
    let organization = &key.organization;
    let limited = (key.concurrent > 0 && book.in_flight(|stats| stats.name == key.name) > key.concurrent)
        || (organization.concurrent > 0
            && book.in_flight(|stats| stats.organization == organization.name) > organization.concurrent);
    if limited {
        let message = format!("Too many concurrent requests for your organization ({}).", organization.id);
        let mut reply = Reply::error(&ApiError::new(429, message), &call.request_id);
        reply.header("retry-after", "1");
        return Some(reply);
    }
    let everywhere = call.world.config.concurrent;
    let overloaded = everywhere > 0 && book.in_flight(|_| true) > everywhere;
    overloaded.then(|| Reply::error(&ApiError::new(529, "Overloaded"), &call.request_id))
}
