//! Faults at the sockets that no sound library would make: heads without lengths, callers of an older HTTP.

use super::caller::{message, post, prompt};
use super::scripted::{Ending, Scripted};
use super::stand::{Running, Stand};
use headgate::simulator::SimulatorConfig;

const ENVELOPE: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;

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
