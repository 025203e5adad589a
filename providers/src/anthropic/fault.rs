//! Whose fault an error answer is: by machine code, by wording where there is no code, by type, by status.
//!
//! The pairs of status and type are those of "Errors" in the documentation of the Messages API; codes are those of the official
//! SDK (`types/shared`); wordings are observed ones. `testdata/errors.txt` is this table by example.

use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::envelope::{error_type_for_status, status_for_error_type};
use super::message::Report;
use super::{encoded, retry_after};
use crate::fault::{Answer, Dimension, Fault, FaultKind, Source, Stated};
use crate::wire::{Headers, WireHead};

/// Classifies an answer that is not 2xx.
pub(crate) fn classify(head: &WireHead, body: &Bytes, wall: Option<SystemTime>) -> Fault {
    let report = if encoded(head) { Report::default() } else { Report::read(body) };
    let kind = kind(effective_status(head.status, &report), &report, &head.headers);
    let dimension = dimension(kind, &report, &head.headers);
    Fault {
        kind,
        stated: stated(kind, dimension, &report, (head, wall)),
        dimension,
        model_only: kind == FaultKind::KeyForbidden && about_a_model(&report),
        detail: detail(head.status, &report),
        answer: Some(Box::new(Answer {
            status: head.status,
            headers: head.headers.clone(),
            body: body.clone(),
            is_envelope: report.is_envelope,
        })),
    }
}

