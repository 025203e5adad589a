//! What the gateway itself says, in the API's own envelope.

use super::caller::{Connection, message, post, prompt};
use super::stand::Stand;

const TENANTS: &str = "
server: { max_body_bytes: 1000, max_nesting: 20 }
tenants:
  - { name: acme, key: 'value:good-key' }
  - { name: narrow, key: 'value:narrow-key', models: ['claude-haiku-*'] }
routes: [{ model: 'claude-*', targets: [{ backend: sim }] }]
";

fn with_key(headers: &str, body: &str) -> String {
    post("/v1/messages", &format!("x-api-key: good-key\r\n{headers}"), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_wear_the_envelope_and_reach_no_upstream() {
    let stand = Stand::new(TENANTS);
    let body = prompt("claude-sonnet-5", "hi", false);
    let sent = |headers: &str| post("/v1/messages", headers, &body);
    for headers in [
        "",
        "x-api-key: bad\r\n",
        "authorization: Bearer bad\r\n",
        "authorization: Basic good-key\r\n",
        "x-api-key: \r\n",
    ] {
        let answer = stand.gateway.ask(&sent(headers)).await;
        answer.assert_error(401, "authentication_error");
    }
    let deep =
        format!("{{\"model\":\"claude-sonnet-5\",\"messages\":{}1{}}}", "[".repeat(30), "]".repeat(30));
    let twice = body.replace("{\"max_tokens\"", "{\"model\":\"claude-opus-5\",\"max_tokens\"");
    assert_ne!(twice, body);
    let cases = [
        (
            post("/v1/messages", "x-api-key: narrow-key\r\n", &body),
            403,
            "permission_error",
            "claude-sonnet-5",
        ),
        (with_key("", &prompt("gpt-9", "hi", false)), 404, "not_found_error", "model: gpt-9"),
        (post("/v2/messages", "", &body), 404, "not_found_error", "/v2/messages"),
        (with_key("", "{\"model\": \"claude-sonnet-5\""), 400, "invalid_request_error", ""),
        (with_key("", "not json"), 400, "invalid_request_error", ""),
        (with_key("", ""), 400, "invalid_request_error", ""),
        (with_key("", "{\"max_tokens\":1}"), 400, "invalid_request_error", "model"),
        (with_key("", "{\"model\":7}"), 400, "invalid_request_error", "model"),
        (with_key("", &twice), 400, "invalid_request_error", "model"),
        (with_key("", &deep), 400, "invalid_request_error", "nest"),
        (with_key("content-encoding: compress\r\n", "x"), 400, "invalid_request_error", "content-encoding"),
        (with_key("x-headgate-no-fallback: maybe\r\n", &body), 400, "invalid_request_error", "no-fallback"),
        (
            with_key("", &prompt("claude-sonnet-5", &"x".repeat(2000), false)),
            413,
            "request_too_large",
            "1000",
        ),
    ];
    for (request, status, error_type, part) in cases {
        let answer = stand.gateway.ask(&request).await;
        let said = answer.assert_error(status, error_type);
        assert!(said.contains(part), "{said} lacks {part}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("x-headgate-backend").is_none());
    }
    assert_eq!(stand.upstream.simulator.stats().requests, 0);
    assert_eq!(stand.gateway.ask(&with_key("content-encoding: identity\r\n", &body)).await.status, 200);
    assert_eq!(stand.gateway.ask(&sent("authorization: bearer good-key\r\n")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_told_the_right_one() {
    let stand = Stand::new("");
    for (method, path, allowed) in [
        ("GET", "/v1/messages", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("DELETE", "/v1/messages/count_tokens", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/v1/models/claude-x", "GET"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n");
        let answer = stand.gateway.ask(&request).await;
        answer.assert_error(405, "invalid_request_error");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    let head = "HEAD /v1/messages HTTP/1.1\r\nhost: g\r\n\r\n";
    let mut connection = stand.gateway.connect().await;
    connection.send(head.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_is_bounded_as_well() {
    let stand = Stand::new("server: { max_body_bytes: 1000 }");
    let body = prompt("claude-sonnet-5", "hi", false);
    let head = "POST /v1/messages HTTP/1.1\r\nhost: g\r\nanthropic-version: 2023-06-01\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = |body: &str| {
        let (first, second) = body.split_at(body.len() / 2);
        format!("{head}{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len())
    };
    let answer = stand.gateway.ask(&chunked(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let last = stand.upstream.simulator.requests().pop().unwrap();
    assert_eq!(last.body, body.as_bytes());
    assert!(
        last.headers.iter().any(|(name, value)| name == "content-length" && *value == body.len().to_string())
    );
    let answer = stand.gateway.ask(&chunked(&prompt("claude-sonnet-5", &"x".repeat(3000), false))).await;
    answer.assert_error(413, "request_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_all_calls_may_hold_is_shed() {
    let stand = Stand::new("server: { max_body_bytes: 100000, max_buffered_bytes: 150000 }");
    let half = prompt("claude-sonnet-5", &"x".repeat(90_000), false);
    let mut first = stand.gateway.connect().await;
    let request = post("/v1/messages", "", &half);
    first.send(&request.as_bytes()[..80_000]).await;
    super::stand::until("the first half is held", async || {
        stand.gateway.gateway.buffered.load(std::sync::atomic::Ordering::Relaxed) > 70_000
    })
    .await;
    let shed = stand.gateway.ask(&request).await;
    shed.assert_error(503, "api_error");
    assert!(shed.header("retry-after").is_some());
    first.send(&request.as_bytes()[80_000..]).await;
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(stand.gateway.ask(&message("hi", false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_falls_silent_or_breaks_off_ends() {
    let stand = Stand::new("deadlines: { write_stall_ms: 200 }");
    let request = message("hi", false);
    let mut silent = stand.gateway.connect().await;
    silent.send(&request.as_bytes()[..request.len() - 10]).await;
    silent.answer().await.assert_error(400, "invalid_request_error");
    let mut gone = stand.gateway.connect().await;
    gone.send(&request.as_bytes()[..request.len() - 10]).await;
    drop(gone);
    stand.gateway.idle().await;
    assert_eq!(stand.upstream.simulator.stats().requests, 0);
    assert_eq!(stand.gateway.ask(&request).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_request_are_refused_without_harm() {
    let stand = Stand::new("");
    for garbage in [
        "\u{0}\u{1}\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut connection = stand.gateway.connect().await;
        connection.send(garbage.as_bytes()).await;
        if let Some(answer) = connection.head().await {
            assert!((400..=505).contains(&answer.status), "{answer:?}");
        }
    }
    let both = "POST /v1/messages HTTP/1.1\r\nhost: g\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut connection: Connection = stand.gateway.connect().await;
    connection.send(both.as_bytes()).await;
    if let Some(answer) = connection.head().await {
        assert_eq!(answer.status, 400);
    }
    assert_eq!(stand.gateway.ask(&message("hi", false)).await.status, 200);
}
