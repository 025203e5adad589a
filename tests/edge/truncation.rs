//! However an upstream's answer breaks: before content the caller never knows, after it one `error` event says so.

use headgate::simulator::{Fault, FaultKind, Knobs, SimulatorConfig};

use super::caller::{Answer, message};
use super::scripted::{Ending, Scripted};
use super::stand::{Running, Upstream, after, backend, fault};

/// Faults beyond counting leave a backend in service.
pub const PATIENT: &str =
    "breaker: { consecutive_failures: 1000000, min_samples: 1000000 }\npark: { overloaded_ms: 0 }\n";

/// A gateway over two simulators, asked in this order.
pub struct Pair {
    pub gateway: Running,
    pub first: Upstream,
    pub second: Upstream,
}

impl Pair {
    pub fn new(yaml: &str) -> Self {
        let config = SimulatorConfig::default();
        let (first, second) = (Upstream::start(config.clone()), Upstream::start(config.clone()));
        let routes = "routes: [{ model: '*', targets: [{ backend: first }, { backend: second }] }]";
        let gateway = Running::start(&format!(
            "backends:\n{}{}{routes}\n{PATIENT}{yaml}",
            backend("first", &first.url(), &config),
            backend("second", &second.url(), &config)
        ));
        Self { gateway, first, second }
    }

    /// Asks while the first fails so; the second is sound.
    async fn ask(&self, fault: Fault, stream: bool) -> Answer {
        self.ask_with(fault, "tell me", stream).await
    }

    /// Asks for a stream whose events come apart: an error that comes in one read with the first content is hidden too.
    async fn ask_paced(&self, fault: Fault) -> Answer {
        self.ask_with(fault, "tell me [[sim:pace_ms=10]]", true).await
    }

    async fn ask_with(&self, fault: Fault, prompt: &str, stream: bool) -> Answer {
        let before = self.first.simulator.stats().requests;
        self.first.fail(fault);
        let answer = self.gateway.ask(&message(prompt, stream)).await;
        assert!(self.first.simulator.stats().requests > before, "the first was not asked");
        answer
    }
}

