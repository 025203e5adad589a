//! What travels upstream and back is what was sent, byte for byte; what must not travel does not.

use headgate::simulator::config::SimulatorConfig;
use headgate::simulator::{Fault, FaultKind, Knobs};

use super::caller::{message, post, prompt};
use super::scripted::{Ending, Scripted};
use super::stand::{Running, Stand, backend, fault, until};
use super::tap::Tap;

const ODD: &str = "{ \"stream\"\t:\r\n false ,\"x\":1, \"x\" : 1e2,\"model\"  :\n \"claude-sonnet-5\"  ,\
                   \"big\":12345678901234567890123,\"max_tokens\":1000, \"future_field\" : {\"b\":0.10,\"a\":[ ]},\
                   \"messages\" :[{\"role\":\"user\",\"content\":\"\\ud83d\\ude00 caf\u{e9} \u{1f600}\\/ \\u0041\"}]  }\n ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_bodies_arrive_byte_for_byte() {
    let stand = Stand::new("");
    let long = |size: usize| prompt("claude-sonnet-5", &"long caf\u{e9} \"q\" ".repeat(size / 16), false);
    for body in [ODD.to_owned(), prompt("claude-sonnet-5", "hi", true), long(1 << 20), long(30 << 20)] {
        let answer = stand.gateway.ask(&post("/v1/messages", "", &body)).await;
        assert_eq!(answer.status, 200, "{} bytes: {}", body.len(), answer.text());
        let last = stand.upstream.simulator.requests().pop().unwrap();
        assert!(last.body == body.as_bytes(), "a body of {} bytes was changed", body.len());
        let length = last.headers.iter().find(|(name, _)| name == "content-length").unwrap();
        assert_eq!(length.1, body.len().to_string());
    }
    stand.gateway.idle().await;
    assert_eq!(stand.gateway.gateway.buffered.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapped_model_is_spliced_in_place() {
    let routes = "routes: [{ model: 'mine', targets: [{ backend: sim, model: 'claude-opus-5' }] }]";
    let stand = Stand::new(routes);
    let asked = ODD.replace("claude-sonnet-5", "mi\\u006ee");
    let answer = stand.gateway.ask(&post("/v1/messages?beta=true", "", &asked)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let last = stand.upstream.simulator.requests().pop().unwrap();
    assert_eq!(String::from_utf8_lossy(&last.body), ODD.replace("claude-sonnet-5", "claude-opus-5"));
    assert_eq!(last.target, "/v1/messages?beta=true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_asks_for_its_own_path_whatever_the_one_before_asked_for() {
    let stand = Stand::new("");
    let mut connection = stand.gateway.connect().await;
    let body = prompt("claude-sonnet-5", "hi", false);
    let targets =
        ["/v1/messages", "/v1/messages", "/v1/messages?a=b", "/v1/messages/count_tokens", "/v1/messages"];
    for target in targets {
        connection.send(post(target, "", &body).as_bytes()).await;
        assert_eq!(connection.answer().await.status, 200);
        assert_eq!(stand.upstream.simulator.requests().pop().unwrap().target, target);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_the_api_travel_and_those_of_the_caller_do_not() {
    let stand = Stand::new("tenants: [{ name: acme, key: 'value:client-secret-key' }]");
    for version in ["2023-06-01", "2026-10-21"] {
        let headers = "x-api-key: client-secret-key\r\nauthorization: Bearer client-secret-key\r\ncookie: a=b\r\n\
             accept-encoding: gzip, br\r\nx-forwarded-for: 10.0.0.1\r\nanthropic-beta: one-2025-01-01\r\n\
             anthropic-beta: two-2025-01-01,three-2025-01-01\r\nx-stainless-timeout: 600\r\n\
             x-headgate-no-fallback: false\r\nproxy-authorization: Basic eA==\r\nte: trailers\r\n\
             user-agent: probe/1\r\nconnection: keep-alive, x-secret\r\nx-secret: s\r\n";
        let sent = post("/v1/messages?beta=true&x=%20y", headers, &prompt("claude-sonnet-5", "hi", false))
            .replace("2023-06-01", version);
        let answer = stand.gateway.ask(&sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let last = stand.upstream.simulator.requests().pop().unwrap();
        assert_eq!(last.target, "/v1/messages?beta=true&x=%20y");
        let values = |name: &str| -> Vec<&str> {
            let lines = last.headers.iter().filter(|(known, _)| known == name);
            lines.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("anthropic-version"), [version]);
        assert_eq!(values("anthropic-beta").join(","), "one-2025-01-01,two-2025-01-01,three-2025-01-01");
        assert_eq!(values("accept-encoding"), ["identity"]);
        assert_eq!(values("user-agent"), ["probe/1"]);
        assert_eq!(values("content-type"), ["application/json"]);
        assert_eq!(values("host"), [stand.upstream.simulator.addr().to_string()]);
        assert!(values("x-api-key").len() == 1 && values("x-api-key")[0].starts_with("sk-ant-api03-sim-"));
        let all = format!("{:?}", last.headers);
        for private in
            ["client-secret-key", "cookie", "10.0.0.1", "x-headgate", "stainless", "x-secret", "Basic"]
        {
            assert!(!all.contains(private), "{private} travelled: {all}");
        }
        for name in ["authorization", "te", "proxy-authorization", "transfer-encoding", "expect"] {
            assert!(values(name).is_empty(), "{name} travelled: {all}");
        }
    }
}

const SCENARIOS: [&str; 14] = [
    "text",
    "unicode",
    "tools",
    "parallel_tools",
    "tool_without_input",
    "thinking",
    "redacted_thinking",
    "empty",
    "refusal",
    "max_tokens",
    "stop_sequence",
    "citations",
    "pause_turn",
    "context_exceeded",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_arrive_byte_for_byte_in_every_scenario() {
    let config = SimulatorConfig::default();
    let upstream = super::stand::Upstream::start(config.clone());
    let tap = Tap::to(upstream.simulator.addr()).await;
    let gateway = Running::start(&format!(
        "backends:\n{}",
        backend("sim", &format!("http://{}", tap.address), &config)
    ));
    let mut connection = gateway.connect().await;
    for scenario in SCENARIOS {
        for stream in [false, true] {
            tap.forget();
            let body = serde_json::json!({
                "model": "claude-sonnet-5", "max_tokens": 2_000, "stream": stream, "stop_sequences": ["END"],
                "thinking": {"type": "enabled", "budget_tokens": 1_024},
                "tools": [
                    {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
                    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
                ],
                "messages": [{"role": "user", "content": format!("[[sim:scenario={scenario}]] go")}],
            });
            let answer = connection.ask(&post("/v1/messages", "", &body.to_string())).await;
            assert_eq!(answer.status, 200, "{scenario}: {}", answer.text());
            until("the whole answer was carried", async || tap.answer().await.complete).await;
            let original = tap.answer().await;
            assert!(
                answer.complete && answer.body == original.body,
                "{scenario} stream={stream} was changed"
            );
            assert_eq!(answer.header("content-type"), original.header("content-type"));
            assert_eq!(answer.header("request-id"), original.header("request-id"));
            if stream {
                assert!(answer.is_whole_stream(), "{scenario}: {}", answer.text());
            } else {
                assert_eq!(answer.header("content-length").unwrap(), original.body.len().to_string());
            }
            for private in
                ["anthropic-organization-id", "cf-ray", "server", "via", "x-envoy-upstream-service-time"]
            {
                assert!(original.header(private).is_some(), "the simulator no longer sends {private}");
                assert!(answer.header(private).is_none(), "{private} leaked");
            }
            let limits = |answer: &super::caller::Answer| {
                answer.headers.iter().filter(|(name, _)| name.starts_with("anthropic-ratelimit-")).count()
            };
            assert!(limits(&original) > 0 && limits(&answer) == 0);
            assert_eq!(answer.header("x-headgate-backend"), Some("sim"));
            assert_eq!(answer.header("x-headgate-attempts"), Some("1"));
            assert!(answer.header("x-headgate-queue-ms").is_some());
            assert!(answer.header("x-headgate-key").unwrap().starts_with("sim-org-"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_request_id_gets_ours() {
    let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{}}"#;
    let sent = format!(
        "HTTP/1.1 200 OK\r\nx-new: 1\r\nset-cookie: a=b\r\nx-new: 2\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{body}",
        body.len()
    );
    let upstream = Scripted::start(sent, Ending::Keep).await;
    let gateway = Running::start(&format!("backends:\n{}", upstream.backend("raw")));
    let answer = gateway.ask(&message("hi", false)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    assert!(
        answer.headers.iter().any(|(name, value)| name == "request-id" && value.starts_with("req_")),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_pass_where_they_may_and_the_pools_keys_are_not_named() {
    let stand = Stand::new("relay: { expose_upstream_limits: true, expose_key_names: false }");
    let answer = stand.gateway.ask(&message("hi", false)).await;
    assert!(answer.header("anthropic-ratelimit-requests-limit").is_some());
    assert!(
        answer.header("x-headgate-key").is_none() && answer.header("anthropic-organization-id").is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decompressed_and_no_redirect_is_followed() {
    let stand = Stand::new("");
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/v1/messages", other.local_addr().unwrap());
    let headers =
        vec![("location".to_owned(), target), ("content-type".to_owned(), "application/json".to_owned())];
    let knobs = Knobs { status: Some(307), body: Some("{}".into()), headers, ..Knobs::default() };
    stand.upstream.fail(fault(FaultKind::Raw, knobs));
    let answer = stand.gateway.ask(&message("hi", false)).await;
    assert!(answer.status >= 500 || answer.status == 307, "{answer:?}");
    let visited = tokio::time::timeout(std::time::Duration::from_millis(50), other.accept()).await;
    assert!(visited.is_err(), "the redirect was followed");

    let stand = Stand::new("");
    let headers = vec![("content-encoding".to_owned(), "gzip".to_owned())];
    let body = r#"{"id":"msg_1","type":"message","content":[]}"#.to_owned();
    stand.upstream.fail(Fault {
        kind: FaultKind::Raw,
        knobs: Knobs { body: Some(body.clone()), headers, ..Knobs::default() },
    });
    let answer = stand.gateway.ask(&message("hi", false)).await;
    assert!(answer.status == 200 && answer.text() == body || answer.status >= 500, "{answer:?}");
}
