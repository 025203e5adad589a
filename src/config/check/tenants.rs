//! Who may operate and who may call: admin tokens and tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_providers::Secret;
use sha2::{Digest as _, Sha256};

use super::findings::Findings;
use crate::config::checked::{AdminRole, AdminToken, Auth, ModelPattern, Priority, Tenant, TenantLimits};
use crate::config::raw;

/// Shorter keys can be guessed or are a placeholder.
const SHORT: usize = 20;
/// Fewer different symbols are not random.
const FEW: usize = 8;

/// `auth`.
pub fn auth(raw: &raw::Auth, findings: &mut Findings<'_>) -> Auth {
    let mut names = BTreeSet::new();
    let mut distinct = Distinct::default();
    let mut admin_tokens = Vec::new();
    for (index, token) in raw.admin_tokens.iter().enumerate() {
        let path = format!("auth.admin_tokens[{index}]");
        let name = findings.name(&format!("{path}.name"), token.name.as_deref(), &mut names);
        let role = token.role.unwrap_or(AdminRole::Admin);
        if let Some(digest) = token_digest(&path, &name, token, &mut distinct, findings) {
            admin_tokens.push(AdminToken { name, digest, role });
        }
    }
    let admin_failures_per_minute = raw.admin_failures_per_minute;
    findings.within("auth.admin_failures_per_minute", admin_failures_per_minute, 1..=100_000);
    Auth { tenants: raw.tenants, admin_tokens, admin_failures_per_minute }
}

/// `tenants`.
pub fn tenants(raw: &[raw::Tenant], findings: &mut Findings<'_>) -> Vec<Arc<Tenant>> {
    let mut names = BTreeSet::new();
    let mut distinct = Distinct::default();
    let mut tenants = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("tenants[{index}]");
        let name = findings.name(&format!("{path}.name"), raw.name.as_deref(), &mut names);
        let digest = key_digest(&path, &name, raw, &mut distinct, findings);
        for (at, model) in raw.models.iter().enumerate() {
            findings.text(&format!("{path}.models[{at}]"), Some(model));
        }
        tenants.push(Arc::new(Tenant {
            name,
            digest,
            priority: raw.priority.unwrap_or(Priority::Normal),
            weight: findings.weight(&format!("{path}.weight"), raw.weight),
            models: raw.models.iter().map(|model| ModelPattern::new(model.trim())).collect(),
            limits: limits(&format!("{path}.limits"), &raw.limits, findings),
        }));
    }
    tenants
}

fn token_digest(
    path: &str,
    name: &str,
    raw: &raw::AdminToken,
    distinct: &mut Distinct,
    findings: &mut Findings<'_>,
) -> Option<[u8; 32]> {
    let (plain, hashed) = (format!("{path}.token"), format!("{path}.token_sha256"));
    match (&raw.token, &raw.token_sha256) {
        (Some(_), Some(_)) => {
            findings.wrong(hashed, "is given besides token, expected one of the two");
            None
        }
        (None, None) => {
            findings.wrong(plain, "is missing");
            None
        }
        (None, Some(digest)) => {
            let digest = findings.digest(&hashed, digest);
            distinct.judge_digest(&hashed, name, digest, findings);
            Some(digest)
        }
        (Some(reference), None) => {
            let off = format!("the admin token `{name}` is switched off");
            let token = findings.optional_secret(&plain, reference, &off)?;
            Some(distinct.judge(&plain, name, &token, findings))
        }
    }
}

fn key_digest(
    path: &str,
    name: &str,
    raw: &raw::Tenant,
    distinct: &mut Distinct,
    findings: &mut Findings<'_>,
) -> [u8; 32] {
    let (plain, hashed) = (format!("{path}.key"), format!("{path}.key_sha256"));
    match (&raw.key, &raw.key_sha256) {
        (Some(_), Some(_)) => {
            findings.wrong(hashed, "is given besides key, expected one of the two");
            [0; 32]
        }
        (None, Some(digest)) => {
            let digest = findings.digest(&hashed, digest);
            distinct.judge_digest(&hashed, name, digest, findings);
            digest
        }
        (key, None) => {
            let key = findings.secret(&plain, key.as_ref());
            key.map(|key| distinct.judge(&plain, name, &key, findings)).unwrap_or_default()
        }
    }
}

fn limits(path: &str, raw: &raw::TenantLimits, findings: &mut Findings<'_>) -> TenantLimits {
    let some = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    TenantLimits {
        rpm: some(raw.rpm),
        rph: some(raw.rph),
        input_tpm: some(raw.input_tpm),
        output_tpm: some(raw.output_tpm),
        tpm: some(raw.tpm),
        burst: some(raw.burst),
        concurrent: some(raw.concurrent),
        rpd: some(raw.rpd),
        tpd: some(raw.tpd),
        tpw: some(raw.tpw),
        usd_per_day: findings.dollars(&format!("{path}.usd_per_day"), raw.usd_per_day),
        usd_per_month: findings.dollars(&format!("{path}.usd_per_month"), raw.usd_per_month),
    }
}

/// Digests of the keys seen so far: each must be its owner's alone, and a key should be long and random.
#[derive(Default)]
struct Distinct(BTreeMap<[u8; 32], String>);

impl Distinct {
    /// Judges a key, and answers its digest.
    fn judge(&mut self, path: &str, name: &str, key: &Secret, findings: &mut Findings<'_>) -> [u8; 32] {
        let text = key.expose();
        let symbols: BTreeSet<char> = text.chars().collect();
        if text.chars().count() < SHORT || symbols.len() < FEW {
            findings.warn(
                path,
                format_args!("the key of `{name}` is short or weak; 32 random symbols are better"),
            );
        }
        let digest = Sha256::digest(text).into();
        self.judge_digest(path, name, digest, findings);
        digest
    }

    fn judge_digest(&mut self, path: &str, name: &str, digest: [u8; 32], findings: &mut Findings<'_>) {
        if let Some(owner) = self.0.insert(digest, name.to_owned()) {
            findings
                .wrong(path, format!("is the same text as the key of `{owner}`, expected one of its own"));
        }
    }
}
