//! The life of the process, with the real binary on real sockets: drain and exit, signals, reload.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod files;
mod process;
mod reload;
mod wire;

use std::io::BufRead as _;
use std::time::Duration;

use futures_util::future::join_all;
use headgate::simulator::{RunningSimulator, Simulator, SimulatorConfig};

use process::{Process, config};
use wire::*;

const KEYS: [&str; 4] = ["org-a-1", "org-a-2", "org-b-1", "org-b-2"];

async fn simulator() -> RunningSimulator {
    Simulator::start(SimulatorConfig::default(), ([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn ready(process: &Process) -> u16 {
    send(process.data, "GET", "/readyz", &[], "").await.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_loses_none_of_50_live_streams() {
    let simulator = simulator().await;
    let mut process =
        Process::start(&config(&simulator.url(), &KEYS, "drain_delay_s: 1, drain_timeout_s: 15")).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = ask(process.data, "[[sim:events=30,pace_ms=100]]", true).await;
        stream.read(|wire| wire.text.contains("content_block_delta")).await;
        streams.push(stream);
    }
    process.signal("TERM");
    until("/readyz is 503", || async { ready(&process).await == 503 }).await;
    let late = ask(process.data, "late but in time", false).await.end().await;
    assert_eq!(late.status(), 200, "still served during the delay");
    assert!(late.head().contains("connection: close"));
    until("the listener is closed", || async { tokio::net::TcpStream::connect(process.data).await.is_err() })
        .await;
    assert_eq!(
        send(process.admin, "GET", "/metrics", &[], "").await.status(),
        200,
        "metrics outlive the listener"
    );
    assert_eq!(process.status().await["draining"], true);
    for wire in join_all(streams.into_iter().map(Exchange::end)).await {
        assert!(
            wire.text.contains("event: message_stop") && wire.text.ends_with("\r\n0\r\n\r\n"),
            "{wire:?}"
        );
        assert!(!wire.text.contains("event: error"));
    }
    let (status, after) = process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(5), "{after:?} after the last stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_finish_is_told_and_the_process_ends_in_time_though_upstream_hangs() {
    let simulator = simulator().await;
    let mut process =
        Process::start(&config(&simulator.url(), &KEYS, "drain_delay_s: 0, drain_timeout_s: 3")).await;
    let mut stream = ask(process.data, "[[sim:fault=stall,after_deltas=2]]", true).await;
    stream.read(|wire| wire.text.contains("content_block_delta")).await;
    let whole = ask(process.data, "[[sim:fault=stall_before_head]]", false).await;
    let unread = request("POST", "/v1/messages", &[], &prompt("half", false));
    let upload = Exchange::begin(process.data, &unread[..unread.len() - 5]).await.unwrap();
    until("both are with upstream", || async { process.status().await["in_flight"] == 2 }).await;
    for key in KEYS {
        let parked = process.admin("POST", &format!("/admin/v1/keys/{key}/park"), r#"{"seconds": 25}"#).await;
        assert_eq!(parked.status(), 200, "{parked:?}");
    }
    let waiting = ask(process.data, "waits", false).await;
    until("one waits", || async { process.status().await["waiting"] == 1 }).await;
    process.signal("TERM");
    let (stream, whole, waiting, upload) =
        tokio::join!(stream.end(), whole.end(), waiting.end(), upload.end());
    let told = "The gateway is shutting down";
    assert!(stream.text.contains("event: error") && stream.text.contains(told), "{stream:?}");
    assert!(stream.text.ends_with("\r\n0\r\n\r\n"), "the stream ends soundly: {stream:?}");
    for wire in [whole, waiting, upload] {
        assert_eq!(wire.status(), 503, "{wire:?}");
        assert_eq!(
            (wire.json()["error"]["type"].as_str(), wire.json()["error"]["message"].as_str()),
            (Some("api_error"), Some(told))
        );
    }
    let (status, after) = process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(5), "{after:?} after the goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_counts_hear_the_goodbye_too_and_nobody_is_told_that_a_model_is_missing() {
    // Connections are accepted by the kernel, and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", silent.local_addr().unwrap());
    let routes = "routes: [ { model: own, targets: [ { backend: a } ] }, { model: '*', targets: [ { backend: a } ] } ]\n";
    let server = "drain_delay_s: 0, drain_timeout_s: 2";
    let mut process = Process::start(&(config(&upstream, &KEYS, server) + routes)).await;
    let count = request("POST", "/v1/messages/count_tokens", &[], &prompt("count", false));
    let mut asked = Vec::new();
    for text in [request("GET", "/v1/models", &[], ""), request("GET", "/v1/models/other", &[], ""), count] {
        asked.push(Exchange::begin(process.data, &text).await.unwrap());
    }
    until("all are with upstream", || async { process.status().await["in_flight"] == 3 }).await;
    process.signal("TERM");
    for wire in join_all(asked.into_iter().map(Exchange::end)).await {
        assert_eq!(wire.status(), 503, "{wire:?}");
        assert_eq!(wire.json()["error"]["message"], "The gateway is shutting down");
        assert!(wire.head().contains("connection: close"), "{wire:?}");
    }
    let (status, after) = process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(5), "{after:?} after the goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_drains_without_the_delay_and_a_second_signal_ends_at_once() {
    let simulator = simulator().await;
    let server = "drain_delay_s: 60, drain_timeout_s: 60";
    let mut calm = Process::start(&config(&simulator.url(), &KEYS, server)).await;
    calm.signal("INT");
    let (status, after) = calm.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(5), "{after:?}");

    let mut process = Process::start(&config(&simulator.url(), &KEYS, server)).await;
    let mut stream = ask(process.data, "[[sim:fault=stall,after_deltas=2]]", true).await;
    stream.read(|wire| wire.text.contains("content_block_delta")).await;
    process.signal("TERM");
    until("it drains", || async { ready(&process).await == 503 }).await;
    process.signal("TERM");
    let (status, after) = process.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(after < Duration::from_secs(3), "{after:?}");
}

/// Nobody reads the log, its pipe fills up, and whoever writes to it hangs: every worker in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_ends_within_its_grace_though_its_workers_hang() {
    let simulator = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let ports = [0; 2].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [data, admin] = ports.map(|listener| listener.local_addr().unwrap());
    let yaml = config(&simulator.url(), &KEYS, "drain_delay_s: 0, drain_timeout_s: 1")
        .replacen("127.0.0.1:0", &data.to_string(), 1)
        .replacen("127.0.0.1:0", &admin.to_string(), 1);
    let file = folder.path().join("headgate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_headgate"));
    child
        .current_dir(folder.path())
        .args(["serve", "--config"])
        .arg(&file)
        .stderr(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    until("it listens", || async { tokio::net::TcpStream::connect(data).await.is_ok() }).await;
    let mut hangs = 0;
    while hangs < 4 {
        let answer = tokio::time::timeout(Duration::from_millis(700), send(data, "GET", "/nothing", &[], ""));
        hangs += usize::from(answer.await.is_err());
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = std::cell::RefCell::new(&mut child);
    until("it ends", || async { ended.borrow_mut().try_wait().unwrap().is_some() }).await;
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_simulator_ends_well_when_it_is_told_to() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_headgate"));
    child.args(["simulate", "--listen", "127.0.0.1:0"]).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("simulating"), "{line}");
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
