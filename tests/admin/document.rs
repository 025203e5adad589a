//! The OpenAPI document says what is so: roles, statuses and shapes.

use serde_json::{Value, json};

use crate::plane::{ADMIN, OPERATOR, Plane, VIEWER};
use crate::wire::*;

/// What is wrong with `value` by `schema`, as far as the document's own words go.
fn misfit(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return misfit(document, target.expect("a reference that leads somewhere"), value);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Some(wrong) = misfit(document, part, value) {
            return Some(wrong);
        }
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choices].as_array()
            && choices.iter().all(|choice| misfit(document, choice, value).is_some())
        {
            return Some(format!("{value} fits none of {choices:?}"));
        }
    }
    let kinds =
        schema["type"].as_array().map_or_else(|| std::slice::from_ref(&schema["type"]), Vec::as_slice);
    let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
        return Some(format!("{value} is no {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            return Some(format!("{value} has no {name}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(wrong) = value.get(name).and_then(|value| misfit(document, property, value)) {
            return Some(format!("{name}: {wrong}"));
        }
    }
    value.as_array().into_iter().flatten().find_map(|item| misfit(document, &schema["items"], item))
}

#[tokio::test]
async fn every_operation_asks_for_its_role_and_answers_as_described() {
    let plane = Plane::stored(&["org-a-1"]).await;
    for (path, body) in [
        ("/backends", json!({ "name": "b", "provider": "anthropic", "park": { "quota_max_ms": 1 } })),
        ("/groups", json!({ "name": "g", "backend": "b", "usd_per_day": 5 })),
        ("/keys", json!({ "name": "k", "backend": "b", "secret": "sk-k", "group": "g" })),
        ("/routes", json!({ "model": "m", "targets": [{ "backend": "b" }] })),
        ("/tenants", json!({ "name": "t", "limits": { "rpm": 5 } })),
        ("/tokens", json!({ "name": "bot" })),
    ] {
        plane.expect(201, "POST", path, body).await;
    }
    plane.expect(200, "POST", "/keys/k/park", json!({ "seconds": 60, "reason": "why" })).await;
    let document = plane.expect(200, "GET", "/openapi.json", Value::Null).await;
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        operations.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    });
    let roles = [("viewer", VIEWER), ("operator", OPERATOR), ("admin", ADMIN)];
    let mut checked = 0;
    for (path, method, operation) in operations {
        let id = match path.split('/').nth(3).unwrap() {
            "keys" => "org-a-1",
            "backends" => "b",
            "groups" => "b:g",
            "routes" => "file:0",
            "tenants" => "t",
            _ => "bot",
        };
        let (full, method) = (path.replace("{id}", id), method.to_uppercase());
        let least = roles.iter().position(|(role, _)| operation["x-headgate-role"] == *role).unwrap();
        assert_eq!(send(plane.admin, &method, &full, &[], "").await.status(), 401, "{method} {full}");
        for (_, token) in &roles[..least] {
            let authorization = format!("Bearer {token}");
            let wire = send(plane.admin, &method, &full, &[("authorization", &authorization)], "").await;
            assert_eq!(wire.status(), 403, "{method} {full}");
        }
        if full.ends_with("/events") {
            continue;
        }
        // An unusable body where one is taken: nothing is made, and what is said is described too.
        let body = if method == "POST" && !full.contains("reload") { r#"{"no such field": 1}"# } else { "" };
        let authorization = format!("Bearer {ADMIN}");
        let wire = send(plane.admin, &method, &full, &[("authorization", &authorization)], body).await;
        let described = &operation["responses"][wire.status().to_string()];
        let media = described["content"].as_object().and_then(|content| content.iter().next());
        let (media, content) = media.unwrap_or_else(|| panic!("{method} {full} {}: {wire:?}", wire.status()));
        assert!(wire.head().contains(&format!("content-type: {media}")), "{method} {full}: {wire:?}");
        assert_eq!(misfit(&document, &content["schema"], &wire.json()), None, "{method} {full}: {wire:?}");
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
}
