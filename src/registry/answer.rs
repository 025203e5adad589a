//! Answers kept for a repeat: which resource was made and, sealed, the key that was shown with it.

use headgate_providers::Secret;
use serde_json::{Value, json};

use crate::vault::{Sealed, Vault};

/// What sealed answers are bound to, with the idempotency key.
const ROW: &str = "idempotency";

/// What is kept of the answer to the creation of `id`; without a vault a minted key is not kept.
#[must_use]
pub fn kept(vault: Option<&Vault>, key: &str, id: &str, minted: Option<&Secret>) -> Vec<u8> {
    let sealed = minted.zip(vault).map(|(secret, vault)| hex(&vault.seal(ROW, key, secret).to_bytes()));
    json!({ "id": id, "sealed": sealed }).to_string().into_bytes()
}

/// The id and the minted key of what was kept, as far as they can be read.
#[must_use]
pub fn opened(vault: Option<&Vault>, key: &str, body: &[u8]) -> (String, Option<Secret>) {
    let kept: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = kept["id"].as_str().unwrap_or_default().to_owned();
    let secret = sealed(&kept).zip(vault).and_then(|(sealed, vault)| vault.open(ROW, key, &sealed).ok());
    (id, secret)
}

/// The same with the newest master key; `None` where it has that, holds no secret, or does not open.
#[must_use]
pub fn resealed(vault: &Vault, key: &str, body: &[u8]) -> Option<Vec<u8>> {
    let old: Value = serde_json::from_slice(body).ok()?;
    if vault.is_current(&sealed(&old)?) {
        return None;
    }
    let (id, secret) = opened(Some(vault), key, body);
    Some(kept(Some(vault), key, &id, Some(&secret?)))
}

fn sealed(kept: &Value) -> Option<Sealed> {
    Sealed::from_bytes(&unhex(kept["sealed"].as_str()?)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
