//! Whose fault an error answer of Vertex AI is, and what the caller of the Messages API is told of it.
//!
//! Google's own errors (google.rpc.Status as JSON, on stream methods at times as the only element of a list) are judged by their
//! status word, their details and, where these say too little, their wording (observed). Envelopes of the Messages API pass
//! through Vertex and are judged as there. What names our project never reaches the caller. `testdata/errors.txt` is this table by
//! example.

mod status;

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::anthropic::fault::classify as classify_envelope;
use crate::anthropic::retry_after::retry_after;
use crate::anthropic::{encoded, envelope, error_type_for_status};
use crate::fault::{Answer, Dimension, Fault, FaultKind, Source, Stated};
use crate::wire::{Headers, WireHead};

use status::Status;

/// Longest `retryDelay` that is believed: a day.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How long a model rests whose quota is nothing: it was never granted, and will not be within minutes.
const WITHOUT_QUOTA: Duration = Duration::from_secs(3600);

/// Classifies an answer that is not 2xx, to a request of `project`.
pub(super) fn classify(project: &str, head: &WireHead, body: &Bytes, wall: SystemTime) -> Fault {
    let status = Status::read(if encoded(head) { b"" } else { body });
    if let Some(inner) = status.envelope {
        return classify_envelope(head, &inner, Some(wall));
    }
    let kind = kind(head.status, &status);
    let dimension = if kind == FaultKind::RateLimited { status.dimension() } else { None };
    let (shown, sentence) = shown(kind, head.status, &status, project);
    let mut headers = head.headers.clone();
    // The body that goes with these is ours.
    headers.retain(|name| !name.starts_with("content-"));
    headers.push("content-type", Bytes::from_static(b"application/json"));
    let body = envelope(error_type_for_status(shown), &sentence, None);
    Fault {
        kind,
        stated: stated(kind, &status, &head.headers, wall),
        dimension,
        model_only: kind == FaultKind::KeyForbidden && status.is_about_a_model(),
        detail: detail(kind, head.status, &status),
        answer: Some(Box::new(Answer { status: shown, headers, body, is_envelope: true })),
    }
}

fn kind(http: u16, status: &Status) -> FaultKind {
    match status.word.as_str() {
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => argument(status),
        "FAILED_PRECONDITION" => precondition(status),
        "UNAUTHENTICATED" => FaultKind::KeyRefused,
        "PERMISSION_DENIED" => denied(status),
        "NOT_FOUND" => FaultKind::ModelMissing,
        "RESOURCE_EXHAUSTED" => exhausted(status),
        "UNAVAILABLE" => FaultKind::Overloaded,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" | "DEADLINE_EXCEEDED"
        | "UNIMPLEMENTED" => FaultKind::Server,
        _ => by_number(http, status),
    }
}

/// Without a word that is known: a page of the front end, or a shape of the future.
fn by_number(http: u16, status: &Status) -> FaultKind {
    match http {
        400 if status.is_object => argument(status),
        401 => FaultKind::KeyRefused,
        // A page refused, not the API: no key is to blame.
        403 if !status.is_object => FaultKind::Server,
        403 => denied(status),
        404 if status.is_object => FaultKind::ModelMissing,
        404 | 405 | 407 | 410 => FaultKind::Malformed,
        408 | 409 | 421 | 425 | 499 => FaultKind::Server,
        429 => exhausted(status),
        400..=499 => FaultKind::Request,
        503 if status.is_object => FaultKind::Overloaded,
        529 => FaultKind::Overloaded,
        500..=599 => FaultKind::Server,
        _ => FaultKind::Malformed,
    }
}

fn argument(status: &Status) -> FaultKind {
    if status.is_about_policy() {
        return FaultKind::Inexpressible;
    }
    // "Publisher Model `projects/...` is not servable in region us-central1"
    if status.starts(&["publisher model", "model is not supported", "unsupported model"]) {
        return FaultKind::ModelMissing;
    }
    FaultKind::Request
}

fn precondition(status: &Status) -> FaultKind {
    if status.is_about_policy() {
        return FaultKind::Inexpressible;
    }
    if status.is_about_a_model() { FaultKind::ModelMissing } else { FaultKind::Request }
}

fn denied(status: &Status) -> FaultKind {
    if status.reason == "BILLING_DISABLED" || status.says(&["requires billing to be enabled"]) {
        return FaultKind::Billing;
    }
    // A policy on models takes one away; one on features forbids what this request asks for, and no key is to blame.
    if status.is_about_policy() {
        let whole_model = status.says(&["allowedmodels"]);
        return if whole_model { FaultKind::ModelMissing } else { FaultKind::Inexpressible };
    }
    FaultKind::KeyForbidden
}

