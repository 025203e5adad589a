//! Faults that upstreams invent: error answers that do not end, sizes that only the dialect's edits make, counting that is not there.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use headgate::failure::FailureKind;
use headgate::pool::table::Scope;
use headgate_providers::{FaultKind, Operation};

use crate::support::{
    Answer, Ask, World, backend, backends, envelope, recorded, split, sse, whole, wrong_beginnings,
};

/// The head of an error answer whose body follows.
fn error_head(status: u16) -> Answer {
    Answer::default().head(status, "application/json")
}

fn bytes_of(text: &str) -> Vec<Vec<u8>> {
    text.bytes().map(|byte| vec![byte]).collect()
}

#[tokio::test(start_paused = true)]
async fn an_error_body_that_trickles_or_never_ends_delays_failover_by_a_second_at_most() {
    let text = envelope("api_error", "Internal server error");
    for (what, answer) in [
        ("a byte a second", error_head(500).chunks(bytes_of(&text)).paced(1_000)),
        ("nothing after the head", error_head(500).hang()),
        ("half of it, then nothing", error_head(529).chunk(text[..30].to_owned()).hang()),
        ("all of it without an end", error_head(500).chunk(text.clone()).hang()),
        ("two megabytes and more to come", error_head(500).chunk(vec![b'x'; 2 << 20]).hang()),
    ] {
        for ask in [Ask::whole(), Ask::stream()] {
            let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
            world.wire.script("k1", [answer.clone()]);
            let told = world.ask(&ask).await;
            assert_eq!((told.status, world.wire.order()), (200, vec!["k1".into(), "k2".into()]), "{what}");
            assert!(world.now().as_millis() <= 1_010, "{what}: {:?}", world.now());
            world.assert_idle();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_body_does_not_come_is_judged_by_what_is_known() {
    let limited = envelope("rate_limit_error", "This request would exceed your organization's rate limit");
    for (what, answer, status, parked) in [
        ("429 by its head alone", error_head(429).with("retry-after", "37").hang(), 429, true),
        (
            "429, half a body",
            error_head(429).with("retry-after", "37").chunk(limited[..60].to_owned()).hang(),
            429,
            true,
        ),
        (
            "a whole body whose end does not come",
            error_head(400).chunk(envelope("rate_limit_error", "slow")).with("retry-after", "37").hang(),
            429,
            true,
        ),
        ("400, half a body", error_head(400).chunk("{\"type\":\"error\",\"err").hang(), 400, false),
    ] {
        let world = World::new(&backend("a", &["k1"]));
        world.wire.always("k1", answer);
        let told = world.ask(&Ask::whole().now()).await;
        assert_eq!(told.status, status, "{what}");
        assert_eq!(world.parked("k1", Scope::GroupClass).is_some(), parked, "{what}");
        assert!(!told.text().contains("organization"), "{what}: {}", told.text());
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_an_error_body_is_read_is_a_setting_of_each_backend() {
    let yaml = backends(&[("a", &["k1"]), ("b", &["k2"])]) + "deadlines: { error_body_ms: 3000 }\n";
    let world = World::new(&yaml);
    world.wire.script("k1", [error_head(500).hang()]);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.now().as_millis(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_only_the_dialects_edits_make_too_large_is_too_large() {
    let ask = Ask::of("m");
    let yaml = format!(
        "
backends:
  - name: b
    provider: bedrock
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    capabilities: [ {{ max_body_bytes: {} }} ]
    keys: [ {{ name: aws, bearer_token: 'value:aws' }} ]
routes:
  - {{ model: '*', targets: [ {{ backend: b, model: anthropic.claude-sonnet-4-5-20250929-v1:0 }} ] }}
",
        ask.body().len()
    );
    let world = World::new(&yaml);
    let told = world.ask(&ask).await;
    assert_eq!((told.status, told.error().0.as_str()), (413, "request_too_large"), "{}", told.text());
    assert_eq!(world.wire.total(), 0, "nothing is sent");
    assert_eq!(world.parked("aws", Scope::GroupClass), None);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn counting_that_a_backend_does_not_have_takes_no_model_from_messages() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    let counting = Ask { operation: Operation::CountTokens, ..Ask::whole() };
    world.wire.on("k1", |sent| {
        if sent.path.contains("count_tokens") { Answer::no_such_model() } else { Answer::ok() }
    });
    world.wire.always("k2", Answer::json(200, r#"{"input_tokens":7}"#));
    for _ in 0..4 {
        assert_eq!(world.ask(&counting).await.status, 200, "another backend counts");
    }
    assert!(world.gateway.pool.plan("claude-sonnet-4-5").is_some_and(|plan| {
        plan.tiers.iter().flatten().all(|candidate| candidate.missing.notice().is_none())
    }));
    world.wire.forget();
    for _ in 0..4 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert_eq!((world.wire.count("k1"), world.wire.count("k2")), (2, 2), "both serve messages");
    world.wire.always("k1", Answer::fails(FaultKind::Connect));
    world.wire.always("k2", Answer::no_such_model());
    assert_eq!(world.ask(&counting).await.status, 404, "nobody counts: what the last one said");
}

#[tokio::test(start_paused = true)]
async fn a_success_without_whole_content_is_no_answer() {
    for status in [204, 205, 206] {
        for ask in [Ask::whole(), Ask::stream()] {
            let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
            let body = if ask.stream { recorded("hello") } else { whole("hello") };
            let kind = if ask.stream { "text/event-stream" } else { "application/json" };
            world.wire.script("k1", [Answer::default().head(status, kind).chunk(body)]);
            let told = world.ask(&ask).await;
            assert_eq!((told.status, told.headers.get("x-headgate-backend")), (200, Some("b")), "{status}");
            world.assert_idle();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_wrongly_fails_over_before_anything_is_shown() {
    for (what, body) in wrong_beginnings() {
        let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
        world.wire.script("k1", [Answer::raw(body)]);
        let told = world.ask(&Ask::stream()).await;
        assert_eq!(told.text(), recorded("hello there"), "{what}");
        assert_eq!(told.headers.get("x-headgate-backend"), Some("b"), "{what}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_that_says_nothing_is_put_in_our_own_words() {
    let (opening, words, closing) = split("one two");
    for event in [
        "event: error\n\n".to_owned(),
        sse("error", "not json"),
        sse("error", "{}"),
        sse("error", r#"{"type":"error","error":"text"}"#),
    ] {
        let world = World::new(&backend("a", &["k1"]));
        let answer = Answer::raw(opening.clone() + &words[0]).chunk(event.clone() + &closing);
        world.wire.script("k1", [answer]);
        let told = world.ask(&Ask::stream()).await;
        assert_eq!((told.events("error"), told.events("message_stop")), (1, 0), "{event}");
        assert!(told.text().contains(r#""type":"api_error""#), "{}", told.text());
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_odd_in_the_middle_of_a_stream_passes_as_it_came() {
    let (opening, words, closing) = split("one two");
    for odd in [
        sse("content_block_delta", "{broken"),
        sse("event_of_tomorrow", "zzz"),
        sse("message_start", r#"{"type":"message_start","message":{"usage":{"input_tokens":1}}}"#),
        "\u{0}\u{7f}rubbish\n\n".to_owned(),
        ": a comment\n\n".to_owned(),
    ] {
        let world = World::new(&backend("a", &["k1"]));
        let middle = odd.clone() + &words[1] + &closing;
        world.wire.script("k1", [Answer::raw(opening.clone() + &words[0]).chunk(middle.clone())]);
        let told = world.ask(&Ask::stream()).await;
        assert_eq!(told.text(), opening.clone() + &words[0] + &middle, "{odd}");
        world.assert_idle();
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_compressed_unasked_is_judged_by_what_it_says_and_told_in_the_clear() {
    let billing =
        envelope("invalid_request_error", "Your credit balance is too low to access the Anthropic API");
    let world = World::new(&backend("a", &["k1", "k2"]));
    let answer = error_head(400).with("content-encoding", "gzip").chunk(packed(&billing));
    world.wire.always("k1", answer);
    let told = world.ask(&Ask::whole()).await;
    assert_eq!(
        (told.status, world.wire.order()),
        (200, vec!["k1".into(), "k2".into()]),
        "the key is out of money"
    );

    let wrong = envelope("invalid_request_error", "messages: at least one message is required");
    for (coding, body, said) in [
        ("gzip", packed(&wrong), "at least one message"),
        ("GZIP", packed(&wrong), "at least one message"),
        ("identity", wrong.clone().into_bytes(), "at least one message"),
        ("gzip", wrong.clone().into_bytes(), ""),
        ("dictionary", b"?".to_vec(), ""),
        ("gzip", packed(&"x".repeat(8 << 20)), ""),
    ] {
        let world = World::new(&backend("a", &["k1", "k2"]));
        world.wire.always("k1", error_head(400).with("content-encoding", coding).chunk(body));
        let told = world.ask(&Ask::whole()).await;
        assert_eq!((told.status, world.wire.order().len()), (400, 1), "{coding}: {}", told.text());
        let (error_type, message) = told.error();
        assert!(error_type == "invalid_request_error" && message.contains(said), "{coding}: {message}");
        let passed = told.failure.is_some_and(|failure| {
            matches!(failure.kind, FailureKind::Passed(answer) if !answer.headers.has("content-encoding"))
        });
        assert!(passed, "{coding}");
    }
}
