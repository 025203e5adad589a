//! Many requests at once: every caller is served, keys share the work, nothing is left counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headgate::simulator::config::{KeyConfig, OrganizationConfig, SimulatorConfig};
use headgate::simulator::{Fault, FaultKind};

use super::caller::{Connection, message};
use super::stand::Stand;

/// So many organizations of one key each.
fn keys(count: usize) -> SimulatorConfig {
    let organization = |number: usize| OrganizationConfig {
        name: format!("org{number}"),
        keys: vec![KeyConfig {
            name: format!("key{number}"),
            secret: format!("sk-secret-{number}"),
            ..KeyConfig::default()
        }],
        ..OrganizationConfig::default()
    };
    SimulatorConfig { organizations: (0..count).map(organization).collect(), ..SimulatorConfig::default() }
}

/// Sends requests `0..count` from so many callers at once; `one` asks one and says whether the connection lives on.
async fn crowd<F, W>(stand: &Stand, callers: usize, count: usize, one: F)
where
    F: Fn(Connection, usize) -> W + Clone + Send + 'static,
    W: Future<Output = Option<Connection>> + Send,
{
    let (next, address) = (Arc::new(AtomicUsize::new(0)), stand.gateway.data);
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (next, one) = (next.clone(), one.clone());
        crowd.spawn(async move {
            let mut connection = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let open = match connection.take() {
                    Some(open) => open,
                    None => Connection::to(address).await,
                };
                connection = one(open, number).await;
            }
        });
    }
    while let Some(ended) = crowd.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_that_always_fails_costs_no_caller_anything() {
    for kind in [FaultKind::RateLimited, FaultKind::Overloaded] {
        let stand = Stand::of(keys(2), "");
        stand.upstream.control().break_key("key0", Fault::new(kind));
        crowd(&stand, 16, 1000, async |mut connection, number| {
            let answer = connection.ask(&message("hi", number % 4 == 0)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(number % 4 != 0 || answer.is_whole_stream());
            Some(connection)
        })
        .await;
        let stats = stand.upstream.simulator.stats();
        assert_eq!(stats.key("key1").unwrap().requests, 1000);
        let wasted = stats.key("key0").unwrap().requests;
        // What was in flight at the first refusal, and one probe for each park since.
        assert!(wasted <= 16 + stats.uptime_ms / 1000 + 1, "{kind:?}: the bad key was asked {wasted} times");
        stand.gateway.idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mixed_requests_leave_nothing_behind() {
    const COUNT: usize = 10_000;
    let stand = Stand::of(keys(5), "");
    crowd(&stand, 32, COUNT, async |mut connection, number| match number % 10 {
        0 => {
            connection.send(message("[[sim:fault=stall,after_events=6]]", true).as_bytes()).await;
            let mut answer = connection.head().await.unwrap();
            if number % 20 == 0 {
                connection.body(&mut answer, |answer| !answer.body.is_empty()).await;
            }
            None
        }
        1 => {
            let answer = connection.ask(&message("[[sim:fault=bad_request]]", number % 20 == 1)).await;
            answer.assert_error(400, "invalid_request_error");
            Some(connection)
        }
        2..=4 => {
            let answer = connection.ask(&message("hi", true)).await;
            assert!(answer.is_whole_stream(), "{answer:?}");
            Some(connection)
        }
        _ => {
            let answer = connection.ask(&message("hi", false)).await;
            assert!(answer.status == 200 && answer.complete, "{answer:?}");
            Some(connection)
        }
    })
    .await;
    let stats = stand.upstream.until("upstream is done", |stats| stats.in_flight == 0).await;
    stand.gateway.idle().await;
    assert_eq!(stand.gateway.gateway.buffered.load(Ordering::Relaxed), 0);
    assert_eq!(stats.requests, COUNT as u64, "an attempt too many");
    for key in stats.keys.iter().filter(|key| key.name.starts_with("key")) {
        let share = key.requests as f64 / (COUNT / 5) as f64;
        assert!((0.9..=1.1).contains(&share), "{} had {share:.3} of its share", key.name);
    }
    let counted = async |part: &str| stand.gateway.metric("requests_total", part).await as usize;
    assert_eq!(counted("outcome=\"ok\"").await, COUNT / 10 * 8);
    assert_eq!(counted("outcome=\"failed\"").await, COUNT / 10);
    assert_eq!(counted("outcome=\"client_closed\"").await, COUNT / 10);
    assert_eq!(stand.gateway.metric("key_state", "ready").await, 5.0, "a key was blamed for its callers");
}
