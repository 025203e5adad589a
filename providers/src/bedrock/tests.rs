//! Requests by golden files, signatures, and which decoder an answer gets.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Bedrock, Surface, Tables};
use crate::fault::FaultKind;
use crate::request::{MessagesRequest, Operation};
use crate::tests::{headers, request, wall};
use crate::wire::{Headers, Method, WireHead, WireRequest};
use crate::{AwsKeys, Bounds, Credential, Encode, Provider as _, Secret};

const REQUESTS: &str = include_str!("testdata/requests.txt");
const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn bedrock(surface: Surface) -> Bedrock {
    let betas = ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"];
    let alias = ("advanced-tool-use-2025-11-20".to_owned(), "tool-search-tool-2025-10-19".to_owned());
    let tables = Tables::new(betas.map(str::to_owned).to_vec(), vec![alias], &["*claude-opus-5*".to_owned()]);
    Bedrock::new(surface, "us-east-1".to_owned(), tables)
}

fn encode<'a>(request: &'a MessagesRequest, model: &'a str, credential: &'a Credential) -> Encode<'a> {
    Encode {
        request,
        model,
        credential,
        authority: "bedrock.test",
        base_path: "",
        extra_headers: &[],
        wall: wall(),
    }
}

fn keys(session: bool) -> Credential {
    let secret = |text: &str| Secret::new(text.to_owned());
    Credential::Aws(AwsKeys {
        access_key_id: secret("AKIDCANARY"),
        secret_access_key: secret("secret-canary"),
        session_token: session.then(|| secret("token-canary")),
    })
}

struct Case {
    title: &'static str,
    surface: Surface,
    model: &'static str,
    request: MessagesRequest,
    path: &'static str,
    headers: Headers,
    body: &'static str,
}

fn lines(text: &'static str) -> Vec<(&'static str, &'static str)> {
    text.lines().map(|line| line.split_once(": ").unwrap()).collect()
}

fn read(text: &'static str) -> Case {
    let (title, text) = text.split_once('\n').unwrap();
    let (first, text) = text.split_once('\n').unwrap();
    let [surface, operation, model] = first.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (asked, text) = text.split_once("\n\n").unwrap();
    let (body, text) = text.split_once("\n=> ").unwrap();
    let (path, text) = text.split_once('\n').unwrap();
    let (sent, sent_body) = text.split_once("\n\n").unwrap();
    let query = asked.strip_prefix("? ").map(|rest| rest.split_once('\n').map_or(rest, |(query, _)| query));
    let asked = if query.is_some() { asked.split_once('\n').map_or("", |(_, rest)| rest) } else { asked };
    let operation = if operation == "count_tokens" { Operation::CountTokens } else { Operation::Messages };
    let mut request = request(operation, body, &lines(asked));
    request.query = query.map(str::to_owned);
    let surface = if surface == "mantle" { Surface::Mantle } else { Surface::Runtime };
    Case {
        title,
        surface,
        model,
        request,
        path,
        headers: headers(&lines(sent)),
        body: sent_body.trim_end_matches('\n'),
    }
}

fn cases() -> Vec<Case> {
    REQUESTS.split("\n== ").skip(1).map(read).collect()
}

#[test]
fn every_request_goes_out_as_recorded() {
    let cases = cases();
    assert!(cases.len() >= 40, "{}", cases.len());
    for case in cases {
        let base_path = if case.surface == Surface::Mantle { "/anthropic" } else { "/base" };
        let asked = Encode { base_path, ..encode(&case.request, case.model, &Credential::None) };
        let wire = bedrock(case.surface).encode(&asked).unwrap();
        assert_eq!((wire.method, wire.path.as_str()), (Method::Post, case.path), "{}", case.title);
        assert_eq!(wire.headers, case.headers, "{}: {:?}", case.title, wire.headers);
        assert_eq!(String::from_utf8(wire.body.concat()).unwrap(), case.body, "{}", case.title);
    }
}

/// The regressions that other gateways had, each of which must be in the golden file under this name.
#[test]
fn the_regression_list_is_recorded() {
    let titles: Vec<_> = cases().iter().map(|case| case.title).collect();
    for title in [
        "cache marks on tools",
        "cache marks on tool_use and tool_result",
        "a cache mark of one hour",
        "a document inside a tool result",
        "redacted thinking",
        "replayed thinking with its signature",
        "empty text and empty content",
        "unknown betas are dropped",
        "nulls of known optional fields at the top",
        "nulls inside of input, schemas, examples and unknown fields stay",
    ] {
        assert!(titles.contains(&title), "{title}");
    }
}

