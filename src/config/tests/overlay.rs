//! What the admin API made, laid over files.

use std::collections::BTreeMap;

use headgate_providers::Secret;
use serde_json::{Value, json};

use super::Deployment;
use crate::config::checked::Credential;
use crate::config::{Composed, Kind, Laid, LeftOut, Overlay, compose, read};

const FILE: &str = "
backends:
  - { name: a, provider: anthropic, keys: [ { name: a-1, secret: 'env:KEY' } ] }
routes:
  - { model: 'claude-*', targets: [ { backend: a } ] }
tenants:
  - { name: acme, key: 'env:ACME' }
";

fn laid(kind: Kind, id: &str, body: Value, secrets: &[(&str, &str)]) -> Laid {
    let secrets: BTreeMap<String, Secret> =
        secrets.iter().map(|(field, text)| ((*field).to_owned(), Secret::new((*text).to_owned()))).collect();
    Laid { kind, id: id.to_owned(), body, secrets }
}

fn key(name: &str, backend: &str, more: Value) -> Laid {
    let mut body = json!({ "name": name, "backend": backend });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    laid(Kind::Key, name, body, &[("secret", &format!("sk-of-{name}"))])
}

fn over(file: &str, resources: Vec<Laid>) -> Result<Composed, String> {
    let deployment =
        Deployment::of(file).variable("KEY", "sk-a").variable("ACME", "acme-0123456789-abcdefghij");
    let env = deployment.environment();
    let base = read(&[deployment.path("headgate.yaml")], &env).map_err(|error| error.to_string())?;
    compose(&base, &env, &Overlay { resources }).map_err(|error| error.to_string())
}

fn left_out(composed: &Composed) -> Vec<(&str, Option<&str>)> {
    composed.left_out.iter().map(|out| (out.id.as_str(), out.field.as_deref())).collect()
}

#[test]
fn resources_are_laid_over_the_files_and_their_secrets_resolve() {
    let composed = over(
        FILE,
        vec![
            laid(
                Kind::Backend,
                "b",
                json!({ "name": "b", "provider": "anthropic" }),
                &[("headers.x-team", "blue")],
            ),
            laid(Kind::Group, "a:org", json!({ "name": "org", "backend": "a" }), &[]),
            key("a-2", "a", json!({ "limit_group": "org", "weight": 2 })),
            key("b-1", "b", json!({})),
            laid(Kind::Route, "route_1", json!({ "model": "*", "targets": [{ "backend": "b" }] }), &[]),
            laid(Kind::Tenant, "t", json!({ "name": "t", "key_sha256": "ab".repeat(32) }), &[]),
            laid(
                Kind::Token,
                "bot",
                json!({ "name": "bot", "role": "viewer", "token_sha256": "cd".repeat(32) }),
                &[],
            ),
        ],
    )
    .unwrap();
    assert_eq!(composed.left_out, []);
    let settings = &composed.settings;
    let names: Vec<Vec<&str>> =
        settings.backends.iter().map(|b| b.keys.iter().map(|key| key.name.as_str()).collect()).collect();
    assert_eq!(names, [vec!["a-1", "a-2"], vec!["b-1"]]);
    assert!(!settings.backends[0].guarded && settings.backends[1].guarded);
    assert_eq!(settings.backends[1].headers[0].1.expose(), "blue");
    let Credential::Secret(secret) = &settings.backends[0].keys[1].credential else { panic!("a secret") };
    assert_eq!(secret.expose(), "sk-of-a-2");
    assert_eq!(settings.routes[0].model.pattern(), "*", "stored routes match first");
    assert!(
        !settings.warnings.iter().any(|warning| warning.contains("never used")),
        "{:?}",
        settings.warnings
    );
    assert_eq!(settings.tenants[1].digest, [0xab; 32]);
    assert_eq!(settings.auth.admin_tokens.last().unwrap().digest, [0xcd; 32]);
    let document = composed.document().to_string();
    assert!(document.contains("stored:key/a-2/secret") && !document.contains("sk-of"), "{document}");
}

#[test]
fn what_does_not_fit_is_left_out_with_its_own_field_and_the_rest_is_in_force() {
    let composed = over(
        FILE,
        vec![
            key("a-1", "a", json!({})),
            key("good", "a", json!({})),
            key("heavy", "a", json!({ "weight": -1 })),
            key("lost", "gone", json!({})),
            key("odd", "a", json!({ "wieght": 1 })),
            laid(Kind::Tenant, "acme", json!({ "name": "acme", "key_sha256": "ab".repeat(32) }), &[]),
            laid(Kind::Route, "r", json!({ "model": "m", "targets": [{ "backend": "gone" }] }), &[]),
        ],
    )
    .unwrap();
    let mut found = left_out(&composed);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("a-1", Some("name")),
            ("acme", Some("name")),
            ("heavy", Some("weight")),
            ("lost", Some("backend")),
            ("odd", Some("wieght")),
            ("r", Some("targets[0].backend")),
        ]
    );
    let keys: Vec<&str> = composed.settings.backends[0].keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(keys, ["a-1", "good"]);
}

