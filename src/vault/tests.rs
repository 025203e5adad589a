use std::collections::HashSet;
use std::time::Duration;

use super::*;

fn vault(newest: u8, previous: &[u8]) -> Vault {
    Vault::of(&settings(Some(newest), previous)).unwrap()
}

fn settings(newest: Option<u8>, previous: &[u8]) -> checked::Store {
    let key = |byte: u8| MasterKey::new([byte; 32].into());
    checked::Store {
        url: Secret::new("sqlite::memory:".to_owned()),
        master_key: newest.map(key),
        previous_master_keys: previous.iter().copied().map(key).collect(),
        timeout: Duration::from_secs(1),
        idempotency: Duration::from_secs(1),
        durable_park: Duration::from_secs(1),
        keep_audit: Duration::from_secs(1),
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn opened(vault: &Vault, row: &str, field: &str, sealed: &Sealed) -> Result<String, Unsealable> {
    vault.open(row, field, sealed).map(|secret| secret.expose().to_owned())
}

#[test]
fn a_secret_opens_as_it_was_sealed() {
    let vault = vault(1, &[]);
    let long = "x".repeat(1 << 20);
    for text in ["", "sk-ant-api03", "鍵\n{\"private_key\": \"...\"}", &long] {
        let sealed = vault.seal("row", "secret", &secret(text));
        assert_eq!(opened(&vault, "row", "secret", &sealed).as_deref(), Ok(text));
        assert_eq!(Sealed::from_bytes(&sealed.to_bytes()), Some(sealed));
    }
}

#[test]
fn it_does_not_open_for_another_row_or_field() {
    let vault = vault(1, &[]);
    let sealed = vault.seal("ab", "c", &secret("canary"));
    for (row, field) in [("ab", "d"), ("x", "c"), ("a", "bc"), ("abc", ""), ("", "abc")] {
        assert_eq!(opened(&vault, row, field, &sealed), Err(Unsealable::Damaged), "{row} {field}");
    }
}

#[test]
fn one_changed_bit_is_told() {
    let vault = vault(1, &[]);
    let sealed = vault.seal("row", "secret", &secret("canary"));
    for at in 0..sealed.text.len() {
        let mut changed = sealed.clone();
        changed.text[at] ^= 1;
        assert_eq!(opened(&vault, "row", "secret", &changed), Err(Unsealable::Damaged));
    }
    let mut changed = sealed.clone();
    changed.nonce[0] ^= 1;
    assert_eq!(opened(&vault, "row", "secret", &changed), Err(Unsealable::Damaged));
    let mut short = sealed;
    short.text.truncate(3);
    assert_eq!(opened(&vault, "row", "secret", &short), Err(Unsealable::Damaged));
}

#[test]
fn a_new_master_key_seals_and_the_previous_ones_still_open() {
    let old = vault(1, &[]).seal("row", "secret", &secret("canary"));
    let rotated = vault(2, &[3, 1]);
    assert_eq!(opened(&rotated, "row", "secret", &old).as_deref(), Ok("canary"));
    assert!(!rotated.is_current(&old));
    let new = rotated.seal("row", "secret", &secret("canary"));
    assert!(rotated.is_current(&new));
    assert_eq!(opened(&vault(2, &[]), "row", "secret", &new).as_deref(), Ok("canary"));
    let key_id = old.key_id.clone();
    assert_eq!(opened(&vault(2, &[]), "row", "secret", &old), Err(Unsealable::UnknownKey { key_id }));
}

#[test]
fn another_master_key_under_the_same_id_does_not_open_it() {
    let mut sealed = vault(1, &[]).seal("row", "secret", &secret("canary"));
    sealed.key_id = vault(2, &[]).seal("row", "secret", &secret("")).key_id;
    assert_eq!(opened(&vault(2, &[]), "row", "secret", &sealed), Err(Unsealable::Damaged));
}

#[test]
fn there_is_no_vault_without_a_master_key() {
    assert!(Vault::of(&settings(None, &[1])).is_none());
}

#[test]
fn nonces_do_not_repeat_and_nothing_is_shown() {
    let vault = vault(1, &[]);
    let nonces: HashSet<[u8; 24]> =
        (0..1000).map(|_| vault.seal("row", "secret", &secret("canary")).nonce).collect();
    assert_eq!(nonces.len(), 1000);
    let sealed = vault.seal("row", "secret", &secret("canary"));
    assert!(!sealed.text.windows(6).any(|window| window == b"canary"));
    assert_eq!(format!("{vault:?}"), format!("[{:?}]", sealed.key_id));
    assert_eq!(sealed.key_id.len(), 16);
    assert_eq!(format!("{:?}", settings(Some(1), &[2]).master_key), "Some([master key])");
}

#[test]
fn bytes_that_are_no_sealed_secret_are_refused() {
    let whole = vault(1, &[]).seal("row", "secret", &secret("canary")).to_bytes();
    for bytes in [&[][..], &whole[..40], &[2; 99], &[1, 0xff, 0xfe]] {
        assert_eq!(Sealed::from_bytes(bytes), None);
    }
}

#[test]
fn a_fingerprint_is_the_head_of_a_digest_and_a_short_secret_shows_no_end() {
    assert_eq!(fingerprint(&secret("abc")), "ba7816bf8f01");
    assert_eq!(last4(&secret("0123456789abcdef")), "cdef");
    assert_eq!(last4(&secret("0123456789abcdé")), "");
}
