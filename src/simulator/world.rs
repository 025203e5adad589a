//! All that a running simulator shares among its connections, and the handle that changes it live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bedrock::config::BedrockLimitConfig;
use super::clock::Clock;
use super::config::{AnswerConfig, ConnectionConfig, LimitConfig, SimulatorConfig, Timings};
use super::dice::Dice;
use super::fault::{Fault, FaultRule};
use super::owner::Owner;
use super::record::{Book, KeyStats, Recorded, Stats};
pub use super::roster::{Credential, Key};
use super::roster::{Names, Roster};
use super::script::{Rules, Subject};
use super::vertex::config::QuotaConfig;
use super::vertex::tokens::Tokens;

/// What can be changed while running.
#[derive(Clone, Debug)]
pub struct Manners {
    /// How fast.
    pub timings: Timings,
    /// What answers hold.
    pub answer: AnswerConfig,
    /// How connections behave.
    pub connection: ConnectionConfig,
}

/// The shared state.
#[derive(Debug)]
pub struct World {
    /// Time.
    pub clock: Clock,
    /// The configuration it started with.
    pub config: SimulatorConfig,
    /// The record.
    pub book: Arc<Book>,
    /// The keys, in the order of the record.
    pub keys: Vec<Key>,
    /// The places of keys by what clients send.
    pub names: Names,
    /// Google's access tokens.
    pub tokens: Tokens,
    owners: Vec<Owner>,
    manners: Mutex<Manners>,
    rules: Mutex<Rules>,
    dice: Mutex<Dice>,
}

impl World {
    /// Builds it from a configuration.
    pub fn new(config: SimulatorConfig) -> Self {
        let clock = Clock::start();
        let Roster { keys, names, owners, stats } = Roster::new(&config, clock.now());
        let manners = Manners {
            timings: config.timings,
            answer: config.answer.clone(),
            connection: config.connection.clone(),
        };
        Self {
            clock,
            book: Arc::new(Book::new(clock, config.record.clone(), stats)),
            tokens: tokens(&keys, &config),
            keys,
            names,
            owners,
            manners: Mutex::new(manners),
            rules: Mutex::new(Rules::new(config.faults.clone(), config.seed)),
            dice: Mutex::new(Dice::new(uuid::Uuid::new_v4().as_u64_pair().0)),
            config,
        }
    }

    /// What can be changed, as it is now.
    pub fn manners(&self) -> Manners {
        lock(&self.manners).clone()
    }

    /// The fault for a request.
    pub fn fault(&self, subject: Subject<'_>) -> Option<Fault> {
        lock(&self.rules).pick(subject, self.clock.now())
    }

    /// A fresh id with a prefix.
    pub fn id(&self, prefix: &str, length: usize) -> String {
        format!("{prefix}{}", lock(&self.dice).id(length))
    }

    /// A number below `limit` by chance.
    pub fn below(&self, limit: usize) -> usize {
        lock(&self.dice).below(limit)
    }
}

/// Changes a running simulator.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) world: Arc<World>,
}

impl Control {
    /// From now on the key gets 401. False if there is no such key.
    pub fn revoke(&self, key: &str) -> bool {
        self.set_revoked(key, true)
    }

    /// The key is good again. False if there is no such key.
    pub fn restore(&self, key: &str) -> bool {
        self.set_revoked(key, false)
    }

