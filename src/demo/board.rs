//! The board: what both views show, made from one [`Reading`] of the world after the other.
//!
//! Pure: readings go in, events come out, the rest is kept for whoever draws. An event is a difference between two readings,
//! so the data plane needs no hook for it; a park shorter than the time between two readings is not seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Moment;

/// Events kept for the log.
const EVENTS: usize = 200;
/// The time over which the rate of requests is taken.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// One look at the gateway, its upstream and its callers.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When.
    pub at: Moment,
    /// Every key, in the order of the configuration.
    pub keys: Vec<KeyReading>,
    /// Every scope that is not open.
    pub parks: Vec<ParkReading>,
    /// Every breaker.
    pub breakers: Vec<BreakerReading>,
    /// Attempts by outcome.
    pub attempts: BTreeMap<String, u64>,
    /// Attempts by provider, in the order of the configuration.
    pub providers: Vec<(&'static str, u64)>,
    /// Moves of a call from one backend to another.
    pub failovers: u64,
    /// Calls waiting for a key.
    pub waiting: usize,
    /// What the callers saw.
    pub callers: Callers,
}

/// A key.
#[derive(Clone, Debug, Default)]
pub struct KeyReading {
    /// Its name.
    pub name: String,
    /// Its organization, the limit group.
    pub organization: String,
    /// Its backend.
    pub backend: String,
    /// Requests under way, as the gateway counts.
    pub in_flight: u32,
    /// Requests received, as upstream counts.
    pub requests: u64,
    /// How upstream answered them: a status or the name of a fault.
    pub outcomes: BTreeMap<String, u64>,
    /// Model classes known in its organization.
    pub classes: usize,
}

/// A scope that is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkReading {
    /// The key or the organization.
    pub owner: String,
    /// One model class, or all.
    pub class: Option<String>,
    /// Why.
    pub reason: &'static str,
    /// Since when.
    pub since: Moment,
    /// Until when; after it the scope has to prove itself.
    pub until: Moment,
    /// Whether the one call that finds out is under way.
    pub probing: bool,
}

/// A breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerReading {
    /// The backend.
    pub backend: String,
    /// The model, or `connections`.
    pub of: String,
    /// `closed`, `half_open` or `open`.
    pub state: &'static str,
    /// Until when nothing goes through.
    pub until: Option<Moment>,
}

/// What the callers saw.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Requests under way.
    pub in_flight: usize,
    /// Requests ended.
    pub finished: u64,
    /// Requests that ended in anything but a complete answer.
    pub errors: u64,
    /// The last such ending.
    pub last_error: Option<String>,
    /// Requests that took more than one attempt.
    pub retried: u64,
    /// Recent latency: half and 99 of 100 requests took less.
    pub latency: Option<(Duration, Duration)>,
    /// The same of the time to the first content of a stream.
    pub first_token: Option<(Duration, Duration)>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The story went on.
    Story,
    /// Something was parked.
    Parked,
    /// Something is in service again.
    Back,
    /// A breaker opened.
    Opened,
    /// A breaker closed.
    Closed,
    /// A caller saw an error.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was seen.
    pub at: Moment,
    /// What kind.
    pub kind: EventKind,
    /// What, in words.
    pub text: String,
}

/// How a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Ready,
    /// It proves itself, or will with the next call.
    Probation,
    /// It is well, but breakers keep every model away from its backend.
    Broken {
        /// For so long.
        left: Duration,
    },
    /// It rests.
    Parked {
        /// For so long.
        left: Duration,
        /// Why.
        reason: &'static str,
        /// So many of so many model classes, or all.
        classes: Option<(usize, usize)>,
    },
}

/// What is shown.
#[derive(Debug, Default)]
pub struct Board {
    /// The last reading.
    pub now: Reading,
    /// The last events, newest last.
    pub events: VecDeque<Event>,
    finished: VecDeque<(Moment, u64)>,
}

