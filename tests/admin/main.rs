//! The admin plane on real sockets: who may do what, what it shows, and what it does to traffic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod access;
mod document;
mod fields;
mod lifetimes;
mod plane;
mod resources;
mod switches;
#[path = "../lifecycle/wire.rs"]
mod wire;

use std::time::Duration;

use serde_json::{Value, json};

use plane::{Plane, tokens};
use wire::*;

#[tokio::test]
async fn a_park_acts_on_the_next_request_and_so_does_lifting_it() {
    let plane = Plane::start(&["org-a-1"], &format!("{}relay: {{ max_wait_ms: 0 }}", tokens())).await;
    assert_eq!(plane.ask().await, 200);
    let parked = plane
        .admin("POST", "/keys/org-a-1/park", r#"{"seconds": 600, "reason": "maintenance"}"#)
        .await
        .json();
    assert_eq!(parked["state"], "parked");
    let park = &parked["parks"][0];
    assert_eq!((park["scope"].as_str(), park["reason"].as_str()), (Some("key"), Some("operator")));
    assert_eq!((park["by"].as_str(), park["detail"].as_str()), (Some("ada"), Some("maintenance")));
    let remaining = park["remaining_ms"].as_u64().unwrap();
    assert!((590_000..=600_000).contains(&remaining), "{remaining}");
    let until = park["until"].as_str().unwrap();
    assert!(until.len() == 24 && until.ends_with('Z'), "{until}");
    assert_eq!(plane.ask().await, 503);
    assert_eq!(plane.admin("POST", "/keys/org-a-1/unpark", "").await.json()["parks"], json!([]));
    assert_eq!(plane.ask().await, 200);
}

#[tokio::test]
async fn a_call_that_waits_goes_as_soon_as_an_operator_lets_it() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    for (stop, go) in [("park", "unpark"), ("disable", "enable")] {
        let body = if stop == "park" { r#"{"seconds": 25}"# } else { "{}" };
        assert_eq!(plane.admin("POST", "/keys/org-a-1/park", r#"{"seconds": 25}"#).await.status(), 200);
        let waiting = ask(plane.data, "waits", false).await;
        until("it waits", || async { plane.gateway.pool.waiting() == 1 }).await;
        plane.admin("POST", &format!("/keys/org-a-1/{stop}"), body).await;
        plane.admin("POST", &format!("/keys/org-a-1/{go}"), "").await;
        plane.admin("POST", "/keys/org-a-1/unpark", "").await;
        let answer = tokio::time::timeout(Duration::from_secs(5), waiting.end()).await.unwrap();
        assert!(matches!(answer.status(), 200 | 503), "{answer:?}");
        assert!(stop == "disable" || answer.status() == 200);
        assert_eq!(plane.gateway.pool.waiting(), 0);
    }
}

#[tokio::test]
async fn a_call_that_waits_finds_the_key_that_a_reload_brings() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    plane.admin("POST", "/keys/org-a-1/park", r#"{"seconds": 25}"#).await;
    let waiting = ask(plane.data, "waits", false).await;
    until("it waits", || async { plane.gateway.pool.waiting() == 1 }).await;
    plane.reload(&["org-b-1"], &tokens()).await;
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), waiting.end()).await.unwrap().status(), 200);
    assert_eq!(plane.simulator.stats().key("org-a-1").unwrap().requests, 0, "a key that is gone is not used");
}

#[tokio::test]
async fn parks_switches_and_calls_under_way_survive_a_reload() {
    let keys = ["org-a-1", "org-a-2", "org-b-1"];
    let plane = Plane::start(&keys, &tokens()).await;
    plane.admin("POST", "/keys/org-a-1/park", r#"{"seconds": 600}"#).await;
    plane.admin("POST", "/keys/org-a-2/disable", "").await;
    let mut stream = ask(plane.data, "[[sim:events=20,pace_ms=50]]", true).await;
    stream.read(|wire| wire.text.contains("content_block_delta")).await;
    let applied = plane.reload(&keys, &format!("{}relay: {{ max_attempts: 3 }}", tokens())).await;
    assert_eq!(
        (applied["outcome"].as_str(), applied["config_generation"].as_u64()),
        (Some("applied"), Some(2))
    );
    assert_eq!(plane.key("org-a-1").await["parks"][0]["reason"], "operator");
    assert_eq!(plane.key("org-a-2").await["enabled"], false);
    assert_eq!(plane.key("org-b-1").await["in_flight"], 1);
    let health = {
        let table = plane.gateway.pool.table();
        table.seats().find(|(_, seat)| seat.id.name == "org-b-1").unwrap().1.health.clone()
    };
    // The key that serves the stream goes, the parked one is rotated, the one that is off is rotated too.
    let rotated =
        |name: &str, secret: &str| format!("{{ name: {name}, secret: 'value:sk-ant-api03-sim-{secret}' }}");
    let (first, second) = (rotated("org-a-1", "org-c-1"), rotated("org-a-2", "org-c-2"));
    plane.reload(&[&first, &second], &tokens()).await;
    assert_eq!(plane.key("org-a-1").await["parks"], json!([]), "a rotated secret starts clean");
    assert_eq!(plane.key("org-a-2").await["enabled"], false, "what an operator switched off stays off");
    assert_eq!(plane.admin("GET", "/keys/org-b-1", "").await.status(), 404);
    assert_eq!(health.in_flight.load(std::sync::atomic::Ordering::Relaxed), 1, "it drains");
    assert_eq!(plane.ask().await, 200);
    let wire = stream.end().await;
    assert!(wire.text.contains("event: message_stop"), "{wire:?}");
    until("the last lease is back", || async { std::sync::Arc::strong_count(&health) == 1 }).await;
}

#[tokio::test]
async fn a_rejected_reload_answers_its_problems_and_changes_nothing() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    let answer = plane.reload(&["org-b-1"], &format!("{}queue: {{ max_waiting: many }}", tokens())).await;
    assert_eq!(
        (answer["outcome"].as_str(), answer["config_generation"].as_u64()),
        (Some("rejected"), Some(1))
    );
    assert!(answer["problems"][0].as_str().unwrap().starts_with("queue.max_waiting"), "{answer}");
    assert_eq!(plane.ask().await, 200);
    let status = plane.admin("GET", "/status", "").await.json();
    assert_eq!(status["last_reload"]["outcome"], "rejected");
    assert_eq!(status["readiness"], "ready");
    assert_eq!((status["in_flight"].as_u64(), status["waiting"].as_u64()), (Some(0), Some(0)));
    assert!(status["version"].is_string() && status["warnings"].is_array() && status["uptime_s"].is_u64());
}

