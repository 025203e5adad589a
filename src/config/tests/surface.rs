//! The documented configuration, whole.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Deployment;
use crate::config::checked::{
    AdminRole, AuthScheme, BedrockSurface, Credential, LedgerKind, Priority, ProviderSettings,
};
use crate::config::environment::Environment;
use crate::config::problem::Problem;
use crate::config::{check, layers, shape};

pub const WHOLE: &str = r#"
server:   { listen: "127.0.0.1:8080", admin_listen: "127.0.0.1:9090", workers: 0, max_body_bytes: 33554432,
            drain_delay_s: 10, drain_timeout_s: 600, allow_private_upstreams: false }
auth:     { tenants: required, admin_tokens: [ { name: ops, token: "env:HEADGATE_ADMIN_TOKEN", role: admin } ] }
store:    { url: "sqlite://headgate.db", master_key: "env:HEADGATE_MASTER_KEY" }
ledger:   { kind: memory, url: "redis://127.0.0.1:6379", on_outage: local, key_prefix: "headgate:" }
relay:    { max_attempts: 6, max_key_attempts: 16, max_wait_ms: 30000, retry_budget_percent: 20, hold_ms: 20000,
            retry_after_max_s: 120, expose_upstream_limits: false, expose_key_names: false }
deadlines: { connect_ms: 5000, first_event_ms: 120000, whole_ms: 600000, idle_ms: 300000, write_stall_ms: 120000, total_ms: 3600000 }
park:     { retry_after_buffer_ms: 250, backoff_first_ms: 1000, backoff_max_ms: 60000, key_fault_first_ms: 5000,
            key_fault_max_ms: 3600000, quota_max_ms: 0, missing_model_ms: 600000, overloaded_ms: 1000, not_ready_ms: 30000 }
breaker:  { consecutive_failures: 5, failure_rate: 0.5, min_samples: 20, window_s: 30, open_s: 10, open_max_s: 240 }
budget:   { burst_s: 1, margin: 0.005, ramp_s: 10, background_reserve: 0.1 }
queue:    { max_waiting: 1000, max_waiting_bytes: 268435456 }
backends:
  - name: anthropic
    provider: anthropic
    base_url: "https://api.anthropic.com"
    limit_groups:
      - name: org-a
        limits: [ { models: "claude-sonnet-*", rpm: 4000, input_tpm: 2000000, output_tpm: 400000 } ]
        usd_per_month: 1000
      - name: org-b
    keys:
      - { name: org-a-1, secret: "env:ANTHROPIC_KEY_1", limit_group: org-a, weight: 1 }
      - { name: org-b-1, secret: "env:ANTHROPIC_KEY_2", limit_group: org-b }
      - { name: org-c-1, secret: "env:ANTHROPIC_KEY_3" }
  - name: bedrock-us
    provider: bedrock
    surface: runtime
    region: us-east-1
    park: { backoff_first_ms: 10000, backoff_max_ms: 120000 }
    keys:
      - { name: aws-a, access_key_id: "env:AWS_ACCESS_KEY_ID", secret_access_key: "env:AWS_SECRET_ACCESS_KEY" }
      - { name: aws-b, bearer_token: "env:AWS_BEARER_TOKEN_BEDROCK" }
      - { name: aws-role, credential_chain: default }
  - name: vertex-eu
    provider: vertex
    project: my-project
    location: europe-west1
    keys: [ { name: sa, service_account: "file:gcp.json" } ]
  - name: openai
    provider: openai
    base_url: "https://api.openai.com/v1"
    keys: [ { name: openai-1, secret: "env:OPENAI_API_KEY" } ]
routes:
  - model: "claude-sonnet-*"
    spill_after_ms: 1000
    targets:
      - { backend: anthropic }
      - { backend: bedrock-us, model: "us.anthropic.{model}-v1:0" }
      - { backend: vertex-eu }
      - { backend: openai, model: "gpt-5.1" }
    fallback_models: [ "claude-haiku-4-5" ]
tenants:
  - { name: acme, key: "env:ACME_KEY", priority: normal, weight: 1, models: ["claude-*"],
      limits: { rpm: 600, rph: 20000, input_tpm: 400000, output_tpm: 80000, tpm: 0, burst: 50, concurrent: 50, rpd: 0, tpd: 0, tpw: 0, usd_per_day: 50, usd_per_month: 1000 } }
