//! The record of what was received: per key, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::clock::Clock;
use super::config::RecordConfig;
use super::dialect::Dialect;

const MOMENTS_KEPT: usize = 200_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer was handed over whole.
    Complete,
    /// A fault broke it off.
    Broken,
    /// The client went away first.
    ClientAborted,
}

/// One request as it was received.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number, from 0.
    pub sequence: u64,
    /// The API it spoke.
    pub dialect: Dialect,
    /// The name of its key; `unknown` when nobody's.
    pub key: String,
    /// The organization, account or project of its key; empty when nobody's.
    pub owner: String,
    /// Milliseconds since the start when its head was read.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte; empty if it was not read.
    pub body: Bytes,
    /// The status or the fault it was answered with; empty while under way.
    pub outcome: String,
    /// How and when (milliseconds since the start) it ended.
    pub ended: Option<(Ending, u64)>,
}

/// What is known of one key.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyStats {
    /// Its name.
    pub name: String,
    /// The API it belongs to.
    pub dialect: Dialect,
    /// Its organization, account or project.
    pub organization: String,
    /// The first 16 hex digits of the SHA-256 of its secret.
    pub digest: String,
    /// The secret's last four characters.
    pub last4: String,
    /// Requests received.
    pub requests: u64,
    /// Requests under way.
    pub in_flight: usize,
    /// Access tokens issued for it.
    pub tokens_issued: u64,
    /// How many were answered how: a status, or the name of a fault.
    pub outcomes: BTreeMap<String, u64>,
    /// How many ended how.
    pub endings: BTreeMap<Ending, u64>,
    /// When requests came, in milliseconds since the start.
    pub received_ms: VecDeque<u64>,
}

/// What is known over all.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Connections taken.
    pub connections_accepted: u64,
    /// Connections open.
    pub connections_open: usize,
    /// Requests received.
    pub requests: u64,
    /// Requests under way.
    pub in_flight: usize,
    /// Streams under way.
    pub streams_open: usize,
    /// Requests their clients left: number and moment.
    pub aborted: VecDeque<(u64, u64)>,
    /// Each key, and `unknown`.
    pub keys: Vec<KeyStats>,
}

impl Stats {
    /// One key by its name.
    pub fn key(&self, name: &str) -> Option<&KeyStats> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The record.
#[derive(Debug)]
pub struct Book {
    clock: Clock,
    limits: RecordConfig,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    stats: Stats,
    ring: VecDeque<Recorded>,
    body_bytes: usize,
    next: u64,
}

impl Book {
    /// An empty record for these keys; the last is for strangers.
    pub fn new(clock: Clock, limits: RecordConfig, mut keys: Vec<KeyStats>) -> Self {
        keys.push(KeyStats { name: "unknown".to_owned(), ..KeyStats::default() });
        let stats = Stats { keys, ..Stats::default() };
        Self { clock, limits, pages: Mutex::new(Pages { stats, ..Pages::default() }) }
    }

    /// Everything counted so far.
    pub fn stats(&self) -> Stats {
        Stats { uptime_ms: self.now_ms(), ..self.pages().stats.clone() }
    }

    /// What is counted of each key, without the moments of its requests.
    pub fn key_stats(&self) -> Vec<KeyStats> {
        let pages = self.pages();
        let count = |key: &KeyStats| KeyStats {
            name: key.name.clone(),
            dialect: key.dialect,
            organization: key.organization.clone(),
            digest: key.digest.clone(),
            last4: key.last4.clone(),
            requests: key.requests,
            in_flight: key.in_flight,
            tokens_issued: key.tokens_issued,
            outcomes: key.outcomes.clone(),
            endings: key.endings.clone(),
            received_ms: VecDeque::new(),
        };
        pages.stats.keys.iter().map(count).collect()
    }

    /// The requests that are still kept, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.pages().ring.iter().cloned().collect()
    }

    /// Requests under way with the keys that fit.
    pub fn in_flight(&self, keys: impl Fn(&KeyStats) -> bool) -> usize {
        self.pages().stats.keys.iter().filter(|key| keys(key)).map(|key| key.in_flight).sum()
    }

    /// Forgets what was counted; requests under way stay counted as such.
    pub fn reset(&self) {
        let mut pages = self.pages();
        pages.ring.clear();
        pages.body_bytes = 0;
        let stats = &mut pages.stats;
        stats.requests = 0;
        stats.aborted.clear();
        stats.connections_accepted = 0;
        for key in &mut stats.keys {
            key.requests = 0;
            key.tokens_issued = 0;
            key.outcomes.clear();
            key.endings.clear();
            key.received_ms.clear();
        }
    }

