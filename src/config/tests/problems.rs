//! What is wrong is said at its path, all at once.

use super::Deployment;

fn problems(yaml: &str) -> Vec<String> {
    Deployment::of(yaml).variable("K", "k").variable("L", "l").problems()
}

/// The problem of one backend's options.
fn of_backend(options: &str) -> Vec<String> {
    problems(&format!("backends: [ {{ name: a, {options} }} ]"))
}

/// The problem of one key's options.
fn of_key(provider: &str, options: &str) -> Vec<String> {
    of_backend(&format!("provider: {provider}, keys: [ {{ name: k, {options} }} ]"))
}

#[test]
fn a_file_must_be_there_and_be_yaml() {
    let deployment = Deployment::new();
    let path = deployment.path("headgate.yaml").display().to_string();
    assert_eq!(
        deployment.problems(),
        [format!("{path}: cannot be read: No such file or directory (os error 2)")]
    );
    let deployment = Deployment::of("just text");
    let path = deployment.path("headgate.yaml").display().to_string();
    let expected = "expected lines such as `server: { workers: 2 }`";
    assert_eq!(deployment.problems(), [format!("{path}: is not one table of options, {expected}")]);
    let deployment = Deployment::of("a: { b");
    let path = deployment.path("headgate.yaml").display().to_string();
    assert!(deployment.problems()[0].starts_with(&format!("{path}: is not YAML: ")));
    let twice = Deployment::of("server: { workers: 1 }\nserver: { workers: 2 }\n");
    assert!(twice.problems()[0].contains("duplicated key"));
}

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let near =
        |path: &str, known: &str| format!("{path}: unknown option, the nearest known one is `{known}`");
    assert_eq!(problems("servers: {}"), [near("servers", "server")]);
    assert_eq!(problems("relay: { max_attempt: 3 }"), [near("relay.max_attempt", "max_attempts")]);
    assert_eq!(problems("relay: { maxWaitMs: 3 }"), [near("relay.maxWaitMs", "max_wait_ms")]);
    assert_eq!(
        of_key("anthropic", "secret: 'env:K', wieght: 2"),
        [near("backends[0].keys[0].wieght", "weight")]
    );
    assert_eq!(
        problems("routes: [ { model: '*', targets: [ { backned: a } ] } ]"),
        [
            near("routes[0].targets[0].backned", "backend"),
            "routes[0].targets[0].backend: is missing".to_owned()
        ]
    );
    assert_eq!(
        problems("tenants: [ { name: t, key: 'env:K', limits: { rpn: 1 } } ]"),
        [near("tenants[0].limits.rpn", "rpm")]
    );
}

#[test]
fn all_problems_are_listed() {
    let yaml = "
server: { workers: two, max_body_bytes: 0, lsten: x }
relay: 5
log: { level: verbose }
auth: { admin_tokens: [ { name: ops, token: 'env:K', role: boss } ] }
backends:
  - { name: a, provider: antropic, keys: [ { name: k, secret: 'env:K' } ] }
  - 7
routes: [ { model: '*', targets: [ { backend: nowhere } ], fallback_models: [ 1, 2 ] } ]
";
    assert_eq!(
        problems(yaml),
        [
            "auth.admin_tokens[0].role: unknown value, expected one of `viewer`, `operator`, `admin`",
            "backends[0].provider: unknown value, expected one of `anthropic`, `bedrock`, `vertex`, `openai`; the nearest is `anthropic`",
            "backends[1]: is a number, expected a table of options",
            "log.level: unknown value, expected one of `error`, `warn`, `info`, `debug`, `trace`",
            "relay: is a number, expected a table of options",
            "routes[0].fallback_models[0]: is a number, expected text",
            "server.lsten: unknown option, the nearest known one is `listen`",
            "server.workers: is text, expected a whole number, 0 or more",
            "server.max_body_bytes: is 0, expected 1 to 1073741824",
        ]
    );
}

