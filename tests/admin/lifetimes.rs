//! What outlives a request, a process and a master key.

use headgate::registry;
use headgate::store::{Store, StoreAddress};
use serde_json::{Value, json};

use crate::plane::{ADMIN, MASTER, Plane, storing, tokens};
use crate::wire::*;

const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

fn key(name: &str, of: &str) -> Value {
    json!({ "name": name, "backend": "a", "secret": format!("sk-ant-api03-sim-{of}") })
}

fn with(master: Option<&str>) -> String {
    format!("{}{}", tokens(), storing(master))
}

#[tokio::test]
async fn a_restart_keeps_everything_and_another_master_key_opens_nothing_but_stops_nothing() {
    let plane = Plane::start(&[], &with(Some(MASTER))).await;
    plane.expect(201, "POST", "/keys", key("k", "org-a-1")).await;
    let tenant = plane.expect(201, "POST", "/tenants", json!({ "name": "t" })).await;
    let client = tenant["key"].as_str().unwrap().to_owned();
    plane.expect(200, "POST", "/keys/k/disable", Value::Null).await;
    plane.expect(200, "POST", "/keys/k/enable", Value::Null).await;
    assert_eq!(plane.ask_as(&client).await, 200);

    let plane = plane.again(&[], &with(Some(MASTER))).await;
    assert_eq!((plane.ask_as(&client).await, plane.ask_as("other").await), (200, 401));
    assert_eq!(plane.key("k").await["revision"], 1);

    let plane = plane.again(&["org-b-1"], &with(Some(OTHER))).await;
    let shut = plane.key("k").await;
    assert_eq!(shut["state"], "undecryptable");
    assert!(shut["problem"].as_str().unwrap().contains("another master key"), "{shut}");
    assert_eq!(shut["secret"]["kind"], "secret");
    assert_eq!(plane.expect(200, "GET", "/status", Value::Null).await["undecryptable"], json!(["key/k"]));
    assert_eq!(plane.ask_as(&client).await, 200, "the files' key serves");
    let listed = plane.expect(200, "GET", "/keys", Value::Null).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    plane.expect(200, "POST", "/keys/k/rotate", json!({ "secret": "sk-ant-api03-sim-org-a-1" })).await;
    assert_eq!(plane.key("k").await["state"], "ready");
}

#[tokio::test]
async fn a_rotated_master_key_opens_with_the_old_one_until_all_is_sealed_anew() {
    let plane = Plane::start(&[], &with(Some(MASTER))).await;
    plane.expect(201, "POST", "/keys", key("k", "org-a-1")).await;
    let store = storing(Some(OTHER)).replace(" }", &format!(", previous_master_keys: ['value:{MASTER}'] }}"));
    let both = format!("{}{store}", tokens());
    let plane = plane.again(&[], &both).await;
    assert_eq!(plane.ask().await, 200);
    assert_eq!(plane.expect(200, "POST", "/reseal", Value::Null).await["resealed"], 1);
    assert_eq!(plane.expect(200, "POST", "/reseal", Value::Null).await["resealed"], 0);
    let plane = plane.again(&[], &with(Some(OTHER))).await;
    assert_eq!(plane.ask().await, 200);
}

#[tokio::test]
async fn without_a_master_key_no_secret_is_stored_and_the_rest_is() {
    let plane = Plane::start(&["org-a-1"], &with(None)).await;
    let problem = plane.expect(409, "POST", "/keys", key("k", "org-b-1")).await;
    assert!(problem["type"].as_str().unwrap().ends_with("no-master-key"), "{problem}");
    plane.expect(201, "POST", "/tenants", json!({ "name": "t" })).await;
}

