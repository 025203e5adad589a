//! Requests by golden files, recorded streams, and what must not reach Google.

use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Tables, Vertex};
use crate::fault::FaultKind;
use crate::request::{MessagesRequest, Operation, scan};
use crate::tests::{self, Heard, headers, request};
use crate::wire::{Headers, Method, WireHead, WireRequest};
use crate::{AwsKeys, Bounds, Credential, Encode, Provider as _, Secret};

const REQUESTS: &str = include_str!("testdata/requests.txt");
const STREAMS: &str = include_str!("testdata/streams.txt");

fn vertex() -> Vertex {
    let betas = ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"].map(str::to_owned).to_vec();
    let tables = Tables::new(betas, &["claude-opus-5*".to_owned()]);
    Vertex::new("my-project".to_owned(), "europe-west1".to_owned(), tables)
}

fn encode<'a>(request: &'a MessagesRequest, model: &'a str, credential: &'a Credential) -> Encode<'a> {
    Encode {
        request,
        model,
        credential,
        authority: "vertex.test",
        base_path: "/base",
        extra_headers: &[],
        wall: SystemTime::UNIX_EPOCH,
    }
}

fn shown(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect()
}

fn lines(text: &'static str) -> Vec<(&'static str, &'static str)> {
    text.lines().map(|line| line.split_once(": ").unwrap()).collect()
}

/// Sends a case of the file and compares; gives its title.
fn judge(text: &'static str) -> &'static str {
    let (title, text) = text.split_once('\n').unwrap();
    let (first, text) = text.split_once('\n').unwrap();
    let (operation, model) = first.split_once(' ').unwrap();
    // Without header lines the empty line follows at once.
    let (asked, text) =
        if let Some(rest) = text.strip_prefix('\n') { ("", rest) } else { text.split_once("\n\n").unwrap() };
    let (body, text) = text.split_once("\n=> ").unwrap();
    let (path, text) = text.split_once('\n').unwrap();
    let (sent, sent_body) = text.split_once("\n\n").unwrap();
    let (query, asked) = match asked.strip_prefix("? ") {
        Some(rest) => rest.split_once('\n').map_or((Some(rest), ""), |(query, rest)| (Some(query), rest)),
        None => (None, asked),
    };
    let operation = if operation == "count_tokens" { Operation::CountTokens } else { Operation::Messages };
    let mut request = request(operation, body, &lines(asked));
    request.query = query.map(str::to_owned);
    let wire = vertex().encode(&encode(&request, model, &Credential::None)).unwrap();
    assert_eq!((wire.method, wire.path.as_str()), (Method::Post, path), "{title}");
    assert_eq!(shown(&wire.headers), lines(sent), "{title}");
    assert_eq!(String::from_utf8(wire.body.concat()).unwrap(), sent_body.trim_end_matches('\n'), "{title}");
    title
}

#[test]
fn every_request_goes_out_as_recorded() {
    let titles: Vec<&str> = REQUESTS.split("\n== ").skip(1).map(judge).collect();
    assert!(titles.len() >= 40, "{}", titles.len());
}

const BODY: &str = r#"{"model":"claude-opus-5","max_tokens":1,"messages":[]}"#;

fn send(credential: &Credential, extra: &[(&str, &str)]) -> WireRequest {
    let request = request(Operation::Messages, BODY, &[("anthropic-beta", "context-1m-2025-08-07")]);
    let extra: Vec<(String, Secret)> =
        extra.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
    let encode = Encode { extra_headers: &extra, ..encode(&request, "claude-opus-5", credential) };
    vertex().encode(&encode).unwrap()
}

#[test]
fn only_a_bearer_token_is_presented_and_configured_headers_replace_ours() {
    let secret = || Secret::new("canary".to_owned());
    let wire = send(&Credential::Bearer(secret()), &[("x-goog-user-project", "q")]);
    assert_eq!(wire.headers.get("authorization"), Some("Bearer canary"));
    assert_eq!(wire.headers.get("x-goog-user-project"), Some("q"));
    let wire = send(&Credential::Bearer(secret()), &[("authorization", "mine"), ("anthropic-beta", "any")]);
    assert_eq!(
        (wire.headers.get("authorization"), wire.headers.get("anthropic-beta")),
        (Some("mine"), Some("any"))
    );
    assert_eq!(wire.headers.len(), 3);
    let keys = AwsKeys { access_key_id: secret(), secret_access_key: secret(), session_token: None };
    for credential in [Credential::ApiKey(secret()), Credential::Aws(keys), Credential::None] {
        let wire = send(&credential, &[]);
        assert!(wire.headers.iter().all(|(_, value)| !value.windows(6).any(|part| part == b"canary")));
    }
}

#[test]
fn models_are_not_listed_and_names_that_lead_elsewhere_are_not_sent() {
    let mut asked = request(Operation::Messages, BODY, &[]);
    for model in ["", ".", ".."] {
        let fault = vertex().encode(&encode(&asked, model, &Credential::None)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Inexpressible, "{model}");
    }
    asked.operation = Operation::Models;
    let fault = vertex().encode(&encode(&asked, "claude-opus-5", &Credential::None)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Inexpressible);
}

#[test]
fn the_body_is_not_copied() {
    let text =
        format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"model":"m"}}"#, "x".repeat(100_000));
    let request = request(Operation::Messages, &text, &[]);
    let wire = vertex().encode(&encode(&request, "m", &Credential::None)).unwrap();
    let own: usize = wire
        .body
        .iter()
        .filter(|slice| !request.body.as_ptr_range().contains(&slice.as_ptr()))
        .map(Bytes::len)
        .sum();
    assert!(own < 64, "{own}");
}