#[test]
fn numbers_have_ranges() {
    let cases = [
        ("relay: { retry_budget_percent: 101 }", "relay.retry_budget_percent: is 101, expected 0 to 100"),
        ("relay: { max_key_attempts: 0 }", "relay.max_key_attempts: is 0, expected 1 to 1000"),
        (
            "relay: { max_attempts: -1 }",
            "relay.max_attempts: is -1, expected a whole number from 0 to 4294967295",
        ),
        (
            "relay: { max_attempts: 2.5 }",
            "relay.max_attempts: is a number with a fraction, expected a whole number from 0 to 4294967295",
        ),
        ("server: { workers: 1025 }", "server.workers: is 1025, expected 0 to 1024"),
        ("deadlines: { connect_ms: 0 }", "deadlines.connect_ms: is 0, expected 1 to 86400000"),
        ("park: { backoff_first_ms: 0 }", "park.backoff_first_ms: is 0, expected 1 to 31622400000"),
        (
            "park: { key_fault_max_ms: 10 }",
            "park.key_fault_max_ms: is 10, expected at least key_fault_first_ms (5000)",
        ),
        ("breaker: { failure_rate: 0 }", "breaker.failure_rate: is 0, expected a share above 0, up to 1"),
        ("breaker: { failure_rate: 1.1 }", "breaker.failure_rate: is 1.1, expected a share above 0, up to 1"),
        ("breaker: { open_max_s: 9 }", "breaker.open_max_s: is 9, expected 10 to 86400"),
        ("budget: { margin: 1 }", "budget.margin: is 1, expected a share from 0 up to but not including 1"),
        ("budget: { burst_s: 0 }", "budget.burst_s: is 0, expected seconds above 0, up to 60"),
        ("ledger: { key_prefix: '' }", "ledger.key_prefix: is empty, expected a prefix such as headgate:"),
        (
            "ledger: { url: 'http://x' }",
            "ledger.url: is not an address it can use, expected redis://... or rediss://...",
        ),
        ("store: { timeout_ms: 9 }", "store.timeout_ms: is 9, expected 10 to 60000"),
        ("store: { idempotency_s: 0 }", "store.idempotency_s: is 0, expected 1 to 31536000"),
        ("store: { durable_park_s: 0 }", "store.durable_park_s: is 0, expected 1 to 31536000"),
        ("store: { keep_audit_days: 0 }", "store.keep_audit_days: is 0, expected 1 to 36500"),
        (
            "store: { url: 'sqlite://x.db?mode=rwc' }",
            "store.url: has options behind a `?`, expected only a file",
        ),
        (
            "store: { previous_master_keys: ['value:short'] }",
            "store.previous_master_keys[0]: is not a key, expected 32 bytes as 64 hex digits or base64",
        ),
        (
            "store: { previous_master_keys: ['env:NOT_SET'] }",
            "store.previous_master_keys[0]: env:NOT_SET is not set",
        ),
        (
            "store: { url: 'mysql://x' }",
            "store.url: is not an address it can use, expected sqlite://... or postgres://... or postgresql://...",
        ),
    ];
    for (yaml, problem) in cases {
        assert_eq!(problems(yaml), [problem], "{yaml}");
    }
}

#[test]
fn names_are_their_own() {
    let key = "secret: 'env:K'";
    let yaml = format!(
        "backends:\n  - {{ name: a, provider: anthropic, keys: [ {{ name: k, {key} }}, {{ name: 'a b', {key} }}, {{ {key} }} ] }}\n  \
         - {{ name: a, provider: anthropic, limit_groups: [ {{ name: g }}, {{ name: g }} ], keys: [ {{ name: k, {key} }} ] }}\n\
         tenants: [ {{ name: t, key: 'env:K' }}, {{ name: t, key: 'env:K' }} ]\n"
    );
    assert_eq!(
        problems(&yaml),
        [
            "backends[0].keys[1].name: is not a name, expected 1 to 64 letters, digits and . _ - : @",
            "backends[0].keys[2].name: is missing",
            "backends[1].name: `a` is used twice, expected a name of its own",
            "backends[1].limit_groups[1].name: `g` is used twice, expected a name of its own",
            "backends[1].keys[0].name: `k` is used twice, expected a name of its own",
            "tenants[1].name: `t` is used twice, expected a name of its own",
            "tenants[1].key: is the same text as the key of `t`, expected one of its own",
        ]
    );
}

