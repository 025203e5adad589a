//! The simulator on real sockets: what clients see on the wire, byte for byte where it matters.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod bedrock;
mod faults;
mod tls;
mod vertex;
mod wire;

use std::io::ErrorKind;

use headgate::simulator::config::{Accept, ConnectionConfig, KeyConfig, LimitConfig, OrganizationConfig};
use headgate::simulator::{Ending, SimulatorConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use wire::*;

fn limited(limit: LimitConfig) -> SimulatorConfig {
    let key = |name: &str| KeyConfig { name: name.into(), secret: name.into(), ..KeyConfig::default() };
    let organization = |name: &str, keys| OrganizationConfig {
        name: name.into(),
        limits: vec![limit.clone()],
        keys,
        ..OrganizationConfig::default()
    };
    let organizations =
        vec![organization("one", vec![key("k1"), key("k2")]), organization("two", vec![key("k3")])];
    SimulatorConfig { organizations, ..SimulatorConfig::default() }
}

#[tokio::test]
async fn a_stream_has_the_events_and_headers_of_the_api() {
    let simulator = start(SimulatorConfig::default()).await;
    let wire = ask(&simulator, KEY, "hi", true).await;
    assert_eq!(wire.status(), 200);
    assert_eq!(wire.header("content-type").unwrap(), "text/event-stream; charset=utf-8");
    let events = wire.events();
    assert_eq!(events[..3], ["message_start", "ping", "content_block_start"]);
    assert!(events[3..events.len() - 3].iter().all(|event| event == "content_block_delta"));
    assert_eq!(events[events.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(wire.terminated());
    for name in ["requests", "tokens", "input-tokens", "output-tokens"] {
        for part in ["limit", "remaining"] {
            let value = wire.header(&format!("anthropic-ratelimit-{name}-{part}")).unwrap();
            assert!(value.parse::<u64>().is_ok(), "{value}");
        }
        let reset = wire.header(&format!("anthropic-ratelimit-{name}-reset")).unwrap();
        assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
    }
    let id = wire.header("request-id").unwrap();
    assert!(id.starts_with("req_") && id.len() == 28, "{id}");
    for name in ["anthropic-organization-id", "cf-ray", "via", "x-envoy-upstream-service-time"] {
        assert!(wire.header(name).is_some(), "{name}");
    }
    assert_eq!(wire.header("server").unwrap(), "cloudflare");
}

#[tokio::test]
async fn equal_requests_get_equal_answers_ids_apart() {
    let simulator = start(SimulatorConfig::default()).await;
    let (first, second) =
        (ask(&simulator, KEY, "same", false).await.json(), ask(&simulator, KEY, "same", false).await.json());
    assert_eq!((&first["content"], &first["usage"]), (&second["content"], &second["usage"]));
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn errors_carry_the_request_id_in_header_and_body() {
    let simulator = start(SimulatorConfig::default()).await;
    let cases = [
        (
            "POST",
            "/v1/messages",
            "nobody",
            prompt("hi", false),
            401,
            "authentication_error",
            "invalid x-api-key",
        ),
        ("POST", "/v1/messages", KEY, "{}".to_owned(), 400, "invalid_request_error", "model: Field required"),
        (
            "POST",
            "/v1/messages?beta=true",
            KEY,
            "{".to_owned(),
            400,
            "invalid_request_error",
            "not valid JSON",
        ),
        ("GET", "/v1/messages", KEY, String::new(), 405, "invalid_request_error", "Method Not Allowed"),
        ("POST", "/v2/messages", KEY, String::new(), 404, "not_found_error", "Not found"),
    ];
    for (method, target, key, body, status, kind, message) in cases {
        let sent = request(method, target, key, &body).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let wire = exchange(&simulator, &sent, |_| false).await;
        let json = wire.json();
        assert_eq!((wire.status(), json["error"]["type"].as_str().unwrap()), (status, kind));
        assert!(json["error"]["message"].as_str().unwrap().contains(message), "{json}");
        assert_eq!(json["request_id"].as_str(), wire.header("request-id").as_deref());
    }
}

#[tokio::test]
async fn keys_of_one_organization_share_a_bucket_and_the_wait_is_exact() {
    let limit = LimitConfig { rpm: 2, input_tpm: 0, output_tpm: 0, ..LimitConfig::default() };
    let simulator = start(limited(limit)).await;
    assert_eq!(ask(&simulator, "k1", "hi", false).await.status(), 200);
    assert_eq!(ask(&simulator, "k2", "hi", false).await.status(), 200);
    let refused = ask(&simulator, "k1", "hi", false).await;
    assert_eq!((refused.status(), refused.header("retry-after").as_deref()), (429, Some("30")));
    assert_eq!(refused.header("anthropic-ratelimit-requests-remaining").as_deref(), Some("0"));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let organization = refused.header("anthropic-organization-id").unwrap();
    assert!(message.contains(&organization) && message.contains("2 requests per minute"), "{message}");
    assert_eq!(ask(&simulator, "k2", "hi", false).await.status(), 429);
    assert_eq!(ask(&simulator, "k3", "hi", false).await.status(), 200);
}

#[tokio::test]
async fn output_is_charged_and_the_next_request_waits() {
    let limit = LimitConfig { rpm: 0, input_tpm: 0, output_tpm: 60, ..LimitConfig::default() };
    let simulator = start(limited(limit)).await;
    let answer = ask(&simulator, "k1", "[[sim:bytes=480]]", false).await;
    assert_eq!(answer.json()["usage"]["output_tokens"], 120);
    let wait: u64 = ask(&simulator, "k1", "hi", false).await.header("retry-after").unwrap().parse().unwrap();
    assert!((60..=61).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_repeated_prefix_is_read_from_the_cache() {
    let simulator = start(SimulatorConfig::default()).await;
    let system = serde_json::json!([{"type": "text", "text": "s".repeat(8_000), "cache_control": {"type": "ephemeral"}}]);
    let mut body: serde_json::Value = serde_json::from_str(&prompt("hi", false)).unwrap();
    body["system"] = system;
    let sent = request("POST", "/v1/messages", KEY, &body.to_string()).replacen(
        "\r\n",
        "\r\nconnection: close\r\n",
        1,
    );
    let mut usage = Vec::new();
    for _ in 0..2 {
        usage.push(exchange(&simulator, &sent, |_| false).await.json()["usage"].clone());
    }
    assert_eq!(usage[0]["cache_read_input_tokens"], 0);
    assert_eq!(usage[0]["cache_creation_input_tokens"], usage[1]["cache_read_input_tokens"]);
    assert_eq!(usage[1]["cache_creation_input_tokens"], 0);
    assert!(usage[1]["cache_read_input_tokens"].as_u64().unwrap() > 2_000);
}

#[tokio::test]
async fn what_was_received_is_on_record_byte_for_byte() {
    let simulator = start(SimulatorConfig::default()).await;
    let body = prompt("  exact   bytes ", false);
    let sent = request("POST", "/v1/messages?beta=true", KEY, &body);
    exchange(&simulator, &sent, |wire| wire.text().contains("\"service_tier\"")).await;
    let stats = until(&simulator, |stats| stats.in_flight == 0).await;
    assert_eq!(
        (stats.keys[0].requests, stats.keys[0].outcomes["200"], stats.keys[0].last4.as_str()),
        (1, 1, "-a-1")
    );
    let recorded = &simulator.requests()[0];
    assert_eq!(
        (recorded.body.as_ref(), recorded.target.as_str()),
        (body.as_bytes(), "/v1/messages?beta=true")
    );
    let names: Vec<&str> = recorded.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "x-api-key", "anthropic-version", "content-type", "content-length"]);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let sent = request("POST", "/v1/messages", KEY, &prompt("[[sim:pace_ms=20,events=1000]]", true));
    stream.write_all(sent.as_bytes()).await.unwrap();
    read(&mut stream, |wire| wire.text().contains("content_block_delta")).await;
    assert_eq!(simulator.stats().streams_open, 1);
    drop(stream);
    let stats = until(&simulator, |stats| stats.streams_open == 0 && stats.connections_open == 0).await;
    assert_eq!((stats.aborted.len(), stats.keys[0].endings[&Ending::ClientAborted]), (1, 1));
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let connection = ConnectionConfig { idle_close_ms: 30, ..ConnectionConfig::default() };
    let simulator = start(SimulatorConfig { connection, ..SimulatorConfig::default() }).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let sent = request("POST", "/v1/messages", KEY, &prompt("[[sim:latency_ms=200]]", false));
    stream.write_all(sent.as_bytes()).await.unwrap();
    let wire = read(&mut stream, |_| false).await;
    assert_eq!((wire.status(), wire.end), (200, None));
}

#[tokio::test]
async fn connections_may_be_refused() {
    let simulator = start(SimulatorConfig::default()).await;
    let connection = ConnectionConfig { accept: Accept::Reset, ..ConnectionConfig::default() };
    simulator.control().set_connection(connection);
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let wire = read(&mut stream, |_| false).await;
    assert_eq!(wire.end, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn keys_are_revoked_and_restored_live() {
    let simulator = start(SimulatorConfig::default()).await;
    assert!(simulator.control().revoke("org-a-1"));
    assert_eq!(ask(&simulator, KEY, "hi", false).await.status(), 401);
    assert!(simulator.control().restore("org-a-1"));
    assert_eq!(ask(&simulator, KEY, "hi", false).await.status(), 200);
    assert!(!simulator.control().revoke("nobody"));
}

#[tokio::test]
async fn the_control_api_sets_faults_and_shows_requests() {
    let simulator = start(SimulatorConfig::default()).await;
    let call = async |method: &str, target: &str, body: &str| {
        let sent = request(method, target, "", body).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        exchange(&simulator, &sent, |_| false).await
    };
    let rules = r#"[{"fault":{"kind":"overloaded","retry_after":3},"count":1}]"#;
    assert_eq!(call("POST", "/__sim/faults?key=org-a-1", rules).await.status(), 200);
    assert_eq!(ask(&simulator, KEY, "hi", false).await.status(), 529);
    assert_eq!(ask(&simulator, KEY, "hi", false).await.status(), 200);
    assert_eq!(call("GET", "/__sim/stats", "").await.json()["keys"][0]["outcomes"]["529"], 1);
    let requests =
        call("GET", "/__sim/requests?key=org-a-1&bodies=sha256", "").await.json()["requests"].clone();
    assert_eq!((requests.as_array().unwrap().len(), requests[0]["body"].as_str().unwrap().len()), (2, 64));
    let first = call("GET", "/__sim/requests", "").await.json()["requests"][0].clone();
    assert_eq!(
        (first["path"].as_str(), first["headers"]["host"].as_str()),
        (Some("/v1/messages"), Some("sim"))
    );
    assert_eq!(first["body"].as_str(), Some(prompt("hi", false).as_str()));
    assert_eq!(call("GET", "/__sim/healthz", "").await.status(), 200);
    assert_eq!(call("POST", "/__sim/faults", "[{\"fault\":\"gremlins\"}]").await.status(), 400);
    assert_eq!(call("DELETE", "/__sim/faults", "").await.status(), 200);
    assert_eq!(call("POST", "/__sim/reset", "").await.status(), 200);
    assert_eq!(simulator.stats().keys[0].requests, 0);
}

#[tokio::test]
async fn requests_at_once_are_limited_by_key_and_over_all() {
    let mut config = limited(LimitConfig::default());
    config.organizations[0].keys[0].concurrent = 1;
    config.concurrent = 2;
    let simulator = start(config).await;
    let mut held = Vec::new();
    for (key, in_flight) in [("k1", 1), ("k2", 2)] {
        let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let sent = request("POST", "/v1/messages", key, &prompt("[[sim:latency_ms=60000]]", false));
        stream.write_all(sent.as_bytes()).await.unwrap();
        until(&simulator, |stats| stats.in_flight == in_flight).await;
        held.push(stream);
    }
    let by_key = ask(&simulator, "k1", "hi", false).await;
    assert_eq!((by_key.status(), by_key.header("retry-after").as_deref()), (429, Some("1")));
    assert_eq!(ask(&simulator, "k3", "hi", false).await.status(), 529);
    drop(held);
    until(&simulator, |stats| stats.in_flight == 0).await;
    assert_eq!(ask(&simulator, "k1", "hi", false).await.status(), 200);
}

#[tokio::test]
async fn a_stopped_simulator_breaks_its_connections() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    until(&simulator, |stats| stats.connections_open == 1).await;
    simulator.stop();
    let wire = read(&mut stream, |_| false).await;
    assert!(wire.bytes.is_empty());
    until(&simulator, |stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_an_abort() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let sent = request("POST", "/v1/messages", KEY, &prompt("hi", false));
    stream.write_all(&sent.as_bytes()[..sent.len() - 5]).await.unwrap();
    until(&simulator, |stats| stats.in_flight == 1).await;
    drop(stream);
    let stats = until(&simulator, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.aborted.len(), stats.keys[0].outcomes.len()), (1, 0));
}