#[tokio::test]
async fn a_stream_of_the_old_secret_ends_by_itself_while_the_new_one_serves() {
    let plane = Plane::stored(&[]).await;
    plane.expect(201, "POST", "/keys", key("k", "org-a-1")).await;
    let mut stream = ask(plane.data, "[[sim:events=20,pace_ms=50]]", true).await;
    stream.read(|wire| wire.text.contains("content_block_delta")).await;
    let rotated =
        plane.expect(200, "POST", "/keys/k/rotate", json!({ "secret": "sk-ant-api03-sim-org-b-1" })).await;
    assert_eq!((rotated["in_flight"].as_u64(), rotated["retiring_in_flight"].as_u64()), (Some(0), Some(1)));
    assert_eq!(plane.ask().await, 200);
    assert_eq!(plane.simulator.stats().key("org-b-1").unwrap().requests, 1);
    assert!(stream.end().await.text.contains("event: message_stop"));
    until("it has retired", || async { plane.key("k").await["retiring_in_flight"] == 0 }).await;
}

#[tokio::test]
async fn a_drained_key_finishes_what_it_has_and_gets_nothing_new() {
    let plane = Plane::start(&["org-a-1"], &format!("{}relay: {{ max_wait_ms: 0 }}", tokens())).await;
    let mut stream = ask(plane.data, "[[sim:events=20,pace_ms=50]]", true).await;
    stream.read(|wire| wire.text.contains("content_block_delta")).await;
    assert_eq!(plane.expect(200, "POST", "/keys/org-a-1/drain", Value::Null).await["state"], "draining");
    assert_eq!(plane.ask().await, 503);
    assert!(stream.end().await.text.contains("event: message_stop"));
    until("it is drained", || async { plane.key("org-a-1").await["state"] == "drained" }).await;
    plane.expect(200, "POST", "/keys/org-a-1/enable", Value::Null).await;
    assert_eq!(plane.ask().await, 200);
}

#[tokio::test]
async fn a_resource_whose_backend_left_the_files_waits_for_it() {
    let plane = Plane::start(&["org-a-1"], &with(Some(MASTER))).await;
    plane.expect(201, "POST", "/keys", key("k", "org-b-1")).await;
    let plane = plane.again(&["{ name: k, secret: 'value:x' }"], &with(Some(MASTER))).await;
    let status = plane.expect(200, "GET", "/status", Value::Null).await;
    assert_eq!(status["left_out"][0]["id"], "k");
    assert!(status["left_out"][0]["problem"].as_str().unwrap().contains("files have a key"), "{status}");
    let plane = plane.again(&["org-a-1"], &with(Some(MASTER))).await;
    assert_eq!(plane.key("k").await["problem"], Value::Null);
}

