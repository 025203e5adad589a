//! Upstreams close idle connections: no caller notices, no key is blamed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headgate::simulator::config::ConnectionConfig;
use headgate::simulator::{Fault, FaultKind};

use super::caller::message;
use super::stand::Stand;

const CALLERS: usize = 20;

/// Callers who begin each round together and then pause for about as long as upstream's patience of 20 ms: in every round some
/// connections are still good, some were closed, and some are being closed just then.
async fn with_gaps(stand: &Stand, requests: usize) {
    let failed = std::sync::Arc::new(AtomicUsize::new(0));
    let round = std::sync::Arc::new(tokio::sync::Barrier::new(CALLERS));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let mut connection = stand.gateway.connect().await;
        let (failed, round) = (failed.clone(), round.clone());
        callers.spawn(async move {
            for number in 0..requests / CALLERS {
                round.wait().await;
                let gap = 14 + u64::try_from((caller * 7 + number * 3) % 13).unwrap();
                tokio::time::sleep(Duration::from_millis(gap)).await;
                let answer = connection.ask(&message("hi", number % 2 == 0)).await;
                let good = if number % 2 == 0 { answer.is_whole_stream() } else { answer.status == 200 };
                failed.fetch_add(usize::from(!good), Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "callers saw errors");
    stand.gateway.idle().await;
    assert_eq!(
        stand.gateway.metric("attempts_total", "").await,
        requests as f64,
        "something counted as failed"
    );
    assert_eq!(stand.gateway.metric("attempts_total", "outcome=\"ok\"").await, requests as f64);
    assert_eq!(stand.gateway.metric("key_state", "ready").await, 6.0, "a key was blamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_when_idle_cost_nothing() {
    let stand = Stand::new("");
    stand.upstream.control().set_connection(ConnectionConfig { idle_close_ms: 20, ..Default::default() });
    with_gaps(&stand, 2000).await;
    let connections = stand.upstream.simulator.stats().connections_accepted;
    assert!(connections > 50, "only {connections}: none was closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_after_each_answer_cost_nothing() {
    let stand = Stand::new("");
    stand.upstream.control().set_connection(ConnectionConfig { close_each: true, ..Default::default() });
    with_gaps(&stand, 500).await;
    let stand = Stand::new("");
    stand.upstream.fail(Fault::new(FaultKind::CloseAfter));
    with_gaps(&stand, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_connections_are_used_again() {
    let stand = Stand::new("");
    let mut connection = stand.gateway.connect().await;
    for number in 0..50 {
        assert_eq!(connection.ask(&message("hi", number % 2 == 0)).await.status, 200);
    }
    assert_eq!(stand.upstream.simulator.stats().connections_accepted, 1);
    assert_eq!(stand.gateway.metric("connects_total", "").await, 1.0);
}
