//! Bedrock in the loop: what fails over unseen, what a caller sees, what is parked.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headgate_providers::framing::aws::frame;

use crate::support::{Answer, Ask, Told, World, recorded, wrong_beginnings};

/// Bedrock with `aws-1` and `aws-2` of two accounts first, then Anthropic with `k1`.
fn world() -> World {
    World::new(
        "
backends:
  - name: aws
    provider: bedrock
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    keys: [ { name: aws-1, bearer_token: 'value:aws-1' }, { name: aws-2, bearer_token: 'value:aws-2' } ]
  - name: a
    provider: anthropic
    base_url: 'http://127.0.0.1:9'
    keys: [ { name: k1, secret: 'value:k1' } ]
routes:
  - { model: '*', spill_after_ms: 0, targets: [ { backend: aws, model: 'us.anthropic.{model}-v1:0' }, { backend: a } ] }
",
    )
}

fn recording(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers/src/bedrock/testdata/streams");
    std::fs::read(folder.join(name)).unwrap()
}

/// Where the first four frames end: start, ping, block, text.
fn behind_content(body: &[u8]) -> usize {
    (0..4).fold(0, |at, _| {
        let length = body[at..].first_chunk::<4>().copied().unwrap();
        at + u32::from_be_bytes(length) as usize
    })
}

/// Server-sent events as Bedrock frames them.
fn framed(events: &str) -> Vec<u8> {
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames = data.map(|data| {
        let payload = serde_json::json!({ "bytes": STANDARD.encode(data), "p": "abc" }).to_string();
        frame(&[(":message-type", "event"), (":event-type", "chunk")], payload.as_bytes()).unwrap()
    });
    frames.collect::<Vec<_>>().concat()
}

fn stream(body: Vec<u8>) -> Answer {
    Answer::default().head(200, "application/vnd.amazon.eventstream").chunk(body)
}

fn refusal(status: u16, name: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "message": message }).to_string();
    Answer::json(status, &body).with("x-amzn-errortype", name)
}

