//! A key that is switched off: by an operator or by the files, shown, exported, and off where the export is loaded.

use serde_json::{Value, json};

use crate::plane::{Plane, key, tokens};

fn exported_key<'v>(tree: &'v Value, name: &str) -> &'v Value {
    let keys = tree["backends"].as_array().unwrap().iter().flat_map(|one| one["keys"].as_array().unwrap());
    keys.into_iter().find(|key| key["name"] == name).unwrap()
}

fn off_in_files(name: &str) -> String {
    key(name).replace(" }", ", enabled: false }")
}

#[tokio::test]
async fn an_export_tells_which_keys_are_off_and_is_no_way_to_switch_them_on() {
    let plane = Plane::stored(&["org-a-1", "org-a-2", "org-b-1", &off_in_files("org-b-2")]).await;
    let made = json!({ "name": "k", "backend": "a", "secret": "sk-k", "enabled": false });
    plane.expect(201, "POST", "/keys", made).await;
    plane.expect(200, "POST", "/keys/org-a-2/disable", Value::Null).await;
    plane.expect(200, "POST", "/keys/org-b-1/drain", Value::Null).await;
    let tree = plane.expect(200, "GET", "/export", Value::Null).await;
    assert_eq!(exported_key(&tree, "org-a-1").get("enabled"), None, "{tree}");
    for off in ["org-a-2", "org-b-1", "org-b-2", "k"] {
        assert_eq!(exported_key(&tree, off)["enabled"], false, "{off}");
    }

    // As a file of another gateway, its variables filled in.
    let text = tree["backends"][0]["keys"].to_string().replace("env:HEADGATE_KEY_", "value:sk-");
    let keys: Vec<Value> = serde_json::from_str(&text).unwrap();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let other = Plane::start(&keys, &tokens()).await;
    for (name, state) in [("org-a-1", "ready"), ("org-a-2", "disabled"), ("k", "disabled")] {
        let shown = other.key(name).await;
        assert_eq!(
            (&shown["state"], &shown["enabled"]),
            (&json!(state), &json!(state == "ready")),
            "{shown}"
        );
    }
    // As an import into another store.
    let mut off = exported_key(&tree, "k").clone();
    off["name"] = json!("imported");
    off["backend"] = json!("a");
    off["secret"] = json!("sk-k");
    plane.expect(200, "POST", "/keys/import", json!({ "keys": [off] })).await;
    assert_eq!(plane.key("imported").await["enabled"], false);
}

#[tokio::test]
async fn what_the_files_switch_off_is_switched_on_in_the_files() {
    let off = off_in_files("org-a-1");
    let plane = Plane::start(&[&off], &format!("{}relay: {{ max_wait_ms: 0 }}", tokens())).await;
    assert_eq!(plane.ask().await, 503);
    for (method, path, body) in [
        ("POST", "/keys/org-a-1/enable", Value::Null),
        ("PATCH", "/keys/org-a-1", json!({ "enabled": true })),
    ] {
        let refused = plane.expect(409, method, path, body).await;
        assert!(refused["detail"].as_str().unwrap().contains("enabled: false"), "{refused}");
    }
    let more = format!("{}relay: {{ max_wait_ms: 0 }}", tokens());
    plane.reload(&["org-a-1"], &more).await;
    assert_eq!((plane.key("org-a-1").await["state"].as_str(), plane.ask().await), (Some("ready"), 200));
    plane.reload(&[&off], &more).await;
    assert_eq!(plane.ask().await, 503, "a reload switches it off for the next request");
    plane.expect(200, "POST", "/keys/org-a-1/disable", Value::Null).await;
    plane.reload(&["org-a-1"], &more).await;
    assert_eq!(plane.key("org-a-1").await["enabled"], false, "the operator's own switch stays");
    plane.expect(200, "POST", "/keys/org-a-1/enable", Value::Null).await;
    assert_eq!(plane.ask().await, 200);
}