"#;

pub const SERVICE_ACCOUNT: &str =
    r#"{ "type": "service_account", "client_email": "a@b", "private_key": "canary-gcp-secret" }"#;

/// The whole configuration with everything it refers to; every secret holds `canary`.
pub fn whole() -> Deployment {
    let names = [
        "ANTHROPIC_KEY_1",
        "ANTHROPIC_KEY_2",
        "ANTHROPIC_KEY_3",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "OPENAI_API_KEY",
        "ACME_KEY",
        "HEADGATE_ADMIN_TOKEN",
    ];
    let deployment = Deployment::of(WHOLE).file("gcp.json", SERVICE_ACCOUNT);
    let deployment = names
        .iter()
        .fold(deployment, |deployment, name| deployment.variable(name, &format!("canary-{name}-0123456789")));
    deployment.variable("HEADGATE_MASTER_KEY", &"0A".repeat(32))
}

#[test]
fn the_whole_documented_configuration_loads() {
    let settings = whole().settings();
    let [anthropic, bedrock, vertex, openai] = settings.backends.as_slice() else { panic!("four backends") };

    assert_eq!(anthropic.provider, ProviderSettings::Anthropic);
    assert_eq!(anthropic.base_url.authority(), "api.anthropic.com");
    assert_eq!(anthropic.auth, AuthScheme::XApiKey);
    let groups: Vec<&str> = anthropic.limit_groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["org-a", "org-b", "org-c-1"]);
    assert_eq!(anthropic.limit_groups[0].limits[0].input_tpm, Some(2_000_000));
    assert_eq!(anthropic.limit_groups[0].usd_per_month, Some(1000.0));
    let of_keys: Vec<&str> = anthropic.keys.iter().map(|key| key.limit_group.as_str()).collect();
    assert_eq!(of_keys, ["org-a", "org-b", "org-c-1"]);

    let ProviderSettings::Bedrock { surface: BedrockSurface::Runtime, region, tables } = &bedrock.provider
    else {
        panic!("the runtime of Bedrock")
    };
    assert_eq!(region, "us-east-1");
    assert!(tables.betas.iter().any(|flag| flag == "context-1m-2025-08-07"));
    assert_eq!(tables.beta_aliases[0].1, "tool-search-tool-2025-10-19");
    assert!(tables.version_2026_models.iter().any(|pattern| pattern == "*anthropic.claude-opus-5*"));
    assert!(matches!(bedrock.keys[0].credential, Credential::Aws { session_token: None, .. }));
    assert!(matches!(bedrock.keys[1].credential, Credential::Secret(_)));
    assert!(matches!(bedrock.keys[2].credential, Credential::Chain(_)));
    assert!(
        matches!(&vertex.keys[0].credential, Credential::ServiceAccount(json) if json.expose() == SERVICE_ACCOUNT)
    );
    assert_eq!(openai.auth, AuthScheme::Bearer);
    assert_eq!(openai.base_url.path, "/v1");

    let route = &settings.routes[0];
    assert!(route.model.matches("claude-sonnet-4-5") && !route.model.matches("claude-opus-4-5"));
    assert_eq!(route.targets.iter().map(|target| target.tier).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(route.targets[1].upstream_model("m"), "us.anthropic.m-v1:0");
    assert_eq!((route.fallback_after, route.first_event), (None, None));

    let tenant = &settings.tenants[0];
    assert_eq!(
        (tenant.priority, tenant.limits.tpm, tenant.limits.rph),
        (Priority::Normal, None, Some(20000))
    );
    assert_eq!(settings.auth.admin_tokens[0].role, AdminRole::Admin);
    assert_eq!(settings.ledger.kind, LedgerKind::Memory);
    assert_eq!(settings.store.master_key.as_ref().unwrap().bytes(), &[0x0a; 32]);
}

