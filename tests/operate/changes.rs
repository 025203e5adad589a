//! What changes ask of the admin API.

use serde_json::{Value, json};

use super::plane::{Plane, json as answer};

const KEY: &str = r#"{"id":"a","name":"a","backend":"b","group":"g","weight":1,"state":"ready","in_flight":0,"parks":[],"source":"store","revision":3}"#;

/// Runs one change and gives the line and the body of what it asked.
fn asks(arguments: &[&str], reply: &str) -> (String, Value) {
    let plane = Plane::playing([answer(200, reply)]);
    let told = plane.run(arguments);
    assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    let asked = plane.only();
    assert_eq!(asked.header("authorization"), Some("Bearer hga_canary-token"));
    (asked.line(), serde_json::from_str(&asked.body).unwrap_or_default())
}

#[test]
fn every_verb_of_keys_is_one_request() {
    let cases: [(&[&str], &str, Value); 9] = [
        (&["enable", "a"], "POST /admin/v1/keys/a/enable", Value::Null),
        (&["disable", "a", "--dry-run"], "POST /admin/v1/keys/a/disable?dry_run=true", Value::Null),
        (&["drain", "a/b c"], "POST /admin/v1/keys/a%2Fb%20c/drain", Value::Null),
        (
            &["park", "a", "--for", "10m", "--reason", "x"],
            "POST /admin/v1/keys/a/park",
            json!({ "seconds": 600.0, "reason": "x" }),
        ),
        (&["unpark", "a"], "POST /admin/v1/keys/a/unpark", Value::Null),
        (
            &["set", "a", "--weight", "2.5", "--group", "g"],
            "PATCH /admin/v1/keys/a",
            json!({ "weight": 2.5, "limit_group": "g" }),
        ),
        (&["set", "a", "--no-group"], "PATCH /admin/v1/keys/a", json!({ "limit_group": null })),
        (&["remove", "a", "--yes"], "DELETE /admin/v1/keys/a", Value::Null),
        (&["reseal"], "POST /admin/v1/reseal", Value::Null),
    ];
    for (arguments, line, body) in cases {
        let arguments: Vec<&str> = ["keys"].iter().chain(arguments).copied().collect();
        assert_eq!(asks(&arguments, KEY), (line.to_owned(), body), "{arguments:?}");
    }
}

#[test]
fn every_verb_of_the_other_resources_is_one_request() {
    let cases: [(&[&str], &str, Value); 11] = [
        (
            &["backends", "add", "aws", "--provider", "bedrock", "--region", "us-east-1"],
            "POST /admin/v1/backends",
            json!({ "name": "aws", "provider": "bedrock", "region": "us-east-1" }),
        ),
        (
            &["backends", "breaker", "aws", "open", "--model", "m"],
            "POST /admin/v1/backends/aws/breaker",
            json!({ "state": "open", "model": "m" }),
        ),
        (
            &["groups", "add", "g", "--backend", "b", "--limit", "claude-*:rpm=5"],
            "POST /admin/v1/groups",
            json!({ "name": "g", "backend": "b", "limits": [{ "models": "claude-*", "rpm": 5 }] }),
        ),
        (&["groups", "unpark", "b:g"], "POST /admin/v1/groups/b:g/unpark", Value::Null),
        (
            &["routes", "add", "--model", "claude-*", "--target", "a@1", "--target", "b=m"],
            "POST /admin/v1/routes",
            json!({ "model": "claude-*", "targets": [{ "backend": "a", "tier": 1 }, { "backend": "b", "model": "m" }] }),
        ),
        (&["routes", "remove", "route_1", "--yes"], "DELETE /admin/v1/routes/route_1", Value::Null),
        (
            &["tenants", "add", "acme", "--rpm", "600", "--usd-per-day", "1.5", "--model", "claude-*"],
            "POST /admin/v1/tenants",
            json!({ "name": "acme", "models": ["claude-*"], "limits": { "rpm": 600, "usd_per_day": 1.5 } }),
        ),
        (
            &["tenants", "set", "acme", "--rpm", "0"],
            "PATCH /admin/v1/tenants/acme",
            json!({ "limits": { "rpm": 0 } }),
        ),
        (&["tenants", "rotate", "acme"], "POST /admin/v1/tenants/acme/rotate", Value::Null),
        (
            &["tokens", "add", "t", "--role", "viewer"],
            "POST /admin/v1/tokens",
            json!({ "name": "t", "role": "viewer" }),
        ),
        (&["reload"], "POST /admin/v1/reload", Value::Null),
    ];
    for (arguments, line, body) in cases {
        assert_eq!(asks(arguments, "{\"name\":\"x\"}"), (line.to_owned(), body), "{arguments:?}");
    }
}

#[test]
fn a_file_gives_the_options_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backend.yaml");
    std::fs::write(&file, "name: aws\nprovider: bedrock\nregion: eu-west-1\npark: { backoff_first_ms: 5 }\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let (_, body) = asks(&["backends", "add", "--file", file, "--region", "us-east-1"], "{}");
    assert_eq!(
        body,
        json!({ "name": "aws", "provider": "bedrock", "region": "us-east-1", "park": { "backoff_first_ms": 5 } })
    );
}

