//! The scan of a request body agrees with serde_json: on what is JSON, and on what the body says.

use std::ops::Range;

use bytes::Bytes;
use headgate_providers::{
    Anthropic, Credential, Encode, Headers, MessagesRequest, Operation, Outline, Provider as _, ScanError,
    scan, scan_with_prefix,
};
use serde::de::IgnoredAny;
use serde_json::Value;

const NOT_JSON: &str = "The request body is not valid JSON";
/// No input nests as deep.
const DEEP: usize = 1 << 30;

/// The promises, for any bytes.
pub fn check(body: &[u8]) {
    let scanned = scan(body, DEEP);
    // This reader passes over values without building them: it knows no limit of depth, number or surrogate.
    let is_json =
        std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let refused = |result: &Result<Outline, ScanError>| {
        result.as_ref().is_err_and(|error| error.message().starts_with(NOT_JSON))
    };
    assert_eq!(refused(&scanned), !is_json, "{scanned:?}");
    let bounded = scan(body, 4);
    if is_json && depth(body) <= 4 {
        assert_eq!(bounded, scanned, "the bound on depth refuses nothing shallower");
    } else {
        assert!(refused(&bounded), "too deep, or no JSON");
    }
    let Ok(outline) = scanned else {
        assert!(scan_with_prefix(body, DEEP).is_err());
        return;
    };
    // Whoever reads a tree must read the same: but a tree has its limits.
    if let Ok(tree) = serde_json::from_slice::<Value>(body) {
        agree(body, &outline, &tree);
        splice(body, outline, tree);
    }
}

fn agree(body: &[u8], outline: &Outline, tree: &Value) {
    assert_eq!(tree["model"], outline.model.as_str());
    assert!(!outline.model.is_empty());
    assert_eq!(value(body, &outline.model_span), tree["model"]);
    assert_eq!(outline.stream, tree["stream"] == true);
    assert_eq!(outline.max_tokens, tree["max_tokens"].as_u64());
    assert_eq!(outline.user_id.as_deref(), tree["metadata"]["user_id"].as_str());
    let (again, prefix) = scan_with_prefix(body, DEEP).expect("accepted a moment ago");
    assert_eq!(again, *outline);
    for (span, field) in [(&prefix.tools, "tools"), (&prefix.system, "system")] {
        assert_eq!(span.as_ref().map(|span| value(body, span)).as_ref(), tree.get(field));
    }
    let turns = tree["messages"].as_array();
    assert_eq!(prefix.turns, turns.map_or(0, Vec::len));
    let first = prefix.first_turn.as_ref().map(|span| value(body, span));
    assert_eq!(first.as_ref(), turns.and_then(|turns| turns.first()));
}

/// Another model goes in, nothing else changes.
fn splice(body: &[u8], outline: Outline, mut tree: Value) {
    let request = MessagesRequest {
        operation: Operation::Messages,
        body: Bytes::copy_from_slice(body),
        query: None,
        headers: Headers::default(),
        outline,
    };
    let encode = Encode {
        request: &request,
        model: "vendor/\"x\"",
        credential: &Credential::None,
        authority: "api.anthropic.com",
        base_path: "",
        extra_headers: &[],
        wall: std::time::SystemTime::UNIX_EPOCH,
    };
    let wire = Anthropic.encode(&encode).expect("every request can be expressed");
    let sent: Value = serde_json::from_slice(&wire.body.concat()).expect("still JSON");
    tree["model"] = encode.model.into();
    assert_eq!(sent, tree);
}

fn value(body: &[u8], span: &Range<usize>) -> Value {
    serde_json::from_slice(&body[span.clone()]).expect("a value stands there")
}

/// How deep the containers of a JSON document nest.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth -= 1,
            _ => {}
        }
    }
    deepest
}