    /// Replaces all rules of faults.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        *lock(&self.world.rules) = Rules::new(rules, self.world.config.seed);
    }

    /// Replaces the rules of one key.
    pub fn set_key_faults(&self, key: &str, rules: Vec<FaultRule>) {
        let keys = vec![key.to_owned()];
        let named = rules.into_iter().map(|rule| FaultRule { keys: keys.clone(), ..rule }).collect();
        let mut live = lock(&self.world.rules);
        live.clear(Some(key));
        live.add(named);
    }

    /// One fault for every request of a key.
    pub fn break_key(&self, key: &str, fault: Fault) {
        self.set_key_faults(key, vec![fault.into()]);
    }

    /// Removes the rules of one key, or all.
    pub fn clear_faults(&self, key: Option<&str>) {
        lock(&self.world.rules).clear(key);
    }

    /// The rules in force.
    pub fn faults(&self) -> Vec<FaultRule> {
        lock(&self.world.rules).list()
    }

    /// Replaces an organization's limits; buckets start full. False if there is no such organization.
    pub fn set_limits(&self, organization: &str, limits: &[LimitConfig]) -> bool {
        let now = self.world.clock.now();
        let Some(Owner::Organization(found)) = self.owner(organization) else { return false };
        found.set_limits(limits, now);
        true
    }

    /// Replaces an account's quotas; they start full. False if there is no such account.
    pub fn set_account_limits(&self, account: &str, limits: &[BedrockLimitConfig]) -> bool {
        let Some(Owner::Account(found)) = self.owner(account) else { return false };
        found.set_limits(limits);
        true
    }

    /// Replaces a project's quotas; they start full. False if there is no such project.
    pub fn set_quotas(&self, project: &str, quotas: &[QuotaConfig]) -> bool {
        let Some(Owner::Project(found)) = self.owner(project) else { return false };
        found.set_quotas(quotas);
        true
    }

    /// Whose name this is.
    pub(super) fn owner(&self, name: &str) -> Option<&Owner> {
        self.world.owners.iter().find(|owner| owner.name() == name)
    }

    /// Ends the issued access tokens of a key, or of all. False if there is no such key.
    pub fn expire_tokens(&self, key: Option<&str>) -> bool {
        let place = key.map(|key| self.world.keys.iter().position(|known| known.name == key));
        if place == Some(None) {
            return false;
        }
        self.world.tokens.expire(place.flatten(), self.world.clock.now());
        true
    }

    /// Changes how long access tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world.tokens.set_lifetime(lifetime);
    }

    /// Changes how fast answers come.
    pub fn set_timings(&self, timings: Timings) {
        lock(&self.world.manners).timings = timings;
    }

    /// Changes what answers hold.
    pub fn set_answer(&self, answer: AnswerConfig) {
        lock(&self.world.manners).answer = answer;
    }

    /// Changes how connections behave, those that are open included.
    pub fn set_connection(&self, connection: ConnectionConfig) {
        lock(&self.world.manners).connection = connection;
    }

    /// Forgets the record, and restores faults, limits, keys and manners as configured.
    pub fn reset(&self) {
        let config = &self.world.config;
        self.set_faults(config.faults.clone());
        *lock(&self.world.manners) = Manners {
            timings: config.timings,
            answer: config.answer.clone(),
            connection: config.connection.clone(),
        };
        for given in &config.organizations {
            self.set_limits(&given.name, &given.limits);
            for key in &given.keys {
                self.set_revoked(&key.name, key.revoked);
            }
        }
        for given in &config.bedrock.accounts {
            self.set_account_limits(&given.name, &given.limits);
            for key in &given.keys {
                self.set_revoked(&key.name, key.revoked);
            }
        }
        for given in &config.vertex.projects {
            self.set_quotas(&given.name, &given.quotas);
            for key in &given.keys {
                self.set_revoked(&key.name, key.revoked);
            }
        }
        self.set_token_lifetime(seconds(config.vertex.expires_in));
        self.world.book.reset();
    }

    /// Everything counted so far.
    pub fn stats(&self) -> Stats {
        self.world.book.stats()
    }

    /// What is counted of each key, without the moments of its requests.
    pub fn key_stats(&self) -> Vec<KeyStats> {
        self.world.book.key_stats()
    }

    /// The requests that are still kept, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.world.book.requests()
    }

    fn set_revoked(&self, name: &str, revoked: bool) -> bool {
        let found = self.world.keys.iter().find(|key| key.name == name);
        found.map(|key| key.set_revoked(revoked)).is_some()
    }
}

fn tokens(keys: &[Key], config: &SimulatorConfig) -> Tokens {
    let fixed = keys.iter().enumerate().filter_map(|(at, key)| match &key.credential {
        Credential::Google(credential) if !credential.token.is_empty() => {
            Some((credential.token.clone(), at))
        }
        Credential::Google(_) | Credential::Aws(_) | Credential::Secret => None,
    });
    Tokens::new(fixed, seconds(config.vertex.expires_in))
}

/// Seconds as given, at most ten years.
pub(super) fn seconds(given: f64) -> Duration {
    Duration::from_secs_f64(if given.is_finite() { given.clamp(0.0, 3.2e8) } else { 0.0 })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
