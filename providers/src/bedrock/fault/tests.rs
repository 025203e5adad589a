//! The table by example, and that nothing upsets it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::{classify, in_stream};
use crate::anthropic::error_type_for_status;
use crate::fault::{Fault, FaultKind};
use crate::tests::{self, Case, cases, wall};
use crate::wire::{Headers, WireHead};

const CASES: &str = include_str!("../testdata/errors.txt");

/// The table, each answer with what Bedrock always sends.
fn numbered() -> Vec<Case> {
    let mut cases = cases(CASES);
    for case in &mut cases {
        case.head.headers.push("content-length", "7");
        case.head.headers.push("x-amzn-requestid", "aws-1");
    }
    cases
}

fn summary(fault: &Fault) -> String {
    let mut words = tests::summary(fault);
    words.push(fault.status().unwrap().to_string());
    if fault.model_only {
        words.push("model_only".to_owned());
    }
    words.join(" ")
}

fn classified(status: u16, name: &'static str, body: &str) -> Fault {
    let mut headers = Headers::default();
    headers.push("x-amzn-errortype", name);
    classify(&WireHead { status, headers }, &Bytes::copy_from_slice(body.as_bytes()), Some(wall()))
}

#[test]
fn every_case_of_the_table_is_taken_for_what_it_is() {
    let cases = numbered();
    assert!(cases.len() >= 50, "{}", cases.len());
    for case in cases {
        let fault = classify(&case.head, &Bytes::from(case.body), Some(wall()));
        assert_eq!(summary(&fault), case.expected, "{}", case.title);
        assert!(!fault.detail.contains('\n'));
    }
}

#[test]
fn whatever_bedrock_says_the_caller_gets_the_envelope_of_the_messages_api() {
    for case in numbered() {
        let fault = classify(&case.head, &Bytes::from(case.body), Some(wall()));
        let answer = fault.answer.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(answer.is_envelope, "{}", case.title);
        assert_eq!(body["type"], "error", "{}", case.title);
        assert_eq!(body["error"]["type"], error_type_for_status(answer.status), "{}", case.title);
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{}", case.title);
        assert_eq!(answer.headers.get("x-amzn-requestid"), Some("aws-1"), "{}", case.title);
        assert!(!answer.headers.has("x-amzn-errortype"), "{}", case.title);
        if !case.body.contains("\"type\":\"error\"") {
            assert_eq!(answer.headers.get("content-type"), Some("application/json"), "{}", case.title);
            assert!(!answer.headers.has("content-length"), "{}", case.title);
        }
    }
}

#[test]
fn names_of_the_pool_s_own_resources_stay_with_the_operator() {
    let message = "No access: arn:aws:bedrock:us-east-1:123456789012:inference-profile/x, sorry";
    let body = serde_json::json!({ "message": message }).to_string();
    let fault = classified(404, "ResourceNotFoundException", &body);
    let answer = fault.answer.unwrap();
    let told = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(told.contains("No access: [arn] sorry") && !told.contains("123456789012"), "{told}");
    assert!(fault.detail.contains("123456789012"), "{}", fault.detail);
    let fault = classified(400, "ValidationException", r#"{"message":"invalid beta flag for arn:aws:1"}"#);
    assert_eq!(fault.detail, "invalid beta flag for [arn]");
}

#[test]
fn exceptions_in_a_stream_are_judged_by_their_names() {
    let head = WireHead { status: 200, headers: Headers::default() };
    for (name, expected) in [
        ("throttlingException", "rate_limited - - 429"),
        ("serviceUnavailableException", "overloaded - - 529"),
        ("modelTimeoutException", "server_error - - 504"),
        ("internalServerException", "server_error - - 500"),
        ("modelStreamErrorException", "server_error - - 500"),
        ("validationException", "request - - 400"),
        ("modelNotReadyException", "not_ready - - 529"),
        ("accessDeniedException", "key_forbidden - - 403"),
        ("brandNewException", "server_error - - 500"),
        ("", "server_error - - 500"),
    ] {
        let fault = in_stream(&head, name, br#"{"message":"x"}"#);
        assert_eq!(summary(&fault), expected, "{name}");
    }
    assert_eq!(in_stream(&head, "throttlingException", b"gone").kind, FaultKind::RateLimited);
}

#[test]
fn the_operators_line_holds_no_control_characters() {
    let fault = classified(500, "Internal\u{1b}ServerException", r#"{"message":"a\nb\u001b[2J\u0000"}"#);
    assert!(!fault.detail.contains(char::is_control), "{:?}", fault.detail);
}

proptest! {
    #[test]
    fn nothing_upsets_the_classification(
        status in any::<u16>(),
        name in prop::sample::select(vec!["retry-after", "x-amzn-errortype", "content-encoding"]),
        value in proptest::collection::vec(any::<u8>(), 0..30),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        seconds in any::<u32>(),
    ) {
        let mut headers = Headers::default();
        headers.push(name, value);
        let head = WireHead { status, headers };
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        classify(&head, &Bytes::from(body.clone()), Some(wall));
        in_stream(&head, &String::from_utf8_lossy(&body), &body);
    }

    #[test]
    fn no_message_upsets_the_classification(status in 400..600_u16, message in ".{0,80}", original: Option<i64>) {
        let body = serde_json::json!({ "message": message, "__type": message, "originalStatusCode": original });
        let body = Bytes::from(body.to_string());
        let fault = classify(&WireHead { status, headers: Headers::default() }, &body, Some(wall()));
        prop_assert!(fault.answer.is_some_and(|answer| answer.is_envelope));
    }
}
