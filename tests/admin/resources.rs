//! What the admin API makes acts on the next request, and what it refuses changes nothing.

use serde_json::{Value, json};

use crate::plane::{Plane, storing, tokens};

fn secret(name: &str) -> String {
    format!("sk-ant-api03-sim-{name}")
}

#[tokio::test]
async fn a_backend_its_key_and_a_route_serve_as_soon_as_they_are_made_and_end_with_them() {
    let plane = Plane::stored(&[]).await;
    assert_eq!(plane.ask().await, 503, "there is no key");
    let url = plane.simulator.url();
    let backend = json!({ "name": "b", "provider": "anthropic", "base_url": url, "headers": { "x-team": "blue-canary" } });
    let made = plane.expect(201, "POST", "/backends", backend).await;
    assert_eq!((made["source"].as_str(), made["revision"].as_u64()), (Some("store"), Some(1)));
    let key = json!({ "name": "b-1", "backend": "b", "secret": format!(" {}\r\n", secret("org-a-1")), "weight": 2 });
    let made = plane.headed("POST", "/keys", &[], &key.to_string()).await;
    assert_eq!(made.status(), 201, "{made:?}");
    assert!(
        made.head().contains("location: /admin/v1/keys/b-1") && made.head().contains("etag: \"1\""),
        "{made:?}"
    );
    assert!(!made.text.contains("sk-ant"), "{made:?}");
    assert_eq!(made.json()["secret"]["last4"], "-a-1");
    assert_eq!(plane.ask().await, 200);

    let route = json!({ "model": "claude-sonnet-5", "targets": [{ "backend": "a" }] });
    let route = plane.expect(201, "POST", "/routes", route).await;
    assert_eq!(plane.ask().await, 503, "the route leads to a backend without keys");
    let path = format!("/routes/{}", route["id"].as_str().unwrap());
    plane.expect(200, "PATCH", &path, json!({ "targets": [{ "backend": "b" }] })).await;
    assert_eq!(plane.ask().await, 200);
    let listed = plane.expect(200, "GET", "/routes", Value::Null).await;
    assert_eq!(listed["data"][0]["targets"][0]["backend"], "b");

    let refused = plane.expect(409, "DELETE", "/backends/b", Value::Null).await;
    assert!(refused["detail"].as_str().unwrap().contains("`b-1` needs it"), "{refused}");
    plane.expect(200, "DELETE", &path, Value::Null).await;
    plane.expect(200, "DELETE", "/keys/b-1", Value::Null).await;
    assert_eq!(plane.ask().await, 503);
    plane.expect(200, "DELETE", "/backends/b", Value::Null).await;
    plane.expect(404, "GET", "/backends/b", Value::Null).await;
}

#[tokio::test]
async fn a_tenant_s_key_is_shown_once_works_and_ends_at_once() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let made =
        plane.expect(201, "POST", "/tenants", json!({ "name": "acme", "limits": { "rpm": 60 } })).await;
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(headgate::mint::is_well_formed(&key), "{key}");
    assert_eq!((plane.ask_as(&key).await, plane.ask_as("wrong").await, plane.ask().await), (200, 401, 401));
    let shown = plane.expect(200, "GET", "/tenants/acme", Value::Null).await;
    assert!(!shown.to_string().contains(&key) && shown["limits"]["rpm"] == 60, "{shown}");
    let rotated = plane.expect(200, "POST", "/tenants/acme/rotate", Value::Null).await;
    let newer = rotated["key"].as_str().unwrap();
    assert_eq!((plane.ask_as(&key).await, plane.ask_as(newer).await), (401, 200));
    plane
        .expect(201, "POST", "/tenants", json!({ "name": "own", "key": "my-own-key-0123456789-abcdef" }))
        .await;
    assert_eq!(plane.ask_as("my-own-key-0123456789-abcdef").await, 200);
    plane.expect(200, "DELETE", "/tenants/acme", Value::Null).await;
    assert_eq!(plane.ask_as(newer).await, 401, "revoked");
    let refused = plane.expect(409, "DELETE", "/tenants/own", Value::Null).await;
    assert!(refused["detail"].as_str().unwrap().contains("last tenant"), "{refused}");
    assert_eq!(plane.ask_as("my-own-key-0123456789-abcdef").await, 200);
    assert_eq!(plane.ask_as(newer).await, 401, "the last one does not open the door to the others");
}

