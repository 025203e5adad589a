//! The simulator on real sockets: what clients see on the wire, byte for byte where it matters.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use headgate::simulator::config::{Accept, ConnectionConfig, KeyConfig, LimitConfig, OrganizationConfig};
use headgate::simulator::{
    Ending, Fault, FaultKind, FaultRule, Knobs, RetrySyntax, RunningSimulator, Simulator, SimulatorConfig,
    Stats,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(10);
const KEY: &str = "sk-ant-api03-sim-org-a-1";

async fn start(config: SimulatorConfig) -> RunningSimulator {
    Simulator::start(config, ([127, 0, 0, 1], 0).into()).await.unwrap()
}

fn prompt(text: &str, stream: bool) -> String {
    let messages = serde_json::json!([{"role": "user", "content": text}]);
    serde_json::json!({"model": "claude-sonnet-5", "max_tokens": 1_000, "stream": stream, "messages": messages}).to_string()
}

fn request(method: &str, target: &str, key: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: sim\r\nx-api-key: {key}\r\nanthropic-version: 2026-10-21\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What one connection brought, and how it ended.
#[derive(Debug)]
struct Wire {
    bytes: Vec<u8>,
    end: Option<ErrorKind>,
}

impl Wire {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn status(&self) -> u16 {
        self.text().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next()?.to_owned();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn events(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("event: ").map(str::to_owned)).collect()
    }

    fn terminated(&self) -> bool {
        self.bytes.ends_with(b"\r\n0\r\n\r\n")
    }
}

/// Sends bytes and reads until `enough`, the end, or an error.
async fn exchange(simulator: &RunningSimulator, bytes: &str, enough: impl Fn(&Wire) -> bool) -> Wire {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read(&mut stream, enough).await
}

async fn read(stream: &mut TcpStream, enough: impl Fn(&Wire) -> bool) -> Wire {
    let mut wire = Wire { bytes: Vec::new(), end: None };
    let mut buffer = vec![0; 64 * 1024];
    while !enough(&wire) {
        match tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.expect("the simulator is silent")
        {
            Ok(0) => break,
            Ok(count) => wire.bytes.extend_from_slice(&buffer[..count]),
            Err(error) => {
                wire.end = Some(error.kind());
                break;
            }
        }
    }
    wire
}

/// One answer on a connection of its own.
async fn ask(simulator: &RunningSimulator, key: &str, text: &str, stream: bool) -> Wire {
    let request = request("POST", "/v1/messages", key, &prompt(text, stream));
    let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    exchange(simulator, &closing, |_| false).await
}

async fn with_fault(fault: Fault, stream: bool) -> Wire {
    let simulator = start(SimulatorConfig::default()).await;
    simulator.control().set_faults(vec![fault.into()]);
    ask(&simulator, KEY, "hi", stream).await
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind)
}

fn fault_after(kind: FaultKind, events: usize) -> Fault {
    Fault { kind, knobs: Knobs { after_events: Some(events), ..Knobs::default() } }
}

async fn until(simulator: &RunningSimulator, reached: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = simulator.stats();
        if reached(&stats) {
            return stats;
        }
        assert!(start.elapsed() < DEADLINE, "not reached: {stats:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

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
async fn status_faults_have_their_envelopes() {
    let cases = [
        (FaultKind::InvalidKey, 401, "authentication_error", "invalid"),
        (FaultKind::Billing, 402, "billing_error", "billing"),
        (FaultKind::Forbidden, 403, "permission_error", "permission"),
        (FaultKind::ModelNotFound, 404, "not_found_error", "claude-sonnet-5"),
        (FaultKind::RateLimited, 429, "rate_limit_error", "rate limit"),
        (FaultKind::EnforcedSpendLimit, 429, "rate_limit_error", "spend limit"),
        (
            FaultKind::UsageLimit,
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits",
        ),
        (FaultKind::LowCredit, 400, "invalid_request_error", "Your credit balance is too low"),
        (FaultKind::OnHold, 400, "invalid_request_error", "on hold"),
        (FaultKind::TooLarge, 413, "request_too_large", "maximum size"),
        (FaultKind::Unprocessable, 422, "invalid_request_error", ""),
        (FaultKind::ServerError, 500, "api_error", ""),
        (FaultKind::Unavailable, 503, "api_error", ""),
        (FaultKind::Timeout, 504, "timeout_error", ""),
        (FaultKind::Overloaded, 529, "overloaded_error", "Overloaded"),
    ];
    for (kind, status, error_type, message) in cases {
        let wire = with_fault(fault(kind), false).await;
        let json = wire.json();
        assert_eq!(
            (wire.status(), json["error"]["type"].as_str().unwrap()),
            (status, error_type),
            "{kind:?}"
        );
        assert!(json["error"]["message"].as_str().unwrap().contains(message), "{json}");
        assert_eq!(wire.header("retry-after").is_some(), kind == FaultKind::RateLimited, "{kind:?}");
    }
    let page = with_fault(fault(FaultKind::Html), false).await;
    assert!(page.status() == 502 && page.text().ends_with("</html>\r\n"));
}

#[tokio::test]
async fn retry_after_has_the_syntax_asked_for() {
    let knobs =
        Knobs { retry_after: Some(37.0), retry_syntax: Some(RetrySyntax::HttpDate), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::RateLimited, knobs }, false).await;
    assert!(wire.header("retry-after").unwrap().ends_with("GMT"));
    let knobs = Knobs { retry_after: Some(37.0), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::Overloaded, knobs }, false).await;
    assert_eq!(wire.header("retry-after").as_deref(), Some("37"));
}

#[tokio::test]
async fn before_the_head_a_close_is_a_fin_and_a_reset_is_a_reset() {
    let closed = with_fault(fault(FaultKind::CloseBeforeHead), false).await;
    assert!(closed.bytes.is_empty() && closed.end.is_none(), "{closed:?}");
    let reset = with_fault(fault(FaultKind::ResetBeforeHead), false).await;
    assert!(reset.bytes.is_empty() && reset.end == Some(ErrorKind::ConnectionReset), "{reset:?}");
}

#[tokio::test]
async fn in_the_middle_a_reset_is_a_reset_and_a_fin_is_a_fin() {
    let reset = with_fault(fault_after(FaultKind::Reset, 5), true).await;
    assert_eq!((reset.events().len(), reset.end), (5, Some(ErrorKind::ConnectionReset)));
    let fin = with_fault(fault_after(FaultKind::Fin, 5), true).await;
    assert_eq!((fin.events().len(), fin.end), (5, None));
    assert!(!fin.terminated() && fin.text().ends_with("\n\n\r\n"), "{}", fin.text());
    let knobs = Knobs { after_events: Some(5), mid_event: true, ..Knobs::default() };
    let half = with_fault(Fault { kind: FaultKind::Fin, knobs }, true).await;
    assert!(half.events().len() == 6 && !half.text().ends_with("\n\n\r\n"), "{}", half.text());
    let whole = with_fault(fault(FaultKind::Reset), false).await;
    let announced: usize = whole.header("content-length").unwrap().parse().unwrap();
    let came = whole.text().split_once("\r\n\r\n").unwrap().1.len();
    assert!(came == announced / 2 && whole.end == Some(ErrorKind::ConnectionReset), "{came} of {announced}");
}

#[tokio::test]
async fn a_break_may_be_placed_by_bytes_and_by_deltas() {
    let knobs = Knobs { after_bytes: Some(700), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::Fin, knobs }, true).await;
    assert!(!wire.terminated() && wire.end.is_none());
    let knobs = Knobs { after_deltas: Some(2), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::Fin, knobs }, true).await;
    assert_eq!(wire.events().iter().filter(|event| *event == "content_block_delta").count(), 2);
    assert_eq!(wire.events().len(), 5);
}