/// Classifies an error that stands inside a 200: by the status its type would have had. Waits are counted from the answer's own
/// `date`, since decoders have no clock; limits in the head of a 200 say nothing of this failure, and its content type is not that of the
/// report.
pub(crate) fn in_answer(head: &WireHead, body: &[u8]) -> Fault {
    let report = Report::read(body);
    let wall = head.headers.get("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let mut headers = head.headers.clone();
    // The body that goes with this is the error's JSON, not the event stream it may have stood in.
    headers.retain(|name| {
        !["anthropic-ratelimit-", "retry-after", "content-"].iter().any(|it| name.starts_with(it))
    });
    headers.push("content-type", Bytes::from_static(b"application/json"));
    let status = status_for_error_type(&report.error_type).unwrap_or(500);
    classify(&WireHead { status, headers }, &Bytes::copy_from_slice(body), wall)
}

/// The status that tells most: proxies in between send a type with a status that does not fit it. A type outranks a 4xx when it
/// is more specific than `invalid_request_error`, and a 5xx only to say overload or timeout.
fn effective_status(status: u16, report: &Report) -> u16 {
    let Some(typed) = status_for_error_type(&report.error_type) else { return status };
    match (status, typed) {
        (400..=499, 401 | 402 | 403 | 404 | 429 | 529) | (500..=599, 504 | 529) => typed,
        _ => status,
    }
}

fn kind(status: u16, report: &Report, headers: &Headers) -> FaultKind {
    if let Some(kind) = by_code(&report.code).or_else(|| by_wording(status, report)) {
        return kind;
    }
    match status {
        401 => FaultKind::KeyRefused,
        402 => FaultKind::Billing,
        // A page of the network in front refused, not the API: no key is to blame.
        403 if !report.is_object && report.lower.is_empty() => FaultKind::Server,
        403 => FaultKind::KeyForbidden,
        404 if about_a_model(report) => FaultKind::ModelMissing,
        404 | 405 | 407 | 410 if !report.is_object => FaultKind::Malformed,
        404 | 410 => FaultKind::NotFound,
        408 | 421 | 425 | 499 => FaultKind::Server,
        429 => limited(report, headers),
        400..=499 => FaultKind::Request,
        529 => FaultKind::Overloaded,
        500..=599 if report.starts(&["overloaded"]) => FaultKind::Overloaded,
        503 if report.says(&["overloaded"]) => FaultKind::Overloaded,
        500..=599 => FaultKind::Server,
        _ => FaultKind::Malformed,
    }
}

/// Codes that say more than their status (official SDK, `types/shared`). An unknown code counts as none.
fn by_code(code: &str) -> Option<FaultKind> {
    Some(match code {
        "enforced_spend_limit_reached" | "contract_spend_limit_reached" => FaultKind::Quota,
        "ramp_limit_exceeded" => FaultKind::RateLimited,
        "organization_on_hold" => FaultKind::Hold,
        // Another organization may be enrolled. Only this key and model class rest, since one caller's header caused it.
        "organization_not_enrolled_in_beta" => FaultKind::KeyForbidden,
        // These belong to the user profile the request names, not to the key.
        "linked_organization_spend_limit_reached" | "linked_organization_billing_unavailable" => {
            FaultKind::Request
        }
        "cmek_key_unreachable" | "cmek_context_unavailable" => FaultKind::Server,
        _ => return None,
    })
}

/// Wordings that say more than their status.
fn by_wording(status: u16, report: &Report) -> Option<FaultKind> {
    if !(400..=499).contains(&status) {
        return None;
    }
    if report.starts(&[
        "you have reached your specified api usage",
        "you have reached your specified workspace api usage",
    ]) {
        return Some(FaultKind::Quota);
    }
    if report.starts(&["your credit balance is too low", "credit balance is too low"]) {
        return Some(FaultKind::Billing);
    }
    let on_hold = [
        "this organization has been disabled",
        "your organization has been disabled",
        "organization is on hold",
    ];
    if report.starts(&on_hold) {
        return Some(FaultKind::Hold);
    }
    // "messages.1.content.0: Invalid `signature` in `thinking` block"
    if status == 400
        && report.says(&["invalid `signature`", "invalid signature"])
        && report.says(&["thinking"])
    {
        return Some(FaultKind::SignatureRefused);
    }
    None
}

/// A 429: by rate, or a quota of the whole account.
fn limited(report: &Report, headers: &Headers) -> FaultKind {
    let rejected =
        headers.get("anthropic-ratelimit-unified-status").is_some_and(|status| status == "rejected");
    let claim = headers.get("anthropic-ratelimit-unified-representative-claim").unwrap_or_default();
    // Windows of a subscription hold for all models, but for those that name one (`seven_day_opus`).
    let of_one_model = claim.strip_prefix("seven_day_").is_some_and(|rest| !rest.is_empty());
    let long = matches!(report.dimension(), Some(Dimension::Day | Dimension::Week));
    if long || (rejected && !of_one_model) { FaultKind::Quota } else { FaultKind::RateLimited }
}

fn about_a_model(report: &Report) -> bool {
    let starts =
        ["model", "the model", "this model", "the requested model", "unknown model", "invalid model"];
    report.starts(&starts)
        || report.code == "organization_not_enrolled_in_beta"
        || (report.says(&[" model"]) && !report.says(&["file"]))
}

fn dimension(kind: FaultKind, report: &Report, headers: &Headers) -> Option<Dimension> {
    let named = report.dimension();
    if kind == FaultKind::Billing {
        return Some(Dimension::Spend);
    }
    if kind == FaultKind::Quota {
        let long = named.filter(|it| matches!(it, Dimension::Day | Dimension::Week));
        let of_account = headers.has("anthropic-ratelimit-unified-status");
        return long.or_else(|| if of_account { week(headers) } else { Some(Dimension::Spend) });
    }
    if kind != FaultKind::RateLimited {
        return None;
    }
    if report.code == "ramp_limit_exceeded" {
        return Some(Dimension::Ramp);
    }
    named.or_else(|| week(headers)).or_else(|| retry_after::empty_bucket(headers))
}

fn week(headers: &Headers) -> Option<Dimension> {
    let claim = headers.get("anthropic-ratelimit-unified-representative-claim")?;
    claim.starts_with("seven_day").then_some(Dimension::Week)
}

/// How long to stay away. A spend limit names its date in the message, or lasts to the 1st of next month UTC (Messages API, "Rate
/// limits", spend limits).
fn stated(
    kind: FaultKind,
    dimension: Option<Dimension>,
    report: &Report,
    (head, wall): (&WireHead, Option<SystemTime>),
) -> Option<Stated> {
    let told = retry_after::retry_after(&head.headers, wall);
    if kind == FaultKind::Quota || kind == FaultKind::Billing {
        let from = |moment: Option<SystemTime>, source| {
            retry_after::until(moment?, wall?).map(|after| Stated { after, source })
        };
        // Resets of per-minute buckets say nothing of a quota; an account's window does.
        let window =
            dimension != Some(Dimension::Spend) && head.headers.has("anthropic-ratelimit-unified-reset");
        let reset = if window { retry_after::reset(&head.headers, dimension, wall) } else { None };
        let named = from(report.moment(), Source::Message).or(told).or(reset);
        let calendar =
            if kind == FaultKind::Quota { dimension.and_then(|it| renewal(it, wall?)) } else { None };
        return named.or_else(|| from(calendar, Source::Calendar));
    }
    if kind == FaultKind::RateLimited {
        return told.or_else(|| retry_after::reset(&head.headers, dimension, wall));
    }
    told
}

/// When a quota whose date is not told is renewed: money on the 1st of next month, a day's at midnight, both UTC.
pub(crate) fn renewal(dimension: Dimension, wall: SystemTime) -> Option<SystemTime> {
    let today = Timestamp::try_from(wall).ok()?.to_zoned(TimeZone::UTC).date();
    let date = match dimension {
        Dimension::Spend => today.first_of_month().checked_add(1.month()).ok()?,
        Dimension::Day => today.tomorrow().ok()?,
        Dimension::Requests
        | Dimension::InputTokens
        | Dimension::OutputTokens
        | Dimension::Tokens
        | Dimension::Concurrent
        | Dimension::Ramp
        | Dimension::Week => return None,
    };
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

fn detail(status: u16, report: &Report) -> String {
    let what = if report.error_type.is_empty() { error_type_for_status(status) } else { &report.error_type };
    let mut detail = format!("{status} {}", what.chars().take(60).collect::<String>());
    if !report.code.is_empty() {
        detail.push('/');
        detail.extend(report.code.chars().take(60));
    }
    let line = report.line();
    if !line.is_empty() {
        detail.push_str(": ");
        detail.push_str(&line);
    }
    // Upstream's text goes to the operator's terminal: nothing in it may steer one or begin a line of its own.
    detail.retain(|letter| !letter.is_control());
    detail
}

#[cfg(test)]
mod tests;