impl Board {
    /// Takes a reading in; returns what happened since the one before.
    pub fn look(&mut self, reading: Reading) -> Vec<Event> {
        let mut events = parked(&self.now, &reading);
        events.extend(back(&self.now, &reading));
        events.extend(switched(&self.now, &reading));
        if reading.callers.errors > self.now.callers.errors {
            let error = reading.callers.last_error.as_deref().unwrap_or("an error");
            events.push(Event {
                at: reading.at,
                kind: EventKind::Error,
                text: format!("caller saw {error}"),
            });
        }
        self.finished.push_back((reading.at, reading.callers.finished));
        while self.finished.front().is_some_and(|(at, _)| *at + RATE_WINDOW < reading.at) {
            self.finished.pop_front();
        }
        self.now = reading;
        for event in &events {
            self.note(event.clone());
        }
        events
    }

    /// Puts an event into the log.
    pub fn note(&mut self, event: Event) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Requests that ended in a second, lately.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.finished.front(), self.finished.back()) else {
            return 0.0;
        };
        let seconds = to.since(*from).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "requests of two seconds")]
        let ended = (after - before) as f64;
        ended / seconds
    }

    /// How a key stands.
    #[must_use]
    pub fn standing(&self, key: &KeyReading) -> Standing {
        let now = self.now.at;
        let concerns = |park: &&ParkReading| park.owner == key.name || park.owner == key.organization;
        let parks: Vec<&ParkReading> = self.now.parks.iter().filter(concerns).collect();
        let resting = |park: &&&ParkReading| park.until > now;
        let longest = |parks: &mut dyn Iterator<Item = &ParkReading>| {
            parks.max_by_key(|park| park.until).map(|park| (park.until.since(now), park.reason))
        };
        let whole = |park: &&&ParkReading| park.class.is_none();
        if let Some((left, reason)) = longest(&mut parks.iter().filter(resting).filter(whole).copied()) {
            return Standing::Parked { left, reason, classes: None };
        }
        if let Some(left) = self.broken(&key.backend) {
            return Standing::Broken { left };
        }
        let classes: BTreeSet<_> = parks.iter().filter(resting).map(|park| &park.class).collect();
        if let Some((left, reason)) = longest(&mut parks.iter().filter(resting).copied()) {
            let some = classes.len() < key.classes;
            return Standing::Parked { left, reason, classes: some.then_some((classes.len(), key.classes)) };
        }
        if parks.is_empty() { Standing::Ready } else { Standing::Probation }
    }

    /// Keys that serve at least some model.
    #[must_use]
    pub fn serving(&self) -> usize {
        let serves = |key: &&KeyReading| match self.standing(key) {
            Standing::Ready | Standing::Probation | Standing::Parked { classes: Some(_), .. } => true,
            Standing::Broken { .. } | Standing::Parked { classes: None, .. } => false,
        };
        self.now.keys.iter().filter(serves).count()
    }

    /// How long no call at all goes to a backend: while its connections' breaker is open, or that of every model.
    fn broken(&self, backend: &str) -> Option<Duration> {
        let left = |breaker: &BreakerReading| breaker.until.map(|until| until.since(self.now.at));
        let own = self.now.breakers.iter().filter(|breaker| breaker.backend == backend);
        let (connections, models): (Vec<_>, Vec<_>) = own.partition(|breaker| breaker.of == "connections");
        let models: Vec<Option<Duration>> = models.into_iter().map(left).collect();
        let earliest =
            models.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        connections.into_iter().find_map(left).max(earliest)
    }

    /// 429s that upstream answered.
    #[must_use]
    pub fn rate_limits(&self) -> u64 {
        self.now.keys.iter().map(KeyReading::rate_limits).sum()
    }

    /// Everything else that upstream answered wrongly, by status or fault.
    #[must_use]
    pub fn other_faults(&self) -> BTreeMap<&str, u64> {
        let mut faults = BTreeMap::new();
        for (outcome, count) in self.now.keys.iter().flat_map(|key| &key.outcomes) {
            if !matches!(outcome.as_str(), "200" | "429") {
                *faults.entry(outcome.as_str()).or_default() += count;
            }
        }
        faults
    }
}