#[test]
fn references_between_options_lead_somewhere() {
    let yaml = "
backends:
  - { name: a, provider: anthropic, limit_groups: [ { name: k2, limits: [ { rpm: 1 } ] } ],
      keys: [ { name: k, secret: 'env:K', limit_group: g, weight: 0 }, { name: k2, secret: 'env:L' } ] }
routes:
  - { model: x, targets: [ { backend: b } ] }
  - { targets: [], fallback_models: [ 'claude-*' ] }
";
    assert_eq!(
        problems(yaml),
        [
            "backends[0].limit_groups[0].limits[0].models: is missing",
            "backends[0].keys[0].limit_group: no limit group of this backend is called `g`, known are: k2; without one a key gets its own",
            "backends[0].keys[0].weight: is 0, expected a number above 0",
            "backends[0].keys[1].limit_group: is missing, and a group has the key's name: write it here, or rename one of the two",
            "routes[0].targets[0].backend: no backend is called `b`, known are: a",
            "routes[1].model: is missing",
            "routes[1].targets: is empty, expected at least one backend",
            "routes[1].fallback_models[0]: is a pattern, expected a model's own name",
        ]
    );
}

#[test]
fn a_key_has_the_credentials_of_its_provider() {
    let aws = "access_key_id with secret_access_key, or bearer_token, or credential_chain";
    let at = "backends[0].keys[0]";
    let bedrock = "bedrock, region: r";
    let vertex = "vertex, project: p, location: l";
    assert_eq!(
        of_key("anthropic", "weight: 1"),
        [format!("{at}.secret: is missing, a key of anthropic needs secret")]
    );
    assert_eq!(
        of_key("openai", "bearer_token: 'env:K'"),
        [format!("{at}.bearer_token: is of no use here, a key of openai needs secret")]
    );
    assert_eq!(
        of_key(bedrock, "secret: 'env:K'"),
        [format!("{at}.secret: is of no use here, a key of bedrock needs {aws}")]
    );
    assert_eq!(
        of_key(bedrock, "access_key_id: 'env:K'"),
        [format!("{at}.secret_access_key: is missing beside access_key_id, a key of bedrock needs {aws}")]
    );
    assert_eq!(
        of_key(bedrock, "bearer_token: 'env:K', credential_chain: default"),
        [format!("{at}.credential_chain: does not go with bearer_token, a key of bedrock needs {aws}")]
    );
    assert_eq!(
        of_key(bedrock, "access_key_id: 'env:K', secret_access_key: 'env:X', session_token: 'env:Y'"),
        [
            format!("{at}.secret_access_key: env:X is not set"),
            format!("{at}.session_token: env:Y is not set")
        ]
    );
    assert_eq!(
        of_key(bedrock, "credential_chain: profile"),
        [format!("{at}.credential_chain: unknown value, expected `default`")]
    );
    assert_eq!(
        of_key(vertex, "service_account: 'env:K'"),
        [format!(
            "{at}.service_account: is not a Google credential, expected the JSON of a service_account or an authorized_user"
        )]
    );
    assert_eq!(
        of_key(vertex, "service_account: 'value:{\"type\":\"service_account\",\"client_email\":\"e\"}'"),
        [format!("{at}.service_account: lacks private_key, expected the JSON as Google made it")]
    );
    assert_eq!(
        of_key("openai, auth: none", "secret: 'env:K'"),
        [format!("{at}.secret: is of no use with `auth: none`, expected no credentials")]
    );
    assert!(of_key("openai, auth: none", "weight: 1").is_empty());
}