#[test]
fn a_backend_s_own_value_wins_over_its_provider_s_and_that_over_the_global_one() {
    let yaml = "
deadlines: { idle_ms: 1000 }
providers: { openai: { park: { overloaded_ms: 7 } } }
backends:
  - { name: a, provider: anthropic }
  - { name: b, provider: bedrock, region: r, park: { backoff_first_ms: 20000 } }
  - { name: o, provider: openai, deadlines: { idle_ms: 5 } }
";
    let settings = Deployment::of(yaml).settings();
    let [a, b, o] = settings.backends.as_slice() else { panic!("three backends") };
    let ms = Duration::from_millis;
    assert_eq!((a.deadlines.idle, b.deadlines.idle, o.deadlines.idle), (ms(1000), ms(600_000), ms(5)));
    assert_eq!((a.park.backoff_first, b.park.backoff_first), (ms(1000), ms(20000)));
    assert_eq!((b.park.backoff_max, o.park.overloaded), (ms(120_000), ms(7)));
}

#[test]
fn bedrock_s_tables_are_replaced_as_a_whole() {
    let yaml = "
providers: { bedrock: { betas: [ b-1 ], beta_aliases: [ { from: a-1, to: b-1 } ], version_2026_models: [] } }
backends: [ { name: b, provider: bedrock, region: r } ]
";
    let settings = Deployment::of(yaml).settings();
    let ProviderSettings::Bedrock { tables, .. } = &settings.backends[0].provider else { panic!("Bedrock") };
    assert_eq!((tables.betas.as_slice(), tables.version_2026_models.len()), (&["b-1".to_owned()][..], 0));
    assert_eq!(tables.beta_aliases, [("a-1".to_owned(), "b-1".to_owned())]);
    assert_eq!(settings.backends[0].deadlines.idle, Duration::from_millis(600_000));
}

#[test]
fn parts_that_are_not_built_yet_are_said_once() {
    let warnings = whole().settings().warnings;
    assert_eq!(warnings.iter().filter(|text| text.contains("fallback models are not tried yet")).count(), 1);
    assert!(warnings.contains(&"backends[].provider=openai: OpenAI backends are not served yet".to_owned()));
    assert!(!warnings.iter().any(|text| text.contains("read on after")));
}

/// Every option of `tree`, and every list item, by JSON pointer.
fn pointers(tree: &Json, at: &str, found: &mut Vec<String>) {
    let mut visit = |name: &str, value: &Json| {
        let pointer = format!("{at}/{name}");
        found.push(pointer.clone());
        pointers(value, &pointer, found);
    };
    if let Json::Object(table) = tree {
        table.iter().for_each(|(name, value)| visit(name, value));
    }
    if let Json::Array(items) = tree {
        items.iter().enumerate().for_each(|(index, value)| visit(&index.to_string(), value));
    }
}

/// The problems of a merged tree.
fn judge(tree: Json, merged: &layers::Merged, env: &Environment) -> Vec<Problem> {
    let shaped = shape::shape(tree, &merged.defaults, &merged.variables);
    let mut findings = check::Findings::new(env, shaped.problems);
    if let Some(raw) = shaped.raw {
        check::settings(&raw, &[], &mut findings);
    }
    findings.problems
}

#[test]
fn any_option_may_be_wrong_in_any_way() {
    let (deployment, env) = (whole(), whole().environment());
    let Ok(merged) = layers::merge(&[deployment.path("headgate.yaml")], &env) else { panic!("it merges") };
    assert_eq!(judge(merged.tree.clone(), &merged, &env), []);
    let mut found = Vec::new();
    pointers(&merged.tree, "", &mut found);
    assert!(found.len() > 150);
    let wrongs = [
        json!(null),
        json!(-1),
        json!(1e30),
        json!("canary"),
        json!(true),
        json!([]),
        json!({}),
        json!([["canary"]]),
        json!({ "option": "canary" }),
        json!([{ "name": 1 }]),
    ];
    for pointer in &found {
        for wrong in &wrongs {
            let mut tree = merged.tree.clone();
            *tree.pointer_mut(pointer).unwrap() = wrong.clone();
            let problems = judge(tree, &merged, &env);
            let is_name = ["name", "limit_group", "targets"].iter().any(|part| pointer.contains(part));
            assert!(
                is_name || !format!("{problems:?}").contains("canary"),
                "{pointer} = {wrong}: {problems:#?}"
            );
            assert!(problems.len() < 8, "{pointer} = {wrong}: {problems:#?}");
        }
    }
}