#[tokio::test]
async fn an_early_end_looks_clean() {
    let wire = with_fault(fault(FaultKind::EndEarly), true).await;
    assert!(wire.terminated() && !wire.text().contains("message_stop"), "{}", wire.text());
    let whole = with_fault(fault(FaultKind::IncompleteJson), false).await;
    let body = whole.text().split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(whole.header("content-length").unwrap().parse::<usize>().unwrap(), body.len());
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_err());
}

#[tokio::test]
async fn an_error_event_may_come_before_the_content_and_in_the_same_chunk() {
    let wire = with_fault(fault(FaultKind::ErrorEvent), true).await;
    assert_eq!(wire.events(), ["message_start", "ping", "error"]);
    assert!(wire.terminated() && wire.text().contains("overloaded_error"));
    let knobs = Knobs { same_chunk: true, error_type: Some("api_error".into()), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::ErrorEvent, knobs }, true).await;
    let body = wire.text().split_once("\r\n\r\n").unwrap().1.to_owned();
    let (size, rest) = body.split_once("\r\n").unwrap();
    let size = usize::from_str_radix(size, 16).unwrap();
    assert!(rest[..size].starts_with("event: message_start") && rest[..size].contains("event: error"));
    assert_eq!(&rest[size..], "\r\n0\r\n\r\n");
    let started = with_fault(fault_after(FaultKind::ErrorEvent, 3), true).await;
    assert_eq!(started.events(), ["message_start", "ping", "content_block_start", "error"]);
}

