//! Encoding, and which decoder an answer gets.

use std::time::SystemTime;

use bytes::Bytes;

use super::Anthropic;
use crate::fault::FaultKind;
use crate::request::{MessagesRequest, Operation, scan};
use crate::wire::{Headers, Method, WireHead, WireRequest};
use crate::{Bounds, Credential, Encode, Provider, Secret};

const BODY: &str = r#"{ "stream":true, "future": 1e2, "model" : "claude\u002dx", "messages":[] }"#;

fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push(*name, Bytes::from_static(value.as_bytes()));
    }
    headers
}

fn request(operation: Operation, query: Option<&str>) -> MessagesRequest {
    MessagesRequest {
        operation,
        body: Bytes::from_static(BODY.as_bytes()),
        query: query.map(str::to_owned),
        headers: headers(&[
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b,c"),
            ("content-type", "application/json"),
            ("x-api-key", "sk-of-the-caller"),
            ("authorization", "Bearer of-the-caller"),
        ]),
        outline: scan(BODY.as_bytes(), 64).unwrap(),
    }
}

fn encode(request: &MessagesRequest, model: &str, extra: &[(&str, &str)]) -> WireRequest {
    let extra: Vec<(String, Secret)> =
        extra.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
    Anthropic
        .encode(&Encode {
            request,
            model,
            credential: &Credential::ApiKey(Secret::new("sk-pool".to_owned())),
            authority: "api.anthropic.com",
            base_path: "/base",
            extra_headers: &extra,
            wall: SystemTime::UNIX_EPOCH,
        })
        .unwrap()
}

fn lines(wire: &WireRequest) -> Vec<(&str, &str)> {
    wire.headers.iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect()
}

#[test]
fn the_body_goes_out_as_it_came_in() {
    let request = request(Operation::Messages, Some("beta=true"));
    let wire = encode(&request, "claude-x", &[]);
    assert_eq!((wire.method, wire.path.as_str()), (Method::Post, "/base/v1/messages?beta=true"));
    assert_eq!(wire.body.len(), 1);
    assert_eq!(wire.body[0].as_ptr(), request.body.as_ptr());
    assert_eq!(
        lines(&wire),
        [
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b,c"),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
            ("x-api-key", "sk-pool"),
        ]
    );
}

#[test]
fn a_mapped_model_is_spliced_in_without_a_copy_of_the_rest() {
    let request = request(Operation::CountTokens, None);
    let wire = encode(&request, "vendor/\"quoted\"", &[]);
    assert_eq!(wire.path, "/base/v1/messages/count_tokens");
    assert_eq!(
        String::from_utf8(wire.body.concat()).unwrap(),
        r#"{ "stream":true, "future": 1e2, "model" : "vendor/\"quoted\"", "messages":[] }"#
    );
    assert_eq!(wire.body.len(), 3);
    assert_eq!(wire.body[0].as_ptr(), request.body.as_ptr());
}

#[test]
fn configured_headers_replace_forwarded_ones() {
    let request = request(Operation::Models, Some("limit=2"));
    let wire =
        encode(&request, "claude-x", &[("anthropic-beta", "mine"), ("x-api-key", "other"), ("x-new", "1")]);
    assert_eq!((wire.method, wire.path.as_str()), (Method::Get, "/base/v1/models?limit=2"));
    assert!(wire.body.is_empty());
    assert_eq!(
        lines(&wire),
        [
            ("anthropic-version", "2026-10-21"),
            ("accept-encoding", "identity"),
            ("anthropic-beta", "mine"),
            ("x-api-key", "other"),
            ("x-new", "1"),
        ]
    );
}

#[test]
fn credentials_take_their_forms() {
    let request = request(Operation::Messages, Some(""));
    let bearer = Credential::Bearer(Secret::new("t".to_owned()));
    for (credential, expected) in [(bearer, Some("Bearer t")), (Credential::None, None)] {
        let encode = Encode {
            request: &request,
            model: "claude-x",
            credential: &credential,
            authority: "api.anthropic.com",
            base_path: "",
            extra_headers: &[],
            wall: SystemTime::UNIX_EPOCH,
        };
        let wire = Anthropic.encode(&encode).unwrap();
        assert_eq!(wire.path, "/v1/messages");
        assert_eq!(wire.headers.get("authorization"), expected);
        assert!(!wire.headers.has("x-api-key"));
    }
}

#[test]
fn a_model_span_outside_the_body_is_a_fault() {
    let mut request = request(Operation::Messages, None);
    request.body = Bytes::from_static(b"{}");
    let encode = Encode {
        request: &request,
        model: "other",
        credential: &Credential::None,
        authority: "api.anthropic.com",
        base_path: "",
        extra_headers: &[],
        wall: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(Anthropic.encode(&encode).unwrap_err().kind, FaultKind::Inexpressible);
}

#[test]
fn the_answers_kind_must_fit_the_request() {
    let bounds = Bounds { event_bytes: 100, answer_bytes: 100 };
    let streaming = request(Operation::Messages, None);
    let mut whole = streaming.clone();
    whole.outline.stream = false;
    let counting = MessagesRequest { operation: Operation::CountTokens, ..streaming.clone() };
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let events: &[(&str, &str)] = &[("content-type", "Text/Event-Stream; charset=utf-8")];
    let squeezed: &[(&str, &str)] = &[("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let plain: &[(&str, &str)] = &[("content-type", "text/event-stream"), ("content-encoding", "identity")];
    for (request, lines, fits) in [
        (&streaming, events, true),
        (&streaming, plain, true),
        (&streaming, json, false),
        (&streaming, &[][..], false),
        (&streaming, squeezed, false),
        (&whole, json, true),
        (&whole, &[][..], true),
        (&whole, events, false),
        (&counting, json, true),
    ] {
        let head = WireHead { status: 200, headers: headers(lines) };
        let decoder = Anthropic.decoder(request, &head, bounds);
        assert_eq!(
            decoder.map(|_| ()).map_err(|fault| fault.kind),
            if fits { Ok(()) } else { Err(FaultKind::Malformed) }
        );
    }
}