fn broken(kind: FaultKind, knobs: Knobs) -> Fault {
    fault(kind, knobs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_content_every_break_of_a_stream_is_hidden() {
    let pair = Pair::new("");
    pair.first.control().clear_faults(None);
    let sound = pair.gateway.ask(&message("tell me", true)).await;
    assert!(sound.is_whole_stream() && sound.header("x-headgate-backend") == Some("first"));
    let mut faults = Vec::new();
    for events in 0..=3 {
        faults.push(after(FaultKind::ErrorEvent, events));
        let knobs = Knobs { after_events: Some(events), same_chunk: true, ..Knobs::default() };
        faults.push(broken(FaultKind::ErrorEvent, knobs));
    }
    for kind in [FaultKind::Reset, FaultKind::Fin, FaultKind::Close, FaultKind::EndEarly] {
        for events in 0..=3 {
            faults.push(after(kind, events));
            for same_chunk in [false, true] {
                let knobs =
                    Knobs { after_events: Some(events), mid_event: true, same_chunk, ..Knobs::default() };
                faults.push(broken(kind, knobs));
            }
        }
    }
    for kind in [
        FaultKind::CloseBeforeHead,
        FaultKind::ResetBeforeHead,
        FaultKind::GarbageHead,
        FaultKind::WrongContentType,
        FaultKind::Unframed,
        FaultKind::ServerError,
        FaultKind::Unavailable,
        FaultKind::Overloaded,
        FaultKind::Html,
        FaultKind::Timeout,
    ] {
        faults.push(Fault::new(kind));
    }
    for fault in faults {
        let answer = pair.ask(fault.clone(), true).await;
        assert!(answer.is_whole_stream(), "{fault:?}: {answer:?}");
        assert_eq!(answer.deltas(), sound.deltas(), "{fault:?}");
        assert_eq!(answer.header("x-headgate-backend"), Some("second"), "{fault:?}");
    }
    pair.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_break_of_a_whole_answer_is_hidden() {
    let pair = Pair::new("");
    let mut faults: Vec<Fault> = [
        FaultKind::Reset,
        FaultKind::Fin,
        FaultKind::Close,
        FaultKind::CloseBeforeHead,
        FaultKind::ResetBeforeHead,
        FaultKind::GarbageHead,
        FaultKind::Garbage,
        FaultKind::WrongContentType,
        FaultKind::IncompleteJson,
        FaultKind::Unframed,
        FaultKind::ServerError,
        FaultKind::Html,
    ]
    .map(Fault::new)
    .to_vec();
    for kind in [FaultKind::Reset, FaultKind::Fin, FaultKind::Close] {
        faults.push(broken(kind, Knobs { after_bytes: Some(0), ..Knobs::default() }));
        faults.push(broken(kind, Knobs { after_bytes: Some(1), ..Knobs::default() }));
    }
    for fault in faults {
        let answer = pair.ask(fault.clone(), false).await;
        assert!(answer.status == 200 && answer.complete, "{fault:?}: {answer:?}");
        assert_eq!(answer.json()["type"], "message", "{fault:?}");
        assert_eq!(answer.header("x-headgate-backend"), Some("second"), "{fault:?}");
        assert_eq!(answer.header("x-headgate-attempts"), Some("2"), "{fault:?}");
    }
    pair.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_content_a_break_ends_in_exactly_one_error_event() {
    let pair = Pair::new("deadlines: { idle_ms: 300 }");
    let mut faults = Vec::new();
    for kind in [FaultKind::Reset, FaultKind::Fin, FaultKind::Close, FaultKind::EndEarly, FaultKind::Stall] {
        faults.push(after(kind, 5));
        let knobs = Knobs { after_events: Some(5), mid_event: true, ..Knobs::default() };
        faults.push(broken(kind, knobs));
    }
    faults.push(after(FaultKind::ErrorEvent, 5));
    faults
        .push(broken(FaultKind::Fin, Knobs { after_events: Some(5), same_chunk: true, ..Knobs::default() }));
    for fault in faults {
        let calls = pair.second.simulator.stats().requests;
        let answer = pair.ask_paced(fault.clone()).await;
        assert_eq!(
            (answer.status, answer.count("error"), answer.count("message_stop")),
            (200, 1, 0),
            "{fault:?}"
        );
        assert_eq!(answer.events().last().unwrap(), "error", "{fault:?}: {}", answer.text());
        assert!(answer.complete, "{fault:?}: the framing of the caller's stream is broken");
        assert!(answer.text().ends_with("\n\n") && answer.count("content_block_delta") >= 2, "{fault:?}");
        let events = answer.text();
        for data in events.lines().filter_map(|line| line.strip_prefix("data: ")) {
            serde_json::from_str::<serde_json::Value>(data)
                .unwrap_or_else(|_| panic!("half an event: {events}"));
        }
        assert_eq!(pair.second.simulator.stats().requests, calls, "{fault:?}: retried after content");
    }
    pair.gateway.idle().await;
    assert_eq!(pair.gateway.metric("requests_total", "outcome=\"ok\"").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_everything_breaks_the_caller_is_told_in_the_envelope() {
    let pair = Pair::new("relay: { max_wait_ms: 0 }");
    for (fault, status, error_type) in [
        (Fault::new(FaultKind::ResetBeforeHead), 502, "api_error"),
        (after(FaultKind::Fin, 1), 502, "api_error"),
        (Fault::new(FaultKind::GarbageHead), 502, "api_error"),
        (Fault::new(FaultKind::ServerError), 500, "api_error"),
        (Fault::new(FaultKind::Overloaded), 529, "overloaded_error"),
    ] {
        pair.second.fail(fault.clone());
        let answer = pair.ask(fault.clone(), true).await;
        answer.assert_error(status, error_type);
    }
    pair.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_stream_ends_once_even_if_upstream_holds_or_doubles_its_end() {
    let pair = Pair::new("");
    for kind in [FaultKind::HoldOpen, FaultKind::DuplicateStop, FaultKind::CloseAfter, FaultKind::ByteWrites]
    {
        let start = std::time::Instant::now();
        let answer = pair.ask(Fault::new(kind), true).await;
        assert!(answer.is_whole_stream(), "{kind:?}: {}", answer.text());
        assert_eq!(answer.header("x-headgate-backend"), Some("first"));
        let last = answer.arrivals.last().unwrap().0;
        assert!(last.elapsed() < std::time::Duration::from_millis(500), "{kind:?}: {:?}", start.elapsed());
    }
    pair.gateway.idle().await;
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n";
const CONTENT: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":\
                       {\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: \
                       {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_inside_a_chunk_or_short_of_its_length_is_no_end() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let (start, content) = (chunk(START), chunk(CONTENT));
    let hidden = [
        (format!("{HEAD}{}", &start[..start.len() - 30]), true),
        (format!("{HEAD}{start}2"), true),
        (format!("{HEAD}{start}zz\r\n"), true),
        (HEAD[..40].to_owned(), true),
        (format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\n{{}}", "x-many: 1\r\n".repeat(200)), false),
        (
            format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 2\r\n\r\n{{}}", "l".repeat(200_000)),
            false,
        ),
        (format!("{whole}content-length: 500\r\n\r\n{{\"type\":\"message\",\"content\":[]}}"), false),
        (
            format!(
                "{whole}transfer-encoding: chunked\r\n\r\n{}",
                chunk("{\"type\":\"message\",\"content\":[]}")
            ),
            false,
        ),
    ];
    let told = [
        format!("{HEAD}{start}{content}"),
        format!("{HEAD}{start}{content}{}", &content[..40]),
        format!("{HEAD}{start}{content}ff"),
        format!("{HEAD}{start}{content}zz\r\n"),
    ];
    let config = SimulatorConfig::default();
    let second = Upstream::start(config.clone());
    for ending in [Ending::Fin, Ending::Reset] {
        let gateway = |first: &Scripted| {
            let second = backend("second", &second.url(), &config);
            let routes = "routes: [{ model: '*', targets: [{ backend: first }, { backend: second }] }]";
            Running::start(&format!("backends:\n{}{second}{routes}", first.backend("first")))
        };
        for (answer, stream) in &hidden {
            let first = Scripted::start(answer.as_bytes(), ending).await;
            let gateway = gateway(&first);
            let told = gateway.ask(&message("tell me", *stream)).await;
            assert_eq!(first.served(), 1);
            assert_eq!(told.header("x-headgate-backend"), Some("second"), "{answer}: {told:?}");
            assert!(
                if *stream { told.is_whole_stream() } else { told.json()["type"] == "message" },
                "{told:?}"
            );
        }
        for answer in &told {
            let first = Scripted::start(answer.as_bytes(), ending).await;
            let gateway = gateway(&first);
            let told = gateway.ask(&message("tell me", true)).await;
            assert_eq!(
                (told.count("error"), told.count("message_stop")),
                (1, 0),
                "{answer}: {}",
                told.text()
            );
            assert!(told.complete && told.events().last().unwrap() == "error", "{}", told.text());
            assert!(told.text().starts_with(&format!("{START}{CONTENT}")), "{}", told.text());
        }
    }
}