    /// Notes a request's head. `key` is the place of its key among those given to `new`.
    pub fn begin(self: &Arc<Self>, key: Option<usize>, mut request: Recorded) -> Receipt {
        let now = self.now_ms();
        let mut guard = self.pages();
        let pages = &mut *guard;
        let key = key.unwrap_or(pages.stats.keys.len() - 1);
        request.sequence = pages.next;
        pages.next += 1;
        request.at_ms = now;
        pages.stats.requests += 1;
        pages.stats.in_flight += 1;
        let entry = &mut pages.stats.keys[key];
        request.key.clone_from(&entry.name);
        request.owner.clone_from(&entry.organization);
        entry.requests += 1;
        entry.in_flight += 1;
        push(&mut entry.received_ms, now);
        let sequence = request.sequence;
        pages.ring.push_back(request);
        pages.trim(&self.limits);
        Receipt { book: Arc::clone(self), sequence, key, streaming: false, ending: Ending::ClientAborted }
    }

    /// Notes that an access token was issued for the key at this place.
    pub fn issued(&self, key: usize) {
        if let Some(key) = self.pages().stats.keys.get_mut(key) {
            key.tokens_issued += 1;
        }
    }

    /// Notes a connection until the guard is dropped.
    pub fn connected(self: &Arc<Self>) -> Connected {
        let mut pages = self.pages();
        pages.stats.connections_accepted += 1;
        pages.stats.connections_open += 1;
        Connected { book: Arc::clone(self) }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn entry(&mut self, sequence: u64) -> Option<&mut Recorded> {
        let first = self.ring.front()?.sequence;
        self.ring.get_mut(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    fn trim(&mut self, limits: &RecordConfig) {
        while self.ring.len() > limits.requests || self.body_bytes > limits.body_bytes {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.body_bytes -= oldest.body.len();
        }
    }
}

/// Stands for a request under way; its end is noted exactly once, when it is dropped.
#[derive(Debug)]
pub struct Receipt {
    book: Arc<Book>,
    sequence: u64,
    key: usize,
    streaming: bool,
    ending: Ending,
}

impl Receipt {
    /// Notes the body.
    pub fn body(&self, body: &Bytes) {
        let mut pages = self.book.pages();
        if let Some(entry) = pages.entry(self.sequence) {
            entry.body = body.clone();
            pages.body_bytes += body.len();
            pages.trim(&self.book.limits);
        }
    }

    /// Notes what it is answered with.
    pub fn outcome(&mut self, outcome: &str, streaming: bool) {
        let mut pages = self.book.pages();
        *pages.stats.keys[self.key].outcomes.entry(outcome.to_owned()).or_default() += 1;
        if let Some(entry) = pages.entry(self.sequence) {
            outcome.clone_into(&mut entry.outcome);
        }
        if streaming && !self.streaming {
            pages.stats.streams_open += 1;
        }
        self.streaming |= streaming;
    }

    /// Says how it ends; without a word, dropping it means that the client left.
    pub fn ends(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let now = self.book.now_ms();
        let mut pages = self.book.pages();
        pages.stats.in_flight -= 1;
        pages.stats.streams_open -= usize::from(self.streaming);
        let key = &mut pages.stats.keys[self.key];
        key.in_flight -= 1;
        *key.endings.entry(self.ending).or_default() += 1;
        if self.ending == Ending::ClientAborted {
            push_pair(&mut pages.stats.aborted, (self.sequence, now));
        }
        if let Some(entry) = pages.entry(self.sequence) {
            entry.ended = Some((self.ending, now));
        }
    }
}

/// Stands for an open connection.
#[derive(Debug)]
pub struct Connected {
    book: Arc<Book>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.book.pages().stats.connections_open -= 1;
    }
}

fn push(moments: &mut VecDeque<u64>, moment: u64) {
    if moments.len() >= MOMENTS_KEPT {
        moments.pop_front();
    }
    moments.push_back(moment);
}

fn push_pair(moments: &mut VecDeque<(u64, u64)>, moment: (u64, u64)) {
    if moments.len() >= MOMENTS_KEPT {
        moments.pop_front();
    }
    moments.push_back(moment);
}