#[test]
fn a_backend_has_what_its_provider_needs() {
    assert_eq!(
        of_backend("region: r"),
        ["backends[0].provider: is missing, expected anthropic, bedrock, vertex or openai"]
    );
    assert_eq!(of_backend("provider: bedrock"), ["backends[0].region: is missing"]);
    assert_eq!(
        of_backend("provider: vertex, region: r"),
        [
            "backends[0].region: belongs to bedrock only, expected none with vertex",
            "backends[0].project: is missing",
            "backends[0].location: is missing",
        ]
    );
    assert_eq!(
        of_backend("provider: bedrock, region: 'a/b'"),
        ["backends[0].region: is not a name, expected letters, digits and -"]
    );
}

#[test]
fn addresses_are_addresses() {
    let url = |text: &str| of_backend(&format!("provider: anthropic, base_url: '{text}'"));
    let expected = "backends[0].base_url: is not a URL, expected http://HOST[:PORT][/PATH] or https://...";
    for text in ["api.anthropic.com", "ftp://x", "https://", "https://a b"] {
        assert_eq!(url(text), [expected], "{text}");
    }
    assert_eq!(url("https://u:p@x"), ["backends[0].base_url: holds credentials, expected them in keys"]);
    assert_eq!(url("https://x/?a"), ["backends[0].base_url: has a query or a fragment, expected none"]);
    assert_eq!(url("https://x:0"), ["backends[0].base_url: has port 0, expected a real one"]);
    let settings =
        Deployment::of("backends: [ { name: a, provider: anthropic, base_url: 'http://h.example/v1//' } ]")
            .settings();
    assert_eq!(settings.backends[0].base_url.path, "/v1");
    let said = |text: &str| settings.warnings.iter().any(|warning| warning.starts_with(text));
    assert!(said("backends[0].base_url: is plain http to another machine"));
    assert!(said("backends[0].base_url: ends in a part of the API's own path"));
    let proxy = |text: &str| of_backend(&format!("provider: anthropic, proxy: '{text}'"));
    for text in ["https://p:1", "socks5://p", "http://p/x", "http://p:0"] {
        let wrong = "backends[0].proxy: is not a proxy, expected http://[USER:PASSWORD@]HOST:PORT";
        assert_eq!(proxy(text), [wrong], "{text}");
    }
    let wrong = Deployment::of("backends: [ { name: a, provider: anthropic } ]")
        .variable("https_proxy", "socks5://p");
    assert_eq!(
        wrong.problems(),
        ["backends[0].proxy (from https_proxy): is not a proxy, expected http://[USER:PASSWORD@]HOST:PORT"]
    );
}

#[test]
fn headers_neither_break_the_connection_nor_replace_credentials() {
    let header = |header: &str| of_backend(&format!("provider: anthropic, headers: {{ {header} }}"));
    let at = "backends[0].headers";
    assert_eq!(
        header("'a b': x"),
        [format!("{at}.a b: is not a header's name, expected letters, digits and -")]
    );
    assert_eq!(
        header("Host: x"),
        [format!("{at}.Host: belongs to the connection, expected a header that requests may add")]
    );
    assert_eq!(
        header("X-Api-Key: x"),
        [format!(
            "{at}.X-Api-Key: would replace the key's own credentials, expected them in keys (or `auth: none`)"
        )]
    );
    assert_eq!(
        header("x-a: \"b\\nc\""),
        [format!("{at}.x-a: holds a control character or a line end, expected one line of text")]
    );
    assert_eq!(header("x-a: 'env:X'"), [format!("{at}.x-a: env:X is not set")]);
    assert_eq!(header("X-A: a, x-a: b"), [format!("{at}.x-a: is there twice, expected one spelling")]);
    let settings = Deployment::of(
        "backends: [ { name: a, provider: openai, auth: none, headers: { Authorization: 'env:K', X-A: plain } } ]",
    )
    .variable("K", "Basic eA==")
    .settings();
    let headers: Vec<(&str, &str)> =
        settings.backends[0].headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("authorization", "Basic eA=="), ("x-a", "plain")]);
}

