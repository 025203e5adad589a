//! Who calls: credentials presented -> tenant, before the body is read.
//!
//! Only digests are kept. The lookup is by SHA-256 digest, whose prefix an attacker cannot steer, and the match is confirmed
//! in constant time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::checked::{Settings, Tenant, TenantAuth};

type KeyDigest = [u8; 32];

/// The tenants by the digest of their key.
#[derive(Debug)]
struct Directory {
    required: bool,
    /// Keys are never asked for.
    open: bool,
    tenants: HashMap<KeyDigest, Arc<Tenant>>,
}

/// Who may call.
#[derive(Debug)]
pub struct Auth {
    directory: ArcSwap<Directory>,
    /// Tenants of the store are still to come.
    unsure: AtomicBool,
}

/// What a presented credential means.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A tenant.
    Tenant(Arc<Tenant>),
    /// Nobody in particular; the data plane is open.
    Anonymous,
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No credential was presented.
    Missing,
    /// The credential is not known.
    Unknown,
    /// The credential may be known to the store, which cannot be read yet.
    Unsure,
}

impl Auth {
    /// The directory of `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { directory: ArcSwap::from_pointee(directory(settings)), unsure: AtomicBool::new(false) }
    }

    /// Says whether tenants of the store are still to come: until then nobody is told that a key is wrong.
    pub fn set_unsure(&self, unsure: bool) {
        self.unsure.store(unsure, Relaxed);
    }

    /// Whether tenants of the store are still to come.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.unsure.load(Relaxed)
    }

    /// Swaps the directory.
    pub fn reload(&self, settings: &Settings) {
        self.directory.store(Arc::new(directory(settings)));
    }

    /// Who presents these headers: `x-api-key` wins, else `Authorization: Bearer`.
    ///
    /// # Errors
    /// Why the caller is refused.
    pub fn caller(&self, api_key: Option<&[u8]>, authorization: Option<&[u8]>) -> Result<Caller, Refused> {
        let directory = self.directory.load();
        if directory.tenants.is_empty() && !directory.required {
            let unsure = !directory.open && self.unsure.load(Relaxed);
            return if unsure { Err(Refused::Unsure) } else { Ok(Caller::Anonymous) };
        }
        let presented = api_key.or_else(|| authorization.and_then(bearer));
        let tenant = presented.and_then(|secret| {
            let digest: KeyDigest = Sha256::digest(secret).into();
            let (known, tenant) = directory.tenants.get_key_value(&digest)?;
            bool::from(known.ct_eq(&digest)).then(|| tenant.clone())
        });
        match (tenant, presented) {
            (Some(tenant), _) => Ok(Caller::Tenant(tenant)),
            (None, _) if !directory.required => Ok(Caller::Anonymous),
            (None, Some(_)) if self.unsure.load(Relaxed) => Err(Refused::Unsure),
            (None, Some(_)) => Err(Refused::Unknown),
            (None, None) => Err(Refused::Missing),
        }
    }
}

fn directory(settings: &Settings) -> Directory {
    let required = settings.auth.tenants == TenantAuth::Required && !settings.tenants.is_empty();
    let tenants = settings.tenants.iter().map(|tenant| (tenant.digest, tenant.clone())).collect();
    Directory { required, open: settings.auth.tenants == TenantAuth::Open, tenants }
}

/// The token of a `Bearer` header; the scheme's case does not matter (RFC 9110, 11.1).
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_scheme_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(bearer(b"Bearer k"), Some(&b"k"[..]));
        assert_eq!(bearer(b"bearer  k "), Some(&b"k"[..]));
        assert_eq!(bearer(b"Basic k"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
