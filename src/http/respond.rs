//! Answers: a [`Failure`] in the API's own envelope, a [`Reply`](crate::reply::Reply)'s head with its headers.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Payload;
use bytes::Bytes;
use headgate_providers::{Answer, Headers, anthropic, reply_header_passes};

use super::body::EarlyAnswer;
use super::names;
use crate::failure::{Failure, FailureKind, whole_seconds};
use crate::gateway::Gateway;
use crate::settle::{Outcome, Record};

/// A status from its number; what is none is our own fault.
#[must_use]
pub fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Appends `headers` to an answer.
pub fn put<B>(response: &mut HttpResponse<B>, headers: Headers) {
    for (name, value) in headers.into_lines() {
        if let (Some(name), Ok(value)) = (names::header(&name), HeaderValue::from_maybe_shared(value)) {
            response.headers_mut().append(name, value);
        }
    }
}

/// The sentence a failure tells where upstream's own body cannot be sent.
#[must_use]
pub fn message(failure: &Failure) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        error: Inner,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        message: String,
    }
    if let FailureKind::Passed(answer) = &failure.kind
        && !answer.body.is_empty()
    {
        let told = serde_json::from_slice::<Envelope>(&answer.body);
        return told.map_or_else(|_| "The upstream failed.".to_owned(), |envelope| envelope.error.message);
    }
    failure.message.clone()
}

/// Tells the caller, closes the record, and reads the rest of an unread upload.
#[must_use]
pub fn failure(
    gateway: &Gateway,
    mut record: Record,
    failure: &Failure,
    unread: Option<Payload>,
) -> HttpResponse {
    record.failed(failure);
    let id = record.id.as_str().to_owned();
    let (mut headers, body) = if let FailureKind::Passed(answer) = &failure.kind {
        passed(gateway, failure, answer, &id)
    } else {
        (Headers::default(), anthropic::envelope(failure.error_type(), &failure.message, Some(&id)))
    };
    if !headers.has("content-type") {
        headers.push("content-type", "application/json");
    }
    if !headers.has("request-id") {
        headers.push("request-id", id);
    }
    let most = gateway.settings().relay.retry_after_max.as_secs();
    if let Some(span) = failure.retry_after {
        let seconds = whole_seconds(span);
        headers.push("retry-after", seconds.min(most).to_string());
        if seconds > most {
            headers.retain(|name| name != "x-should-retry");
            headers.push("x-should-retry", "false");
        }
    }
    if record.attempts > 0 {
        headers.push("x-headgate-backend", record.backend().to_owned());
        headers.push("x-headgate-attempts", record.attempts.to_string());
        headers.push("x-headgate-queue-ms", record.queued.as_millis().to_string());
    }
    drop(record);
    answer(gateway, failure.status(), headers, body, unread)
}

/// A count of tokens that no backend could give: about as many as this.
#[must_use]
pub fn estimate(mut record: Record, tokens: u64) -> HttpResponse {
    record.status = 200;
    record.outcome = Outcome::Ok;
    let mut headers = Headers::with_capacity(3);
    headers.push("content-type", "application/json");
    headers.push("request-id", record.id.as_str().to_owned());
    headers.push("x-headgate-estimate", "true");
    drop(record);
    let body = format!("{{\"input_tokens\":{tokens}}}");
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
    put(&mut response, headers);
    response
}

/// What upstream said and may be shown; what is no envelope becomes one of the same status.
fn passed(gateway: &Gateway, failure: &Failure, answer: &Answer, id: &str) -> (Headers, Bytes) {
    let expose = gateway.settings().relay.expose_upstream_limits;
    // The time to try again is the failure's, which knows what upstream stated.
    let mut headers = answer.headers.kept(6, |name| {
        reply_header_passes(name, expose) && !matches!(name, "retry-after" | "retry-after-ms")
    });
    if !answer.body.is_empty() {
        // What a cloud said in its own words, told in ours, has no id yet.
        let body = anthropic::identified(&answer.body, headers.get("request-id").unwrap_or(id));
        return (headers, body);
    }
    headers.retain(|name| name != "content-type" && name != "content-encoding");
    (headers, anthropic::envelope(failure.error_type(), &failure.message, Some(id)))
}

fn answer(
    gateway: &Gateway,
    number: u16,
    headers: Headers,
    body: Bytes,
    unread: Option<Payload>,
) -> HttpResponse {
    let mut response = match unread {
        None => HttpResponse::with_body(status(number), BoxBody::new(body)),
        Some(payload) => {
            let body = EarlyAnswer::new(gateway, body, payload);
            let mut response = HttpResponse::with_body(status(number), BoxBody::new(body));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    put(&mut response, headers);
    response
}
