//! The vault: secrets at rest, sealed with the master key (XChaCha20-Poly1305, a random nonce for each).
//!
//! What is sealed is bound to its row and field, so that a sealed text moved elsewhere does not open. It seals with the newest
//! master key and opens with any it was given: `store.master_key`, then `store.previous_master_keys`.

use std::fmt::Write as _;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use headgate_providers::Secret;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use crate::config::checked::{self, MasterKey};

/// The form of what is bound into a sealed text, and of its encoding.
const VERSION: u8 = 1;
/// Secrets shorter than this show none of their characters.
const SHOWN_FROM: usize = 16;

/// Seals with the newest master key, opens with any.
pub struct Vault {
    /// Never empty; the newest first.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

/// A sealed secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which master key opens it: 16 hex digits.
    pub key_id: String,
    /// The nonce, used once.
    pub nonce: [u8; 24],
    /// The sealed text with its tag.
    pub text: Vec<u8>,
}

/// Why a sealed secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// It was sealed with a master key that is not among those given.
    #[error("it was sealed with another master key ({key_id})")]
    UnknownKey {
        /// That key's id.
        key_id: String,
    },
    /// It was changed, or belongs to another row or field.
    #[error("it was changed since it was sealed, or belongs elsewhere")]
    Damaged,
}

impl Vault {
    /// The vault of these settings; `None` without a master key.
    #[must_use]
    pub fn of(store: &checked::Store) -> Option<Self> {
        let newest = store.master_key.as_ref()?;
        let keys = std::iter::once(newest).chain(&store.previous_master_keys);
        Some(Self {
            keys: keys.map(|key| (key_id(key), XChaCha20Poly1305::new(key.bytes().into()))).collect(),
        })
    }

    /// Seals `secret` as `field` of the row with this identity.
    #[must_use]
    pub fn seal(&self, row: &str, field: &str, secret: &Secret) -> Sealed {
        let mut nonce = [0; 24];
        rand::rng().fill_bytes(&mut nonce);
        let aad = bound(row, field);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &aad };
        let (key_id, cipher) = self.newest();
        // Sealing fails only for a text of 256 GiB; an empty one then opens as damaged.
        let text = cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        Sealed { key_id: key_id.to_owned(), nonce, text }
    }

    /// Opens what was sealed for this row and field.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn open(&self, row: &str, field: &str, sealed: &Sealed) -> Result<Secret, Unsealable> {
        let known = self.keys.iter().find(|(id, _)| *id == sealed.key_id);
        let (_, cipher) = known.ok_or_else(|| Unsealable::UnknownKey { key_id: sealed.key_id.clone() })?;
        let aad = bound(row, field);
        let payload = Payload { msg: &sealed.text, aad: &aad };
        let text = cipher.decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_| Unsealable::Damaged)?;
        String::from_utf8(text).map(Secret::new).map_err(|_| Unsealable::Damaged)
    }

    /// Whether it is sealed with the newest master key.
    #[must_use]
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        self.newest().0 == sealed.key_id
    }

    fn newest(&self) -> &(String, XChaCha20Poly1305) {
        &self.keys[0]
    }
}

impl Sealed {
    /// As bytes, to be kept where a body is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.key_id.as_bytes());
        bytes.extend(self.nonce);
        bytes.extend(&self.text);
        bytes
    }

    /// From those bytes; `None` where they are no sealed secret.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (key_id, rest) = rest.split_at_checked(16)?;
        let (nonce, text) = rest.split_at_checked(24)?;
        let key_id = String::from_utf8(key_id.to_vec()).ok()?;
        Some(Self { key_id, nonce: nonce.try_into().ok()?, text: text.to_vec() })
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

/// What a sealed text is bound to. The lengths keep `("a", "bc")` apart from `("ab", "c")`.
fn bound(row: &str, field: &str) -> Vec<u8> {
    let mut aad = vec![VERSION];
    for part in [row, field] {
        aad.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        aad.extend(part.as_bytes());
    }
    aad
}

/// Names a master key without telling it.
fn key_id(key: &MasterKey) -> String {
    let digest = Sha256::new().chain_update("headgate master key").chain_update(key.bytes()).finalize();
    hex(&digest[..8])
}

/// The first 12 hex digits of a secret's SHA-256: tells secrets apart without telling them.
#[must_use]
pub fn fingerprint(secret: &Secret) -> String {
    hex(&Sha256::digest(secret.expose())[..6])
}

/// The last 4 characters of a secret, to find it again in a provider's console; none of a short one.
#[must_use]
pub fn last4(secret: &Secret) -> String {
    let length = secret.expose().chars().count();
    if length < SHOWN_FROM { String::new() } else { secret.expose().chars().skip(length - 4).collect() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
