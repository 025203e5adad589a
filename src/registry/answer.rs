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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::MasterKey;
    use crate::config::{Environment, load};

    fn vault(newest: u8, previous: u8) -> Vault {
        let mut store = load(&[], &Environment::default()).unwrap_or_else(|error| panic!("{error}")).store;
        store.master_key = Some(MasterKey::new([newest; 32].into()));
        store.previous_master_keys = vec![MasterKey::new([previous; 32].into())];
        Vault::of(&store).unwrap()
    }

    #[test]
    fn a_kept_answer_is_sealed_anew_once_and_opens_without_the_earlier_key() {
        let minted = Secret::new("hgc_minted".to_owned());
        let old = kept(Some(&vault(1, 1)), "one", "t", Some(&minted));
        let both = vault(2, 1);
        let new = resealed(&both, "one", &old).unwrap();
        assert_eq!(resealed(&both, "one", &new), None, "it is current");
        let (id, secret) = opened(Some(&vault(2, 2)), "one", &new);
        assert_eq!((id.as_str(), secret.unwrap().expose()), ("t", "hgc_minted"));
        assert!(opened(Some(&both), "another", &new).1.is_none(), "it is bound to its idempotency key");
        assert_eq!(
            resealed(&both, "one", &kept(Some(&both), "one", "t", None)),
            None,
            "nothing is sealed in it"
        );
    }
}