#[tokio::test]
async fn the_trail_names_who_did_what_and_no_secret_is_anywhere() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let body = json!({ "name": "k", "backend": "a", "secret": "sk-canary-0123456789-abcdef" });
    plane.expect(201, "POST", "/keys", body).await;
    let headers = json!({ "name": "b", "provider": "anthropic", "headers": { "x-t": "header-canary-0123" } });
    plane.expect(201, "POST", "/backends", headers).await;
    plane.expect(200, "PATCH", "/keys/k", json!({ "weight": 5 })).await;
    plane.expect(200, "POST", "/keys/k/park", json!({ "seconds": 5 })).await;
    plane.expect(200, "DELETE", "/keys/k", Value::Null).await;
    let trail = plane.expect(200, "GET", "/audit?actor=ada", Value::Null).await;
    let data = trail["data"].as_array().unwrap();
    let actions: Vec<&str> = data.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["key.delete", "key.park", "key.update", "backend.create", "key.create"]);
    assert_eq!((&data[2]["before"]["weight"], &data[2]["after"]["weight"]), (&Value::Null, &json!(5)));
    assert_eq!(data[0]["source"], "127.0.0.1");
    let page = plane.expect(200, "GET", "/audit?limit=2", Value::Null).await;
    assert_eq!(page["has_more"], true);
    let next = format!("/audit?limit=2&after={}", page["last_id"].as_str().unwrap());
    assert_eq!(plane.expect(200, "GET", &next, Value::Null).await["data"][0]["action"], "key.update");

    let mut seen = String::new();
    for path in ["/audit", "/export", "/keys", "/backends", "/backends/b", "/status", "/events?after=0"] {
        let wire =
            if path.starts_with("/events") { Wire::default() } else { plane.admin("GET", path, "").await };
        seen.push_str(&wire.text);
    }
    for entry in std::fs::read_dir(plane.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("headgate.yaml") {
            seen.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    for canary in ["sk-canary", "header-canary", MASTER, ADMIN] {
        assert!(!seen.contains(canary), "{canary}");
    }
}

#[tokio::test]
async fn who_watches_hears_of_changes_and_can_come_back() {
    let plane = Plane::stored(&["org-a-1"]).await;
    plane.expect(201, "POST", "/tenants", json!({ "name": "t1" })).await;
    let token = format!("Bearer {ADMIN}");
    let head = [("authorization", token.as_str()), ("last-event-id", "0")];
    let raw = request("GET", "/admin/v1/events?kind=change", &head, "");
    let mut watching = Exchange::begin(plane.admin, &raw).await.unwrap();
    watching.read(|wire| wire.text.contains("\"t1\"")).await;
    plane.expect(201, "POST", "/tenants", json!({ "name": "t2" })).await;
    watching.read(|wire| wire.text.contains("\"t2\"")).await;
    let text = &watching.wire.text;
    assert!(text.contains("content-type: text/event-stream") && text.contains("event: change"), "{text}");
    assert!(text.contains("\"action\":\"tenant.create\""), "{text}");
    plane.expect(200, "POST", "/keys/org-a-1/disable", Value::Null).await;
    let raw = request("GET", "/admin/v1/events?kind=key,park&after=0", &head[..1], "");
    let mut keys = Exchange::begin(plane.admin, &raw).await.unwrap();
    keys.read(|wire| wire.text.contains("\"state\":\"disabled\"")).await;
    assert!(keys.wire.text.contains("\"by\":\"ada\""), "{:?}", keys.wire);
    assert_eq!(plane.admin("GET", "/events?kind=nothing", "").await.status(), 400);
}

#[tokio::test]
async fn a_test_asks_upstream_and_moves_nothing() {
    let plane = Plane::start(&["org-a-1", "{ name: bad, secret: 'value:sk-unknown' }"], &tokens()).await;
    let good = plane.expect(200, "POST", "/keys/org-a-1/test", Value::Null).await;
    assert_eq!((good["ok"].as_bool(), good["authenticates"].as_bool()), (Some(true), Some(true)), "{good}");
    let bad = plane.expect(200, "POST", "/keys/bad/test", Value::Null).await;
    assert_eq!((bad["ok"].as_bool(), bad["status"].as_u64()), (Some(false), Some(401)), "{bad}");
    assert_eq!(plane.key("bad").await["parks"], json!([]), "a test parks nothing");
    let model = plane.expect(200, "POST", "/keys/org-a-1/test", json!({ "model": "claude-sonnet-5" })).await;
    assert_eq!(model["model_reachable"], true, "{model}");
    plane.expect(404, "POST", "/keys/none/test", Value::Null).await;
}

#[tokio::test]
async fn while_the_store_cannot_be_read_nobody_is_told_that_a_key_is_wrong() {
    let file = "tenants: [ { name: f, key: 'value:key-of-the-files-0123456789' } ]\n";
    let plane = Plane::start(&["org-a-1"], &format!("{}{file}", tokens())).await;
    assert_eq!(plane.ask_as("unknown").await, 401);
    // A folder where the file should be: it can be opened by nobody.
    let url = format!("sqlite://{}", plane.folder.path().display());
    let mut settings = (**plane.gateway.settings()).clone();
    settings.store.url = headgate_providers::Secret::new(url);
    let store = Store::prepare(&StoreAddress::of(&settings.store).unwrap()).unwrap();
    assert!(registry::start(&plane.gateway, store).await.is_err());
    assert_eq!(plane.ask_as("unknown").await, 503);
    assert_eq!(plane.ask_as("key-of-the-files-0123456789").await, 200, "known without the store");
    let refused = plane.expect(503, "POST", "/tenants", json!({ "name": "t" })).await;
    assert!(refused["type"].as_str().unwrap().ends_with("store-unavailable"), "{refused}");
    let backend = plane.expect(200, "GET", "/backends/a", Value::Null).await;
    assert!(backend["base_url"].is_string(), "what the files say is shown without a store: {backend}");
}
