//! The caller leaves: upstream is closed, nothing stays open, one record says so, nothing is tried again.

use std::time::{Duration, Instant};

use headgate::simulator::config::{KeyConfig, OrganizationConfig, SimulatorConfig};
use headgate::simulator::{Ending, FaultKind, Knobs};

use super::caller::{Connection, post, prompt};
use super::log;
use super::stand::{Running, Stand, Upstream, after, backend, fault, until};

const SOON: Duration = Duration::from_secs(1);
/// Goes on where the text of a backend ends.
const READ_ON: &str = "    drain_on_disconnect: true\n";

fn ask(model: &str, stream: bool) -> String {
    post("/v1/messages", "", &prompt(model, "tell me", stream))
}

/// One record of `model` exists, and it says that the caller left.
async fn assert_closed_by_client(stand: &Stand, model: &str) {
    until("the record is written", async || !log::records(model).is_empty()).await;
    stand.gateway.idle().await;
    let records = log::records(model);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["outcome"], "client_closed", "{records:?}");
    assert_eq!(stand.gateway.metric("requests_total", "client_closed").await, 1.0);
    assert_eq!(stand.gateway.gateway.buffered.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// The caller's only request for `model` is under way: soon after it leaves nothing is, and nothing was tried again.
async fn assert_leaving_closes_upstream(stand: &Stand, caller: Connection, model: &str) {
    drop(caller);
    let left = Instant::now();
    let stats = stand
        .upstream
        .until("upstream is closed", |stats| stats.in_flight == 0 && stats.connections_open == 0)
        .await;
    assert!(left.elapsed() < SOON, "{model}: {:?}", left.elapsed());
    assert_eq!((stats.aborted.len(), stats.requests), (1, 1), "{model}");
    assert_closed_by_client(stand, model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_waiting_for_a_key() {
    let stand = Stand::new("relay: { max_wait_ms: 30000 }\npark: { retry_after_buffer_ms: 0 }");
    let knobs = Knobs { retry_after: Some(5.0), ..Knobs::default() };
    stand.upstream.fail(fault(FaultKind::RateLimited, knobs));
    let mut caller = stand.gateway.connect().await;
    caller.send(ask("claude-left-queue", true).as_bytes()).await;
    until("it waits", async || stand.gateway.metric("queue_depth", "").await == 1.0).await;
    let asked = stand.upstream.simulator.stats().requests;
    drop(caller);
    let left = Instant::now();
    assert_closed_by_client(&stand, "claude-left-queue").await;
    assert!(left.elapsed() < SOON);
    assert_eq!(stand.upstream.simulator.stats().requests, asked, "a caller who left was served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_head_before_the_first_event_and_before_content() {
    let moments = [
        ("claude-left-head", true, after(FaultKind::StallBeforeHead, 0)),
        ("claude-left-head-whole", false, after(FaultKind::StallBeforeHead, 0)),
        ("claude-left-event", true, after(FaultKind::Stall, 0)),
        ("claude-left-content", true, after(FaultKind::Stall, 2)),
        ("claude-left-body-whole", false, after(FaultKind::Stall, 0)),
    ];
    for (model, stream, stall) in moments {
        let stand = Stand::new("");
        stand.upstream.fail(stall);
        let mut caller = stand.gateway.connect().await;
        caller.send(ask(model, stream).as_bytes()).await;
        stand.upstream.until("it stalls", |stats| stats.in_flight == 1).await;
        until("it is under way", async || stand.gateway.metric("key_in_flight", "").await == 1.0).await;
        assert_leaving_closes_upstream(&stand, caller, model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_middle_of_a_stream_and_in_its_quiet() {
    for (model, quiet) in [("claude-left-middle", false), ("claude-left-quiet", true)] {
        let stand = Stand::new("");
        if quiet {
            stand.upstream.fail(after(FaultKind::Stall, 6));
        }
        let text = if quiet { "tell me" } else { "[[sim:events=2000,pace_ms=5]]" };
        let mut caller = stand.gateway.connect().await;
        caller.send(post("/v1/messages", "", &prompt(model, text, true)).as_bytes()).await;
        let mut answer = caller.head().await.unwrap();
        caller.body(&mut answer, |answer| answer.count("content_block_delta") >= 2).await;
        assert_leaving_closes_upstream(&stand, caller, model).await;
        assert_eq!(log::records(model)[0]["status"], 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_only_half_closes_has_left() {
    use tokio::io::AsyncWriteExt;
    let stand = Stand::new("");
    stand.upstream.fail(after(FaultKind::StallBeforeHead, 0));
    let mut caller = stand.gateway.connect().await;
    caller.send(ask("claude-left-half", true).as_bytes()).await;
    stand.upstream.until("it stalls", |stats| stats.in_flight == 1).await;
    caller.stream.shutdown().await.unwrap();
    let left = Instant::now();
    stand.upstream.until("upstream is closed", |stats| stats.in_flight == 0).await;
    assert!(left.elapsed() < SOON);
    assert_closed_by_client(&stand, "claude-left-half").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_leave_at_once() {
    const CALLERS: usize = 1000;
    let keys = (0..4).map(|number| KeyConfig {
        name: format!("k{number}"),
        secret: format!("secret-{number}"),
        ..KeyConfig::default()
    });
    let organization =
        OrganizationConfig { name: "one".into(), keys: keys.collect(), ..OrganizationConfig::default() };
    let config = SimulatorConfig { organizations: vec![organization], ..SimulatorConfig::default() };
    let stand = Stand::of(config, "");
    stand.upstream.fail(after(FaultKind::Stall, 6));
    let mut callers: Vec<Connection> = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = stand.gateway.connect().await;
        caller.send(ask("claude-crowd", true).as_bytes()).await;
        callers.push(caller);
    }
    stand.upstream.until("all are streaming", |stats| stats.in_flight == CALLERS).await;
    drop(callers);
    let left = Instant::now();
    let stats = stand
        .upstream
        .until("all are closed", |stats| stats.in_flight == 0 && stats.connections_open == 0)
        .await;
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
    assert_eq!(stats.requests, CALLERS as u64, "something was retried");
    let ended = |ending| stats.keys.iter().filter_map(|key| key.endings.get(&ending)).sum::<u64>();
    assert_eq!(ended(Ending::ClientAborted), CALLERS as u64);
    stand.gateway.idle().await;
    let counted = async || stand.gateway.metric("requests_total", "client_closed").await == CALLERS as f64;
    until("each has its record", counted).await;
    assert_eq!(stand.gateway.metric("key_state", "ready").await, 4.0, "a key was blamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_wants_it_is_read_on_for_the_usage() {
    for (model, stream, pace) in
        [("claude-left-read-on", true, 20), ("claude-left-read-on-whole", false, 300)]
    {
        let stand = Stand::new(READ_ON);
        let text = format!("[[sim:events=20,pace_ms={pace},ttft_ms=100]]");
        let mut caller = stand.gateway.connect().await;
        caller.send(post("/v1/messages", "", &prompt(model, &text, stream)).as_bytes()).await;
        if stream {
            let mut answer = caller.head().await.unwrap();
            caller.body(&mut answer, |answer| answer.count("content_block_delta") >= 2).await;
        } else {
            stand.upstream.until("it is asked", |stats| stats.in_flight == 1).await;
        }
        drop(caller);
        assert_closed_by_client(&stand, model).await;
        let stats = stand.upstream.simulator.stats();
        assert_eq!((stats.aborted.len(), stats.requests), (0, 1), "{model}: it was not read to its end");
        assert!(
            log::records(model)[0]["tokens_out"].as_u64().unwrap() > 1,
            "{model}: the usage is not known"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_on_is_bounded_in_time_and_never_tries_again() {
    let stand = Stand::new(&format!("{READ_ON}relay: {{ drain_on_disconnect_ms: 300 }}"));
    let mut caller = stand.gateway.connect().await;
    let text = "[[sim:events=2000,pace_ms=20]]";
    caller.send(post("/v1/messages", "", &prompt("claude-left-read-long", text, true)).as_bytes()).await;
    let mut answer = caller.head().await.unwrap();
    caller.body(&mut answer, |answer| answer.count("content_block_delta") >= 2).await;
    drop(caller);
    let left = Instant::now();
    stand.upstream.until("upstream is closed", |stats| stats.in_flight == 0).await;
    assert!(left.elapsed() >= Duration::from_millis(200) && left.elapsed() < Duration::from_secs(2));
    assert_closed_by_client(&stand, "claude-left-read-long").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attempt_that_is_read_on_is_the_last() {
    let config = SimulatorConfig::default();
    let (first, second) = (Upstream::start(config.clone()), Upstream::start(config.clone()));
    let gateway = Running::start(&format!(
        "backends:\n{}{READ_ON}{}routes: [{{ model: '*', targets: [{{ backend: first }}, {{ backend: second }}] }}]\n\
         deadlines: {{ whole_ms: 400 }}",
        backend("first", &first.url(), &config),
        backend("second", &second.url(), &config)
    ));
    first.fail(after(FaultKind::StallBeforeHead, 0));
    let mut caller = gateway.connect().await;
    caller.send(ask("claude-left-read-last", false).as_bytes()).await;
    first.until("it stalls", |stats| stats.in_flight == 1).await;
    drop(caller);
    let left = Instant::now();
    until("the record is written", async || !log::records("claude-left-read-last").is_empty()).await;
    assert!(left.elapsed() > Duration::from_millis(200), "it was not read on");
    gateway.idle().await;
    assert_eq!(log::records("claude-left-read-last")[0]["outcome"], "client_closed");
    assert_eq!(second.simulator.stats().requests, 0, "it was tried again for nobody");
}