#[test]
fn a_key_of_a_backend_that_is_left_out_is_left_out_with_it() {
    let backend =
        laid(Kind::Backend, "b", json!({ "name": "b", "provider": "anthropic", "region": "x" }), &[]);
    let composed = over(FILE, vec![backend, key("b-1", "b", json!({}))]).unwrap();
    let mut found = left_out(&composed);
    found.sort_unstable();
    assert_eq!(found, [("b", Some("region")), ("b-1", Some("backend"))]);
}

#[test]
fn the_files_own_problems_are_theirs_and_no_resource_hides_or_causes_them() {
    let broken = format!("{FILE}\nqueue: {{ max_waiting: many }}");
    let Err(error) = over(&broken, vec![key("heavy", "a", json!({ "weight": -1 }))]) else {
        panic!("it fails")
    };
    assert!(error.starts_with("queue.max_waiting"), "{error}");
    // A tenant of the store with the digest of a file's key stands in nobody's way but its own.
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest("acme-0123456789-abcdefghij");
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let twin = laid(Kind::Tenant, "twin", json!({ "name": "twin", "key_sha256": hex }), &[]);
    let composed = over(FILE, vec![twin]).unwrap();
    assert_eq!(left_out(&composed), [("twin", Some("key_sha256"))]);
}

#[test]
fn a_file_cannot_name_a_stored_secret() {
    let file = FILE.replace("env:KEY", "stored:key/good/secret");
    let Err(error) = over(&file, vec![key("good", "a", json!({}))]) else { panic!("it fails") };
    assert!(error.starts_with("backends[0].keys[0].secret: is a secret of the store's"), "{error}");
}

#[test]
fn backends_of_the_admin_api_stay_on_public_addresses_unless_allowed() {
    let backend = |url: &str| {
        vec![laid(Kind::Backend, "b", json!({ "name": "b", "provider": "anthropic", "base_url": url }), &[])]
    };
    let allowed = format!("{FILE}\nserver: {{ allow_private_upstreams: true }}");
    for url in ["http://api.example.com", "https://127.0.0.1", "https://[::1]:8443", "https://localhost"] {
        let composed = over(FILE, backend(url)).unwrap();
        assert_eq!(left_out(&composed), [("b", Some("base_url"))], "{url}");
        let composed = over(&allowed, backend(url)).unwrap();
        assert!(composed.left_out.is_empty() && !composed.settings.backends[1].guarded, "{url}");
    }
    assert_eq!(over(FILE, backend("https://api.example.com")).unwrap().left_out, []);
    let proxied = json!({ "name": "b", "provider": "anthropic" });
    let proxied = laid(Kind::Backend, "b", proxied, &[("proxy", "http://10.0.0.1:3128")]);
    assert_eq!(left_out(&over(FILE, vec![proxied]).unwrap()), [("b", Some("proxy"))]);
}

#[test]
fn a_google_credential_of_the_admin_api_asks_google_alone() {
    let file = "backends: [ { name: v, provider: vertex, project: p, location: global } ]";
    let key = |credential: Value| {
        vec![laid(
            Kind::Key,
            "sa",
            json!({ "name": "sa", "backend": "v" }),
            &[("service_account", &credential.to_string())],
        )]
    };
    let account = |uri: &str| json!({ "type": "service_account", "client_email": "e", "private_key": "k", "token_uri": uri });
    for credential in [
        account("https://127.0.0.1/token"),
        account("http://oauth2.googleapis.com/token"),
        account("https://oauth2.googleapis.com.evil.example/token"),
        json!({ "type": "external_account", "audience": "a", "subject_token_type": "t", "token_url": "https://sts.googleapis.com",
                "credential_source": { "file": "/etc/passwd" } }),
    ] {
        let composed = over(file, key(credential.clone())).unwrap();
        assert_eq!(left_out(&composed), [("sa", Some("service_account"))], "{credential}");
    }
    assert_eq!(
        over(file, key(account("https://oauth2.googleapis.com/token"))).unwrap().left_out,
        Vec::<LeftOut>::new()
    );
}
