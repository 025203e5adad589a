//! Whatever is wrong with a body, the answer names the field and says what was expected; values are tried after the OpenAPI
//! document, so that an option added later is tried too.

use serde_json::{Value, json};

use crate::plane::Plane;

/// A sound body of every kind, with a table or list of each sort in it.
fn sound() -> Vec<(&'static str, &'static str, Value)> {
    let limit = json!({ "models": "claude-*", "rpm": 5 });
    let target = json!({ "backend": "a", "model": "m", "tier": 0 });
    let cloud = json!({ "name": "b", "provider": "bedrock", "region": "us-east-1" });
    vec![
        ("/keys", "Key", json!({ "name": "k", "backend": "a", "secret": "sk-k" })),
        (
            "/backends",
            "Backend",
            json!({ "name": "b", "provider": "anthropic", "park": { "overloaded_ms": 5 } }),
        ),
        ("/backends", "Backend", cloud),
        ("/groups", "Group", json!({ "name": "g", "backend": "a", "limits": [limit] })),
        ("/routes", "Route", json!({ "model": "m", "targets": [target], "fallback_models": ["m2"] })),
        ("/tenants", "Tenant", json!({ "name": "t", "models": ["m"], "limits": { "rpm": 5 } })),
        ("/tokens", "Token", json!({ "name": "t", "role": "viewer" })),
    ]
}

/// Values that few options take.
fn odd() -> Vec<Value> {
    let huge: Value = serde_json::from_str("1e300").unwrap();
    let long = "x".repeat(20_000);
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(u64::MAX),
        huge,
        json!(" "),
        json!("a\u{7}b"),
        json!("no such thing"),
        json!(long),
        json!([]),
        json!([5]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({ "no_such": 5 }),
    ]
}

/// `body` with every value in it, at any depth, replaced by every odd one, and every name of `options` besides; with the path
/// of what was replaced.
fn variations(body: &Value, options: &[String]) -> Vec<(String, Value)> {
    let mut pointers: Vec<String> = options.iter().map(|name| format!("/{name}")).collect();
    inner(body, "", &mut pointers);
    let mut all = Vec::new();
    for pointer in pointers {
        for value in odd() {
            let mut varied = body.clone();
            match varied.pointer_mut(&pointer) {
                Some(place) => *place = value,
                None => varied[&pointer[1..]] = value,
            }
            all.push((pointer.clone(), varied));
        }
    }
    for name in body.as_object().unwrap().keys() {
        let mut without = body.clone();
        without.as_object_mut().unwrap().remove(name);
        all.push((format!("/{name}"), without));
    }
    all
}

fn inner(value: &Value, at: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(table) => table.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, value) in below {
        let path = format!("{at}/{name}");
        inner(value, &path, found);
        found.push(path);
    }
}

#[tokio::test]
async fn every_400_names_its_field_and_says_what_is_wrong() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let document = plane.expect(200, "GET", "/openapi.json", Value::Null).await;
    let (mut tried, mut refused) = (0, 0);
    let mut silent = Vec::new();
    for (path, kind, body) in sound() {
        plane.expect(200, "POST", &format!("{path}?dry_run=true"), body.clone()).await;
        let schema = &document["components"]["schemas"][format!("{kind}Create")]["properties"];
        let options: Vec<String> = schema.as_object().unwrap().keys().cloned().collect();
        for (pointer, varied) in variations(&body, &options) {
            let wire = plane.admin("POST", &format!("{path}?dry_run=true"), &varied.to_string()).await;
            tried += 1;
            assert!(matches!(wire.status(), 200 | 400 | 409), "{path} {pointer}: {wire:?}");
            if wire.status() != 400 {
                continue;
            }
            refused += 1;
            let problem = wire.json();
            let detail = problem["detail"].as_str().unwrap_or_default();
            let field = problem["field"].as_str().unwrap_or_default();
            let varied_option = pointer.split('/').nth(1).unwrap_or_default();
            if !field.starts_with(varied_option) && !elsewhere(varied_option, field) || !tells(detail) {
                silent.push(format!("{path} {pointer} {:.80}: {problem}", varied.to_string()));
            }
        }
    }
    assert!(silent.is_empty(), "{} of {refused}:\n{}", silent.len(), silent.join("\n"));
    assert!(tried > 1000 && refused > 500, "{tried} {refused}");
}

/// What may be told of another option than the one that was varied: of one that depends on it.
fn elsewhere(varied: &str, field: &str) -> bool {
    match varied {
        "provider" => matches!(field, "region" | "project" | "location"),
        "group" => field == "limit_group",
        _ => false,
    }
}

/// Whether a detail says more than that something is wrong.
fn tells(detail: &str) -> bool {
    let words = [
        "expected",
        "is missing",
        "is not a field",
        "unknown option",
        "is called",
        "needs",
        "cannot be",
        "is empty",
        "is of no use",
        "belongs",
        "only",
        "does not",
        "is another name",
    ];
    words.iter().any(|word| detail.contains(word))
}

#[tokio::test]
async fn a_key_without_a_credential_is_told_which_one_its_backend_needs() {
    let plane = Plane::stored(&["org-a-1"]).await;
    let backends = [
        json!({ "name": "aws", "provider": "bedrock", "region": "us-east-1" }),
        json!({ "name": "gcp", "provider": "vertex", "project": "my-project", "location": "global" }),
    ];
    for backend in backends {
        plane.expect(201, "POST", "/backends", backend).await;
    }
    for (given, field, expected) in [
        (json!({ "backend": "a" }), "secret", "needs secret"),
        (json!({ "backend": "a", "secret": null }), "secret", "needs secret"),
        (json!({ "backend": "a", "bearer_token": "t" }), "bearer_token", "needs secret"),
        (json!({ "backend": "aws" }), "access_key_id", "or bearer_token, or credential_chain"),
        (json!({ "backend": "aws", "secret": "s" }), "secret", "or bearer_token, or credential_chain"),
        (json!({ "backend": "aws", "access_key_id": "s" }), "secret_access_key", "needs access_key_id with"),
        (json!({ "backend": "gcp" }), "service_account", "needs service_account or credential_chain"),
    ] {
        let mut key = given.clone();
        key["name"] = json!("k");
        let problem = plane.expect(400, "POST", "/keys", key).await;
        assert_eq!(problem["field"], field, "{given}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{given}: {problem}");
    }
    let problem = plane.expect(400, "POST", "/keys/import", json!({ "keys": [] })).await;
    assert_eq!(problem["field"], "keys");
    let key = json!({ "name": "k", "backend": "aws", "credential_chain": "default" });
    plane.expect(201, "POST", "/keys", key).await;
    let problem = plane.expect(400, "POST", "/keys/k/rotate", json!({})).await;
    assert_eq!(problem["field"], "access_key_id", "{problem}");
}
