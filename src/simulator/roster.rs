//! Every key with its owner, as configured: organizations first, then accounts, then projects.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::bedrock::account::Account;
use super::bedrock::config::AwsKeyConfig;
use super::config::SimulatorConfig;
use super::dialect::Dialect;
use super::organization::Organization;
use super::owner::Owner;
use super::record::KeyStats;
use super::vertex::config::GoogleKeyConfig;
use super::vertex::project::Project;

/// What a key is known by, besides a secret that stands for itself.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The secret is all.
    Secret,
    /// A signing key.
    Aws(AwsKeyConfig),
    /// What tokens are issued for.
    Google(GoogleKeyConfig),
}

/// A key at work.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What it is known by.
    pub credential: Credential,
    /// Requests at once; 0 = no limit.
    pub concurrent: usize,
    revoked: AtomicBool,
}

impl Key {
    /// Whether it is refused.
    pub fn revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Refuses it, or takes it back.
    pub fn set_revoked(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::Relaxed);
    }
}

/// The places of keys by what clients send.
#[derive(Debug, Default)]
pub struct Names {
    /// API keys of the first party.
    pub secrets: HashMap<String, usize>,
    /// Access key ids.
    pub access_keys: HashMap<String, usize>,
    /// Bearer keys of Bedrock.
    pub bearers: HashMap<String, usize>,
}

/// All keys and owners.
#[derive(Debug, Default)]
pub struct Roster {
    /// The keys.
    pub keys: Vec<Key>,
    /// Their places.
    pub names: Names,
    /// The owners.
    pub owners: Vec<Owner>,
    /// An empty record of each key.
    pub stats: Vec<KeyStats>,
}

impl Roster {
    /// Builds it; every bucket is full at `now`.
    pub fn new(config: &SimulatorConfig, now: Duration) -> Self {
        let mut roster = Self::default();
        roster.add_organizations(config, now);
        roster.add_accounts(config);
        roster.add_projects(config);
        roster
    }

    fn add_organizations(&mut self, config: &SimulatorConfig, now: Duration) {
        for given in &config.organizations {
            let owner = Owner::Organization(Arc::new(Organization::new(given, now)));
            for key in &given.keys {
                self.names.secrets.insert(key.secret.clone(), self.keys.len());
                self.stats.push(stats(&key.name, &key.secret, (Dialect::Anthropic, &owner)));
                self.keys.push(Key {
                    name: key.name.clone(),
                    owner: owner.clone(),
                    credential: Credential::Secret,
                    concurrent: key.concurrent,
                    revoked: AtomicBool::new(key.revoked),
                });
            }
            self.owners.push(owner);
        }
    }

    fn add_accounts(&mut self, config: &SimulatorConfig) {
        for given in &config.bedrock.accounts {
            let owner = Owner::Account(Arc::new(Account::new(given)));
            for key in &given.keys {
                let at = self.keys.len();
                let secret = if key.bearer.is_empty() {
                    self.names.access_keys.insert(key.access_key_id.clone(), at);
                    &key.secret_access_key
                } else {
                    self.names.bearers.insert(key.bearer.clone(), at);
                    &key.bearer
                };
                self.stats.push(stats(&key.name, secret, (Dialect::Bedrock, &owner)));
                self.keys.push(Key {
                    name: key.name.clone(),
                    owner: owner.clone(),
                    credential: Credential::Aws(key.clone()),
                    concurrent: key.concurrent,
                    revoked: AtomicBool::new(key.revoked),
                });
            }
            self.owners.push(owner);
        }
    }

    fn add_projects(&mut self, config: &SimulatorConfig) {
        for given in &config.vertex.projects {
            let owner = Owner::Project(Arc::new(Project::new(given)));
            for key in &given.keys {
                let forms = [&key.token, &key.client_email, &key.refresh_token, &key.subject_token];
                let secret =
                    forms.into_iter().find(|form| !form.is_empty()).map_or("metadata", String::as_str);
                self.stats.push(stats(&key.name, secret, (Dialect::Vertex, &owner)));
                self.keys.push(Key {
                    name: key.name.clone(),
                    owner: owner.clone(),
                    credential: Credential::Google(key.clone()),
                    concurrent: key.concurrent,
                    revoked: AtomicBool::new(key.revoked),
                });
            }
            self.owners.push(owner);
        }
    }
}

fn stats(name: &str, secret: &str, (dialect, owner): (Dialect, &Owner)) -> KeyStats {
    let digest: String =
        Sha256::digest(secret.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let skipped = secret.chars().count().saturating_sub(4);
    KeyStats {
        name: name.to_owned(),
        dialect,
        organization: owner.name().to_owned(),
        digest,
        last4: secret.chars().skip(skipped).collect(),
        ..KeyStats::default()
    }
}