proptest! {
    #[test]
    fn any_body_is_the_received_one_but_for_model_and_version(
        keys in proptest::collection::vec("[a-z_]{1,8}|model|stream|anthropic_version", 0..8),
        model in "[ -~é]{1,20}",
    ) {
        let mut body = serde_json::Map::new();
        body.insert("model".to_owned(), json!("asked"));
        for (index, key) in keys.iter().enumerate() {
            body.entry(key.clone()).or_insert(json!({ "model": index, "x": null }));
        }
        let text = Value::Object(body.clone()).to_string();
        prop_assume!(scan(text.as_bytes(), 64).is_ok() && model != "." && model != "..");
        let request = request(Operation::Messages, &text, &[]);
        let wire = vertex().encode(&encode(&request, &model, &Credential::None)).unwrap();
        let sent: Value = serde_json::from_slice(&wire.body.concat()).unwrap();
        body.remove("model");
        body.insert("anthropic_version".to_owned(), json!("vertex-2023-10-16"));
        prop_assert_eq!(sent, Value::Object(body));
        prop_assert!(wire.path.is_ascii() && !wire.path.contains(['?', '#', ' ']));
        prop_assert_eq!(wire.path.matches('/').count(), 10);
        prop_assert_eq!(wire.path.matches(':').count(), 1);
    }
}

fn hear<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Heard {
    let streaming = request(Operation::Messages, r#"{"model":"m","stream":true}"#, &[]);
    let head =
        WireHead { status: 200, headers: headers(&[("content-type", "text/event-stream; charset=utf-8")]) };
    let bounds = Bounds { event_bytes: 1 << 20, answer_bytes: 1 << 20 };
    let mut decoder = vertex().decoder(&streaming, &head, bounds).unwrap();
    tests::hear(decoder.as_mut(), chunks, |_| true)
}

#[test]
fn recorded_streams_pass_unchanged_in_every_split() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vertex/testdata/streams");
    let listed: Vec<&str> = STREAMS.split_once("\n\n").unwrap().1.lines().collect();
    assert!(listed.len() >= 25 && std::fs::read_dir(&folder).unwrap().count() == listed.len());
    for line in listed {
        let [name, marks, fault, usage] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let text = std::fs::read(folder.join(format!("{name}.sse"))).unwrap();
        let heard = hear(std::iter::once(text.as_slice()));
        assert_eq!(heard.marks, marks.trim_matches('.'), "{name}");
        assert_eq!(heard.fault.map_or("-", FaultKind::name), fault, "{name}");
        let told = heard.usage.map_or("-".to_owned(), |it| {
            format!(
                "{}/{}/{}/{}/{}",
                it.input, it.output, it.cache_read, it.cache_write_5m, it.cache_write_1h
            )
        });
        assert_eq!(told, usage, "{name}");
        assert!(text.starts_with(&heard.bytes), "{name}");
        if marks == "PCS" && name != "after_stop" {
            assert_eq!(heard.bytes, text, "{name}");
        }
        assert_eq!(hear(text.chunks(1)), heard, "{name}, byte by byte");
        for at in 0..text.len() {
            assert_eq!(hear([&text[..at], &text[at..]].into_iter()), heard, "{name} cut at {at}");
        }
    }
}
