//! All that a running simulator shares among its connections, and the handle that changes it live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::clock::Clock;
use super::config::{AnswerConfig, ConnectionConfig, LimitConfig, SimulatorConfig, Timings};
use super::dice::Dice;
use super::fault::{Fault, FaultRule};
use super::organization::Organization;
use super::record::{Book, KeyStats, Recorded, Stats};
use super::script::{Rules, Subject};

/// A key at work.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its organization.
    pub organization: Arc<Organization>,
    /// Requests at once; 0 = no limit.
    pub concurrent: usize,
    revoked: AtomicBool,
}

impl Key {
    /// Whether it is refused.
    pub fn revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

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
    organizations: Vec<Arc<Organization>>,
    by_secret: HashMap<String, usize>,
    manners: Mutex<Manners>,
    rules: Mutex<Rules>,
    dice: Mutex<Dice>,
}

impl World {
    /// Builds it from a configuration.
    pub fn new(config: SimulatorConfig) -> Self {
        let clock = Clock::start();
        let (mut organizations, mut keys, mut stats) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_secret = HashMap::new();
        for given in &config.organizations {
            let organization = Arc::new(Organization::new(given, clock.now()));
            for key in &given.keys {
                by_secret.insert(key.secret.clone(), keys.len());
                stats.push(key_stats(&key.name, &given.name, &key.secret));
                keys.push(Key {
                    name: key.name.clone(),
                    organization: Arc::clone(&organization),
                    concurrent: key.concurrent,
                    revoked: AtomicBool::new(key.revoked),
                });
            }
            organizations.push(organization);
        }
        let manners = Manners {
            timings: config.timings,
            answer: config.answer.clone(),
            connection: config.connection.clone(),
        };
        Self {
            clock,
            book: Arc::new(Book::new(clock, config.record.clone(), stats)),
            keys,
            organizations,
            by_secret,
            manners: Mutex::new(manners),
            rules: Mutex::new(Rules::new(config.faults.clone(), config.seed)),
            dice: Mutex::new(Dice::new(uuid::Uuid::new_v4().as_u64_pair().0)),
            config,
        }
    }

    /// The place of the key with this secret.
    pub fn key_of(&self, secret: &str) -> Option<usize> {
        self.by_secret.get(secret).copied()
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
        let found = self.world.organizations.iter().find(|known| known.name == organization);
        found.map(|organization| organization.set_limits(limits, self.world.clock.now())).is_some()
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
        found.map(|key| key.revoked.store(revoked, Ordering::Relaxed)).is_some()
    }
}

fn key_stats(name: &str, organization: &str, secret: &str) -> KeyStats {
    let digest: String =
        Sha256::digest(secret.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let skipped = secret.chars().count().saturating_sub(4);
    KeyStats {
        name: name.to_owned(),
        organization: organization.to_owned(),
        digest,
        last4: secret.chars().skip(skipped).collect(),
        ..KeyStats::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