#[tokio::test]
async fn lists_are_paged_and_groups_show_and_lose_their_parks() {
    let plane = Plane::start(&["org-b-1", "org-a-1", "org-a-2"], &tokens()).await;
    let names = |answer: &Value| -> Vec<String> {
        let data = answer["data"].as_array().unwrap().iter();
        data.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = plane.admin("GET", "/keys?limit=2", "").await.json();
    assert_eq!(
        (names(&first), first["has_more"].as_bool()),
        (vec!["org-a-1".into(), "org-a-2".into()], Some(true))
    );
    let second = plane.admin("GET", "/keys?limit=2&after=org-a-2", "").await.json();
    assert_eq!((names(&second), second["has_more"].as_bool()), (vec!["org-b-1".into()], Some(false)));
    let groups = plane.admin("GET", "/groups", "").await.json();
    assert_eq!(names(&groups), ["a:org-a-1", "a:org-a-2", "a:org-b-1"]);

    assert_eq!(
        ask(plane.data, "[[sim:fault=rate_limited,retry_after=500]]", false).await.end().await.status(),
        429
    );
    let parked = plane.admin("GET", "/groups/a%3Aorg-b-1", "").await.json();
    let park = &parked["parks"][0];
    assert_eq!(
        (park["scope"].as_str(), park["reason"].as_str()),
        (Some("group_class"), Some("rate_limited")),
        "{parked}"
    );
    assert_eq!(park["source"], "retry-after", "{park}");
    assert!(park["class"].is_string());
    for id in ["org-a-1", "a:org-a-2", "org-b-1?backend=a"] {
        let (name, query) = id.split_once('?').unwrap_or((id, ""));
        let open = plane.admin("POST", &format!("/groups/{name}/unpark?{query}"), "").await;
        assert_eq!((open.status(), &open.json()["parks"]), (200, &json!([])), "{id}");
    }
    assert_eq!(plane.ask().await, 200, "un-parking acts on the next request");
    assert_eq!(plane.admin("GET", "/groups/none", "").await.status(), 404);
}

#[tokio::test]
async fn a_key_that_fails_again_and_again_is_shown_as_asked_last_until_it_is_unparked() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    assert_eq!(plane.key("org-a-1").await["asked_last"], json!([]));
    for _ in 0..5 {
        let failed = ask(plane.data, "[[sim:fault=server_error]]", false).await.end().await;
        assert_eq!(failed.status(), 500);
    }
    let shown = plane.key("org-a-1").await;
    assert_eq!((shown["state"].as_str(), &shown["parks"]), (Some("ready"), &json!([])), "no park: {shown}");
    assert_eq!(shown["asked_last"][0]["model"], "claude-sonnet-5", "{shown}");
    assert!(shown["asked_last"][0]["remaining_ms"].as_u64().is_some_and(|left| left > 0), "{shown}");
    let cleared = plane.admin("POST", "/keys/org-a-1/unpark", "").await.json();
    assert_eq!(cleared["asked_last"], json!([]));
}

#[tokio::test]
async fn a_breaker_can_be_forced() {
    let plane = Plane::start(&["org-a-1"], &format!("{}relay: {{ max_wait_ms: 0 }}", tokens())).await;
    assert_eq!(plane.ask().await, 200);
    let backend = plane.admin("GET", "/backends/a", "").await.json();
    assert_eq!((backend["provider"].as_str(), backend["keys_ready"].as_u64()), (Some("anthropic"), Some(1)));
    let model = r#"{"state": "open", "model": "claude-sonnet-5"}"#;
    for body in [r#"{"state": "open"}"#, model] {
        assert_eq!(plane.admin("POST", "/backends/a/breaker", body).await.status(), 200);
        assert!(plane.ask().await >= 500, "{body}");
        assert_eq!(
            plane.admin("POST", "/backends/a/breaker", &body.replace("open", "auto")).await.status(),
            200
        );
        assert_eq!(plane.ask().await, 200);
    }
    let wrong = plane.admin("POST", "/backends/a/breaker", r#"{"state": "ajar"}"#).await;
    assert_eq!((wrong.status(), wrong.json()["field"].as_str().unwrap()), (400, "state"));
}
