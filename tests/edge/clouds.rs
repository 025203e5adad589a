//! Three providers on sockets: what moves between them arrives whole, what cannot move does not, and relatives need
//! configuration alone.

use std::sync::{Arc, Mutex};

use headgate::simulator::{Fault, FaultKind, FaultRule, Knobs, SimulatorConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::caller::{Answer, post, prompt};
use super::stand::{Running, Upstream};

/// Anthropic, then Bedrock, then Vertex, all simulated.
struct Clouds {
    gateway: Running,
    upstream: Upstream,
}

impl Clouds {
    fn start() -> Self {
        let mut config = SimulatorConfig { reject_unknown_fields: true, ..SimulatorConfig::default() };
        // What the gateway's own table lets through is what this cloud knows.
        for flag in ["dev-full-thinking-2025-05-14", "output-128k-2025-02-19", "computer-use-2025-11-24"] {
            config.vertex.betas.push(flag.to_owned());
        }
        let upstream = Upstream::start(config);
        let url = upstream.url();
        let gateway = Running::start(&format!(
            "
relay: {{ retry_budget_floor_per_s: 100000 }}
breaker: {{ consecutive_failures: 1000000, min_samples: 1000000 }}
backends:
  - name: anthropic
    provider: anthropic
    base_url: '{url}'
    keys: [ {{ name: k, secret: 'value:sk-ant-api03-sim-org-a-1' }} ]
  - name: bedrock
    provider: bedrock
    region: us-east-1
    base_url: '{url}'
    keys: [ {{ name: aws, access_key_id: 'value:AKIASIMAWSA0001', secret_access_key: 'value:sim-secret-aws-a-1' }} ]
  - name: vertex
    provider: vertex
    project: gcp-a
    location: us-east5
    base_url: '{url}'
    auth: none
    headers: {{ authorization: 'Bearer ya29.sim-gcp-a-1' }}
    keys: [ {{ name: gcp }} ]
routes:
  - model: '*'
    spill_after_ms: 0
    targets: [ {{ backend: anthropic }}, {{ backend: bedrock, model: 'us.anthropic.{{model}}' }}, {{ backend: vertex }} ]
"
        ));
        Self { gateway, upstream }
    }

    /// 500 of every key so named.
    fn break_keys(&self, names: &[&str]) {
        let rule = |name: &&str| FaultRule {
            keys: vec![(*name).to_owned()],
            paths: vec!["*".to_owned()],
            fault: Some(Fault { kind: FaultKind::ServerError, knobs: Knobs::default() }),
            ..FaultRule::default()
        };
        self.upstream.control().set_faults(names.iter().map(rule).collect());
    }

    async fn ask(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.gateway.ask(&post(path, headers, body)).await
    }
}

/// A conversation of this many bytes with tools, images, a document, cache marks and thinking.
fn conversation(bytes: usize) -> String {
    let image = "iVBORw0KGgo".repeat(bytes / 4 / 11);
    let words = "caf\u{e9} \"words\" \\ ".repeat(bytes / 4 / 16);
    json!({
        "model": "claude-sonnet-5",
        "max_tokens": 2_000,
        "system": [{"type": "text", "text": words, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [
            {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {"source": {"type": "null"}}}},
            {"type": "bash_20250124", "name": "bash", "cache_control": {"type": "ephemeral"}},
        ],
        "thinking": {"type": "adaptive"},
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words}, "citations": {"enabled": false}},
            ]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"source": {"type": "url"}, "x": null}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}, {"type": "text", "text": "seen"}]}]},
        ],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_conversation_moves_through_all_three_with_its_bytes_intact() {
    let clouds = Clouds::start();
    clouds.break_keys(&["org-*", "aws-*"]);
    let body = conversation(500_000);
    assert!(body.len() > 450_000, "{}", body.len());
    for stream in [false, true] {
        let sent = body.replacen('{', &format!("{{\"stream\":{stream},"), 1);
        let answer = clouds.ask("/v1/messages?beta=true", "", &sent).await;
        assert_eq!(
            (answer.status, answer.header("x-headgate-backend")),
            (200, Some("vertex")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("x-headgate-attempts"), Some("3"));
        assert!(!stream || answer.is_whole_stream());
        let requests = clouds.upstream.simulator.requests();
        let [first, bedrock, vertex] = &requests[requests.len() - 3..] else { panic!("three requests") };
        assert!(first.body == sent.as_bytes(), "Anthropic gets what was sent");
        // What the clouds get is what was sent, but for the members that their dialects move.
        let rest = sent.split_once("\"tools\":").unwrap().1;
        let mut expected: Value = serde_json::from_str(&sent).unwrap();
        expected.as_object_mut().unwrap().remove("model");
        expected["anthropic_version"] = json!("vertex-2023-10-16");
        assert_eq!(serde_json::from_slice::<Value>(&vertex.body).unwrap(), expected);
        assert!(vertex.body.ends_with(rest.as_bytes()) && vertex.target.contains("awPredict"));
        expected.as_object_mut().unwrap().remove("stream");
        expected["anthropic_version"] = json!("bedrock-2023-05-31");
        assert_eq!(serde_json::from_slice::<Value>(&bedrock.body).unwrap(), expected);
        assert!(
            bedrock.target.starts_with("/model/us.anthropic.claude-sonnet-5/invoke"),
            "{}",
            bedrock.target
        );
    }
}

/// Members of a body, some of which only the first party takes.
fn members() -> Vec<(&'static str, Value)> {
    let image = |source: Value| json!([{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "x"}]}]);
    vec![
        ("service_tier", json!("auto")),
        ("service_tier", Value::Null),
        ("inference_geo", json!("us")),
        ("speed", json!("standard")),
        ("container", Value::Null),
        ("container", json!("container_1")),
        ("mcp_servers", json!([{"type": "url", "name": "m", "url": "https://m"}])),
        ("fallbacks", json!([{"model": "claude-haiku-5-5"}])),
        ("diagnostics", json!({"previous_message_id": null})),
        ("context_management", json!({"edits": []})),
        ("output_config", json!({"effort": "low"})),
        ("output_config", json!({"task_budget": {"type": "tokens", "total": 20_000}})),
        ("metadata", json!({"user_id": null})),
        ("temperature", Value::Null),
        ("stop_sequences", json!(["x"])),
        ("system", json!([{"type": "text", "text": "s", "cache_control": null}])),
        ("tools", json!([{"name": "t", "input_schema": {"type": "object"}}])),
        ("tools", json!([{"name": "t", "input_schema": {"type": "object"}, "allowed_callers": ["direct"]}])),
        ("tools", json!([{"type": "web_search_20260209", "name": "web_search"}])),
        ("tools", json!([{"type": "web_fetch_20260209", "name": "web_fetch"}])),
        ("tools", json!([{"type": "code_execution_20260120", "name": "code_execution"}])),
        ("tools", json!([{"type": "memory_20250818", "name": "memory"}])),
        ("tools", json!([{"type": "mcp_toolset", "mcp_server_name": "m"}])),
        ("messages", image(json!({"type": "url", "url": "https://i"}))),
        ("messages", image(json!({"type": "file", "file_id": "file_1"}))),
        ("messages", image(json!({"type": "base64", "media_type": "image/png", "data": "aGk="}))),
        ("thinking", json!({"type": "adaptive"})),
        ("brand_new_field", json!(1)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_never_adds_a_400() {
    const FLAGS: [&str; 6] = [
        "context-1m-2025-08-07",
        "context-1m-2027-01-01",
        "claude-code-20250219",
        "output-128k-2025-02-19",
        "model-context-window-exceeded-2025-08-26",
        "mcp-client-2025-11-20",
    ];
    let clouds = Clouds::start();
    let members = members();
    let mut seed = 20_261_122_u64;
    let mut dice = |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % sides
    };
    let (mut moved, mut kept) = (0, 0);
    for round in 0..300 {
        let mut body: Value = serde_json::from_str(&prompt("claude-sonnet-5", "hi", dice(2) == 0)).unwrap();
        for _ in 0..dice(4) {
            let (name, value) = &members[dice(members.len())];
            body[*name] = value.clone();
        }
        let flags: Vec<&str> = (0..dice(3)).map(|_| FLAGS[dice(FLAGS.len())]).collect();
        let headers =
            if flags.is_empty() { String::new() } else { format!("anthropic-beta: {}\r\n", flags.join(",")) };
        let path = ["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"][dice(3)];
        let (path, body) = (path, body.to_string());
        clouds.break_keys(&[]);
        if clouds.ask(path, &headers, &body).await.status != 200 {
            continue;
        }
        clouds.break_keys(if dice(2) == 0 { &["org-*"] } else { &["org-*", "aws-*"] });
        let before = clouds.upstream.simulator.requests().len();
        let answer = clouds.ask(path, &headers, &body).await;
        let told = format!("round {round}: {path} {headers}{body}: {}", answer.text());
        assert!(matches!(answer.status, 200 | 500), "{told}");
        for asked in &clouds.upstream.simulator.requests()[before..] {
            assert!(!asked.outcome.starts_with('4'), "{} answered {}: {told}", asked.target, asked.outcome);
        }
        if answer.status == 200 { moved += 1 } else { kept += 1 }
    }
    assert!(moved > 30 && kept > 30, "{moved} moved, {kept} did not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_estimated_where_nobody_counts_them() {
    let upstream = Upstream::start(SimulatorConfig::default());
    let gateway = Running::start(&format!(
        "backends: [{{ name: b, provider: bedrock, region: us-east-1, base_url: '{}', capabilities: [ {{ operations: [ messages ] }} ], \
         keys: [{{ name: aws, bearer_token: 'value:bedrock-api-key-sim-aws-a-2' }}] }}]\n\
         routes: [{{ model: '*', targets: [{{ backend: b }}] }}]",
        upstream.url()
    ));
    let body = prompt("claude-sonnet-5", &"x".repeat(4_000), false);
    let answer = gateway.ask(&post("/v1/messages/count_tokens", "", &body)).await;
    assert_eq!(
        (answer.status, answer.header("x-headgate-estimate")),
        (200, Some("true")),
        "{}",
        answer.text()
    );
    let tokens = answer.json()["input_tokens"].as_u64().unwrap();
    assert!((1_000..1_100).contains(&tokens), "{tokens}");
    assert!(answer.header("request-id").is_some() && upstream.simulator.requests().is_empty());
}

/// An upstream that answers every message and keeps the heads of its requests.
async fn listener() -> (String, Arc<Mutex<Vec<String>>>) {
    const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut read, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
            while !read.ends_with(b"}") {
                let count = stream.read(&mut piece).await.unwrap();
                assert!(count > 0, "the request broke off");
                read.extend_from_slice(&piece[..count]);
            }
            let text = String::from_utf8(read).unwrap();
            kept.lock().unwrap().push(text.split("\r\n\r\n").next().unwrap().to_ascii_lowercase());
            let length = MESSAGE.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}"
            );
            stream.write_all(format!("{head}\r\n\r\n{MESSAGE}").as_bytes()).await.unwrap();
        }
    });
    (address, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relatives_of_the_messages_api_need_configuration_alone() {
    let (address, heads) = listener().await;
    for (options, keys, path, lines) in [
        // Microsoft Foundry: a path of its own, an API key or a token.
        (
            "base_url: 'http://HOST/anthropic'",
            "secret: 'value:s'",
            "/anthropic/v1/messages?beta=true",
            &["x-api-key: s"][..],
        ),
        (
            "base_url: 'http://HOST/anthropic', auth: bearer",
            "secret: 'value:s'",
            "/anthropic/v1/messages?beta=true",
            &["authorization: bearer s"],
        ),
        // Claude Platform on AWS: the workspace in a header; an API key, or AWS keys that sign.
        (
            "base_url: 'http://HOST', headers: { anthropic-workspace-id: wrkspc_1 }",
            "secret: 'value:s'",
            "/v1/messages?beta=true",
            &["x-api-key: s", "anthropic-workspace-id: wrkspc_1"],
        ),
        // Claude on Google Cloud, managed by Anthropic.
        (
            "base_url: 'http://HOST/v1/projects/p/locations/l/workspaces/w/invoke', auth: bearer",
            "secret: 'value:t'",
            "/v1/projects/p/locations/l/workspaces/w/invoke/v1/messages?beta=true",
            &["authorization: bearer t"],
        ),
        // A proxy of one's own: no credentials, or another scheme.
        (
            "base_url: 'http://HOST/x/', auth: none, headers: { api-key: 'value:s' }",
            "weight: 1",
            "/x/v1/messages?beta=true",
            &["api-key: s"],
        ),
    ] {
        let options = options.replace("HOST", &address);
        let gateway = Running::start(&format!(
            "backends: [{{ name: r, provider: anthropic, {options}, keys: [{{ name: k, {keys} }}] }}]"
        ));
        let body = prompt("claude-sonnet-5", "hi", false);
        let answer = gateway.ask(&post("/v1/messages?beta=true", "x-api-key: own\r\n", &body)).await;
        assert_eq!(answer.status, 200, "{options}: {}", answer.text());
        let head = heads.lock().unwrap().pop().unwrap();
        assert!(head.starts_with(&format!("post {path} http/1.1")), "{head}");
        let has = |line: &&str| head.lines().any(|other| other == *line);
        assert!(lines.iter().all(has), "{options}: {head}");
        assert!(!head.contains("own"), "{head}");
    }
}
