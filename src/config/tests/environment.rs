//! Layers: files over defaults, variables over both, and a start without a file.

use super::Deployment;
use crate::config::checked::{Credential, ProviderSettings, TenantAuth};
use crate::config::{Environment, load};

fn no_file(pairs: &[(&str, &str)]) -> crate::config::checked::Settings {
    load(&[], &pairs.iter().copied().collect()).unwrap_or_else(|error| panic!("{error}"))
}

fn key_names(settings: &crate::config::checked::Settings) -> Vec<String> {
    let keys = settings.backends.iter().flat_map(|backend| &backend.keys);
    keys.map(|key| key.name.clone()).collect()
}

#[test]
fn later_files_win_option_by_option_but_replace_lists() {
    let deployment = Deployment::new()
        .file(
            "a.yaml",
            "relay: { max_attempts: 2, hold_ms: 5 }\nbackends: [ { name: a, provider: anthropic } ]\n",
        )
        .file(
            "b.yaml",
            "relay: { max_attempts: 3 }\nbackends: [ { name: b, provider: anthropic } ]\nserver:\n  tls:\n",
        );
    let files = [deployment.path("a.yaml"), deployment.path("b.yaml")];
    let settings = load(&files, &Environment::default()).unwrap();
    assert_eq!((settings.relay.max_attempts, settings.relay.hold.as_millis()), (3, 5));
    assert_eq!(settings.backends.len(), 1);
    assert_eq!(settings.backends[0].name, "b");
    assert_eq!(settings.server.listen.port(), 8080, "an empty section changes nothing");
}

#[test]
fn variables_win_over_files_and_take_the_option_s_type() {
    let settings = Deployment::of("server: { workers: 1 }\nbackends: [ { name: a, provider: anthropic, keys: [ { name: k, secret: 'env:K' } ] } ]")
        .variable("K", "12345")
        .variable("HEADGATE__SERVER__WORKERS", "3")
        .variable("HEADGATE__SERVER__LISTEN", "127.0.0.1:1")
        .variable("HEADGATE__AUTH__TENANTS", "open")
        .variable("HEADGATE__RELAY__EXPOSE_KEY_NAMES", "true")
        .variable("HEADGATE__BREAKER__FAILURE_RATE", "0.25")
        .variable("HEADGATE__LEDGER__KEY_PREFIX", "17")
        .variable("HEADGATE__BACKENDS__0__KEYS__0__NAME", "true")
        .variable("HEADGATE__BACKENDS__0__BASE_URL", "http://127.0.0.1:9/")
        .variable("HEADGATE__ROUTES", "[ { model: '*', targets: [ { backend: a } ] } ]")
        .variable("HEADGATE_SERVICE_HOST", "10.0.0.1")
        .settings();
    assert_eq!((settings.server.workers, settings.server.listen.port()), (3, 1));
    assert_eq!(settings.auth.tenants, TenantAuth::Open);
    assert!(settings.relay.expose_key_names);
    assert_eq!(settings.breaker.failure_rate, 0.25);
    assert_eq!(settings.ledger.key_prefix, "17");
    assert_eq!(settings.routes.len(), 1);
    let backend = &settings.backends[0];
    assert_eq!(backend.keys[0].name, "true");
    assert!(matches!(&backend.keys[0].credential, Credential::Secret(secret) if secret.expose() == "12345"));
    let url = &backend.base_url;
    assert_eq!((url.authority().as_str(), url.path.as_str()), ("127.0.0.1:9", ""));
}

#[test]
fn wrong_variables_are_named() {
    let deployment = Deployment::of("")
        .variable("HEADGATE__SERVER__LISTN", "x")
        .variable("HEADGATE__SERVR__LISTEN", "x")
        .variable("HEADGATE__RELAY__MAX_ATTEMPTS", "0")
        .variable("HEADGATE__RELAY__MAX_WAIT_MS", "soon");
    assert_eq!(
        deployment.problems(),
        [
            "relay.max_wait_ms (from HEADGATE__RELAY__MAX_WAIT_MS): is text, expected a whole number, 0 or more",
            "server.listn (from HEADGATE__SERVER__LISTN): unknown option, the nearest known one is `listen`",
            "servr (from HEADGATE__SERVR__LISTEN): unknown option, the nearest known one is `server`",
            "relay.max_attempts (from HEADGATE__RELAY__MAX_ATTEMPTS): is 0, expected 1 to 100",
        ]
    );
    let deployment = Deployment::of("").variable("HEADGATE__", "x").variable("HEADGATE__A__1000000", "x");
    assert_eq!(
        deployment.problems(),
        [
            "HEADGATE__: is not the name of an option, expected HEADGATE__SECTION__OPTION",
            "HEADGATE__A__1000000: is not the name of an option, expected HEADGATE__SECTION__OPTION",
        ]
    );
}

