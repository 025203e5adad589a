//! Bedrock on real sockets: signed by the official crate, its frames read by the official crate.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headgate::simulator::bedrock::config::BedrockLimitConfig;
use headgate::simulator::{Dialect, Fault, FaultKind, Knobs, RunningSimulator, SimulatorConfig};
use serde_json::{Value, json};

use super::wire::*;

const BEARER: &str = "authorization: Bearer bedrock-api-key-sim-aws-a-2\r\n";
const MODEL: &str = "anthropic.claude-sonnet-5";

fn invocation(text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1_000, "messages": messages})
}

/// A call with ready header lines, on a connection of its own.
async fn post(simulator: &RunningSimulator, path: &str, headers: &str, body: &str) -> Wire {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}");
    let sent = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    exchange(simulator, &sent, |_| false).await
}

async fn invoke(simulator: &RunningSimulator, body: &Value) -> Wire {
    post(simulator, &format!("/model/{MODEL}/invoke"), BEARER, &body.to_string()).await
}

async fn stream(simulator: &RunningSimulator, text: &str) -> Wire {
    let path = format!("/model/{MODEL}/invoke-with-response-stream");
    post(simulator, &path, BEARER, &invocation(text).to_string()).await
}

/// Header lines of a signature made `ahead` seconds from now.
#[allow(clippy::disallowed_methods, reason = "the signer asks for the real time")]
fn signature(path: &str, body: &str, secret: &str, ahead: i64) -> String {
    let away = Duration::from_secs(ahead.unsigned_abs());
    let time = if ahead < 0 { SystemTime::now() - away } else { SystemTime::now() + away };
    let identity = Credentials::new("AKIASIMAWSA0001", secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("bedrock")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let url = format!("http://sim{path}");
    let request = SignableRequest::new(
        "POST",
        url,
        [("host", "sim")].into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let (instructions, _) = sign(request.unwrap(), &params).unwrap().into_parts();
    instructions.headers().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

fn named(wire: &Wire) -> (u16, String) {
    (wire.status(), wire.header("x-amzn-errortype").unwrap_or_default())
}

/// The frames of a body in chunks, and whether they were all sound.
fn frames(wire: &Wire) -> (Vec<Message>, bool) {
    let at = wire.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&wire.bytes[at..], Vec::new());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    let (mut decoder, mut messages, mut body) = (MessageFrameDecoder::new(), Vec::new(), &body[..]);
    loop {
        match decoder.decode_frame(&mut body) {
            Ok(DecodedFrame::Complete(message)) => messages.push(message),
            Ok(DecodedFrame::Incomplete) => return (messages, body.is_empty()),
            Err(_) => return (messages, false),
        }
    }
}

fn header(message: &Message, name: &str) -> String {
    let found = message.headers().iter().find(|header| header.name().as_str() == name);
    found.map_or(String::new(), |header| header.value().as_string().unwrap().as_str().to_owned())
}

fn event(message: &Message) -> Value {
    let payload: Value = serde_json::from_slice(message.payload()).unwrap();
    serde_json::from_slice(&STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn what_the_official_crate_signs_is_accepted_in_every_form_of_the_id() {
    let simulator = start(SimulatorConfig::default()).await;
    for id in [
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
    ] {
        let (path, body) = (format!("/model/{id}/invoke"), invocation("hi").to_string());
        let wire = post(&simulator, &path, &signature(&path, &body, "sim-secret-aws-a-1", 0), &body).await;
        assert_eq!(wire.status(), 200, "{}", wire.text());
        assert_eq!(wire.json()["model"], "claude-sonnet-4-5-20250929");
    }
    let stats = until(&simulator, |stats| stats.in_flight == 0).await;
    let key = stats.key("aws-a-1").unwrap();
    assert_eq!((key.requests, key.dialect, key.organization.as_str()), (3, Dialect::Bedrock, "aws-a"));
    let recorded = &simulator.requests()[0];
    assert_eq!((recorded.dialect, recorded.owner.as_str()), (Dialect::Bedrock, "aws-a"));
}

#[tokio::test]
async fn a_signature_must_be_of_this_body_this_secret_and_this_hour() {
    let simulator = start(SimulatorConfig::default()).await;
    let (path, body) = (format!("/model/{MODEL}/invoke"), invocation("hi").to_string());
    let sign = |secret, ahead| signature(&path, &body, secret, ahead);
    let invalid = (403, "InvalidSignatureException".to_owned());
    let other = body.replace("hi", "ho");
    assert_eq!(named(&post(&simulator, &path, &sign("sim-secret-aws-a-1", 0), &other).await), invalid);
    assert_eq!(named(&post(&simulator, &path, &sign("another", 0), &body).await), invalid);
    for ahead in [-330, 330] {
        let late = post(&simulator, &path, &sign("sim-secret-aws-a-1", ahead), &body).await;
        assert_eq!(named(&late), invalid);
        assert!(late.json()["message"].as_str().unwrap().starts_with("Signature expired"));
    }
    assert_eq!(post(&simulator, &path, &sign("sim-secret-aws-a-1", -240), &body).await.status(), 200);
    let nobody = named(&post(&simulator, &path, "", &body).await);
    assert_eq!(nobody, (403, "MissingAuthenticationTokenException".to_owned()));
    let bearer = named(&post(&simulator, &path, "authorization: Bearer x\r\n", &body).await);
    assert_eq!(bearer, (403, "AccessDeniedException".to_owned()));
    simulator.control().revoke("aws-a-1");
    let revoked = named(&post(&simulator, &path, &sign("sim-secret-aws-a-1", 0), &body).await);
    assert_eq!(revoked, (403, "UnrecognizedClientException".to_owned()));
}

#[tokio::test]
async fn an_event_stream_carries_the_events_of_the_first_party() {
    let simulator = start(SimulatorConfig::default()).await;
    let wire = stream(&simulator, "[[sim:scenario=thinking]]").await;
    assert_eq!(wire.header("content-type").as_deref(), Some("application/vnd.amazon.eventstream"));
    assert!(wire.header("x-amzn-requestid").is_some() && wire.header("request-id").is_none());
    let (messages, sound) = frames(&wire);
    assert!(sound && messages.iter().all(|message| header(message, ":message-type") == "event"));
    let kinds: Vec<String> =
        messages.iter().map(|message| event(message)["type"].as_str().unwrap().to_owned()).collect();
    let first = ask(&simulator, KEY, "[[sim:scenario=thinking]]", true).await;
    let wanted: Vec<String> = first.events().into_iter().filter(|event| event != "ping").collect();
    assert_eq!(kinds, wanted);
    let stop = event(messages.last().unwrap());
    assert!(stop["amazon-bedrock-invocationMetrics"]["outputTokenCount"].as_u64().unwrap() > 1, "{stop}");
    let paddings =
        messages.iter().map(|message| message.payload().len()).collect::<std::collections::HashSet<_>>();
    assert!(paddings.len() > 3, "the padding varies");
}

#[tokio::test]
async fn frames_go_wrong_where_a_rule_says() {
    let simulator = start(SimulatorConfig::default()).await;
    let struck = async |kind, knobs| {
        simulator.control().set_faults(vec![Fault { kind, knobs }.into()]);
        frames(&stream(&simulator, "hi").await)
    };
    let after = |events| Knobs { after_events: Some(events), ..Knobs::default() };
    let (messages, sound) = struck(FaultKind::ExceptionFrame, Knobs::default()).await;
    assert!(sound && messages.len() == 1);
    assert_eq!(header(&messages[0], ":exception-type"), "throttlingException");
    let (messages, _) = struck(FaultKind::ErrorEvent, after(3)).await;
    assert_eq!(header(&messages[3], ":exception-type"), "serviceUnavailableException");
    let (messages, _) = struck(FaultKind::ErrorFrame, after(2)).await;
    assert_eq!((messages.len(), header(&messages[2], ":error-code")), (3, "InternalFailure".to_owned()));
    for (kind, knobs) in [
        (FaultKind::CorruptCrc, after(2)),
        (FaultKind::CorruptCrc, Knobs { prelude: true, ..after(2) }),
        (FaultKind::OversizedFrame, after(2)),
        (FaultKind::EndEarly, Knobs { mid_event: true, ..after(2) }),
    ] {
        let (messages, sound) = struck(kind, knobs.clone()).await;
        assert_eq!((messages.len(), sound), (2, false), "{kind:?} {knobs:?}");
    }
    let (messages, sound) = struck(FaultKind::KeepAlives, Knobs::default()).await;
    assert!(sound && messages.iter().filter(|message| event(message)["type"].is_null()).count() == 2);
    let pings = Knobs { for_ms: Some(20), every_ms: Some(10), ..Knobs::default() };
    let (messages, _) = struck(FaultKind::Pings, pings).await;
    assert_eq!(messages.iter().filter(|message| event(message)["type"] == "ping").count(), 2);
}

#[tokio::test]
async fn where_there_are_no_frames_an_exception_is_an_error_event() {
    let simulator = start(SimulatorConfig::default()).await;
    simulator.control().set_faults(vec![Fault::new(FaultKind::ExceptionFrame).into()]);
    assert_eq!(ask(&simulator, KEY, "hi", true).await.events(), ["message_start", "ping", "error"]);
    simulator.control().set_faults(vec![Fault::new(FaultKind::CorruptCrc).into()]);
    assert_eq!(ask(&simulator, KEY, "hi", true).await.events().last().unwrap(), "message_stop");
}

#[tokio::test]
async fn a_body_is_read_strictly() {
    let simulator = start(SimulatorConfig::default()).await;
    let image = |kind| json!([{"role": "user", "content": [{"type": "image", "source": {"type": kind}}]}]);
    let cases = [
        ("anthropic_version", Value::Null, "Field required"),
        ("anthropic_version", json!("vertex-2023-10-16"), "not a valid version"),
        ("model", json!("x"), "model: Extra inputs are not permitted"),
        ("stream", json!(true), "stream: Extra inputs are not permitted"),
        ("anthropic_beta", json!(["made-up"]), "invalid beta flag"),
        ("anthropic_beta", json!("pdfs-2024-09-25"), "a valid list"),
        ("temperature", Value::Null, "#/temperature: expected type: Number, found: Null"),
        ("messages", image("url"), "'url' sources are not supported"),
        ("messages", image("file"), "'file' sources are not supported"),
        ("tools", json!([{"type": "code_execution_20250825"}]), "code_execution_20250825"),
        ("container", json!("c"), "container: Extra inputs"),
    ];
    for (name, value, part) in cases {
        let mut body = invocation("hi");
        body[name] = value;
        let wire = invoke(&simulator, &body).await;
        assert!(named(&wire) == (400, "ValidationException".to_owned()), "{name}: {}", wire.text());
        assert!(wire.json()["message"].as_str().unwrap().contains(part), "{}", wire.text());
    }
    let mut body = invocation("hi");
    body.as_object_mut().unwrap().remove("anthropic_version");
    assert_eq!(invoke(&simulator, &body).await.json()["message"], "anthropic_version: Field required");
    body["anthropic_version"] = json!("2026-10-21");
    assert_eq!(invoke(&simulator, &body).await.status(), 200);
    let old = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke";
    assert_eq!(post(&simulator, old, BEARER, &body.to_string()).await.status(), 400);
}

#[tokio::test]
async fn more_than_twenty_megabytes_are_too_large() {
    let simulator = start(SimulatorConfig::default()).await;
    let head = format!(
        "POST /model/{MODEL}/invoke HTTP/1.1\r\nhost: sim\r\n{BEARER}content-length: {}\r\n\r\n",
        20 * 1024 * 1024 + 1
    );
    let wire = exchange(&simulator, &head, |wire| wire.text().contains("maximum size")).await;
    assert_eq!(wire.status(), 413);
}

#[tokio::test]
async fn quotas_are_told_in_the_words_of_bedrock_and_each_model_has_its_own() {
    let simulator = start(SimulatorConfig::default()).await;
    let limit = |rpm, tpm, tpd| BedrockLimitConfig { rpm, tpm, tpd, ..BedrockLimitConfig::default() };
    for (limit, text) in [
        (limit(1, 0, 0), "Too many requests, please wait before trying again."),
        (limit(0, 1_200, 0), "Too many tokens, please wait before trying again."),
        (limit(0, 0, 1_100), "Too many tokens per day, please wait before trying again."),
    ] {
        assert!(simulator.control().set_account_limits("aws-a", &[limit]));
        assert_eq!(invoke(&simulator, &invocation("[[sim:bytes=400]]")).await.status(), 200);
        let refused = invoke(&simulator, &invocation("hi")).await;
        assert_eq!(named(&refused), (429, "ThrottlingException".to_owned()));
        assert_eq!(refused.json()["message"], text);
        assert!(refused.header("retry-after").is_none());
        let path = "/model/us.anthropic.claude-sonnet-5/invoke";
        assert_eq!(post(&simulator, path, BEARER, &invocation("hi").to_string()).await.status(), 200);
    }
    assert!(!simulator.control().set_account_limits("org-a", &[]));
}

#[tokio::test]
async fn the_native_surface_speaks_messages() {
    let simulator = start(SimulatorConfig::default()).await;
    let headers = format!("{BEARER}anthropic-version: 2026-10-21\r\n");
    let body = prompt("hi", true).replace("claude-sonnet-5", MODEL);
    let wire = post(&simulator, "/anthropic/v1/messages", &headers, &body).await;
    assert_eq!(wire.events().last().map(String::as_str), Some("message_stop"));
    assert!(
        wire.header("request-id").is_some() && wire.header("anthropic-ratelimit-requests-limit").is_none()
    );
    let counted = post(&simulator, "/anthropic/v1/messages/count_tokens", &headers, &body).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    let stranger = post(&simulator, "/anthropic/v1/messages", "authorization: Bearer x\r\n", &body).await;
    assert_eq!((stranger.status(), &stranger.json()["error"]["type"]), (401, &json!("authentication_error")));
    let unknown = post(&simulator, "/anthropic/v1/messages", &headers, &prompt("hi", false)).await;
    assert_eq!(unknown.status(), 404);
    simulator.control().set_faults(vec![Fault::new(FaultKind::Overloaded).into()]);
    assert_eq!(post(&simulator, "/anthropic/v1/messages", &headers, &body).await.status(), 529);
}

#[tokio::test]
async fn without_accounts_there_is_no_bedrock() {
    let mut config = SimulatorConfig::default();
    config.bedrock.accounts.clear();
    let simulator = start(config).await;
    let wire = invoke(&simulator, &invocation("hi")).await;
    assert_eq!((wire.status(), &wire.json()["error"]["type"]), (404, &json!("not_found_error")));
}
