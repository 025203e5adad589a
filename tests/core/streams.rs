//! Streams: what fails before content is never seen, what fails after it ends in one `error` event.

use headgate_providers::FaultKind;

use crate::support::{
    Answer, Ask, Log, Told, World, backend, backends, delta, error_event, ping, recorded, split, sse,
};

/// `k1` of backend `a` does this first, `k2` of backend `b` streams well.
async fn first(answer: Answer) -> (World, Told) {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.script("k1", [answer]);
    let told = world.ask(&Ask::stream()).await;
    world.assert_idle();
    (world, told)
}

fn failed_attempts(world: &World, backend: &str) -> usize {
    let text = world.gateway.metrics.text(&world.gateway.pool, world.gateway.clock.now()).unwrap();
    let of = format!("headgate_attempts_total{{backend=\"{backend}\"");
    let lines = text.lines().filter(|line| line.starts_with(&of) && !line.contains("outcome=\"ok\""));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test(start_paused = true)]
async fn what_fails_before_content_is_seen_by_nobody() {
    let (opening, words, closing) = split("lost words");
    let overloaded = error_event("overloaded_error", "Overloaded");
    let exception = error_event("api_error", "Internal server error");
    let broken_start = sse("message_start", "{\"type\":");
    for (what, answer) in [
        ("an error event at once", Answer::raw(overloaded.clone())),
        ("an error event behind the opening", Answer::raw(opening.clone()).chunk(exception.clone())),
        ("an error event in one chunk with it", Answer::raw(opening.clone() + &exception)),
        ("an error event, content behind it in one chunk", Answer::raw(overloaded.clone() + &words[0])),
        ("content, an error event behind it in one chunk", Answer::raw(words[0].clone() + &overloaded)),
        (
            "an error event cut into bytes",
            Answer::stream().chunks(bytes_of(&(opening.clone() + &overloaded))),
        ),
        ("a rate limit event", Answer::raw(error_event("rate_limit_error", "your organization's limit"))),
        ("an authentication event", Answer::raw(error_event("authentication_error", "invalid x-api-key"))),
        ("no byte at all", Answer::stream()),
        ("an end behind the opening", Answer::raw(opening.clone())),
        ("an end within the first delta", Answer::raw(opening.clone() + &words[0][..40])),
        ("a reset before any byte", Answer::stream().breaks(FaultKind::Reset)),
        ("a reset behind the opening", Answer::raw(opening.clone()).breaks(FaultKind::Reset)),
        ("a cut behind the opening", Answer::raw(opening.clone()).breaks(FaultKind::Truncated)),
        ("a start that is no JSON", Answer::raw(broken_start)),
        ("a whole answer where a stream was asked for", Answer::ok()),
        ("a page", Answer::page(200, "<html>welcome</html>")),
        ("another coding", Answer::streams("x").with("content-encoding", "gzip")),
        ("nothing after the head", Answer::stream().hang()),
        ("silence behind the opening", Answer::raw(opening.clone()).hang()),
        ("nothing at all", Answer::hangs()),
        ("only the end, without content", Answer::raw(opening.clone() + &exception + &closing)),
    ] {
        let (world, told) = first(answer).await;
        assert_eq!(told.text(), recorded("hello there"), "{what}");
        assert_eq!(told.headers.get("x-headgate-backend"), Some("b"), "{what}");
        assert_eq!(told.headers.get("x-headgate-attempts"), Some("2"), "{what}");
        assert_eq!(world.wire.order(), ["k1", "k2"], "{what}");
        assert_eq!((failed_attempts(&world, "a"), failed_attempts(&world, "b")), (1, 0), "{what}");
    }
}