/// "Quota exceeded for ..." and "... Exceeded the Provisioned Throughput." are limits of the project. "Resource exhausted, please
/// try again later." is capacity that all customers share (observed wordings).
fn exhausted(status: &Status) -> FaultKind {
    let shared = status.starts(&["resource exhausted"]);
    if shared && !status.says(&["quota", "provisioned throughput"]) {
        FaultKind::Overloaded
    } else {
        FaultKind::RateLimited
    }
}

/// The status the Messages API has for it, and the message for the caller: upstream's own only where it is about the request, and
/// never with our project in it. Capacity in a 429 stays a 429.
fn shown(kind: FaultKind, http: u16, status: &Status, project: &str) -> (u16, String) {
    let answered = || format!("The upstream answered with status {http}.");
    let refused = || "The upstream refused its credential.".to_owned();
    match kind {
        FaultKind::Request => {
            let shown = if http == 413 { 413 } else { 400 };
            let sentence = if status.message.is_empty() {
                format!("The upstream refused the request with status {http}.")
            } else {
                status.without_project(project)
            };
            (shown, sentence)
        }
        FaultKind::Inexpressible => (400, POLICY.to_owned()),
        FaultKind::ModelMissing => (404, "The requested model is not available at this upstream.".to_owned()),
        FaultKind::KeyRefused => (401, refused()),
        FaultKind::KeyForbidden => (403, refused()),
        FaultKind::Billing => (402, refused()),
        FaultKind::RateLimited => (429, "This request would exceed the rate limit.".to_owned()),
        FaultKind::Overloaded => {
            let shown = if http == 429 { 429 } else { 529 };
            (shown, "The upstream is overloaded. Please try again later.".to_owned())
        }
        FaultKind::Malformed => (502, answered()),
        FaultKind::Server if http == 504 => (504, answered()),
        FaultKind::Server
        | FaultKind::NotFound
        | FaultKind::Oversized
        | FaultKind::SignatureRefused
        | FaultKind::Quota
        | FaultKind::Hold
        | FaultKind::NotReady
        | FaultKind::FirstEventTimeout
        | FaultKind::WholeTimeout
        | FaultKind::IdleTimeout
        | FaultKind::CallDeadline
        | FaultKind::Connect
        | FaultKind::Tls
        | FaultKind::Reset
        | FaultKind::Truncated
        | FaultKind::StaleConnection
        | FaultKind::UploadRefused => (500, answered()),
    }
}

/// What a caller is told of a policy of the project's organization; also the detail, for callers are told it.
const POLICY: &str = "A feature that this request uses is not allowed at this upstream.";

fn stated(kind: FaultKind, status: &Status, headers: &Headers, wall: SystemTime) -> Option<Stated> {
    let delay = status.retry_delay.filter(|after| !after.is_zero() && *after <= LONGEST);
    let delay = delay.map(|after| Stated { after, source: Source::Message });
    let without_quota = kind == FaultKind::RateLimited && status.quota_is_nothing;
    let long = without_quota.then_some(Stated { after: WITHOUT_QUOTA, source: Source::Calendar });
    long.or_else(|| retry_after(headers, Some(wall))).or(delay)
}

fn detail(kind: FaultKind, http: u16, status: &Status) -> String {
    if kind == FaultKind::Inexpressible {
        return POLICY.to_owned();
    }
    let word: String = status.word.chars().take(60).collect();
    let mut detail = format!("{http} {word}: {}", status.line());
    // Upstream's text goes to the operator's terminal: nothing in it may steer one or begin a line of its own.
    detail.retain(|letter| !letter.is_control());
    detail.trim_end_matches([' ', ':']).to_owned()
}

impl Status {
    /// The bucket that the message or the details name.
    fn dimension(&self) -> Option<Dimension> {
        let wordings: [(&[&str], Dimension); 6] = [
            (&["per day", "per_day"], Dimension::Day),
            (&["concurrent"], Dimension::Concurrent),
            (&["input_token", "input token"], Dimension::InputTokens),
            (&["output_token", "output token"], Dimension::OutputTokens),
            (&["tokens_per", "tokens per", "provisioned throughput"], Dimension::Tokens),
            (&["requests_per", "requests per", "too many requests"], Dimension::Requests),
        ];
        let named = |texts: &[&str]| self.says(texts) || texts.iter().any(|text| self.metric.contains(text));
        wordings.iter().find(|(texts, _)| named(texts)).map(|(_, dimension)| *dimension)
    }
}

#[cfg(test)]
mod tests;