#[test]
fn without_a_file_backends_come_from_the_usual_variables() {
    let settings = no_file(&[
        ("ANTHROPIC_API_KEY", "one"),
        ("ANTHROPIC_API_KEYS", "one, two ,,three\n"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:7/x/"),
        ("OPENAI_API_KEY", "o"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ]);
    let names: Vec<&str> = settings.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["anthropic", "bedrock", "openai"]);
    let secrets: Vec<&str> = settings.backends[0]
        .keys
        .iter()
        .map(|key| match &key.credential {
            Credential::Secret(secret) => secret.expose(),
            Credential::Aws { .. }
            | Credential::ServiceAccount(_)
            | Credential::Chain(_)
            | Credential::None => "",
        })
        .collect();
    assert_eq!(secrets, ["one", "two", "three"]);
    assert_eq!(key_names(&settings), ["anthropic-1", "anthropic-2", "anthropic-3", "bedrock-1", "openai-1"]);
    assert_eq!(settings.backends[0].base_url.path, "/x");
    assert!(matches!(
        settings.backends[1].keys[0].credential,
        Credential::Aws { session_token: Some(_), .. }
    ));
}

#[test]
fn vertex_and_a_bedrock_token_come_from_the_usual_variables_too() {
    let folder = Deployment::new().file("gcp.json", super::surface::SERVICE_ACCOUNT);
    let file = folder.path("gcp.json").display().to_string();
    let settings = no_file(&[
        ("AWS_BEARER_TOKEN_BEDROCK", "t"),
        ("AWS_REGION", "eu-west-1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", &file),
        ("ANTHROPIC_VERTEX_PROJECT_ID", "p"),
        ("CLOUD_ML_REGION", "global"),
    ]);
    assert_eq!(key_names(&settings), ["bedrock-1", "vertex-1"]);
    let ProviderSettings::Vertex { project, location, .. } = &settings.backends[1].provider else {
        panic!("no Vertex backend")
    };
    assert_eq!((project.as_str(), location.as_str()), ("p", "global"));
}

#[test]
fn usual_variables_that_lack_a_companion_or_lead_back_are_not_used() {
    let settings = no_file(&[
        ("ANTHROPIC_API_KEY", "one"),
        ("ANTHROPIC_BASE_URL", "http://localhost:8080"),
        ("AWS_BEARER_TOKEN_BEDROCK", "t"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere"),
    ]);
    assert_eq!(key_names(&settings), ["anthropic-1"]);
    // The API's own host, spoken to over TLS: what a user with nothing but a key expects.
    let url = &settings.backends[0].base_url;
    assert_eq!((url.https, url.authority().as_str(), url.path.as_str()), (true, "api.anthropic.com", ""));
    assert!(
        settings.warnings.iter().any(|text| text.starts_with("ANTHROPIC_BASE_URL: is this gateway's own"))
    );
    assert!(settings.warnings.iter().any(|text| text.starts_with("AWS_BEARER_TOKEN_BEDROCK: is not used")));
}

#[test]
fn a_configured_pool_never_uses_keys_of_the_environment() {
    for yaml in ["backends: []", "backends: [ { name: a, provider: anthropic } ]"] {
        let settings = Deployment::of(yaml).variable("ANTHROPIC_API_KEY", "one").settings();
        assert!(key_names(&settings).is_empty(), "{yaml}");
        assert!(
            settings.warnings.contains(&"backends: there are no keys, so nothing can be served".to_owned())
        );
    }
}

#[test]
fn the_environment_s_proxy_serves_https_backends_without_their_own() {
    let yaml = "
backends:
  - { name: a, provider: anthropic }
  - { name: b, provider: anthropic, proxy: 'http://own:1' }
  - { name: c, provider: anthropic, proxy: none }
  - { name: d, provider: anthropic, base_url: 'http://plain.example' }
  - { name: e, provider: anthropic, base_url: 'https://localhost:4' }
  - { name: f, provider: anthropic, base_url: 'https://x.inside.example:8443' }
  - { name: g, provider: anthropic, base_url: 'https://10.1.2.3' }
  - { name: h, provider: bedrock, region: us-east-1 }
";
    let settings = Deployment::of(yaml)
        .variable("HTTPS_PROXY", "http://user:p%40ss@proxy:3128")
        .variable("NO_PROXY", "other, .inside.example:8443,10.0.0.0/8")
        .settings();
    let hosts: Vec<&str> = settings
        .backends
        .iter()
        .map(|backend| backend.proxy.as_ref().map_or("-", |proxy| proxy.host.as_str()))
        .collect();
    assert_eq!(hosts, ["proxy", "own", "-", "-", "-", "-", "-", "proxy"]);
    let proxy = settings.backends[0].proxy.as_ref().unwrap();
    assert_eq!(proxy.port, 3128);
    assert_eq!(proxy.authorization.as_ref().unwrap().expose(), "Basic dXNlcjpwQHNz");
}