fn bytes_of(text: &str) -> Vec<Vec<u8>> {
    text.bytes().map(|byte| vec![byte]).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_beyond_the_bound_before_content_fails_over() {
    let yaml = backends(&[("a", &["k1"]), ("b", &["k2"])]) + "relay: { max_event_bytes: 2048 }\n";
    let world = World::new(&yaml);
    world.wire.script("k1", [Answer::stream().chunks(bytes_of(&delta(&"x".repeat(4096))))]);
    assert_eq!(world.ask(&Ask::stream()).await.text(), recorded("hello there"));
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_cut_after_content_ends_in_exactly_one_error_event() {
    let (opening, words, closing) = split("one two");
    let begun = opening + &words[0];
    for (what, answer) in [
        ("a reset", Answer::raw(begun.clone()).pause(5).breaks(FaultKind::Reset)),
        ("a cut", Answer::raw(begun.clone()).pause(5).breaks(FaultKind::Truncated)),
        ("an end that looks clean", Answer::raw(begun.clone()).pause(5)),
        ("an end within an event", Answer::raw(begun.clone()).chunk(words[1][..30].to_owned())),
        ("silence", Answer::raw(begun.clone()).hang()),
        (
            "an error event",
            Answer::raw(begun.clone()).chunk(error_event("api_error", "Internal server error")),
        ),
        (
            "an overload event",
            Answer::raw(begun.clone()).chunk(error_event("overloaded_error", "Overloaded")),
        ),
        (
            "an error event and more",
            Answer::raw(begun.clone()).chunk(error_event("api_error", "no") + &closing),
        ),
        ("an error event, then a reset", {
            Answer::raw(begun.clone()).chunk(error_event("api_error", "no")).breaks(FaultKind::Reset)
        }),
    ] {
        let log = Log::start();
        let (world, told) = first(answer).await;
        assert_eq!(told.status, 200, "{what}");
        assert!(told.text().starts_with(&begun), "{what}");
        assert_eq!((told.events("error"), told.events("message_stop")), (1, 0), "{what}: {}", told.text());
        assert!(told.text().ends_with("}\n\n"), "{what}: the error event is whole");
        assert_eq!(world.wire.order(), ["k1"], "{what}: nothing is tried again after content");
        assert_eq!(log.request()["outcome"], "cut", "{what}");
        assert_eq!(log.request()["status"], "200", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_that_speaks_of_a_pool_key_is_put_in_our_own_words() {
    let (opening, words, _) = split("one two");
    for (error_type, message) in [
        ("rate_limit_error", "This request would exceed your organization's rate limit (org: 1ab2)"),
        ("authentication_error", "invalid x-api-key"),
        ("permission_error", "org 1ab2 may not"),
        ("billing_error", "org 1ab2 owes"),
    ] {
        let event = error_event(error_type, message);
        let (world, told) = first(Answer::raw(opening.clone() + &words[0]).chunk(event)).await;
        assert_eq!(told.events("error"), 1);
        assert!(!told.text().contains("1ab2") && !told.text().contains("x-api-key"), "{}", told.text());
        assert!(told.text().contains(r#""type":"api_error""#), "{}", told.text());
        world.wire.forget();
        world.ask(&Ask::stream()).await;
        assert_eq!(world.wire.order(), ["k2"], "{error_type}: the key or its group rests all the same");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_stream_has_one_message_stop_and_nothing_behind_it() {
    let stop = sse("message_stop", r#"{"type":"message_stop"}"#);
    let good = recorded("hello there");
    for answer in [
        Answer::raw(good.clone() + &stop),
        Answer::raw(good.clone()).chunk(stop.clone()).chunk(stop.clone()),
        Answer::raw(good.clone() + &ping() + &error_event("api_error", "late") + "garbage"),
        Answer::raw(good.clone()).breaks(FaultKind::Reset),
        Answer::raw(good.clone()).hang(),
    ] {
        let (_, told) = first(answer).await;
        assert_eq!(told.text(), good);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_100_ms_though_upstream_holds_the_socket() {
    let begun = recorded("hello there");
    for answer in [
        Answer::raw(begun.clone()).hang(),
        Answer::streams("hello there").hang(),
        Answer::raw(begun.clone()).chunks(vec![ping(); 500]).paced(10),
    ] {
        let (_, told) = first(answer.clone()).await;
        assert_eq!(told.text(), begun);
        let linger = told.ended.since(told.began).as_millis();
        assert!(linger <= 100, "{linger} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_that_is_not_complete_json_is_a_fault() {
    let complete = crate::support::whole("hello");
    let cut = &complete[..complete.len() - 1];
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (what, answer) in [
        ("empty", Answer::json(200, "")),
        ("cut", Answer::json(200, cut)),
        ("more than one", Answer::json(200, &(complete.clone() + "{}"))),
        ("no JSON", Answer::json(200, "welcome")),
        ("a page", Answer::page(200, "<html>welcome</html>")),
        ("an error in a 200", Answer::json(200, overloaded)),
        ("broken off", Answer::json(200, cut).breaks(FaultKind::Truncated)),
        ("a stream", Answer::streams("hello")),
    ] {
        let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
        world.wire.script("k1", [answer]);
        let told = world.ask(&Ask::whole()).await;
        assert_eq!((told.status, told.text()), (200, complete.as_str()), "{what}");
        assert_eq!(world.wire.order(), ["k1", "k2"], "{what}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_pool_is_in_a_replys_headers() {
    for ask in [Ask::whole(), Ask::stream()] {
        let world = World::new(&backend("a", &["k1"]));
        let told = world.ask(&ask).await;
        for (name, value) in told.headers.iter() {
            let text = String::from_utf8_lossy(value);
            assert!(!name.contains("organization") && !name.contains("ratelimit"), "{name}: {text}");
            assert!(!text.contains("k1") && !text.contains("org-secret"), "{name}: {text}");
        }
        assert_eq!(told.headers.get("request-id"), Some("req_upstream"));
        assert_eq!(told.headers.get("x-headgate-attempts"), Some("1"));
    }
}
