//! A stream held beyond `hold_ms` is kept alive with pings, and failing over is still unseen.

use std::time::{Duration, Instant};

use headgate::simulator::{Fault, FaultKind, Knobs};

use super::caller::message;
use super::stand::{after, fault};
use super::truncation::Pair;

const SHORT: &str = "relay: { hold_ms: 100, ping_interval_ms: 100, max_wait_ms: 0, max_attempts: 2 }\ndeadlines: { idle_ms: 700 }\n";

fn pings(for_ms: u64) -> Fault {
    fault(FaultKind::Pings, Knobs { for_ms: Some(for_ms), every_ms: Some(50), ..Knobs::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pings_upstream_become_200_and_pings_and_then_the_content() {
    let pair = Pair::new(SHORT);
    let sound = pair.gateway.ask(&message("tell me", true)).await;
    pair.first.fail(pings(1000));
    let mut caller = pair.gateway.connect().await;
    let asked = Instant::now();
    caller.send(message("tell me", true).as_bytes()).await;
    let mut answer = caller.head().await.unwrap();
    let told = asked.elapsed();
    assert!((Duration::from_millis(90)..Duration::from_millis(600)).contains(&told), "{told:?}");
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(answer.header("request-id").unwrap().starts_with("req_"));
    caller.body(&mut answer, |_| false).await;
    let events = answer.events();
    let lead = events.iter().take_while(|event| *event == "ping").count();
    assert!(lead >= 3 && events[lead] == "message_start", "{events:?}");
    assert!(answer.is_whole_stream() && answer.deltas() == sound.deltas(), "{}", answer.text());
    assert_eq!(pair.second.simulator.stats().requests, 0);
    let again = caller.ask(&message("tell me", false)).await;
    assert_eq!(again.status, 200, "the connection lives on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_while_pinging_is_still_unseen() {
    let pair = Pair::new(SHORT);
    let sound = pair.gateway.ask(&message("tell me", true)).await;
    for broken in [after(FaultKind::Stall, 1), after(FaultKind::Stall, 3)] {
        pair.first.fail(broken.clone());
        let answer = pair.gateway.ask(&message("tell me", true)).await;
        let events = answer.events();
        assert!(events[0] == "ping", "{broken:?}: it was never held: {events:?}");
        assert!(
            answer.is_whole_stream() && answer.deltas() == sound.deltas(),
            "{broken:?}: {}",
            answer.text()
        );
    }
    assert_eq!(pair.second.simulator.stats().requests, 2);
    pair.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_fail_while_pinging_one_error_event_says_so() {
    let pair = Pair::new(SHORT);
    pair.first.fail(after(FaultKind::Stall, 1));
    for (second, error_type) in [
        (after(FaultKind::Stall, 1), "timeout_error"),
        (Fault::new(FaultKind::Overloaded), "overloaded_error"),
        (Fault::new(FaultKind::ServerError), "api_error"),
        (Fault::new(FaultKind::BadRequest), "invalid_request_error"),
    ] {
        pair.second.fail(second.clone());
        let answer = pair.gateway.ask(&message("tell me", true)).await;
        let events = answer.events();
        assert_eq!((answer.status, answer.count("error")), (200, 1), "{second:?}: {events:?}");
        assert!(answer.complete && events.last().unwrap() == "error", "{second:?}: {events:?}");
        assert!(events.iter().all(|event| event == "ping" || event == "error"), "{events:?}");
        let text = answer.text();
        let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let error: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(error["error"]["type"], error_type, "{second:?}");
        assert_eq!(error["request_id"].as_str(), answer.header("request-id"), "{second:?}");
    }
    pair.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_never_gets_pings_however_long_it_takes() {
    let pair = Pair::new(SHORT);
    pair.first.fail(fault(FaultKind::Delay, Knobs { for_ms: Some(600), ..Knobs::default() }));
    let answer = pair.gateway.ask(&message("tell me", false)).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (200, Some("message")));
    assert!(answer.body.starts_with(b"{") && answer.header("content-length").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_while_pinging_closes_upstream() {
    let pair = Pair::new(SHORT);
    pair.first.fail(pings(10_000));
    let mut caller = pair.gateway.connect().await;
    caller.send(message("tell me", true).as_bytes()).await;
    let mut answer = caller.head().await.unwrap();
    caller.body(&mut answer, |answer| answer.count("ping") >= 2).await;
    drop(caller);
    let left = Instant::now();
    pair.first.until("upstream is closed", |stats| stats.in_flight == 0).await;
    assert!(left.elapsed() < Duration::from_secs(1));
    pair.gateway.idle().await;
    assert_eq!(pair.gateway.metric("requests_total", "client_closed").await, 1.0);
}