#[test]
fn a_revision_travels_as_an_etag() {
    for (given, sent) in [("3", "\"3\""), ("\"3\"", "\"3\""), ("W/\"x\"", "W/\"x\"")] {
        let plane = Plane::playing([answer(200, KEY)]);
        assert_eq!(plane.run(&["keys", "set", "a", "--weight", "2", "--if-match", given]).code, 0);
        assert_eq!(plane.only().header("if-match"), Some(sent));
    }
}

#[test]
fn a_removal_nobody_confirmed_is_not_asked_for() {
    let plane = Plane::playing([]);
    let told = plane.run(&["keys", "remove", "a"]);
    assert!(told.code == 2 && told.err.contains("--yes") && plane.asked().is_empty(), "{told:?}");
}

#[test]
fn a_creation_whose_answer_is_lost_is_asked_again_as_the_same() {
    let plane = Plane::playing([String::new(), answer(201, KEY)]);
    let told = plane.run_with(&["keys", "add", "a", "--backend", "b", "--secret-stdin"], "sk-1\n");
    assert_eq!(told.code, 0, "{told:?}");
    let asked = plane.asked();
    assert_eq!((asked.len(), asked[0].header("idempotency-key")), (2, asked[1].header("idempotency-key")));
    assert!(asked[0].header("idempotency-key").is_some() && asked[0].body == asked[1].body);
}

#[test]
fn another_change_whose_answer_is_lost_is_not_asked_again() {
    let plane = Plane::playing([String::new(), answer(200, KEY)]);
    let told = plane.run(&["keys", "rotate", "a", "--credential-chain"]);
    assert!(told.code == 69 && plane.asked().len() == 1, "{told:?}");
}

#[test]
fn a_drain_waits_for_the_last_stream() {
    let busy = |count: u32| answer(200, &KEY.replace("\"in_flight\":0", &format!("\"in_flight\":{count}")));
    let retiring = answer(200, &KEY.replace("\"in_flight\":0", "\"in_flight\":0,\"retiring_in_flight\":1"));
    let plane = Plane::playing([busy(2), busy(2), retiring, busy(0)]);
    let told = plane.run(&["keys", "drain", "a", "--wait"]);
    assert_eq!(told.code, 0, "{told:?}");
    let lines: Vec<String> = plane.asked().iter().map(super::plane::Asked::line).collect();
    let look = "GET /admin/v1/keys/a";
    assert_eq!(lines, ["POST /admin/v1/keys/a/drain", look, look, look]);
}

#[test]
fn a_rotation_waits_for_the_last_stream_of_the_old_secret() {
    let busy = |old: u32| {
        let count = format!("\"in_flight\":9,\"retiring_in_flight\":{old}");
        answer(200, &KEY.replace("\"in_flight\":0", &count))
    };
    let plane = Plane::playing([busy(1), busy(1), busy(0)]);
    let told = plane.run(&["keys", "rotate", "a", "--credential-chain", "--wait", "--json"]);
    assert_eq!((told.code, plane.asked().len()), (0, 3), "{told:?}");
    let document: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(document["retiring_in_flight"], 0);
}

#[test]
fn a_drain_that_takes_too_long_ends_with_1() {
    let busy = answer(200, &KEY.replace("\"in_flight\":0", "\"in_flight\":1"));
    let plane = Plane::playing([busy.clone(), busy.clone(), busy]);
    let told = plane.run(&["keys", "drain", "a", "--wait", "--timeout", "100ms"]);
    assert!(told.code == 1 && told.err.contains("still has requests under way"), "{told:?}");
}

#[test]
fn a_test_that_fails_and_a_reload_that_is_rejected_end_with_1() {
    let plane =
        Plane::playing([answer(200, r#"{"ok":false,"authenticates":false,"detail":"invalid x-api-key"}"#)]);
    let told = plane.run(&["keys", "test", "a", "--model", "m"]);
    assert!(told.code == 1 && told.out.contains("invalid x-api-key"), "{told:?}");
    assert_eq!(plane.only().json(), json!({ "model": "m" }));
    let plane = Plane::playing([answer(200, r#"{"outcome":"rejected","problems":["backends[0]: x"]}"#)]);
    let told = plane.run(&["reload"]);
    assert!(told.code == 1 && told.out.contains("backends[0]: x"), "{told:?}");
}

#[test]
fn a_dry_run_says_that_nothing_changed() {
    let plane = Plane::playing([answer(200, KEY)]);
    let told = plane.run(&["keys", "add", "a", "--backend", "b", "--credential-chain", "--dry-run"]);
    assert!(
        told.code == 0 && told.err.contains("nothing was changed") && !told.err.contains("created"),
        "{told:?}"
    );
    assert_eq!(plane.only().target, "/admin/v1/keys?dry_run=true");
}