#[tokio::test]
async fn a_token_made_through_the_api_has_its_role_and_no_more() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let made = plane.expect(201, "POST", "/tokens", json!({ "name": "bot", "role": "operator" })).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(plane.with(token, "POST", "/keys/org-a-1/disable", "").await.status(), 200);
    assert_eq!(plane.with(token, "DELETE", "/tokens/bot", "").await.status(), 403);
    plane.expect(200, "DELETE", "/tokens/bot", Value::Null).await;
    assert_eq!(plane.with(token, "GET", "/status", "").await.status(), 401);
    let plain = plane.expect(201, "POST", "/tokens", json!({ "name": "plain" })).await;
    assert_eq!(plain["role"], "viewer", "the least");
    let null = plane.expect(201, "POST", "/tokens", json!({ "name": "null", "role": null })).await;
    let operator = json!({ "name": "op", "role": "operator" });
    plane.expect(201, "POST", "/tokens", operator).await;
    let patched = plane.expect(200, "PATCH", "/tokens/op", json!({ "role": null })).await;
    assert_eq!(
        (&null["role"], &patched["role"]),
        (&json!("viewer"), &json!("viewer")),
        "never more than asked for"
    );
}

#[tokio::test]
async fn a_write_on_an_old_revision_and_a_repeat_do_nothing() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let body = json!({ "name": "t", "models": ["claude-*"] }).to_string();
    let repeat = [("idempotency-key", "k-1")];
    let first = plane.headed("POST", "/tenants", &repeat, &body).await;
    let second = plane.headed("POST", "/tenants", &repeat, &body).await;
    assert_eq!((first.status(), second.status()), (201, 201), "{second:?}");
    assert!(
        second.head().contains("idempotent-replayed: true") && !first.head().contains("replayed"),
        "{second:?}"
    );
    assert_eq!(first.json(), second.json());
    let other = plane.headed("POST", "/tenants", &repeat, r#"{"name": "u"}"#).await;
    assert_eq!(other.status(), 409, "{other:?}");
    assert_eq!(plane.expect(409, "POST", "/tenants", json!({ "name": "t" })).await["status"], 409);

    let tag = [("if-match", "\"1\"")];
    assert_eq!(plane.headed("PATCH", "/tenants/t", &tag, r#"{"weight": 2}"#).await.status(), 200);
    for method in ["PATCH", "DELETE"] {
        let body = if method == "PATCH" { r#"{"weight": 3}"# } else { "" };
        assert_eq!(plane.headed(method, "/tenants/t", &tag, body).await.status(), 412, "{method}");
    }
    let now = plane.headed("GET", "/tenants/t", &[], "").await;
    assert!(now.head().contains("etag: \"2\"") && now.json()["weight"] == 2.0, "{now:?}");
    plane.expect(200, "PATCH", "/tenants/t", json!({ "models": null })).await;
    assert!(plane.expect(200, "GET", "/tenants/t", Value::Null).await["models"].is_null());
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let key = json!({ "name": "k", "backend": "a", "secret": secret("org-b-1") });
    let would = plane.expect(200, "POST", "/keys?dry_run=true", key.clone()).await;
    assert_eq!((would["name"].as_str(), would["dry_run"].as_bool()), (Some("k"), Some(true)));
    plane.expect(404, "GET", "/keys/k", Value::Null).await;
    plane
        .expect(400, "POST", "/keys?dry_run=true", json!({ "name": "k", "backend": "none", "secret": "x" }))
        .await;
    plane.expect(201, "POST", "/keys", key).await;
    plane.expect(200, "PATCH", "/keys/k?dry_run=true", json!({ "weight": 9 })).await;
    plane.expect(200, "DELETE", "/keys/k?dry_run=true", Value::Null).await;
    assert_eq!(plane.key("k").await["weight"], 1.0);
    let audit = plane.expect(200, "GET", "/audit?kind=key", Value::Null).await;
    assert_eq!(audit["data"].as_array().unwrap().len(), 1, "{audit}");
}

#[tokio::test]
async fn what_files_made_is_changed_in_files() {
    let plane = Plane::stored(&["org-a-1"]).await;
    for (method, path, body) in [
        ("PATCH", "/keys/org-a-1", r#"{"weight": 2}"#),
        ("DELETE", "/keys/org-a-1", ""),
        ("POST", "/keys/org-a-1/rotate", r#"{"secret": "x"}"#),
        ("PATCH", "/backends/a", r#"{"base_url": "https://example.com"}"#),
        ("DELETE", "/backends/a", ""),
        ("DELETE", "/tokens/ada", ""),
        ("POST", "/keys", r#"{"name": "org-a-1", "backend": "a", "secret": "x"}"#),
        ("POST", "/backends", r#"{"name": "a", "provider": "anthropic"}"#),
    ] {
        let wire = plane.admin(method, path, body).await;
        assert_eq!(wire.status(), 409, "{method} {path}: {wire:?}");
        assert!(wire.json()["type"].as_str().unwrap().ends_with("of-the-files"), "{wire:?}");
    }
    let key = plane.key("org-a-1").await;
    assert_eq!((key["source"].as_str(), &key["revision"]), (Some("file"), &Value::Null));
    assert!(plane.headed("GET", "/keys/org-a-1", &[], "").await.head().contains("etag: W/\""));
}

#[tokio::test]
async fn a_wrong_field_is_named_as_the_request_has_it() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let cases = [
        ("/keys", json!({ "name": "k", "backend": "a", "secret": "x", "weight": -1 }), "weight"),
        ("/keys", json!({ "name": "k", "backend": "a", "secret": "x", "wieght": 1 }), "wieght"),
        ("/keys", json!({ "name": "k", "backend": "a", "secret": "a\u{7}b" }), "secret"),
        ("/keys", json!({ "name": "k", "backend": "a", "secret": 5 }), "secret"),
        ("/keys", json!({ "name": "k", "backend": "none", "secret": "x" }), "backend"),
        (
            "/keys",
            json!({ "name": "k", "backend": "a", "secret": "x", "limit_group": "none" }),
            "limit_group",
        ),
        ("/keys", json!({ "name": "a/b", "backend": "a", "secret": "x" }), "name"),
        ("/backends", json!({ "name": "b", "provider": "antropic" }), "provider"),
        ("/backends", json!({ "name": "b", "provider": "anthropic", "region": "x" }), "region"),
        ("/backends", json!({ "name": "b", "provider": "anthropic", "ca_file": "/etc/passwd" }), "ca_file"),
        (
            "/backends",
            json!({ "name": "b", "provider": "anthropic", "park": { "quota_max_ms": "x" } }),
            "park.quota_max_ms",
        ),
        ("/routes", json!({ "model": "m", "targets": [] }), "targets"),
        ("/routes", json!({ "model": "m", "targets": [{ "backend": "none" }] }), "targets[0].backend"),
        ("/tenants", json!({ "name": "t", "weight": 0 }), "weight"),
        ("/tenants", json!({ "name": "t", "key": "short" }), "key"),
        ("/tokens", json!({ "name": "t", "role": "root" }), "role"),
        ("/groups", json!({ "name": "g", "backend": "a", "usd_per_day": -1 }), "usd_per_day"),
    ];
    for (path, body, field) in cases {
        let problem = plane.expect(400, "POST", path, body.clone()).await;
        assert_eq!(problem["field"], field, "{path} {body}: {problem}");
    }
    assert_eq!(plane.expect(200, "GET", "/audit", Value::Null).await["data"], json!([]), "nothing was done");
}

#[tokio::test]
async fn no_private_address_gets_through() {
    let guarded = format!("{}{}", tokens(), storing(Some(crate::plane::MASTER)));
    let plane = Plane::start(&["org-a-1"], &guarded).await;
    for url in [
        "http://api.example.com",
        "https://127.0.0.1",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::7f00:1]/",
        "https://localhost./",
        "https://169.254.169.254/latest",
        "https://10.0.0.1",
        "https://100.64.0.1",
        "https://api.anthropic.com@127.0.0.1/",
        "https://127。0。0。1/",
        "https://metadata.google.internal",
        "file:///etc/passwd",
    ] {
        let body = json!({ "name": "b", "provider": "anthropic", "base_url": url });
        assert_eq!(plane.expect(400, "POST", "/backends", body).await["field"], "base_url", "{url}");
    }
    let proxied = json!({ "name": "b", "provider": "anthropic", "proxy": "http://127.0.0.1:3128" });
    assert_eq!(plane.expect(400, "POST", "/backends", proxied).await["field"], "proxy");
    plane.expect(404, "GET", "/backends/b", Value::Null).await;
}

#[tokio::test]
async fn an_import_tells_of_each_key_and_does_nothing_twice() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let key = |name: &str, text: &str| json!({ "name": name, "backend": "a", "secret": text });
    let keys = json!({ "keys": [
        key("k1", "sk-one"), key("k2", "sk-two"), key("org-a-1", "x"), key("bad name", "x"),
        { "name": "k3", "backend": "none", "secret": "x" }, { "name": "k4", "backend": "a" },
    ] });
    let statuses = |answer: &Value| -> Vec<String> {
        answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["status"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = plane.expect(200, "POST", "/keys/import", keys.clone()).await;
    let expected = ["created", "created", "conflict", "invalid", "invalid", "invalid"];
    assert_eq!(statuses(&first), expected, "{first}");
    let second = plane.expect(200, "POST", "/keys/import", keys).await;
    assert_eq!(statuses(&second)[..2], ["unchanged", "unchanged"], "{second}");
    let changed = plane.expect(200, "POST", "/keys/import", json!({ "keys": [key("k1", "sk-other")] })).await;
    assert_eq!(statuses(&changed), ["conflict"]);
    let odd = plane.expect(400, "POST", "/keys/import", json!({ "keys": [key("k9", "x"), 5] })).await;
    assert_eq!(odd["field"], "keys[1]");
    let many: Vec<Value> = (0..500).map(|at| key(&format!("m{at}"), &format!("sk-{at}"))).collect();
    let answer = plane.expect(200, "POST", "/keys/import", json!({ "keys": many })).await;
    assert!(statuses(&answer).iter().all(|status| status == "created"));
}

#[tokio::test]
async fn the_last_administrator_cannot_be_taken_away() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let made = plane.expect(201, "POST", "/tokens", json!({ "name": "root", "role": "admin" })).await;
    let token = made["token"].as_str().unwrap();
    plane.expect(200, "DELETE", "/tokens/root?dry_run=true", Value::Null).await;
    let more = format!("server: allow_private_upstreams: true,\n{}", storing(Some(crate::plane::MASTER)));
    let more = more.replace("FOLDER", plane.folder.path().to_str().unwrap());
    plane.reload(&["org-a-1"], &more).await;
    assert_eq!(plane.admin("GET", "/status", "").await.status(), 401, "the files name nobody any more");
    let as_root = async |method: &str, path: &str, body: &str| plane.with(token, method, path, body).await;
    let refusals = [
        ("DELETE", "/tokens/root", ""),
        ("DELETE", "/tokens/root?dry_run=true", ""),
        ("PATCH", "/tokens/root", r#"{"role": "operator"}"#),
        ("PATCH", "/tokens/root", r#"{"role": null}"#),
    ];
    for (method, path, body) in refusals {
        let refused = as_root(method, path, body).await;
        assert_eq!(refused.status(), 409, "{method} {path} {body}: {refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("role admin"), "{refused:?}");
    }
    assert_eq!(as_root("POST", "/tokens", r#"{"name": "second", "role": "admin"}"#).await.status(), 201);
    assert_eq!(as_root("DELETE", "/tokens/root", "").await.status(), 200, "another one is left");
}

#[tokio::test]
async fn the_first_route_says_that_models_without_one_are_served_no_more() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let route = |model: &str| json!({ "model": model, "targets": [{ "backend": "a" }] });
    let warning = |answer: &Value| answer["warning"].as_str().map(str::to_owned);
    let would = plane.expect(200, "POST", "/routes?dry_run=true", route("m")).await;
    assert!(warning(&would).unwrap().contains("404"), "{would}");
    let first = plane.expect(201, "POST", "/routes", route("m")).await;
    assert!(warning(&first).unwrap().contains("404"), "{first}");
    assert_eq!(plane.ask().await, 404);
    let second = plane.expect(201, "POST", "/routes", route("claude-*")).await;
    assert_eq!((warning(&second), plane.ask().await), (None, 200));
    for (route, warns) in [(&first, false), (&second, true)] {
        let path = format!("/routes/{}", route["id"].as_str().unwrap());
        let deleted = plane.expect(200, "DELETE", &path, Value::Null).await;
        assert_eq!(warning(&deleted).is_some(), warns, "{deleted}");
    }
}
