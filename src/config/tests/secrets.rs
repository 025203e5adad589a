//! References resolve, and nothing ever prints what they hold.

use super::Deployment;
use super::surface::whole;
use crate::config::checked::Credential;
use crate::config::{Environment, check, load};

const ONE_KEY: &str = "backends: [ { name: a, provider: anthropic, keys: [ { name: k, secret: SECRET } ] } ]";

fn with_secret(reference: &str) -> Deployment {
    Deployment::of(&ONE_KEY.replace("SECRET", reference))
}

fn secret_of(deployment: &Deployment) -> String {
    let settings = deployment.settings();
    let Credential::Secret(secret) = &settings.backends[0].keys[0].credential else { panic!("a secret") };
    secret.expose().to_owned()
}

#[test]
fn what_surrounds_a_secret_is_removed() {
    for text in ["sk-1\n", "sk-1\r\n", "\u{feff} sk-1 \r\n\n"] {
        assert_eq!(secret_of(&with_secret("env:K").variable("K", text)), "sk-1", "{text:?}");
        assert_eq!(secret_of(&with_secret("'file:k'").file("k", text)), "sk-1", "{text:?}");
    }
}

#[test]
fn inner_control_characters_are_refused_by_name() {
    let expected =
        "backends[0].keys[0].secret: holds a control character or a line end, expected one line of text";
    for text in ["canary\nsk", "canary\0sk", "canary\x1bsk", "canary\rsk"] {
        assert_eq!(with_secret("'file:k'").file("k", text).problems(), [expected], "{text:?}");
    }
}

#[test]
fn a_required_reference_must_give_something() {
    let at = "backends[0].keys[0].secret";
    let expected = "expected a reference: env:NAME, file:PATH or value:TEXT";
    assert_eq!(with_secret("env:K").problems(), [format!("{at}: env:K is not set")]);
    assert_eq!(with_secret("env:K").variable("K", " \n").problems(), [format!("{at}: env:K is not set")]);
    assert_eq!(
        with_secret("'env:K[1]'").variable("K", "a").problems(),
        [format!("{at}: env:K[1] is not set")]
    );
    assert_eq!(with_secret("'value:'").problems(), [format!("{at}: value:[redacted] is empty")]);
    assert_eq!(with_secret("sk-canary").problems(), [format!("{at}: is not a reference, {expected}")]);
    assert_eq!(with_secret("12345").problems(), [format!("{at}: is a number, {expected}")]);
    assert_eq!(
        with_secret("'env:sk-canary'").problems(),
        [format!(
            "{at}: env: is followed by something that is no variable's name, expected letters, digits and _"
        )]
    );
    let empty = with_secret("'file:k'").file("k", "\n");
    assert_eq!(empty.problems(), [format!("{at}: file:{} is empty", empty.path("k").display())]);
    let absent = with_secret("'file:k'");
    assert_eq!(absent.problems(), [format!("{at}: file:{} does not exist", absent.path("k").display())]);
}

#[test]
fn a_relative_path_belongs_to_the_file_that_names_it() {
    let one = Deployment::of("server: { workers: 1 }").file("k", "wrong");
    let two = with_secret("'file:k'").file("k", "right");
    let files = [two.path("headgate.yaml"), one.path("headgate.yaml")];
    let settings = load(&files, &Environment::default()).unwrap();
    let Credential::Secret(secret) = &settings.backends[0].keys[0].credential else { panic!("a secret") };
    assert_eq!(secret.expose(), "right");

    let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
    let roots = Deployment::of("backends: [ { name: a, provider: anthropic, ca_file: ca.pem } ]");
    let problem = format!("backends[0].ca_file: {} cannot be read:", roots.path("ca.pem").display());
    assert!(roots.problems()[0].starts_with(&problem));
    let settings = roots.file("ca.pem", &certificate).settings();
    assert_eq!(settings.backends[0].ca_pem.as_deref(), Some(certificate.as_bytes()));
}

#[test]
fn an_unset_optional_reference_switches_its_feature_off() {
    let settings = Deployment::of("store: { master_key: 'file:none' }").settings();
    assert!(settings.store.master_key.is_none() && settings.auth.admin_tokens.is_empty());
    assert!(settings.warnings.iter().any(|text| {
        text.starts_with("store.master_key: file:")
            && text.ends_with("does not exist: the admin API cannot store secrets")
    }));
}

