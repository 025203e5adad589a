//! `POST /model/{id}/invoke`, `/invoke-with-response-stream` and `/count-tokens`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::config::Timings;
use super::super::events::Event;
use super::super::exchange::{self, Manner, Stop, early_mishap};
use super::super::hosted::{self, Offer};
use super::super::http::Call;
use super::super::owner::Owner;
use super::super::reply::{Flow, Reply};
use super::super::request::{Version, check, parse};
use super::super::weigh::weigh;
use super::exception::Exception;
use super::frames;
use super::model_id::ModelId;

const OFFER: Offer = Offer { fields: &[], web_search: false, nulls: false };

/// Answers a message, whole or as an event stream.
///
/// # Errors
/// The exception that AWS answers.
pub fn invoke(call: &mut Call, segment: &str, body: &[u8], streams: bool) -> Result<Reply, Exception> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let id = identified(call, segment)?;
    id.on_demand(segment)?;
    let request = read(call, &id, body)?;
    let manner = Manner { mark: "bdrk_", quota: &id.quota() };
    let (answer, timings) = match exchange::answer(call, &request, manner) {
        Ok(answered) => answered,
        Err(stop) => return stopped(stop),
    };
    Ok(if streams { stream(call, &answer, timings) } else { whole(&answer, timings) })
}

/// Counts the tokens of the body of an invocation.
///
/// # Errors
/// The exception that AWS answers.
pub fn count(call: &mut Call, segment: &str, body: &[u8]) -> Result<Reply, Exception> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    let id = identified(call, segment)?;
    if id.arn || !id.geography.is_empty() {
        return Err(Exception::validation("The provided model identifier is invalid."));
    }
    let outer = parse(body).map_err(|error| Exception::validation(error.message))?;
    let inner = outer["input"]["invokeModel"]["body"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let inner = inner.ok_or_else(|| Exception::validation("input.invokeModel.body: base64 is required"))?;
    let request = read(call, &id, &inner)?;
    match exchange::direct(call, &request) {
        Ok(_) => Ok(Reply::json(200, format!(r#"{{"inputTokens":{}}}"#, weigh(&request).tokens))),
        Err(stop) => stopped(stop),
    }
}

fn identified(call: &Call, segment: &str) -> Result<ModelId, Exception> {
    let profile = |id: &str| match call.key().map(|key| &key.owner) {
        Some(Owner::Account(account)) => {
            account.profiles.iter().find(|profile| profile.id == id).map(|profile| profile.model.clone())
        }
        Some(Owner::Organization(_) | Owner::Project(_)) | None => None,
    };
    ModelId::read(segment, profile)
}

/// Reads and checks a body, and puts it into first-party form.
fn read(call: &Call, id: &ModelId, body: &[u8]) -> Result<Value, Exception> {
    let wrong = |message: String| Exception::validation(message);
    let mut request = parse(body).map_err(|error| wrong(error.message))?;
    let version = match request["anthropic_version"].as_str() {
        None => return Err(wrong("anthropic_version: Field required".to_owned())),
        Some("bedrock-2023-05-31") => Version::Y2023,
        Some("2026-10-21") if !id.versioned => Version::Y2026,
        Some(other) => {
            return Err(wrong(format!(
                "anthropic_version: \"{other}\" is not a valid version for this model"
            )));
        }
    };
    hosted::check(&request, OFFER).map_err(wrong)?;
    if let Some(betas) = request.get("anthropic_beta") {
        let listed = betas.as_array().filter(|betas| betas.iter().all(Value::is_string));
        let betas = listed.ok_or_else(|| wrong("anthropic_beta: Input should be a valid list".to_owned()))?;
        let flags = betas.iter().filter_map(Value::as_str);
        if hosted::unknown_beta(flags, &call.world.config.bedrock.betas).is_some() {
            return Err(wrong("invalid beta flag".to_owned()));
        }
    }
    request["model"] = json!(id.model);
    check(&request, version, false, false).map_err(|error| wrong(error.message))?;
    Ok(request)
}

fn stopped(stop: Stop) -> Result<Reply, Exception> {
    match stop {
        Stop::Mishap(reply) => Ok(reply),
        Stop::Directions(message) => Err(Exception::validation(message)),
        Stop::UnknownModel => Err(Exception::validation("The provided model identifier is invalid.")),
        Stop::Crowded | Stop::Refused(_) | Stop::Exhausted(_) => Err(Exception::usual("ThrottlingException")),
        Stop::Overloaded => Err(Exception::usual("ServiceUnavailableException")),
        Stop::Throttled(throttle) => Err(Exception::new("ThrottlingException", throttle.message())),
        Stop::Stranger => Err(Exception::usual("UnrecognizedClientException")),
    }
}

fn whole(answer: &Answer, timings: Timings) -> Reply {
    let mut reply = Reply::message(answer, timings);
    let input = &answer.input;
    let written = input.written_5m + input.written_1h;
    let counts = [
        ("invocation-latency", timings.latency_ms + timings.ttft_ms),
        ("input-token-count", input.input),
        ("output-token-count", answer.output_tokens()),
        ("cache-read-input-token-count", input.read),
        ("cache-write-input-token-count", written),
    ];
    for (name, count) in counts {
        reply.header(&format!("x-amzn-bedrock-{name}"), count.to_string());
    }
    reply
}

/// The stream of the first-party API, its pings left out, each event in a frame of its own.
fn stream(call: &Call, answer: &Answer, timings: Timings) -> Reply {
    let frame = |event: &Event| match event.name {
        "ping" => None,
        "message_stop" => {
            Some(frames::chunk(&frames::with_metrics(&event.data, answer, timings), call.world.below(62)))
        }
        _ => Some(frames::chunk(&event.data, call.world.below(62))),
    };
    let mut reply = Reply::events(answer, timings, Flow::EventStream, frame);
    reply.header("content-type", "application/vnd.amazon.eventstream");
    reply.header("x-amzn-bedrock-content-type", "application/json");
    reply
}