#[tokio::test]
async fn stalls_are_silent_until_the_client_leaves() {
    for (kind, events, wanted) in
        [(FaultKind::StallBeforeHead, 0, 0), (FaultKind::Stall, 0, 0), (FaultKind::Stall, 1, 1)]
    {
        let simulator = start(SimulatorConfig::default()).await;
        simulator.control().set_faults(vec![fault_after(kind, events).into()]);
        let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let sent = request("POST", "/v1/messages", KEY, &prompt("hi", true));
        stream.write_all(sent.as_bytes()).await.unwrap();
        if kind == FaultKind::Stall {
            let wire =
                read(&mut stream, |wire| wire.text().contains("\r\n\r\n") && wire.events().len() == wanted)
                    .await;
            assert_eq!(wire.status(), 200);
        }
        until(&simulator, |stats| stats.in_flight == 1 && !stats.keys[0].outcomes.is_empty()).await;
        let mut byte = [0; 1];
        let silence = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut byte)).await;
        assert!(wanted > 0 || silence.is_err(), "{kind:?} spoke");
        drop(stream);
        let stats = until(&simulator, |stats| stats.in_flight == 0 && stats.connections_open == 0).await;
        assert_eq!(stats.keys[0].endings[&Ending::ClientAborted], 1);
    }
}

#[tokio::test]
async fn the_socket_stays_open_after_message_stop() {
    let simulator = start(SimulatorConfig::default()).await;
    simulator.control().set_faults(vec![fault(FaultKind::HoldOpen).into()]);
    let sent = request("POST", "/v1/messages", KEY, &prompt("hi", true));
    let wire = exchange(&simulator, &sent, |wire| wire.text().contains("\"message_stop\"}\n\n\r\n")).await;
    assert!(!wire.terminated());
    let stats = until(&simulator, |stats| stats.in_flight == 0).await;
    assert_eq!(stats.keys[0].endings[&Ending::Complete], 1);
}

#[tokio::test]
async fn oddities_are_on_the_wire_as_named() {
    let twice = with_fault(fault(FaultKind::DuplicateStop), true).await;
    assert_eq!(twice.events().iter().filter(|event| *event == "message_stop").count(), 2);
    let garbage = with_fault(fault(FaultKind::GarbageHead), true).await;
    assert!(!garbage.bytes.starts_with(b"HTTP/"));
    let middle = with_fault(fault(FaultKind::Garbage), true).await;
    assert!(middle.bytes.windows(2).any(|pair| pair == b"\xff\xfe") && middle.terminated());
    let wrong = with_fault(fault(FaultKind::WrongContentType), true).await;
    assert!(wrong.status() == 200 && wrong.header("content-type").unwrap().starts_with("text/html"));
    let unframed = with_fault(fault(FaultKind::Unframed), false).await;
    assert!(unframed.header("content-length").is_none() && unframed.header("transfer-encoding").is_none());
    assert_eq!(unframed.json()["type"], "message");
    let hints = with_fault(fault(FaultKind::EarlyHints), false).await;
    assert!(hints.status() == 103 && hints.text().contains("\r\n\r\nHTTP/1.1 200 OK\r\n"));
    let after = with_fault(fault(FaultKind::CloseAfter), false).await;
    assert!(after.header("connection").is_none() && after.json()["type"] == "message" && after.end.is_none());
    let bytes = with_fault(fault(FaultKind::ByteWrites), true).await;
    assert!(bytes.terminated() && bytes.text().contains("message_stop"));
}

#[tokio::test]
async fn only_pings_for_a_time() {
    let knobs = Knobs { for_ms: Some(30), every_ms: Some(10), ..Knobs::default() };
    let wire = with_fault(Fault { kind: FaultKind::Pings, knobs }, true).await;
    assert_eq!(wire.events()[..5], ["message_start", "ping", "ping", "ping", "ping"]);
    assert!(wire.terminated() && wire.text().contains("message_stop"));
}

#[tokio::test]
async fn an_early_413_is_readable_while_the_client_still_sends() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: sim\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
        40 * 1024 * 1024
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b' '; 64 * 1024];
    for _ in 0..32 {
        stream.write_all(&chunk).await.unwrap();
    }
    let wire = read(&mut stream, |_| false).await;
    assert_eq!((wire.status(), wire.end), (413, None));
    assert_eq!(wire.json()["error"]["type"], "request_too_large");
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
    let requests = call("GET", "/__sim/requests?key=org-a-1&bodies=sha256", "").await.json();
    assert_eq!((requests.as_array().unwrap().len(), requests[0]["body"].as_str().unwrap().len()), (2, 64));
    assert_eq!(call("POST", "/__sim/faults", "[{\"fault\":\"gremlins\"}]").await.status(), 400);
    assert_eq!(call("DELETE", "/__sim/faults", "").await.status(), 200);
    assert_eq!(call("POST", "/__sim/reset", "").await.status(), 200);
    assert_eq!(simulator.stats().keys[0].requests, 0);
}

#[tokio::test]
async fn a_script_faults_successive_requests() {
    let simulator = start(SimulatorConfig::default()).await;
    let script = [FaultKind::Overloaded, FaultKind::None, FaultKind::ServerError].map(Fault::new).to_vec();
    simulator.control().set_key_faults("org-a-1", vec![FaultRule { script, ..FaultRule::default() }]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(&simulator, KEY, "hi", false).await.status());
    }
    assert_eq!(seen, [529, 200, 500, 200]);
}
