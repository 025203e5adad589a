//! What must hold of rests, reckoned from what upstream said and nothing the core remembers: until when a scope may not be
//! asked, and who is its one probe.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headgate::clock::Moment;
use headgate::config::checked::Park as Times;
use headgate::pool::Candidate;
use headgate::pool::park::Gate;

use super::layout::{KeyShape, Layout};
use super::script::Ill;
use super::world::Attempt;

/// A thing that may rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Key(String),
    KeyClass(String, &'static str),
    Group(String, String),
    GroupClass(String, String, &'static str),
    Missing(String, String, String),
}

/// The scopes of one attempt.
#[derive(Clone, Debug)]
pub struct Scopes {
    pub all: [Scope; 5],
    secret: String,
    group: (String, String),
}

impl Scopes {
    pub fn new(backend: &str, key: &KeyShape, model: &str, class: &'static str) -> Self {
        let (secret, backend, group) = (key.secret.clone(), backend.to_owned(), key.group.clone());
        let all = [
            Scope::Key(secret.clone()),
            Scope::KeyClass(secret.clone(), class),
            Scope::Group(backend.clone(), group.clone()),
            Scope::GroupClass(backend.clone(), group.clone(), class),
            Scope::Missing(backend.clone(), group.clone(), model.to_owned()),
        ];
        Self { all, secret, group: (backend, group) }
    }

    /// Which of them a fault puts to rest.
    fn blamed(ill: Ill) -> Option<usize> {
        match ill {
            Ill::Key => Some(0),
            Ill::KeyModel => Some(1),
            Ill::Credit | Ill::Spent(_) => Some(2),
            Ill::Limited(_) | Ill::Overloaded => Some(3),
            Ill::Missing => Some(4),
            Ill::Caller | Ill::Server | Ill::Connection | Ill::Late | Ill::Nobody => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Rest {
    until: Moment,
    probe: Option<usize>,
}

/// All rests.
#[derive(Default)]
pub struct Oracle {
    rests: HashMap<Scope, Rest>,
    /// Since which configuration a secret and a group exist without a break.
    secrets: HashMap<String, u32>,
    groups: HashMap<(String, String), u32>,
    /// What the core held of the blamed scope just before it learnt of a fault, by attempt.
    gates: HashMap<usize, Option<Gate>>,
}

impl Oracle {
    pub fn new(layout: &Layout) -> Self {
        let mut oracle = Self::default();
        oracle.reload(layout, 0);
        oracle
    }

    /// The configuration is another: what is no longer named is forgotten, what is new begins clean.
    pub fn reload(&mut self, layout: &Layout, epoch: u32) {
        let keys = || layout.backends.iter().flat_map(|up| up.keys.iter().map(move |key| (up, key)));
        let secrets: HashMap<String, u32> = keys()
            .map(|(_, key)| (key.secret.clone(), self.secrets.get(&key.secret).copied().unwrap_or(epoch)))
            .collect();
        let groups: HashMap<(String, String), u32> = keys()
            .map(|(up, key)| (up.name.clone(), key.group.clone()))
            .map(|group| (group.clone(), self.groups.get(&group).copied().unwrap_or(epoch)))
            .collect();
        self.rests.retain(|scope, _| match scope {
            Scope::Key(secret) | Scope::KeyClass(secret, _) => secrets.contains_key(secret),
            Scope::Group(backend, group)
            | Scope::GroupClass(backend, group, _)
            | Scope::Missing(backend, group, _) => groups.contains_key(&(backend.clone(), group.clone())),
        });
        (self.secrets, self.groups) = (secrets, groups);
    }

    /// Whether a call of `epoch` shares the state of that scope with the configuration of now.
    fn lives(&self, scopes: &Scopes, index: usize, epoch: u32) -> bool {
        let born = if index < 2 { self.secrets.get(&scopes.secret) } else { self.groups.get(&scopes.group) };
        born.is_some_and(|born| *born <= epoch)
    }

    /// A request is dispatched: nothing it concerns may be at rest, and a scope on probation has one probe.
    pub fn dispatched(&mut self, number: usize, attempts: &[Attempt], epoch: u32, now: Moment) {
        let scopes = &attempts[number].scopes;
        for (index, scope) in scopes.all.iter().enumerate() {
            if !self.lives(scopes, index, epoch) {
                continue;
            }
            let Some(rest) = self.rests.get_mut(scope) else { continue };
            assert!(now >= rest.until, "attempt {number}: {scope:?} rests until {:?}", rest.until);
            if let Some(probe) = rest.probe {
                let pending = attempts[probe].open && !attempts[probe].committed && !attempts[probe].told;
                assert!(!pending, "attempts {probe} and {number} both probe {scope:?}");
            }
            rest.probe = Some(number);
        }
    }

    /// An attempt was answered: what it probed is open again.
    pub fn answered(&mut self, number: usize) {
        self.rests.retain(|_, rest| rest.probe != Some(number));
    }

    /// The core is about to learn of a fault: what does it hold of the blamed scope?
    pub fn before(&mut self, number: usize, attempt: &Attempt, now: Moment) {
        let blamed = attempt.ill.or(attempt.late_ill).and_then(Scopes::blamed);
        let gate = blamed.and_then(|index| gate(attempt, index, now));
        self.gates.insert(number, gate);
    }

    /// The core has learnt of a fault: returns until when the scope must rest from here, if it must.
    pub fn failed(
        &mut self,
        number: usize,
        attempt: &Attempt,
        ill: Ill,
        (epoch, times, now): (u32, &Times, Moment),
    ) -> Option<Moment> {
        let resting = matches!(self.gates.remove(&number).flatten(), Some(Gate::Until(_)));
        let (least, stated) = match ill {
            Ill::Key | Ill::KeyModel | Ill::Credit => (times.key_fault_first, false),
            Ill::Spent(left) => (times.quota_max.map_or(left, |most| left.min(most)), true),
            Ill::Limited(Some(left)) => (left, true),
            Ill::Limited(None) => (times.backoff_first, false),
            Ill::Missing => (times.missing_model, false),
            Ill::Overloaded => (times.overloaded, false),
            Ill::Caller | Ill::Server | Ill::Connection | Ill::Late | Ill::Nobody => return None,
        };
        if resting && !stated {
            return None;
        }
        self.rest(&attempt.scopes, ill, epoch, (least, now))
    }

    fn rest(
        &mut self,
        scopes: &Scopes,
        ill: Ill,
        epoch: u32,
        (least, now): (Duration, Moment),
    ) -> Option<Moment> {
        let index = Scopes::blamed(ill)?;
        if !self.lives(scopes, index, epoch) {
            return Some(now + least);
        }
        let scope = &scopes.all[index];
        let known = self.rests.get(scope).map_or(now, |rest| rest.until);
        let until = known.max(now + least);
        self.rests.insert(scope.clone(), Rest { until, probe: None });
        Some(until)
    }

    /// An operator's word about a key or its group: rests until then, or not at all.
    pub fn ordered(&mut self, scope: Scope, until: Option<Moment>) {
        match until {
            Some(until) => self.rests.insert(scope, Rest { until, probe: None }),
            None => self.rests.remove(&scope),
        };
    }
}

/// The candidate of an attempt in its call's plan.
pub fn candidate(attempt: &Attempt) -> &Candidate {
    let mut all = attempt.plan.tiers.iter().flatten();
    let found = all.find(|candidate| Arc::ptr_eq(&candidate.seat.health, &attempt.health));
    found.expect("the plan has not changed")
}

/// What the core says of the scope a fault of `attempt` blames.
pub fn blamed_gate(attempt: &Attempt, ill: Ill, now: Moment) -> Option<Gate> {
    gate(attempt, Scopes::blamed(ill)?, now)
}

fn gate(attempt: &Attempt, index: usize, now: Moment) -> Option<Gate> {
    let candidate = candidate(attempt);
    let park = candidate.parks.get(index).unwrap_or(&candidate.missing);
    Some(park.gate(now))
}