#[test]
fn the_master_key_is_hex_or_base64() {
    let of = |text: &str| Deployment::of("").variable("HEADGATE_MASTER_KEY", text);
    let key = |text: &str| *of(text).settings().store.master_key.unwrap().bytes();
    let bytes = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let plain: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    assert_eq!(key(&format!("{bytes}=")), plain);
    assert_eq!(key(bytes), plain);
    assert_eq!(key(&hex.to_uppercase()), plain);
    assert_eq!(key("_-_-AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")[..4], [0xff, 0xef, 0xfe, 0x03]);
    let wrong = "store.master_key: is not a key, expected 32 bytes as 64 hex digits or base64";
    for text in ["secret", "AAECAwQFBgcICQoLDA0ODw==", &hex[1..]] {
        assert_eq!(of(text).problems(), [wrong]);
    }
}

#[test]
fn weak_client_keys_and_written_out_secrets_are_warned_about() {
    let settings = Deployment::of("tenants: [ { name: t, key: 'value:short' }, { name: u, key: 'env:U' } ]")
        .variable("U", &"ab".repeat(20))
        .settings();
    let said = |text: &str| settings.warnings.iter().any(|warning| warning == text);
    assert!(said("tenants[0].key: a secret is written out in the configuration; env: and file: keep it out"));
    assert!(said("tenants[0].key: the key of `t` is short or weak; 32 random symbols are better"));
    assert!(said("tenants[1].key: the key of `u` is short or weak; 32 random symbols are better"));
}

/// The whole configuration with secrets in every further place that can hold one.
fn canaries() -> Deployment {
    let text = super::surface::WHOLE
        .replace("sqlite://headgate.db", "postgres://user:canary-store@db/headgate?password=canary-query")
        .replace("redis://127.0.0.1:6379", "redis://:canary-redis@cache:6379")
        .replace("\"env:OPENAI_API_KEY\"", "'value:canary-written-out'")
        .replace(
            "    location: europe-west1\n",
            "    location: europe-west1\n    proxy: 'http://user:canary-proxy@proxy:1'\n    headers: { x-a: canary-header, x-b: 'env:ACME_KEY' }\n",
        );
    whole().file("headgate.yaml", &text).variable("HTTPS_PROXY", "http://u:canary-env-proxy@proxy:3128")
}

#[test]
fn no_secret_is_ever_printed() {
    let deployment = canaries();
    let settings = deployment.settings();
    let printed = format!("{settings:?}{settings:#?}{:?}", deployment.environment());
    assert!(!printed.contains("canary"), "{printed}");
    assert!(!printed.contains("Y2FuYXJ5"), "base64 of canary");
    let effective = deployment.check();
    assert!(!effective.contains("canary"), "{effective}");
}

#[test]
fn no_secret_is_printed_by_an_error() {
    let text = std::fs::read_to_string(canaries().path("headgate.yaml")).unwrap();
    let places = [
        ("surface: runtime", "surface: canary"),
        ("base_url: \"https://api.anthropic.com\"", "base_url: 'https://canary:canary@x/?canary'"),
        ("weight: 1 }", "weight: 'value:canary' }"),
        ("project: my-project", "project: [ canary ]"),
        ("proxy: 'http://user:canary-proxy@proxy:1'", "proxy: 'ftp://canary'"),
        ("priority: normal", "priority: canary"),
        ("listen: \"127.0.0.1:8080\"", "listen: canary"),
        ("redis://:canary", "canary://:canary"),
        ("'value:canary-written-out'", "canary-plain"),
        ("\"env:ANTHROPIC_KEY_3\"", "\"env:canary-key\""),
        ("env:HEADGATE_MASTER_KEY", "value:canary"),
        ("rpm: 600", "rpm: canary"),
    ];
    let mut all = text;
    for (right, wrong) in places {
        assert!(all.contains(right), "{right}");
        all = all.replace(right, wrong);
    }
    let problems = canaries().file("headgate.yaml", &all).problems();
    assert!(problems.len() >= places.len(), "{problems:#?}");
    assert!(!problems.join("\n").contains("canary"), "{problems:#?}");
    for broken in [
        "canary",
        "- canary",
        "a: { canary",
        "a: 'canary",
        "a: canary\n b: canary",
        "a: &x canary\nb: *y",
        "%canary",
    ] {
        let problems = Deployment::of(broken).problems().join("\n");
        assert!(!problems.is_empty() && !problems.contains("canary"), "{broken:?}: {problems}");
    }
}

#[test]
fn the_effective_configuration_can_be_loaded_again() {
    let first = whole();
    let printed = first.check();
    let second = whole().file("headgate.yaml", &printed);
    let again = check(&[second.path("headgate.yaml")], &second.environment()).unwrap();
    let document = |text: &str| text.split("# References").next().unwrap().to_owned();
    assert_eq!(document(&printed), document(&again));
    assert!(printed.starts_with("server:\n  listen: \"127.0.0.1:8080\"\n"), "{printed}");
    assert!(printed.contains("# backends[0].keys[0].secret: env:ANTHROPIC_KEY_1 (set)\n"));
    assert!(!printed.contains('~') && !printed.contains("null"));
}
