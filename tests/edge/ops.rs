//! Health, readiness, metrics, models and `count_tokens`.

use super::caller::{post, prompt};
use super::stand::{Running, Stand};

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: g\r\nanthropic-version: 2023-06-01\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_it_runs_but_is_not_ready() {
    let gateway = Running::start("backends: []");
    for answer in [gateway.ask(&get("/healthz", "")).await, gateway.admin("/healthz").await] {
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    }
    for answer in [gateway.ask(&get("/readyz", "")).await, gateway.admin("/readyz").await] {
        assert_eq!(answer.status, 503);
        assert!(answer.json()["reason"].as_str().unwrap().contains("no usable key"), "{}", answer.text());
    }
    let answer = gateway.ask(&post("/v1/messages", "", &prompt("claude-sonnet-5", "hi", true))).await;
    let error_type = if answer.status == 404 { "not_found_error" } else { "api_error" };
    assert!([404, 503].contains(&answer.status), "{answer:?}");
    answer.assert_error(answer.status, error_type);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keys_it_is_ready_and_callers_see_no_metrics() {
    let stand = Stand::new("tenants: [{ name: acme, key: 'value:k' }]");
    assert_eq!(stand.gateway.ask(&get("/readyz", "")).await.status, 200);
    assert_eq!(stand.gateway.admin("/readyz").await.json()["status"], "ready");
    assert_eq!(stand.gateway.ask(&get("/healthz", "")).await.status, 200);
    assert_eq!(
        stand.gateway.ask(&get("/metrics", "x-api-key: k\r\n")).await.status,
        404,
        "metrics are the operators'"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_may_probe_by_head_alone() {
    let stand = Stand::new("");
    let mut caller = stand.gateway.connect().await;
    for path in ["/healthz", "/readyz"] {
        caller.send(get(path, "").replace("GET", "HEAD").as_bytes()).await;
        assert_eq!(caller.head().await.expect("a head").status, 200, "{path}");
    }
    assert_eq!(caller.ask(&get("/readyz", "")).await.json()["status"], "ready", "no body went before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_in_prometheus_text_format() {
    let stand = Stand::new("");
    for number in 0..4 {
        stand.gateway.ask(&super::caller::message("hi", number % 2 == 0)).await;
    }
    let answer = stand.gateway.admin("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let mut typed = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} has two types");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let bare = name.split('{').next().unwrap();
            assert!(name.contains('{') == name.ends_with('}'), "{line}");
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
            assert!(typed.contains(family) || typed.contains(bare), "{line} has no type");
        }
    }
    for name in [
        "requests_total",
        "request_duration_seconds",
        "time_to_first_token_seconds",
        "overhead_seconds",
        "attempts_total",
        "tokens_total",
        "cost_usd_total",
        "usage_dropped_total",
        "key_in_flight",
        "key_state",
        "parked_until_seconds",
        "breaker_state",
        "queue_depth",
        "queue_wait_seconds",
    ] {
        assert!(typed.contains(&format!("headgate_{name}")), "{name} is missing");
    }
    assert!(!text.contains("sk-ant"));
    assert_eq!(stand.gateway.metric("requests_total", "status=\"200\"").await, 4.0);
    assert_eq!(stand.gateway.metric("key_state", "").await, 6.0, "a key is in one state");
    let states = text.lines().filter(|line| line.starts_with("headgate_key_state{")).count();
    assert_eq!(states, 6 * 6, "and has a series for each");
    assert_eq!(stand.gateway.metric("overhead_seconds_count", "").await, 4.0);
    let overhead = stand.gateway.metric("overhead_seconds_sum", "").await / 4.0;
    assert!(overhead > 0.0 && overhead < 0.25, "{overhead} s a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_listed_paged_and_filtered() {
    let yaml = "
tenants:
  - { name: all, key: 'value:all' }
  - { name: narrow, key: 'value:narrow', models: ['claude-haiku-*', 'house'] }
routes:
  - { model: house, targets: [{ backend: sim, model: claude-opus-5 }] }
  - { model: 'claude-*', targets: [{ backend: sim }] }
";
    let stand = Stand::new(yaml);
    let list = async |query: &str, key: &str| {
        let answer =
            stand.gateway.ask(&get(&format!("/v1/models{query}"), &format!("x-api-key: {key}\r\n"))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("request-id").is_some());
        let json = answer.json();
        let ids: Vec<String> = json["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(json["first_id"].as_str(), ids.first().map(String::as_str));
        assert_eq!(json["last_id"].as_str(), ids.last().map(String::as_str));
        (ids, json["has_more"] == true)
    };
    let (all, more) = list("", "all").await;
    assert_eq!((all.len(), more, all[0].as_str()), (9, false, "house"));
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let (ids, more) = list(&format!("?limit=2{after}"), "all").await;
        after = format!("&after_id={}", ids.last().unwrap());
        paged.extend(ids);
        if !more {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(list(&format!("?limit=2&before_id={}", all[4]), "all").await, (all[2..4].to_vec(), true));
    let (narrow, _) = list("", "narrow").await;
    assert!(
        narrow.len() >= 3 && narrow.iter().all(|id| id == "house" || id.starts_with("claude-haiku-")),
        "{narrow:?}"
    );
    assert_eq!(stand.upstream.simulator.stats().requests, 1, "upstream's list is kept");

    let one =
        async |path: &str, key: &str| stand.gateway.ask(&get(path, &format!("x-api-key: {key}\r\n"))).await;
    let found = one("/v1/models/claude-sonnet-5", "all").await;
    assert_eq!((found.status, found.json()["type"].as_str()), (200, Some("model")));
    assert_eq!(one("/v1/models/house", "narrow").await.json()["id"], "house");
    one("/v1/models/claude-nothing", "all").await.assert_error(404, "not_found_error");
    one("/v1/models/claude-sonnet-5", "narrow").await.assert_error(404, "not_found_error");
    one("/v1/models?limit=0", "all").await.assert_error(400, "invalid_request_error");
    one("/v1/models?after_id=x", "all").await.assert_error(400, "invalid_request_error");
    one("/v1/models", "nobody").await.assert_error(401, "authentication_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_counted_by_upstream() {
    let stand = Stand::new("");
    let body = r#"{"model":"claude-sonnet-5", "messages":[{"role":"user","content":"count me"}]}"#;
    let answer = stand.gateway.ask(&post("/v1/messages/count_tokens?beta=true", "", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0);
    let last = stand.upstream.simulator.requests().pop().unwrap();
    assert_eq!(
        (last.target.as_str(), &last.body[..]),
        ("/v1/messages/count_tokens?beta=true", body.as_bytes())
    );
    assert_eq!(stand.gateway.metric("requests_total", "operation=\"count_tokens\"").await, 1.0);
}
