//! Lists, usage and events: what is read, and how it is shown.

use std::io::{BufRead as _, BufReader};

use super::plane::{Plane, json as answer, problem, typed};

const FIRST: &str =
    r#"{"data":[{"name":"a","backend":"b","state":"ready","weight":1.50}],"has_more":true,"last_id":"a"}"#;
const SECOND: &str = r#"{"data":[{"name":"c","backend":"d","state":"parked","parks":[{"reason":"rate_limit","class":"sonnet","remaining_ms":90000}]}],"has_more":false,"last_id":"c"}"#;

#[test]
fn a_list_is_read_to_its_end() {
    let plane = Plane::playing([answer(200, FIRST), answer(200, SECOND)]);
    let told = plane.run(&["keys", "list"]);
    let rows = told.rows();
    assert_eq!((rows.len(), rows[1][0], rows[2][0]), (3, "a", "c"), "{told:?}");
    assert!(told.out.contains("rate_limit sonnet (1m30s)") && !told.out.contains('\u{1b}'), "{told:?}");
    let targets: Vec<String> = plane.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/admin/v1/keys?limit=500", "/admin/v1/keys?limit=500&after=a"]);
}

#[test]
fn json_is_one_document_of_what_the_gateway_sent() {
    let plane = Plane::playing([answer(200, FIRST), answer(200, SECOND)]);
    let told = plane.run(&["keys", "list", "--json"]);
    assert!(
        told.out.contains(r#"{"name":"a","backend":"b","state":"ready","weight":1.50},{"name":"c""#),
        "{told:?}"
    );
    let document: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(document["has_more"] == false && document["last_id"] == "c");
    let plane = Plane::playing([answer(200, SECOND)]);
    assert_eq!(plane.run(&["keys", "list", "--json"]).out, format!("{SECOND}\n"));
}

#[test]
fn keys_are_picked_by_backend_and_state() {
    let plane = Plane::playing([answer(200, FIRST), answer(200, SECOND)]);
    let told = plane.run(&["keys", "list", "--state", "parked", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(document["data"].as_array().unwrap().len() == 1 && document["data"][0]["name"] == "c");
    let plane = Plane::playing([answer(200, SECOND)]);
    let told = plane.run(&["keys", "list", "--backend", "none"]);
    assert!(told.code == 0 && told.out.is_empty() && told.err.contains("no key"), "{told:?}");
}

#[test]
fn one_resource_is_shown_line_by_line() {
    let plane =
        Plane::playing([answer(200, r#"{"id":"b:g","keys":["a","c"],"limits":[{"models":"*","rpm":5}]}"#)]);
    let told = plane.run(&["groups", "show", "b:g"]);
    assert_eq!(
        told.rows(),
        [
            vec!["id", "b:g"],
            vec!["keys", "a,", "c"],
            vec!["limits[0].models", "*"],
            vec!["limits[0].rpm", "5"]
        ]
    );
    assert_eq!(plane.only().line(), "GET /admin/v1/groups/b:g");
}

#[test]
fn what_an_upstream_says_cannot_steer_the_terminal() {
    let plane = Plane::playing([answer(200, r#"{"ok":true,"detail":"\u001b[2J\u009b1A"}"#)]);
    let told = plane.run(&["keys", "test", "a"]);
    assert!(told.code == 0 && told.out.contains("\\u{1b}[2J"), "{told:?}");
    assert!(told.out.chars().all(|letter| letter == '\n' || !letter.is_control()));
}

#[test]
fn usage_is_asked_by_what_counts_and_shown_as_it_comes() {
    let reply = r#"{"data":[{"tenant":"acme","requests":3,"input_tokens":10,"cost_usd":"0.0123"}]}"#;
    let plane = Plane::playing([answer(200, reply), typed(200, "text/csv", "tenant,requests\r\nacme,3\r\n")]);
    let told = plane.run(&["usage", "--by", "tenant,model", "--from", "2026-11-01", "--tenant", "acme"]);
    assert_eq!(
        told.rows(),
        [["TENANT", "REQUESTS", "INPUT-TOKENS", "COST-USD"], ["acme", "3", "10", "0.0123"]]
    );
    assert_eq!(plane.run(&["usage", "--last", "24h", "--csv"]).out, "tenant,requests\r\nacme,3\r\n");
    let targets: Vec<String> = plane.asked().into_iter().map(|asked| asked.target).collect();
    let first = "/admin/v1/usage?limit=500&from=2026-11-01T00%3A00%3A00Z&tenant=acme&by=tenant%2Cmodel";
    assert!(targets[0] == first && targets[1].starts_with("/admin/v1/usage?from=20"), "{targets:?}");
    assert!(targets[1].ends_with("&format=csv&limit=10000"), "{targets:?}");
}

#[test]
fn half_an_export_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = typed(200, "application/x-ndjson", "{\"a\":1}\n");
    let plane = Plane::playing([whole.replace("content-length: 8", "content-length: 80"), whole]);
    let file = folder.path().join("usage.jsonl");
    let arguments = ["usage", "export", "--format", "jsonl", "--output", file.to_str().unwrap()];
    let told = plane.run(&arguments);
    assert!(told.code == 69 && std::fs::read_dir(folder.path()).unwrap().next().is_none(), "{told:?}");
    assert_eq!(plane.run(&arguments).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"a\":1}\n");
}

#[test]
fn events_go_on_after_the_last_one_heard() {
    let stream = |body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
    };
    let plane = Plane::playing([
        stream(": ping\n\nid: 7\nevent: park\ndata: {\"key\":\"a\",\"at\":\"T\"}\n\n"),
        stream("id: 8\nevent: unpark\ndata: {\"key\":\"a\"}\n\n"),
        problem(401, r#"{"detail":"gone"}"#),
    ]);
    let told = plane.run(&["events", "--kind", "park,unpark"]);
    assert_eq!(told.code, 77, "{told:?}");
    assert_eq!(told.rows(), [vec!["T", "park", "key=a"], vec!["unpark", "key=a"]]);
    let asked = plane.asked();
    assert_eq!(asked[0].target, "/admin/v1/events?kind=park%2Cunpark");
    let heard: Vec<Option<&str>> = asked.iter().map(|asked| asked.header("last-event-id")).collect();
    assert_eq!(heard, [None, Some("7"), Some("8")]);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let row = r#"{"name":"a-key-with-a-rather-long-name","backend":"anthropic","state":"ready"}"#;
    let rows = vec![row; 20_000].join(",");
    let plane = Plane::playing([answer(200, &format!("{{\"data\":[{rows}],\"has_more\":false}}"))]);
    let mut child = plane.command(&["keys", "list"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn audit_shows_what_differs_and_no_more_than_asked_for() {
    let entry = r#"{"id":"9","at":"T","actor":"ops","action":"key.update","kind":"key","resource":"org-a-1","source":"127.0.0.1","before":{"weight":1},"after":{"weight":2}}"#;
    let plane =
        Plane::playing([answer(200, &format!("{{\"data\":[{entry}],\"has_more\":true,\"last_id\":\"9\"}}"))]);
    let told = plane.run(&["audit", "--kind", "key", "--limit", "1"]);
    assert!(
        told.code == 0 && told.out.contains("weight: 1 -> 2") && told.out.contains("org-a-1"),
        "{told:?}"
    );
    assert_eq!(plane.only().target, "/admin/v1/audit?limit=1&kind=key");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = super::plane::program(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains("tenants") && script.contains("import"),
            "{shell}"
        );
    }
}
