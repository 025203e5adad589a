use bytes::Bytes;
use serde_json::{Value, json};

use super::{Features, Limits, Obstacle, Passage, Rule};
use crate::request::{MessagesRequest, Operation, scan};
use crate::wire::Headers;

fn request(mut body: Value, betas: &[&str]) -> MessagesRequest {
    body["model"] = json!("m");
    let body = Bytes::from(body.to_string());
    let outline = scan(&body, 64).unwrap();
    let mut headers = Headers::default();
    for line in betas {
        headers.push("anthropic-beta", (*line).to_owned());
    }
    MessagesRequest { operation: Operation::Messages, body, query: None, headers, outline }
}

fn told(rule: &Rule, passage: Passage, request: &MessagesRequest) -> Option<String> {
    let features = Features::of(request);
    Limits::new(rule, passage).obstacle(request, || &features).map(|obstacle| match obstacle {
        Obstacle::Part { place, what } => format!("{place} {what}").trim_end().to_owned(),
        Obstacle::Size(limit) => format!("size {limit}"),
        Obstacle::Operation(operation) => format!("{operation:?}"),
    })
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn content(blocks: Value) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": blocks}]})
}

#[test]
fn a_rule_without_lists_takes_everything_and_reads_nothing() {
    let limits = Limits::new(&Rule::default(), Passage::default());
    assert!(!limits.reads_features());
    let request = request(json!({"brand_new": 1}), &["brand-new"]);
    assert_eq!(limits.obstacle(&request, || panic!("nothing restricts")), None);
}

#[test]
fn the_field_that_is_not_taken_is_named() {
    let rule = Rule { fields: names(&["messages", "max_*"]), ..Rule::default() };
    let told = |body: Value| told(&rule, Passage::default(), &request(body, &[]));
    assert_eq!(told(json!({"messages": [], "max_tokens": 1, "stream": true})), None);
    assert_eq!(told(json!({"service_tier": "auto"})), Some("service_tier".to_owned()));
    assert_eq!(told(json!({"service_tier": null})), Some("service_tier".to_owned()));
}

#[test]
fn a_null_that_the_dialect_leaves_out_is_no_obstacle() {
    let rule = Rule { fields: names(&["messages"]), ..Rule::default() };
    let passage = Passage { drops_nulls: true, ..Passage::default() };
    let told = |body: Value| told(&rule, passage.clone(), &request(body, &[]));
    assert_eq!(told(json!({"service_tier": null})), None);
    assert_eq!(told(json!({"service_tier": "auto"})), Some("service_tier".to_owned()));
    assert_eq!(told(json!({"brand_new": null})), Some("brand_new".to_owned()));
}

#[test]
fn members_are_refused_one_level_down() {
    let refuses = names(&["tools.allowed_callers", "output_config.task_*"]).unwrap();
    let rule = Rule { refuses, ..Rule::default() };
    let told = |body: Value| told(&rule, Passage::default(), &request(body, &[]));
    assert_eq!(
        told(json!({"output_config": {"task_budget": {}}})),
        Some("output_config.task_budget".to_owned())
    );
    assert_eq!(
        told(json!({"tools": [{"name": "a"}, {"name": "b", "allowed_callers": ["direct"]}]})),
        Some("tools.allowed_callers".to_owned())
    );
    assert_eq!(told(json!({"tools": [{"name": "a", "input_schema": {"allowed_callers": 1}}]})), None);
    assert_eq!(told(json!({"output_config": {"task_budget": null, "effort": "low"}})), None);
}