impl KeyReading {
    /// 429s that upstream answered to it.
    #[must_use]
    pub fn rate_limits(&self) -> u64 {
        self.outcomes.get("429").copied().unwrap_or(0)
    }

    /// Everything else that went wrong with it.
    #[must_use]
    pub fn other_faults(&self) -> u64 {
        let wrong = self.outcomes.iter().filter(|(outcome, _)| !matches!(outcome.as_str(), "200" | "429"));
        wrong.map(|(_, count)| count).sum()
    }
}

/// A model or class without what all of them have: `opus-5` of `claude-opus-5` and of `us.anthropic.claude-opus-5`.
#[must_use]
pub fn short(model: &str) -> &str {
    model.rsplit_once("claude-").map_or(model, |(_, short)| short)
}

/// Seconds with one decimal.
#[must_use]
pub fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

/// Parks of `after` that `before` did not have, those of one owner and reason as one event.
fn parked(before: &Reading, after: &Reading) -> Vec<Event> {
    let known =
        |park: &&ParkReading| before.parks.iter().any(|old| is_same(old, park) && old.since == park.since);
    let mut fresh: BTreeMap<(&str, &str), Vec<&ParkReading>> = BTreeMap::new();
    for park in after.parks.iter().filter(|park| !known(park)) {
        fresh.entry((&park.owner, park.reason)).or_default().push(park);
    }
    let events = fresh.into_iter().map(|((owner, reason), parks)| {
        let until = parks.iter().map(|park| park.until).max().unwrap_or_default();
        let left = seconds(until.since(after.at));
        let text = format!("{owner}{} parked for {left}: {reason}", of_classes(&parks));
        Event { at: after.at, kind: EventKind::Parked, text }
    });
    events.collect()
}

/// Parks of `before` that `after` has no more, those of one owner as one event.
fn back(before: &Reading, after: &Reading) -> Vec<Event> {
    let mut gone: BTreeMap<&str, Vec<&ParkReading>> = BTreeMap::new();
    let still = |park: &&ParkReading| after.parks.iter().any(|new| is_same(new, park));
    for park in before.parks.iter().filter(|park| !still(park)) {
        gone.entry(&park.owner).or_default().push(park);
    }
    let events = gone.into_iter().map(|(owner, parks)| {
        let text = format!("{owner}{} is back in service", of_classes(&parks));
        Event { at: after.at, kind: EventKind::Back, text }
    });
    events.collect()
}

/// Breakers that opened, opened again after a probe, or closed.
fn switched(before: &Reading, after: &Reading) -> Vec<Event> {
    let mut events = Vec::new();
    for breaker in &after.breakers {
        let same = |old: &&BreakerReading| old.backend == breaker.backend && old.of == breaker.of;
        let (was, until) =
            before.breakers.iter().find(same).map_or(("closed", None), |old| (old.state, old.until));
        let name = format!("{} · {}", breaker.backend, short(&breaker.of));
        let opened = breaker.state == "open" && (was != "open" || breaker.until != until);
        let (kind, text) = if opened {
            let left = breaker.until.map_or(Duration::ZERO, |until| until.since(after.at));
            (EventKind::Opened, format!("{name}: breaker opened for {}", seconds(left)))
        } else if breaker.state == "closed" && was != "closed" {
            (EventKind::Closed, format!("{name}: breaker closed"))
        } else {
            continue;
        };
        events.push(Event { at: after.at, kind, text });
    }
    events
}

fn is_same(one: &ParkReading, other: &ParkReading) -> bool {
    one.owner == other.owner && one.class == other.class
}

fn of_classes(parks: &[&ParkReading]) -> String {
    let classes: BTreeSet<&str> = parks.iter().filter_map(|park| park.class.as_deref()).map(short).collect();
    if classes.is_empty() || parks.iter().any(|park| park.class.is_none()) {
        return String::new();
    }
    format!(" ({})", classes.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
