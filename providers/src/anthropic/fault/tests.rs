//! The classification table by example, and that nothing upsets it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::{classify, in_answer};
use crate::fault::{Fault, FaultKind};
use crate::tests::{self, cases, wall};
use crate::wire::{Headers, WireHead};

const CASES: &str = include_str!("../testdata/errors.txt");

fn summary(fault: &Fault) -> String {
    let mut words = tests::summary(fault);
    if fault.model_only {
        words.push("model_only".to_owned());
    }
    if !fault.answer.as_ref().is_some_and(|answer| answer.is_envelope) {
        words.push("no_envelope".to_owned());
    }
    words.join(" ")
}

#[test]
fn every_case_of_the_table_is_taken_for_what_it_is() {
    let cases = cases(CASES);
    assert!(cases.len() >= 50, "{}", cases.len());
    for case in cases {
        let fault = classify(&case.head, &Bytes::from(case.body), Some(wall()));
        assert_eq!(summary(&fault), case.expected, "{}", case.title);
        assert_eq!(fault.status(), Some(case.head.status));
        assert_eq!(fault.answer.unwrap().body, case.body);
        assert!(fault.detail.starts_with(&case.head.status.to_string()) && !fault.detail.contains('\n'));
    }
}

#[test]
fn the_operators_line_holds_no_control_characters() {
    let body = r#"{"type":"error","error":{"type":"api_error\nlevel=error","message":"\u001b[2J gone\u0000",
        "details":{"error_code":"a\rb"}}}"#;
    let head = WireHead { status: 500, headers: Headers::default() };
    let fault = classify(&head, &Bytes::from(body), Some(wall()));
    assert_eq!(fault.detail, "500 api_errorlevel=error/ab: [2J gone");
}

#[test]
fn an_error_inside_a_200_is_judged_by_its_type() {
    let mut headers = Headers::default();
    headers.push("date", Bytes::from_static(b"Sat, 21 Nov 2026 12:00:00 GMT"));
    headers.push("anthropic-ratelimit-requests-reset", Bytes::from_static(b"2026-11-21T12:00:59Z"));
    headers.push("content-type", Bytes::from_static(b"text/event-stream"));
    let head = WireHead { status: 200, headers };
    for (error_type, code, expected) in [
        ("overloaded_error", "", "overloaded - - 529"),
        ("rate_limit_error", "", "rate_limited - - 429"),
        ("rate_limit_error", "enforced_spend_limit_reached", "quota spend 820800/calendar 429"),
        ("api_error", "", "server_error - - 500"),
        ("authentication_error", "", "key_refused - - 401"),
        ("permission_error", "", "key_forbidden - - 403"),
        ("billing_error", "", "billing spend - 402"),
        ("not_found_error", "", "not_found - - 404"),
        ("invalid_request_error", "", "request - - 400"),
        ("request_too_large", "", "request - - 413"),
        ("timeout_error", "", "server_error - - 504"),
        ("brand_new_error", "", "server_error - - 500"),
    ] {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"{error_type}","message":"x","details":{{"error_code":"{code}"}}}}}}"#
        );
        let fault = in_answer(&head, body.as_bytes());
        let status = fault.status().unwrap();
        assert_eq!(format!("{} {status}", summary(&fault)), expected, "{error_type}");
    }
    let fault = in_answer(&head, b"gone");
    assert_eq!(fault.kind, FaultKind::Server);
    let answer = fault.answer.unwrap();
    assert!(!answer.is_envelope && answer.headers.has("date"));
    assert_eq!(answer.headers.get("content-type"), Some("application/json"));
    assert_eq!(answer.headers.len(), 2);
}

proptest! {
    #[test]
    fn nothing_upsets_the_classification(
        status in any::<u16>(),
        name in prop::sample::select(vec!["retry-after", "retry-after-ms", "anthropic-ratelimit-tokens-reset", "content-encoding"]),
        value in proptest::collection::vec(any::<u8>(), 0..30),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        seconds in any::<u32>(),
    ) {
        let mut headers = Headers::default();
        headers.push(name, value);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        classify(&WireHead { status, headers }, &Bytes::from(body), Some(wall));
    }

    #[test]
    fn no_message_upsets_the_classification(status in 400..600_u16, message in ".{0,80}", date in "[0-9-]{0,12}") {
        let message = format!("{message} You have reached your specified API usage limits {date}{message}");
        let body = crate::anthropic::envelope("rate_limit_error", &message, None);
        classify(&WireHead { status, headers: Headers::default() }, &body, Some(wall()));
        in_answer(&WireHead { status: 200, headers: Headers::default() }, &body);
    }
}
