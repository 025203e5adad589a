//! Every fault does on the wire what its name says.

use std::io::ErrorKind;
use std::time::Duration;

use headgate::simulator::{Ending, Fault, FaultKind, FaultRule, Knobs, RetrySyntax, SimulatorConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::*;

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

#[tokio::test]
async fn a_body_may_be_read_slowly_and_an_answer_delayed() {
    let simulator = start(SimulatorConfig::default()).await;
    let slow = Knobs { bytes_per_s: Some(1_000_000), ..Knobs::default() };
    let late = Knobs { for_ms: Some(100), ..Knobs::default() };
    for (kind, knobs) in [(FaultKind::SlowRead, slow), (FaultKind::Delay, late)] {
        simulator.control().set_faults(vec![Fault { kind, knobs }.into()]);
        assert_eq!(ask(&simulator, KEY, &"x".repeat(100_000), false).await.status(), 200);
        let requests = simulator.requests();
        let last = requests.last().unwrap();
        let (_, ended_ms) = last.ended.unwrap();
        assert!(ended_ms - last.at_ms >= 95, "{kind:?}: {} ms", ended_ms - last.at_ms);
    }
}

#[tokio::test]
async fn a_refusal_may_come_before_the_body_is_read() {
    let simulator = start(SimulatorConfig::default()).await;
    let knobs = Knobs { unread: true, ..Knobs::default() };
    simulator.control().set_faults(vec![Fault { kind: FaultKind::Overloaded, knobs }.into()]);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: sim\r\nx-api-key: {KEY}\r\ncontent-length: 1000\r\n\r\n"
    );
    let wire = exchange(&simulator, &head, |wire| wire.text().contains("request_id")).await;
    assert_eq!((wire.status(), wire.header("connection").as_deref()), (529, Some("close")));
}