#[test]
fn what_is_not_edited_is_the_received_memory() {
    let text = "x".repeat(100_000);
    let body = json!({ "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": text }] });
    let request = request(Operation::Messages, &body.to_string(), &[]);
    let wire = bedrock(Surface::Runtime).encode(&encode(&request, MODEL, &Credential::None)).unwrap();
    let range = request.body.as_ptr_range();
    let shared: usize =
        wire.body.iter().filter(|slice| range.contains(&slice.as_ptr())).map(Bytes::len).sum();
    assert!(shared > 100_000 && wire.body.len() <= 5, "{} slices", wire.body.len());
}

fn signed(surface: Surface, credential: &Credential, authority: &str) -> WireRequest {
    let request = request(Operation::Messages, r#"{"model":"m"}"#, &[("content-type", "application/json")]);
    bedrock(surface).encode(&Encode { authority, ..encode(&request, MODEL, credential) }).unwrap()
}

#[test]
fn aws_keys_sign_for_the_service_of_the_surface() {
    let region = "20261121/us-east-1";
    for (surface, authority, service) in [
        (Surface::Runtime, "bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        (Surface::Runtime, "127.0.0.1:8443", "bedrock"),
        (Surface::Mantle, "bedrock-mantle.us-east-1.api.aws", "bedrock-mantle"),
        (Surface::Mantle, "bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        (Surface::Mantle, "aws-external-anthropic.us-east-1.api.aws", "aws-external-anthropic"),
    ] {
        let wire = signed(surface, &keys(true), authority);
        let authorization = wire.headers.get("authorization").unwrap();
        let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDCANARY/{region}/{service}/aws4_request, ");
        let names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
        assert!(authorization.starts_with(&format!("{scope}{names}")), "{authorization}");
        assert_eq!(wire.headers.get("x-amz-date"), Some("20261121T120000Z"));
        assert_eq!(wire.headers.get("x-amz-security-token"), Some("token-canary"));
        assert!(!format!("{wire:?}").contains("canary") && !wire.headers.has("host"));
    }
    assert!(!signed(Surface::Runtime, &keys(false), "h").headers.has("x-amz-security-token"));
}

#[test]
fn bearer_keys_are_presented_and_nothing_is_signed() {
    for surface in [Surface::Runtime, Surface::Mantle] {
        let wire = signed(surface, &Credential::Bearer(Secret::new("k".to_owned())), "h");
        assert_eq!(wire.headers.get("authorization"), Some("Bearer k"));
        assert!(!wire.headers.has("x-amz-date"));
    }
}

#[test]
fn configured_headers_replace_ours_and_those_of_amazon_are_signed() {
    let request = request(Operation::Messages, r#"{"model":"m"}"#, &[("user-agent", "sdk")]);
    let extra: Vec<(String, Secret)> = [("user-agent", "gw"), ("x-amzn-bedrock-service-tier", "priority")]
        .map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())))
        .to_vec();
    let credential = keys(false);
    let asked = Encode { extra_headers: &extra, ..encode(&request, MODEL, &credential) };
    let wire = bedrock(Surface::Runtime).encode(&asked).unwrap();
    assert_eq!(wire.headers.get("user-agent"), Some("gw"));
    let authorization = wire.headers.get("authorization").unwrap();
    assert!(authorization.contains(";x-amz-date;x-amzn-bedrock-service-tier,"), "{authorization}");
    assert!(!authorization.contains("user-agent"), "proxies change it");
}

#[test]
fn a_request_that_cannot_be_signed_is_a_fault_without_the_secret() {
    let request = request(Operation::Messages, r#"{"model":"m"}"#, &[]);
    let Credential::Aws(mut broken) = keys(true) else { panic!("AWS keys") };
    broken.session_token = Some(Secret::new("canary\n".to_owned()));
    let (broken, good) = (Credential::Aws(broken), keys(false));
    for (credential, authority) in [(&broken, "h"), (&good, "a host"), (&good, "")] {
        let asked = Encode { authority, ..encode(&request, MODEL, credential) };
        let fault = bedrock(Surface::Runtime).encode(&asked).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Inexpressible);
        assert!(!format!("{fault:?}").contains("canary"));
    }
}

#[test]
fn what_the_dialect_cannot_say_is_inexpressible() {
    for (surface, operation, model) in [
        (Surface::Runtime, Operation::Models, MODEL),
        (Surface::Mantle, Operation::Models, MODEL),
        (Surface::Runtime, Operation::Messages, ""),
        (Surface::Runtime, Operation::Messages, "."),
        (Surface::Runtime, Operation::Messages, ".."),
        (Surface::Runtime, Operation::CountTokens, "arn:aws:bedrock:us-east-1:1:provisioned-model/x"),
    ] {
        let request = request(operation, r#"{"model":"m"}"#, &[]);
        let fault = bedrock(surface).encode(&encode(&request, model, &Credential::None)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Inexpressible, "{operation:?} {model}");
    }
}

#[test]
fn the_answers_kind_must_fit_the_request() {
    const EVENTS: &str = "application/vnd.amazon.eventstream";
    let bounds = Bounds { event_bytes: 100, answer_bytes: 100 };
    let stream = request(Operation::Messages, r#"{"model":"m","stream":true}"#, &[]);
    let whole = request(Operation::Messages, r#"{"model":"m"}"#, &[]);
    let count = request(Operation::CountTokens, r#"{"model":"m","stream":true}"#, &[]);
    let sse = "text/event-stream";
    for (surface, request, kind, coding, fits) in [
        (Surface::Runtime, &stream, EVENTS, "", true),
        (Surface::Runtime, &stream, "Application/Vnd.Amazon.EventStream; x=1", "identity", true),
        (Surface::Runtime, &stream, "application/json", "", false),
        (Surface::Runtime, &stream, sse, "", false),
        (Surface::Runtime, &stream, EVENTS, "gzip", false),
        (Surface::Runtime, &whole, "application/json", "", true),
        (Surface::Runtime, &whole, EVENTS, "", false),
        (Surface::Runtime, &count, "application/json", "", true),
        (Surface::Runtime, &count, EVENTS, "", false),
        (Surface::Mantle, &stream, sse, "", true),
        (Surface::Mantle, &stream, EVENTS, "", false),
        (Surface::Mantle, &whole, "application/json", "", true),
    ] {
        let head = WireHead {
            status: 200,
            headers: headers(&[("content-type", kind), ("content-encoding", coding)]),
        };
        let decoder = bedrock(surface).decoder(request, &head, bounds).map(|_| ());
        let expected = if fits { Ok(()) } else { Err(FaultKind::Malformed) };
        assert_eq!(decoder.map_err(|fault| fault.kind), expected, "{surface:?} {kind}");
    }
}

/// What the edit does, said once more over a tree.
fn edited(mut tree: Value) -> Value {
    let top = tree.as_object_mut().unwrap();
    for key in ["model", "stream", "anthropic_beta"] {
        top.remove(key);
    }
    for key in ["system", "temperature"] {
        if top.get(key) == Some(&Value::Null) {
            top.remove(key);
        }
    }
    top.insert("anthropic_version".to_owned(), "bedrock-2023-05-31".into());
    for turn in tree["messages"].as_array_mut().into_iter().flatten() {
        for block in turn["content"].as_array_mut().into_iter().flatten() {
            let Some(block) = block.as_object_mut() else { continue };
            block.retain(|key, value| {
                !(value.is_null() && ["citations", "cache_control"].contains(&key.as_str()))
            });
        }
    }
    tree
}

fn block() -> impl Strategy<Value = Value> {
    let leaf =
        prop::sample::select(vec![json!(null), json!("a\"é"), json!({ "a": null }), json!([null, 1e300])]);
    proptest::collection::btree_map(
        prop::sample::select(vec!["type", "text", "citations", "cache_control", "input", "future"]),
        leaf,
        0..5,
    )
    .prop_map(|members| json!(members))
}

proptest! {
    #[test]
    fn any_body_reads_as_its_edited_tree(
        content in proptest::collection::vec(block(), 0..4),
        system in prop::sample::select(vec![None, Some(json!(null)), Some(json!("s"))]),
        stream in prop::sample::select(vec![None, Some(json!(null)), Some(json!(true))]),
        text: bool,
        spaced: bool,
    ) {
        let content = if text { json!("text") } else { json!(content) };
        let mut body = json!({
            "temperature": null, "model": "m", "messages": [{ "role": "user", "content": content }], "top_p": 1
        });
        for (key, value) in [("system", system), ("stream", stream)] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        let written = if spaced { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let request = request(Operation::Messages, &written, &[]);
        let wire = bedrock(Surface::Runtime).encode(&encode(&request, MODEL, &Credential::None)).unwrap();
        let sent: Value = serde_json::from_slice(&wire.body.concat()).unwrap();
        let mut expected = edited(body);
        // A cache mark that is an object loses nothing but a null `ttl`, of which there is none here.
        expected["anthropic_version"] = "bedrock-2023-05-31".into();
        prop_assert_eq!(sent, expected);
    }
}
