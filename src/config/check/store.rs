//! `store`: where records are kept, and the keys that seal the secrets among them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use headgate_providers::Secret;
use zeroize::Zeroizing;

use super::findings::Findings;
use super::sections::{DAY_S, address};
use crate::config::IN_MEMORY;
use crate::config::checked::{self, MasterKey};
use crate::config::raw;
use crate::config::reference::Reference;

/// `store`.
pub fn store(raw: &raw::Store, findings: &mut Findings<'_>) -> checked::Store {
    findings.within("store.timeout_ms", raw.timeout_ms, 10..=60_000);
    findings.within("store.idempotency_s", raw.idempotency_s, 1..=365 * DAY_S);
    findings.within("store.durable_park_s", raw.durable_park_s, 1..=365 * DAY_S);
    findings.within("store.keep_audit_days", raw.keep_audit_days, 1..=36_500);
    let off = "the admin API cannot store secrets";
    let key = raw.master_key.as_ref();
    let key = key.and_then(|reference| findings.optional_secret("store.master_key", reference, off));
    let master_key = key.and_then(|key| master_key("store.master_key", &key, findings));
    checked::Store {
        url: place(&raw.url, findings),
        master_key,
        previous_master_keys: previous(&raw.previous_master_keys, findings),
        timeout: Duration::from_millis(raw.timeout_ms),
        idempotency: Duration::from_secs(raw.idempotency_s),
        durable_park: Duration::from_secs(raw.durable_park_s),
        keep_audit: Duration::from_secs(raw.keep_audit_days.saturating_mul(DAY_S)),
    }
}

fn place(url: &Reference, findings: &mut Findings<'_>) -> Secret {
    let url = findings.open_text("store.url", url);
    if url.as_ref().is_some_and(|url| url.expose() == IN_MEMORY) {
        return Secret::new(IN_MEMORY.to_owned());
    }
    let url = address("store.url", url, &["sqlite", "postgres", "postgresql"], findings);
    if url.expose().starts_with("sqlite:") && url.expose().contains('?') {
        findings.wrong("store.url", "has options behind a `?`, expected only a file");
    }
    if url.expose().starts_with("postgres") {
        findings.warn("store.url", "PostgreSQL is not spoken to yet: nothing is stored");
    }
    url
}

fn previous(keys: &[Reference], findings: &mut Findings<'_>) -> Vec<MasterKey> {
    let path = |index: usize| format!("store.previous_master_keys[{index}]");
    let mut of = |(index, key): (usize, &Reference)| {
        let secret = findings.secret(&path(index), Some(key))?;
        master_key(&path(index), &secret, findings)
    };
    keys.iter().enumerate().filter_map(&mut of).collect()
}

fn master_key(path: &str, text: &Secret, findings: &mut Findings<'_>) -> Option<MasterKey> {
    let bytes = key_bytes(text.expose());
    if bytes.is_none() {
        findings.wrong(path, "is not a key, expected 32 bytes as 64 hex digits or base64");
    }
    bytes.map(MasterKey::new)
}

fn key_bytes(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        return Some(key);
    }
    let bare = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()?;
    let bytes = Zeroizing::new(bytes);
    key.copy_from_slice(bytes.get(..32).filter(|_| bytes.len() == 32)?);
    Some(key)
}
