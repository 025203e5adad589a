//! The compiled-in manual and the example hold every option and load.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::Deployment;
use crate::config::checked::{Budget, LogFormat, LogLevel, TenantAuth};
use crate::config::shape::known_options;
use crate::config::{DEFAULTS, Environment, load, raw};

/// Every option of every shape.
fn options() -> BTreeSet<String> {
    let shapes = [
        known_options::<raw::Raw>(),
        known_options::<raw::Server>(),
        known_options::<raw::Tls>(),
        known_options::<raw::Auth>(),
        known_options::<raw::AdminToken>(),
        known_options::<raw::Store>(),
        known_options::<raw::Ledger>(),
        known_options::<raw::Relay>(),
        known_options::<raw::Deadlines>(),
        known_options::<raw::Park>(),
        known_options::<raw::Credentials>(),
        known_options::<raw::Breaker>(),
        known_options::<raw::Budget>(),
        known_options::<raw::Queue>(),
        known_options::<crate::config::checked::Log>(),
        known_options::<raw::Usage>(),
        known_options::<raw::Price>(),
        known_options::<raw::LongContext>(),
        known_options::<raw::Providers>(),
        known_options::<raw::Bedrock>(),
        known_options::<raw::Vertex>(),
        known_options::<raw::BetaAlias>(),
        known_options::<raw::Capability>(),
        known_options::<raw::Backend>(),
        known_options::<raw::LimitGroup>(),
        known_options::<raw::GroupLimit>(),
        known_options::<raw::Key>(),
        known_options::<raw::Route>(),
        known_options::<raw::Target>(),
        known_options::<raw::Tenant>(),
        known_options::<raw::TenantLimits>(),
    ];
    assert!(shapes.iter().all(|options| options.len() > 1), "every shape refuses unknown options");
    shapes.into_iter().flatten().collect()
}

#[test]
fn the_manual_has_every_option_and_none_that_does_not_exist() {
    let options = options();
    let commented = DEFAULTS.replace('#', " ");
    let written: BTreeSet<String> = commented
        .split(|symbol: char| !(symbol.is_ascii_alphanumeric() || symbol == '_' || symbol == ':'))
        .filter_map(|word| word.strip_suffix(':'))
        .map(str::to_owned)
        .collect();
    let missing: Vec<&String> = options.difference(&written).collect();
    assert!(missing.is_empty(), "not in config/default.yaml: {missing:?}");
}

#[test]
fn every_written_default_is_explained_above() {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    let mut explained = true;
    for (number, line) in lines.iter().enumerate() {
        let is_option =
            line.starts_with("  ") && !line.starts_with("   ") && line.contains(':') && !line.contains('#');
        let is_provider =
            ["  anthropic:", "  bedrock:", "  vertex:", "  openai:"].iter().any(|p| line.starts_with(p));
        if is_option && !is_provider && !lines[number - 1].trim_start().starts_with('#') {
            explained = false;
            println!("line {}: {line}", number + 1);
        }
    }
    assert!(explained);
}

#[test]
fn the_manual_s_commented_lists_load() {
    let text = DEFAULTS
        .lines()
        .map(|line| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line))
        .collect::<Vec<_>>();
    let from = |name: &str| text.iter().position(|line| line == &name).unwrap();
    let routes = text[from("routes:")..from("tenants:")].join("\n");
    let tenants = text[from("tenants:")..].join("\n");
    let yaml = format!(
        "backends: [{{ name: anthropic, provider: anthropic }}, {{ name: bedrock-us, provider: bedrock, region: r }}]\n{}\n{tenants}",
        routes.lines().filter(|line| !line.starts_with("--- ")).collect::<Vec<_>>().join("\n")
    );
    let settings = Deployment::of(&yaml).variable("ACME_KEY", "k").settings();
    assert_eq!((settings.routes.len(), settings.tenants.len()), (1, 1));
}

#[test]
fn defaults_alone_make_settings() {
    let settings = load(&[], &Environment::default()).unwrap();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.admin_listen.to_string(), "127.0.0.1:9090");
    assert!((1..=4).contains(&settings.server.workers));
    assert_eq!(settings.auth.tenants, TenantAuth::Required);
    assert_eq!(settings.deadlines.whole, Duration::from_secs(600));
    assert_eq!(settings.park.quota_max, None);
    assert_eq!(
        settings.budget,
        Budget {
            burst: Duration::from_secs(1),
            margin: 0.005,
            ramp: Some(Duration::from_secs(10)),
            background_reserve: 0.1
        }
    );
    assert_eq!((settings.log.format, settings.log.level), (LogFormat::Auto, LogLevel::Info));
    assert!(settings.backends.is_empty() && settings.routes.is_empty() && settings.tenants.is_empty());
    assert_eq!(
        settings.warnings,
        [
            "auth.admin_tokens[0].token: env:HEADGATE_ADMIN_TOKEN is not set: the admin token `ops` is switched off",
            "store.master_key: env:HEADGATE_MASTER_KEY is not set: the admin API cannot store secrets",
            "server.listen: there are no tenants: whoever reaches this loopback address spends the pool",
            "auth.admin_tokens: none is set: the admin API is off",
            "backends: there are no keys, so nothing can be served",
        ]
    );
}

#[test]
fn the_example_loads() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.yaml");
    let names = [
        "HEADGATE_ADMIN_TOKEN",
        "HEADGATE_VIEWER_TOKEN",
        "ANTHROPIC_KEY_1",
        "ANTHROPIC_KEY_2",
        "ANTHROPIC_KEY_3",
        "ANTHROPIC_KEY_4",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "FOUNDRY_API_KEY",
        "ANTHROPIC_AWS_API_KEY",
        "OPENAI_API_KEY",
        "ACME_KEY",
        "NIGHTLY_KEY",
    ];
    let env = names.iter().map(|name| (*name, format!("a-long-and-random-{name}"))).collect();
    let settings = load(std::slice::from_ref(&example), &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.backends.len(), 8);
    assert_eq!(settings.routes[0].targets.iter().map(|target| target.tier).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(settings.files, [example]);
}
