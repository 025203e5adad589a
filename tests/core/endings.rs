//! Endings: what a caller is told when nothing could serve it, fault by fault.

use headgate::failure::whole_seconds;
use headgate_providers::FaultKind;

use crate::support::{Answer, Ask, Told, World, backend, error_event};

/// The only key does this; the caller has no patience.
async fn ending(ask: &Ask, answer: Answer) -> Told {
    let world = World::new(&backend("a", &["key-of-the-pool"]));
    world.wire.always("key-of-the-pool", answer);
    let told = world.ask(&ask.clone().now()).await;
    world.assert_idle();
    told
}

/// Asserts that a failure is well formed and tells nothing of the pool.
fn assert_discreet(told: &Told, what: &str) {
    assert!(!matches!(told.status, 401..=403), "{what}: {}", told.status);
    let (_, message) = told.error();
    for secret in ["1ab2", "organization", "org-secret", "key-of-the-pool", "x-api-key", "credit", "billing"]
    {
        assert!(!told.text().contains(secret), "{what} tells {secret}: {}", told.text());
    }
    assert!(!message.is_empty(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_upstream_says_of_the_request_or_of_itself_passes_byte_for_byte() {
    for (status, error_type, retry) in [
        (400, "invalid_request_error", false),
        (404, "not_found_error", false),
        (409, "conflict_error", false),
        (413, "request_too_large", false),
        (422, "invalid_request_error", false),
        (500, "api_error", false),
        (502, "api_error", false),
        (503, "api_error", false),
        (504, "timeout_error", false),
        (529, "overloaded_error", true),
    ] {
        for ask in [Ask::whole(), Ask::stream()] {
            let body = format!(
                "{{ \"type\":\"error\",  \"error\":{{\"type\":\"{error_type}\",\"message\":\"as it is\",\"x\":[1]}} }}\n"
            );
            let told = ending(&ask, Answer::json(status, &body)).await;
            assert_eq!((told.status, told.text()), (status, body.as_str()));
            assert_eq!(told.retry_after().is_some(), retry, "{status}");
            assert_eq!(told.headers.get("request-id"), Some("req_upstream"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_upstream_states_with_an_error_that_passes_is_told_as_ours_is() {
    for status in [500, 502, 503, 504, 400] {
        for (name, value, seconds) in [
            ("retry-after", "99999", Some(99_999.0)),
            ("retry-after", "7.5", Some(7.5)),
            ("retry-after-ms", "700", Some(0.7)),
            ("retry-after", "Tue, 17 Mar 2026 12:00:09 GMT", Some(9.0)),
            ("retry-after", "99999999999999", None),
            ("retry-after", "a while", None),
        ] {
            let told =
                ending(&Ask::whole(), Answer::error(status, "api_error", "busy").with(name, value)).await;
            assert_eq!((told.status, told.retry_after()), (status, seconds), "{name}: {value}");
        }
    }
    let told = ending(&Ask::whole(), Answer::overloaded().with("retry-after", "99999")).await;
    assert!(told.retry_after().unwrap() > 99_999.0, "the end of the only key's park");
}

#[tokio::test(start_paused = true)]
async fn a_missing_model_of_the_only_backend_passes_as_upstream_says_it() {
    let told = ending(&Ask::whole(), Answer::no_such_model()).await;
    assert_eq!(told.status, 404);
    assert_eq!(told.error(), ("not_found_error".to_owned(), "model: claude-sonnet-4-5".to_owned()));
    assert_eq!(told.retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_passes_but_for_its_message_and_its_time() {
    let told = ending(&Ask::whole(), Answer::limited_for(59)).await;
    assert_eq!(told.status, 429);
    let seconds = told.retry_after().unwrap();
    assert!((59.0..=60.0).contains(&seconds), "{seconds}");
    let message = "This request would exceed the rate limit. Please try again in 60 seconds.";
    assert_eq!(told.error(), ("rate_limit_error".to_owned(), message.to_owned()));
    assert!(told.text().contains(r#""request_id":"req_up""#), "the rest of the body stays");
    assert_discreet(&told, "429");
}

#[tokio::test(start_paused = true)]
async fn what_is_blamed_on_a_pool_key_or_group_is_503_in_whatever_status_it_came() {
    let invalid = "invalid_request_error";
    for (what, answer) in [
        ("401", Answer::refused()),
        ("401 page", Answer::page(401, "<html>who are you</html>")),
        ("401 without a body", Answer::json(401, "")),
        ("402", Answer::error(402, "billing_error", "org 1ab2 has no credit")),
        ("403", Answer::error(403, "permission_error", "org 1ab2 may not")),
        ("403 for a model", Answer::error(403, "permission_error", "no access to model x in org 1ab2")),
        ("403 of another shape", Answer::json(403, r#"{"message":"Forbidden for 1ab2"}"#)),
        ("400 credit", Answer::error(400, invalid, "Your credit balance is too low to access the API.")),
        ("400 spend", Answer::error(400, invalid, "You have reached your specified API usage limits.")),
        ("400 hold", Answer::error(400, invalid, "This organization has been disabled.")),
        ("400 of type authentication", Answer::error(400, "authentication_error", "invalid x-api-key")),
    ] {
        let told = ending(&Ask::whole(), answer).await;
        assert_eq!((told.status, told.error().0.as_str()), (503, "api_error"), "{what}");
        assert!(told.retry_after().unwrap() >= 5.0, "{what}: the time of the only key's park");
        assert_discreet(&told, what);
    }
}

#[tokio::test(start_paused = true)]
async fn a_spend_limit_in_a_429_stays_a_429_in_our_own_words() {
    let spend = "You have reached your specified API usage limits for organization 1ab2.";
    let told = ending(&Ask::whole(), Answer::error(429, "rate_limit_error", spend)).await;
    assert_eq!((told.status, told.error().0.as_str()), (429, "rate_limit_error"));
    assert!(told.retry_after().unwrap() > 86_400.0, "uncut; the edge caps it");
    assert_discreet(&told, "429 spend");
}

#[tokio::test(start_paused = true)]
async fn pages_and_other_shapes_become_an_envelope() {
    for (answer, status, error_type) in [
        (Answer::page(500, "<html>oops</html>"), 500, "api_error"),
        (Answer::page(502, "<html>bad gateway org 1ab2</html>"), 502, "api_error"),
        (Answer::page(503, "busy"), 503, "api_error"),
        (Answer::page(529, ""), 529, "overloaded_error"),
        (Answer::json(500, r#"{"detail":"1ab2"}"#), 500, "api_error"),
        (Answer::page(400, "<html>1ab2</html>"), 400, "invalid_request_error"),
        (Answer::page(404, "<html>1ab2</html>"), 502, "api_error"),
        (Answer::page(301, "<html>1ab2</html>"), 502, "api_error"),
        (Answer::page(429, "<html>1ab2</html>"), 429, "rate_limit_error"),
        // A page of the network in front refused; to a caller a 403 would mean its own key.
        (Answer::page(403, "<html>blocked</html>"), 502, "api_error"),
    ] {
        let told = ending(&Ask::whole(), answer.clone()).await;
        assert_eq!((told.status, told.error().0.as_str()), (status, error_type), "{answer:?}");
        assert_discreet(&told, "a page");
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_contradicts_its_status_tells_no_caller_of_keys() {
    for answer in [
        Answer::error(401, "not_found_error", "model: x"),
        Answer::error(403, "rate_limit_error", "org 1ab2"),
        Answer::error(401, "overloaded_error", "Overloaded"),
    ] {
        let told = ending(&Ask::whole(), answer.clone()).await;
        assert!(matches!(told.status, 429 | 502), "{answer:?}: {}", told.status);
        assert_discreet(&told, "a contradiction");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_it_is_502_and_without_one_in_time_504() {
    for kind in [
        FaultKind::Connect,
        FaultKind::Tls,
        FaultKind::Reset,
        FaultKind::Truncated,
        FaultKind::Malformed,
        FaultKind::StaleConnection,
        FaultKind::UploadRefused,
    ] {
        for ask in [Ask::whole(), Ask::stream()] {
            let told = ending(&ask, Answer::fails(kind)).await;
            assert_eq!((told.status, told.error().0.as_str()), (502, "api_error"), "{kind:?}");
            assert_discreet(&told, kind.name());
        }
    }
    for ask in [Ask::whole(), Ask::stream()] {
        let told = ending(&ask, Answer::hangs()).await;
        assert_eq!((told.status, told.error().0.as_str()), (504, "timeout_error"));
    }
    for answer in [Answer::stream(), Answer::stream().breaks(FaultKind::Reset)] {
        let told = ending(&Ask::stream(), answer).await;
        assert_eq!((told.status, told.error().0.as_str()), (502, "api_error"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_200_ends_as_if_it_had_its_own_status() {
    for (error_type, status) in [
        ("overloaded_error", 529),
        ("api_error", 500),
        ("rate_limit_error", 429),
        ("invalid_request_error", 400),
    ] {
        let told = ending(&Ask::stream(), Answer::raw(error_event(error_type, "as it is"))).await;
        assert_eq!((told.status, told.error().0.as_str()), (status, error_type));
        assert_ne!(told.headers.get("content-type"), Some("text/event-stream; charset=utf-8"), "it is JSON");
    }
    for error_type in ["authentication_error", "permission_error", "billing_error"] {
        let told = ending(&Ask::stream(), Answer::raw(error_event(error_type, "org 1ab2"))).await;
        assert_eq!((told.status, told.error().0.as_str()), (503, "api_error"));
        assert_discreet(&told, error_type);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_make_no_attempt_is_told_what_kept_the_keys_away() {
    for (answer, status, error_type) in [
        (Answer::limited_for(40), 429, "rate_limit_error"),
        (Answer::overloaded(), 529, "overloaded_error"),
        (Answer::refused(), 503, "api_error"),
        (Answer::error(402, "billing_error", "owes"), 503, "api_error"),
    ] {
        let world = World::new(&backend("a", &["k1"]));
        world.wire.always("k1", answer);
        let first = world.ask(&Ask::whole().now()).await;
        let second = world.ask(&Ask::whole().now()).await;
        assert_eq!(world.wire.total(), 1);
        assert_eq!((second.status, second.error().0.as_str()), (status, error_type));
        assert_eq!(first.retry_after(), second.retry_after(), "both are told the same time");
        assert!(whole_seconds(second.failure.unwrap().retry_after.unwrap()) >= 1);
    }
    let world = World::new("backends: []\n");
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, told.error().0.as_str()), (503, "api_error"));
}

#[tokio::test(start_paused = true)]
async fn of_several_causes_the_rate_limit_is_told() {
    let world = World::new(&backend("a", &["k1", "k2", "k3"]));
    world.wire.always("k1", Answer::refused());
    world.wire.always("k2", Answer::limited_for(50));
    world.wire.always("k3", Answer::overloaded().with("retry-after", "45"));
    world.ask(&Ask::whole().now()).await;
    let told = world.ask(&Ask::whole().now()).await;
    assert_eq!(told.status, 429);
    let seconds = told.retry_after().unwrap();
    assert!((5.0..6.0).contains(&seconds), "the key that frees first, whatever kept it: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_last_attempt() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::limited_for(100));
    world.wire.always("k2", Answer::broken());
    assert_eq!(world.ask(&Ask::whole()).await.status, 500);
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::broken());
    world.wire.always("k2", Answer::limited_for(100));
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, told.retry_after()), (429, Some(0.0)), "the other key can serve the next call");
}