/// What a caller is told when both keys of Bedrock and Anthropic's give this answer.
async fn everywhere(answer: &Answer) -> (World, Told) {
    let world = world();
    for key in ["aws-1", "aws-2"] {
        world.wire.always(key, answer.clone());
    }
    world.wire.always("k1", Answer::overloaded());
    let told = world.ask(&Ask::whole().now()).await;
    world.assert_idle();
    (world, told)
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_bedrock_reaches_the_caller_as_the_messages_api_streams() {
    let world = world();
    for key in ["aws-1", "aws-2"] {
        world.wire.always(key, stream(recording("metrics.bin")));
    }
    let told = world.ask(&Ask::stream()).await;
    assert_eq!(
        (told.status, told.headers.get("content-type")),
        (200, Some("text/event-stream; charset=utf-8"))
    );
    assert_eq!(told.body, recording("metrics.sse"));
    let sent = world.wire.sent();
    let path = "/model/us.anthropic.claude-sonnet-4-5-v1%3A0/invoke-with-response-stream";
    assert_eq!((sent.len(), sent[0].path.as_str()), (1, path));
    assert!(sent[0].body.starts_with(br#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"#));
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn an_exception_before_content_fails_over_unseen() {
    for name in
        ["first_throttling", "first_serviceUnavailable", "first_internalServer", "held_throttling", "corrupt"]
    {
        let world = world();
        for key in ["aws-1", "aws-2"] {
            let body = recording(&format!("{name}.bin"));
            // Of the damaged one only what comes behind its content: the damage itself.
            let body = if name == "corrupt" { body[behind_content(&body)..].to_vec() } else { body };
            world.wire.always(key, stream(body));
        }
        let told = world.ask(&Ask::stream().now()).await;
        assert_eq!((told.status, told.events("message_stop")), (200, 1), "{name}");
        assert!(!told.text().contains("event: error") && told.text().contains("hello "), "{name}");
        assert_eq!(world.wire.order().last().map(String::as_str), Some("k1"), "{name}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_wrongly_fails_over_before_anything_is_shown() {
    for (what, events) in wrong_beginnings() {
        let world = world();
        for key in ["aws-1", "aws-2"] {
            world.wire.always(key, stream(framed(&events)));
        }
        let told = world.ask(&Ask::stream().now()).await;
        assert_eq!(told.text(), recorded("hello there"), "{what}");
        assert_eq!(told.headers.get("x-headgate-backend"), Some("a"), "{what}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn an_exception_after_content_ends_in_one_error_event() {
    for (name, error_type) in [
        ("late_internalServer", "api_error"),
        ("late_serviceUnavailable", "overloaded_error"),
        ("late_throttling", "api_error"),
        ("cut_amid_frame", "api_error"),
        ("corrupt", "api_error"),
    ] {
        let world = world();
        let body = recording(&format!("{name}.bin"));
        for key in ["aws-1", "aws-2"] {
            let (first, rest) = body.split_at(behind_content(&body));
            world.wire.always(key, stream(first.to_vec()).chunk(rest.to_vec()));
        }
        let told = world.ask(&Ask::stream()).await;
        let text = told.text();
        assert_eq!((told.events("error"), told.events("message_stop")), (1, 0), "{name}: {text}");
        assert!(text.contains(&format!("\"type\":\"{error_type}\"")), "{name}: {text}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_fault_is_told_in_the_messages_api_s_own_shape() {
    let (world, told) = everywhere(&refusal(400, "ValidationException", "max_tokens: too large")).await;
    assert_eq!(told.status, 400);
    assert_eq!(told.error(), ("invalid_request_error".to_owned(), "max_tokens: too large".to_owned()));
    assert_eq!(world.wire.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_concerns_keys_accounts_and_models_of_bedrock_is_tried_elsewhere() {
    for (answer, tried) in [
        (refusal(400, "ServiceQuotaExceededException", "quota"), 3),
        (refusal(403, "AccessDeniedException", "no"), 3),
        (refusal(403, "ExpiredTokenException", "over"), 3),
        (refusal(404, "ResourceNotFoundException", "no such model"), 3),
        (refusal(400, "ValidationException", "The provided model identifier is invalid."), 3),
        (refusal(429, "ThrottlingException", "Too many tokens, please wait before trying again."), 3),
        (refusal(429, "ModelNotReadyException", "loading"), 3),
    ] {
        let world = world();
        for key in ["aws-1", "aws-2"] {
            world.wire.always(key, answer.clone());
        }
        let told = world.ask(&Ask::whole().now()).await;
        assert_eq!(told.status, 200, "{answer:?}");
        assert_eq!(world.wire.total(), tried, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_ending_names_an_account() {
    for (status, name) in [
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (400, "ValidationException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
    ] {
        let message = "x arn:aws:iam::123456789012:user/gw y";
        let (_, told) = everywhere(&refusal(status, name, message)).await;
        assert!(!told.text().contains("123456789012"), "{name}: {}", told.text());
        told.error();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialect_frame_of_another_kind_is_no_answer() {
    let world = world();
    let odd = frame(&[(":message-type", "event"), (":event-type", "brandNew")], b"{}").unwrap();
    for key in ["aws-1", "aws-2"] {
        world.wire.always(key, stream(odd.to_vec()));
    }
    let told = world.ask(&Ask::stream()).await;
    assert_eq!((told.status, told.events("message_stop")), (200, 1));
    assert_eq!(world.wire.order().last().map(String::as_str), Some("k1"));
}

#[tokio::test(start_paused = true)]
async fn without_routes_and_without_anthropic_it_serves_by_the_name_it_is_asked_for() {
    let aws = "
backends:
  - name: aws
    provider: bedrock
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    keys: [ { name: aws-1, bearer_token: 'value:aws-1' } ]
";
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let alone = World::new(aws);
    assert_eq!(alone.ask(&Ask::of(model)).await.status, 200);
    assert!(alone.wire.sent()[0].path.contains("claude-sonnet-4-5"), "{:?}", alone.wire.sent()[0]);

    let anthropic = "  - { name: a, provider: anthropic, base_url: 'http://127.0.0.1:9', keys: [ { name: k1, secret: 'value:k1' } ] }\n";
    let both = World::new(&format!("{aws}{anthropic}"));
    assert_eq!(both.ask(&Ask::of(model)).await.status, 200);
    assert_eq!((both.wire.count("aws-1"), both.wire.count("k1")), (0, 1));
}