#[test]
fn choices_that_are_legal_but_odd_are_warned_about() {
    let yaml = "
backends:
  - { name: a, provider: anthropic, keys: [ { name: k, secret: 'env:K' }, { name: l, secret: 'env:K' } ] }
  - { name: b, provider: anthropic }
routes:
  - { model: '*', targets: [ { backend: a } ] }
  - { model: x, targets: [ { backend: a } ] }
";
    let warnings = Deployment::of(yaml).variable("K", "k").settings().warnings;
    for text in [
        "backends[0].keys[1]: holds the same secret as the key `k`: they share one quota",
        "backends[1]: has no keys: it serves nothing",
        "routes[1]: is never used, since routes[0] matches first",
    ] {
        assert!(warnings.iter().any(|warning| warning == text), "{text}: {warnings:#?}");
    }
}

#[test]
fn bedrock_s_tables_must_make_sense() {
    let of_tables = |options: &str| problems(&format!("providers: {{ bedrock: {{ {options} }} }}"));
    let at = "providers.bedrock";
    let name = "is not a beta flag, expected letters, digits and - _ .";
    assert_eq!(
        of_tables("betas: [ tool-search-tool-2025-10-19, 'a,b' ]"),
        [format!("{at}.betas[1]: {name}")]
    );
    assert_eq!(
        of_tables("betas: [ b ], beta_aliases: [ { from: a, to: b }, { from: a, to: c } ]"),
        [
            format!("{at}.beta_aliases[1].to: is not in providers.bedrock.betas, so it would be dropped"),
            format!("{at}.beta_aliases[1].from: is there twice, expected one name for it"),
        ]
    );
    assert_eq!(
        of_tables("version_2026_models: [ ' ' ]"),
        [format!(
            "{at}.version_2026_models[0]: is empty, expected a model's name with * for any run of characters"
        )]
    );
}

#[test]
fn vertex_s_tables_must_make_sense() {
    let of_tables = |options: &str| problems(&format!("providers: {{ vertex: {{ {options} }} }}"));
    let at = "providers.vertex";
    let name = "is not a beta flag, expected letters, digits and - _ .";
    assert_eq!(of_tables("betas: [ ok-2025, '' ]"), [format!("{at}.betas[1]: {name}")]);
    let pattern = "is empty, expected a model's name with * for any run of characters";
    assert_eq!(of_tables("version_2026_models: [ '' ]"), [format!("{at}.version_2026_models[0]: {pattern}")]);
}

#[test]
fn what_a_provider_or_backend_takes_must_make_sense() {
    let of = |rule: &str| problems(&format!("providers: {{ openai: {{ capabilities: [ {{ {rule} }} ] }} }}"));
    let at = "providers.openai.capabilities[0]";
    assert_eq!(of("models: 'gpt-*', max_body_bytes: 0, fields: [], refuses: [ tools.strict ]"), [""; 0]);
    let unknown = "unknown option, the nearest known one is";
    assert_eq!(of("feilds: []"), [format!("{at}.feilds: {unknown} `fields`")]);
    assert_eq!(of("operations: [ count_token ]").len(), 1);
    assert!(of("operations: [ count_token ]")[0].contains("the nearest is `count_tokens`"));
    let name = "is not a name, expected no blanks, and * for any characters";
    assert_eq!(of("tools: [ custom, 'a b' ]"), [format!("{at}.tools[1]: {name}")]);
    assert_eq!(of("refuses: [ speed ]").len(), 1);
    assert_eq!(of("max_body_bytes: 1073741825").len(), 1);
    assert_eq!(of("models: ''").len(), 1);
    let own = problems("backends: [ { name: a, provider: anthropic, capabilities: [ { tools: [ '' ] } ] } ]");
    assert_eq!(own, [format!("backends[0].capabilities[0].tools[0]: {name}")]);
}

#[test]
fn times_of_credentials_must_fit() {
    let of = |options: &str| problems(&format!("credentials: {{ {options} }}"));
    assert_eq!(of("retry_first_ms: 5000, retry_max_ms: 1000").len(), 1);
    assert_eq!(of("timeout_ms: 0").len(), 1);
    assert_eq!(of("refresh_ahead_ms: 86400001").len(), 1);
    assert_eq!(of("revoked_ms: 0").len(), 1);
}