#[test]
fn tools_blocks_and_sources_are_found_where_they_stand() {
    let rule = Rule {
        tools: names(&["custom", "bash_*"]),
        blocks: names(&["text", "image", "document", "tool_result", "tool_use"]),
        sources: names(&["base64", "text", "content"]),
        ..Rule::default()
    };
    let told = |body: Value| told(&rule, Passage::default(), &request(body, &[]));
    let image = |kind: &str| json!({"type": "image", "source": {"type": kind}});
    for (body, expected) in [
        (
            json!({"tools": [{"name": "a"}, {"type": "custom"}, {"type": "bash_20250124"}, {"type": null}]}),
            None,
        ),
        (
            json!({"tools": [{"name": "a"}, {"type": "web_search_20260209"}]}),
            Some("tools.1 web_search_20260209"),
        ),
        (json!({"tools": [{"ty\u{70}e": "web_fetch_1"}]}), Some("tools.0 web_fetch_1")),
        (content(json!([image("base64")])), None),
        (content(json!([image("url")])), Some("messages.1.content.0.source url")),
        (
            content(json!([{"type": "tool_result", "content": [{"type": "text"}, image("file")]}])),
            Some("messages.1.content.0.content.1.source file"),
        ),
        (
            content(json!([{"type": "document", "source": {"type": "content", "content": [image("url")]}}])),
            Some("messages.1.content.0.source.content.0.source url"),
        ),
        (content(json!([{"type": "container_upload"}])), Some("messages.1.content.0 container_upload")),
        (json!({"system": [{"type": "odd"}]}), Some("system.0 odd")),
        // What is inside a tool's input is the caller's own.
        (
            content(
                json!([{"type": "tool_use", "input": {"content": [image("url")], "source": {"type": "url"}}}]),
            ),
            None,
        ),
    ] {
        assert_eq!(told(body.clone()).as_deref(), expected, "{body}");
    }
}

#[test]
fn a_vital_flag_that_would_be_dropped_is_an_obstacle_and_any_other_is_not() {
    let rule = Rule { vital_betas: names(&["context-1m-*"]).unwrap(), ..Rule::default() };
    let passage = Passage { betas: names(&["context-1m-2025-08-07"]), ..Passage::default() };
    let told = |body: Value, betas: &[&str]| told(&rule, passage.clone(), &request(body, betas));
    assert_eq!(told(json!({}), &["brand-new, context-1m-2025-08-07", "other"]), None);
    assert_eq!(
        told(json!({}), &["brand-new,context-1m-2026-01-01"]),
        Some("anthropic-beta context-1m-2026-01-01".to_owned())
    );
    assert_eq!(
        told(json!({"anthropic_beta": ["context-1m-2026-01-01"]}), &[]),
        Some("anthropic-beta context-1m-2026-01-01".to_owned())
    );
}

#[test]
fn the_endpoint_and_the_length_are_judged_without_reading() {
    let rule = Rule {
        max_body_bytes: Some(40),
        operations: Some(vec![Operation::Messages]),
        fields: names(&[]),
        ..Rule::default()
    };
    let limits = Limits::new(&rule, Passage::default());
    let unread = || -> &Features { panic!("not needed") };
    let long = request(json!({"x": "y".repeat(40)}), &[]);
    assert_eq!(limits.obstacle(&long, unread), Some(Obstacle::Size(40)));
    let counted = MessagesRequest { operation: Operation::CountTokens, ..long };
    assert_eq!(limits.obstacle(&counted, unread), Some(Obstacle::Operation(Operation::CountTokens)));
}

#[test]
fn a_body_of_hostile_variety_or_depth_costs_no_more_than_its_bytes() {
    let many = (0..50_000).map(|name| format!("\"f{name}\":1")).collect::<Vec<_>>().join(",");
    let mut deep = "[]".to_owned();
    for _ in 0..500 {
        deep = format!(r#"[{{"type":"tool_result","content":{deep}}}]"#);
    }
    for body in [format!("{{\"model\":\"m\",{many}}}"), format!(r#"{{"model":"m","system":{deep}}}"#)] {
        let mut asked = request(json!({}), &[]);
        asked.body = body.into();
        assert!(Features::of(&asked).fields.len() <= 1024);
    }
}

#[test]
fn tokens_are_estimated_from_bytes_with_media_apart() {
    let text = request(json!({"messages": "x".repeat(4_000)}), &[]);
    let tokens = Features::of(&text).estimated_tokens();
    assert!((1_000..1_020).contains(&tokens), "{tokens}");
    let media = |kind: &str| json!({"type": kind, "source": {"type": "base64", "data": "A".repeat(40_000)}});
    let tokens = Features::of(&request(content(json!([media("image")])), &[])).estimated_tokens();
    assert!((1_600..1_700).contains(&tokens), "{tokens}");
    let tokens = Features::of(&request(content(json!([media("document")])), &[])).estimated_tokens();
    assert!((1_200..1_300).contains(&tokens), "{tokens}");
}
