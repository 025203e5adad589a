//! The Messages API's error envelope (Messages API, "Errors"), for all that is said in our own name.

use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::json::{Cursor, Flaw};
use crate::splice::Edit;

/// The error type the Messages API pairs with a status.
#[must_use]
pub fn error_type_for_status(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The status the Messages API pairs with an error type; `None` for a type that is not known.
#[must_use]
pub fn status_for_error_type(error_type: &str) -> Option<u16> {
    Some(match error_type {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" | "memory_path_conflict_error" => 409,
        "memory_precondition_failed_error" => 412,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Inner<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// `{"type":"error","error":{"type":...,"message":...},"request_id":...}`.
#[must_use]
pub fn envelope(error_type: &str, message: &str, request_id: Option<&str>) -> Bytes {
    let inner = Inner { r#type: error_type, message };
    // Writing text to memory as JSON has no way to fail.
    serde_json::to_vec(&Envelope { r#type: "error", error: inner, request_id }).unwrap_or_default().into()
}

/// An envelope that names its request: `id`, unless it names one already. What is no envelope stays as it is.
#[must_use]
pub fn identified(body: &Bytes, id: &str) -> Bytes {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "error")]
        _error: IgnoredAny,
        request_id: Option<IgnoredAny>,
    }
    let anonymous = serde_json::from_slice(body).is_ok_and(|told: Told| told.request_id.is_none());
    let id = serde_json::to_vec(id).ok().filter(|_| anonymous);
    let named = id.and_then(|id| Edit::default().set("request_id", &id).apply(body).ok());
    named.map_or_else(|| body.clone(), |parts| parts.concat().into())
}

/// A rate-limit answer whose message does not name the organization or its limits: `error.message` is replaced, every other
/// byte stays. What is no envelope is replaced by a fresh one.
#[must_use]
pub fn scrub_rate_limit(body: &Bytes, seconds: u64) -> Bytes {
    let message = format!("This request would exceed the rate limit. Please try again in {seconds} seconds.");
    let spliced = message_span(body).ok().flatten().and_then(|span| {
        let text = serde_json::to_vec(&message).ok()?;
        Some([body.get(..span.start)?, text.as_slice(), body.get(span.end..)?].concat().into())
    });
    spliced.unwrap_or_else(|| envelope("rate_limit_error", &message, None))
}

/// Where the one `error.message` of an envelope stands.
fn message_span(body: &[u8]) -> Result<Option<Range<usize>>, Flaw> {
    let mut cursor = Cursor::new(body, usize::MAX)?;
    let mut spans = Vec::new();
    let mut typed = false;
    cursor.members(|cursor, key| {
        let name = cursor.decode(key).unwrap_or_default();
        if name != "error" || cursor.peek() != Some(b'{') {
            let span = cursor.value()?;
            typed |= name == "type" && cursor.slice(span) == "\"error\"";
            return Ok(());
        }
        cursor.members(|cursor, key| {
            let name = cursor.decode(key).unwrap_or_default();
            let span = cursor.value()?;
            if name == "message" {
                spans.push(span);
            }
            Ok::<(), Flaw>(())
        })
    })?;
    cursor.finish()?;
    Ok(match spans.as_slice() {
        [only] if typed && body.get(only.start) == Some(&b'"') => Some(only.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{envelope, error_type_for_status, identified, scrub_rate_limit, status_for_error_type};

    const FRESH: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit. Please try again in 7 seconds."}}"#;

    #[test]
    fn an_envelope_escapes_its_texts() {
        assert_eq!(
            envelope("api_error", "say \"no\"\n", Some("req_1")),
            r#"{"type":"error","error":{"type":"api_error","message":"say \"no\"\n"},"request_id":"req_1"}"#
        );
    }

    #[test]
    fn types_and_statuses_agree() {
        for status in [400, 401, 402, 403, 404, 409, 413, 429, 500, 504, 529] {
            assert_eq!(status_for_error_type(error_type_for_status(status)), Some(status));
        }
        assert_eq!(error_type_for_status(503), "api_error");
        assert_eq!(error_type_for_status(422), "invalid_request_error");
        assert_eq!(status_for_error_type("brand_new_error"), None);
    }

    #[test]
    fn scrubbing_replaces_the_message_alone() {
        let body = Bytes::from_static(
            br#"{ "request_id":"req_9", "type":"error","error":{"details":{"message":"x"},"type":"rate_limit_error","message":"org 12 has 40,000 \"ITPM\"" } }"#,
        );
        assert_eq!(
            scrub_rate_limit(&body, 3),
            r#"{ "request_id":"req_9", "type":"error","error":{"details":{"message":"x"},"type":"rate_limit_error","message":"This request would exceed the rate limit. Please try again in 3 seconds." } }"#
        );
    }

    #[test]
    fn an_envelope_names_one_request() {
        let named = |body: &'static str| {
            String::from_utf8(identified(&Bytes::from_static(body.as_bytes()), "req_1").to_vec()).unwrap()
        };
        for (body, expected) in [
            (r#"{"type":"error","error":{}}"#, r#"{"request_id":"req_1","type":"error","error":{}}"#),
            (r#"{"error":{},"request_id":null}"#, r#"{"request_id":"req_1","error":{}}"#),
        ] {
            assert_eq!(named(body), expected);
        }
        for kept in [r#"{"error":{},"request_id":"req_0"}"#, r#"{"request":1}"#, "[1]", "<html>", ""] {
            assert_eq!(named(kept), kept);
        }
    }

    #[test]
    fn what_is_no_envelope_is_replaced() {
        for body in [
            "",
            "<html>org 12</html>",
            r#"{"error":{"message":"org 12"}}"#,
            r#"{"type":"error","error":"org 12"}"#,
            r#"{"type":"error","error":{"message":"org 12","message":"org 12"}}"#,
            r#"{"type":"error","error":{"message":["org 12"]}}"#,
            r#"{"type":"error","error":{"message":"a"},"error":{"message":"org 12"}}"#,
            r#"{"type":"error","error":{"message":"a"}} org 12"#,
        ] {
            assert_eq!(scrub_rate_limit(&Bytes::from(body), 7), FRESH, "{body}");
        }
    }
}
