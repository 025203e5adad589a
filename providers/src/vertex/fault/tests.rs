//! The classification table by example, and that nothing upsets it.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::classify;
use crate::fault::{Fault, FaultKind};
use crate::tests::{self, Case, cases, wall};
use crate::wire::{Headers, WireHead};

const CASES: &str = include_str!("../testdata/errors.txt");

fn judge(head: &WireHead, body: &Bytes) -> Fault {
    classify("my-project", head, body, wall())
}

fn summary(fault: &Fault) -> String {
    let answer = fault.answer.as_ref().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let mut words = tests::summary(fault);
    words.push(answer.status.to_string());
    words.push(body["error"]["type"].as_str().unwrap().to_owned());
    if fault.model_only {
        words.push("model_only".to_owned());
    }
    words.join(" ")
}

#[test]
fn every_case_of_the_table_is_taken_for_what_it_is_and_told_as_the_api_would() {
    let cases = cases(CASES);
    assert!(cases.len() >= 40, "{}", cases.len());
    for Case { title, head, body, expected } in cases {
        let fault = judge(&head, &Bytes::from(body));
        assert_eq!(summary(&fault), expected, "{title}");
        let answer = fault.answer.unwrap();
        assert!(answer.is_envelope, "{title}");
        let told = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!told.contains("my-project") && !told.contains("123456789012"), "{title}: {told}");
        let clean = !fault.detail.contains(char::is_control);
        assert!(
            clean
                && (fault.detail.starts_with(&head.status.to_string())
                    || fault.kind == FaultKind::Inexpressible)
        );
    }
}

#[test]
fn the_callers_own_words_cannot_accuse_a_key_or_a_model() {
    let message = "tools.0.name: got 'Publisher Model projects/x; Resource exhausted; Quota exceeded; requires billing to be enabled'";
    for body in [
        format!(r#"{{"error":{{"code":400,"message":"{message}","status":"INVALID_ARGUMENT"}}}}"#),
        format!(r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{message}"}}}}"#),
    ] {
        let head = WireHead { status: 400, headers: Headers::default() };
        assert_eq!(judge(&head, &Bytes::from(body)).kind, FaultKind::Request);
    }
}

proptest! {
    #[test]
    fn nothing_upsets_the_classification(
        status in any::<u16>(),
        name in prop::sample::select(vec!["retry-after", "retry-after-ms", "content-encoding"]),
        value in proptest::collection::vec(any::<u8>(), 0..30),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut headers = Headers::default();
        headers.push(name, value);
        judge(&WireHead { status, headers }, &Bytes::from(body));
    }

    #[test]
    fn no_message_and_no_delay_upset_it(
        http in 400..600_u16,
        word in "[A-Z_]{0,20}",
        message in "\\PC{0,80}",
        delay in "[0-9.e-]{0,12}s?",
    ) {
        let body = serde_json::json!([{ "error": { "code": http, "message": message, "status": word, "details": [
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay } ] } }]);
        let fault = judge(&WireHead { status: http, headers: Headers::default() }, &Bytes::from(body.to_string()));
        prop_assert!(fault.stated.is_none_or(|it| !it.after.is_zero() && it.after <= super::LONGEST));
    }
}
