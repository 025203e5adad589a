//! Exactly one record per call, with the outcome it had; one span per attempt.

use std::future::poll_fn;

use headgate_providers::FaultKind;

use crate::support::{Answer, Answered, Ask, Line, Log, World, backend, backends, split};

fn assert_line(line: &Line, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        assert_eq!(line.get(*name).map(String::as_str), Some(*value), "{name} of {line:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_ok_with_its_figures() {
    let (log, world) = (Log::start(), World::new(&backend("a", &["k1"])));
    world.wire.always("k1", Answer::ok().late(250));
    world.ask(&Ask::whole()).await;
    assert_line(
        &log.request(),
        &[
            ("outcome", "ok"),
            ("status", "200"),
            ("operation", "messages"),
            ("model", "claude-sonnet-4-5"),
            ("stream", "false"),
            ("backend", "a"),
            ("key", "k1"),
            ("attempts", "1"),
            ("tokens_in", "9"),
            ("tokens_out", "3"),
            ("queue_ms", "0.0"),
            ("duration_ms", "250.0"),
            ("first_content_ms", "250.0"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_ok_with_its_last_usage() {
    let (log, world) = (Log::start(), World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])])));
    world.wire.always("k1", Answer::broken());
    world.wire.always("k2", Answer::streams("one two").paced(100));
    world.ask(&Ask::stream()).await;
    assert_line(
        &log.request(),
        &[
            ("outcome", "ok"),
            ("stream", "true"),
            ("backend", "b"),
            ("attempts", "2"),
            ("cause", "server_error"),
            ("tokens_in", "9"),
            ("tokens_out", "7"),
            // message_start, content_block_start, ping, then the first delta.
            ("first_content_ms", "400.0"),
            ("duration_ms", "800.0"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_failed_with_the_status_told() {
    for (answer, status, cause) in [
        (Answer::refused(), "503", "key_refused"),
        (Answer::limited_for(60), "429", "rate_limited"),
        (Answer::broken(), "500", "server_error"),
        (Answer::fails(FaultKind::Tls), "502", "tls"),
        (Answer::hangs(), "504", "whole_timeout"),
        (Answer::error(400, "invalid_request_error", "no"), "400", "request"),
    ] {
        let (log, world) = (Log::start(), World::new(&backend("a", &["k1"])));
        world.wire.always("k1", answer);
        world.ask(&Ask::whole()).await;
        let fields = [("outcome", "failed"), ("status", status), ("cause", cause), ("attempts", "1")];
        assert_line(&log.request(), &fields);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_make_no_attempt_names_no_key() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::limited_for(60));
    world.ask(&Ask::whole()).await;
    let log = Log::start();
    world.ask(&Ask::whole()).await;
    let line = log.request();
    assert_line(&line, &[("outcome", "failed"), ("status", "429"), ("attempts", "0")]);
    assert!(!line.contains_key("key") && !line.contains_key("backend"));
}

#[tokio::test(start_paused = true)]
async fn the_time_in_the_queue_is_recorded_however_it_ends() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::limited().with("retry-after-ms", "4000"), Answer::hangs()]);
    world.ask(&Ask::whole().now()).await;
    let log = Log::start();
    let ask = Ask::whole().timeout("22");
    let (..) = tokio::join!(world.ask(&ask), world.ask(&ask));
    let mut queued: Vec<f64> = log.requests().iter().map(|line| line["queue_ms"].parse().unwrap()).collect();
    queued.sort_unstable_by(f64::total_cmp);
    assert!((4_000.0..5_000.0).contains(&queued[0]), "the probe's own: {queued:?}");
    assert_eq!(queued[1], 20_000.0, "the one that gave up");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_client_closed_wherever_it_leaves() {
    let ask = Ask::stream();
    for leaves_at in [0.0, 0.5, 3.0, 6.5, 10.5, 13.0] {
        let world = World::new(&backend("a", &["k1"]));
        let answers = [Answer::limited_for(5).late(1_000), Answer::streams("one two three").paced(1_000)];
        world.wire.script("k1", answers);
        let log = Log::start();
        tokio::select! {
            biased;
            () = world.at(leaves_at) => {}
            _ = world.ask(&ask) => panic!("it takes longer"),
        }
        if leaves_at > 0.0 {
            assert_line(&log.request(), &[("outcome", "client_closed")]);
        } else {
            assert_eq!(log.requests().len(), 0, "it never began");
        }
        world.assert_idle();
        let before = world.wire.total();
        world.pass(600.0).await;
        assert_eq!(world.wire.total(), before, "nothing is tried for a caller that left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_ok_only_once_its_last_byte_was_taken() {
    let world = World::new(&backend("a", &["k1"]));
    let (opening, words, closing) = split("one");
    world.wire.always("k1", Answer::raw(opening + &words[0]).chunk(closing).hang());
    for (chunks, outcome) in [(0, "client_closed"), (1, "client_closed"), (2, "client_closed"), (9, "ok")] {
        let log = Log::start();
        let Answered::Reply(mut reply) = world.begin(&Ask::stream()).await else { panic!("it commits") };
        for _ in 0..chunks {
            poll_fn(|cx| reply.poll_bytes(cx)).await;
        }
        drop(reply);
        assert_line(&log.request(), &[("outcome", outcome), ("status", "200")]);
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_that_leave_at_once_leave_nothing_and_a_record_each() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::hangs());
    world.wire.always("k2", Answer::streams("one two").paced(60_000));
    let log = Log::start();
    let ask = Ask::stream();
    tokio::select! { _ = world.crowd(1_000, &ask) => panic!("they wait"), () = world.at(100.0) => {} }
    world.assert_idle();
    assert_eq!(log.requests().len(), 1_000);
    assert!(log.requests().iter().all(|line| line["outcome"] == "client_closed"));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_a_span_that_names_its_place() {
    let routes = "routes: [{ model: '*', targets: [{ backend: a }, { backend: b, model: 'eu.{model}' }] }]\n";
    let world = World::new(&(backends(&[("a", &["k1"]), ("b", &["k2"])]) + routes));
    world.wire.always("k1", Answer::broken());
    let log = Log::start();
    world.ask(&Ask::whole()).await;
    let spans = log.spans("attempt");
    assert_eq!(spans.len(), 2);
    let model = [("gen_ai.request.model", "claude-sonnet-4-5"), ("otel.kind", "client")];
    assert_line(&spans[0], &[model[0], model[1], ("headgate.backend", "a"), ("headgate.key", "k1")]);
    let model = ("gen_ai.request.model", "eu.claude-sonnet-4-5");
    assert_line(&spans[1], &[model, ("headgate.backend", "b"), ("gen_ai.provider.name", "anthropic")]);
    assert!(spans[0]["headgate.attempt"] < spans[1]["headgate.attempt"]);
}
