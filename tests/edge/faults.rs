//! Faults at the sockets that no sound library would make: heads without lengths, callers of an older HTTP.

use std::time::{Duration, Instant};

use headgate::simulator::SimulatorConfig;

use super::caller::{message, post, prompt};
use super::scripted::{Ending, Scripted};
use super::stand::{Running, Stand};

const ENVELOPE: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
const WHOLE: &str =
    r#"{"type":"message","role":"assistant","content":[],"usage":{"input_tokens":1,"output_tokens":1}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_without_a_length_is_judged_by_its_head() {
    for (version, body) in [("1.1", ENVELOPE), ("1.0", ENVELOPE), ("1.1", "")] {
        let answer = format!(
            "HTTP/{version} 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 37\r\n\r\n{body}"
        );
        let first = Scripted::start(answer, Ending::Fin).await;
        let gateway =
            Running::start(&format!("backends:\n{}relay: {{ max_wait_ms: 0 }}", first.backend("first")));
        for _ in 0..2 {
            let told = gateway.ask(&message("tell me", false)).await;
            told.assert_error(429, "rate_limit_error");
            assert!(told.header("retry-after").is_some_and(|seconds| seconds.starts_with('3')), "{told:?}");
        }
        assert_eq!(first.served(), 1, "its group is parked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_s_time_to_try_again_is_capped_as_ours_is() {
    for (lines, seconds, again) in [
        ("retry-after: 99999\r\nx-should-retry: true", Some("120"), Some("false")),
        ("retry-after-ms: 99999000", Some("120"), Some("false")),
        ("retry-after: 6.2\r\nx-should-retry: true", Some("7"), Some("true")),
        ("retry-after: 120", Some("120"), None),
        ("retry-after: 99999999999999", None, None),
    ] {
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{lines}\r\n\r\n{ENVELOPE}",
            ENVELOPE.len()
        );
        let only = Scripted::start(answer, Ending::Fin).await;
        let gateway = Running::start(&format!("backends:\n{}", only.backend("only")));
        let told = gateway.ask(&message("tell me", false)).await;
        assert!(told.status == 503 && told.text().contains("slow down"), "{told:?}");
        assert_eq!((told.header("retry-after"), told.header("x-should-retry")), (seconds, again), "{lines}");
        assert_eq!(told.header("retry-after-ms"), None);
    }
}

/// An answer with interim answers before it, which comes in parts cut here.
async fn after_interim(interim: &str, cuts: &[usize]) -> (Running, Scripted) {
    let answer = format!(
        "{interim}HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{WHOLE}",
        WHOLE.len()
    );
    let parts: Vec<Vec<u8>> = {
        let ends = cuts.iter().copied().chain([answer.len()]);
        let begins = [0].into_iter().chain(cuts.iter().copied());
        begins.zip(ends).map(|(begin, end)| answer.as_bytes()[begin..end].to_vec()).collect()
    };
    let only = Scripted::in_parts(parts, Ending::Keep).await;
    (Running::start(&format!("backends:\n{}", only.backend("only"))), only)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_that_nobody_asked_for_are_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
    let three = format!("HTTP/1.1 100 Continue\r\n\r\n{hints}HTTP/1.1 102 Processing\r\n\r\n");
    for (interim, cuts) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", &[][..]),
        (hints, &[]),
        (hints, &[hints.len()]),
        (hints, &[20, hints.len() - 3]),
        (hints, &[hints.len() - 1]),
        (&three, &[]),
        (&three, &[25, 25 + hints.len()]),
    ] {
        let (gateway, only) = after_interim(interim, cuts).await;
        for _ in 0..2 {
            let told = gateway.ask(&message("tell me", false)).await;
            assert_eq!((told.status, told.text().as_str()), (200, WHOLE), "{interim} {cuts:?}");
            assert_eq!(told.header("x-headgate-attempts"), Some("1"));
            assert!(told.header("link").is_none());
        }
        assert_eq!(only.served(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_would_speak_another_protocol_has_failed() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let (gateway, _only) = after_interim(switch, &[]).await;
    gateway.ask(&message("tell me", false)).await.assert_error(502, "api_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_leaves_behind_an_interim_answer_has_failed() {
    let only = Scripted::start("HTTP/1.1 103 Early Hints\r\n\r\n", Ending::Fin).await;
    let gateway = Running::start(&format!("backends:\n{}", only.backend("only")));
    gateway.ask(&message("tell me", false)).await.assert_error(502, "api_error");
    assert_eq!(only.served(), 1, "it was no idle connection that had been closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_knows_no_chunks_gets_its_stream_without_them() {
    let stand = Stand::of(SimulatorConfig::default(), "");
    let request = message("tell me", true).replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut caller = stand.gateway.connect().await;
    caller.send(request.as_bytes()).await;
    let head = caller.head().await.expect("an answer");
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    let text = caller.rest().await;
    assert!(text.starts_with("event: message_start\n"), "{text}");
    assert!(text.ends_with("\n\n") && text.matches("event: message_stop\n").count() == 1, "{text}");
    // A whole answer has its length, and the connection may stay.
    let whole = post("/v1/messages", "connection: keep-alive\r\n", &prompt("claude-sonnet-5", "hi", false));
    let mut caller = stand.gateway.connect().await;
    for _ in 0..2 {
        let told = caller.ask(&whole.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
        assert!(told.status == 200 && told.complete, "{told:?}");
    }
    stand.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_trickles_for_ever_ends_with_the_longest_life_of_a_call() {
    let stand = Stand::new("deadlines: { total_ms: 500 }");
    let request = message("tell me", false);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut caller = stand.gateway.connect().await;
    caller.send(format!("{head}\r\n\r\n").as_bytes()).await;
    let begun = Instant::now();
    for byte in body.as_bytes().chunks(1) {
        caller.send(byte).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if begun.elapsed() > Duration::from_millis(900) {
            break;
        }
    }
    caller.answer().await.assert_error(400, "invalid_request_error");
    stand.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_not_said_to_be_missing_while_upstreams_list_cannot_be_had() {
    let broken = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let first = Scripted::start(broken, Ending::Keep).await;
    let routes = "routes: [ { model: own, targets: [ { backend: first } ] }, { model: '*', targets: [ { backend: first } ] } ]";
    let gateway = Running::start(&format!("backends:\n{}{routes}", first.backend("first")));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n");
    gateway.ask(&get("/v1/models/other")).await.assert_error(500, "api_error");
    for path in ["/v1/models/own", "/v1/models"] {
        let told = gateway.ask(&get(path)).await;
        assert_eq!(told.status, 200, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_a_websocket_is_told_at_once() {
    let stand = Stand::new("");
    for line in ["upgrade: websocket", "Upgrade: WebSocket\r\nconnection: Upgrade"] {
        let request = message("tell me", false).replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
        let mut caller = stand.gateway.connect().await;
        let told = caller.ask(&request).await;
        assert!(told.assert_error(400, "invalid_request_error").contains("upgrade: websocket"), "{told:?}");
        assert_eq!(told.header("connection"), Some("close"));
    }
    let other =
        message("tell me", false).replacen("\r\n\r\n", "\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 1);
    assert_eq!(stand.gateway.ask(&other).await.status, 200, "any other wish may be ignored");
    stand.gateway.idle().await;
}
