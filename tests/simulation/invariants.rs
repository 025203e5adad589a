//! The promises, checked at every dispatch and after every step.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headgate::clock::Moment;
use headgate::failure::Failure;
use headgate::gateway::Gateway;
use headgate::pool::park::{Gate, Park};
use headgate::pool::{Candidate, Plan};

use super::oracle::{self, blamed_gate};
use super::script::Ill;
use super::settled::Settlement;
use super::world::{News, Stage, World};

/// Timers have whole milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// A probe is under way.
pub const PROBING: u8 = 3;
/// Not to be asked now.
pub const OUT: u8 = 2;

/// What the core holds of every key, group and backend: parks and breakers by name, and until when. Whether a probe is under
/// way is no opinion.
pub fn opinions(gateway: &Gateway) -> BTreeMap<String, (u8, u64)> {
    // A scope that nothing ever touched says the same whether anyone has looked it up or not.
    let all = gates(gateway).into_iter().filter(|(_, says)| *says != (0, 0));
    all.map(|(name, (kind, until))| (name, (if kind == PROBING { 1 } else { kind }, until))).collect()
}

/// The same, probes told apart.
pub fn gates(gateway: &Gateway) -> BTreeMap<String, (u8, u64)> {
    let (table, now) = (gateway.pool.table(), gateway.clock.now());
    let gate = |gate: Gate| match gate {
        Gate::Open => (0, 0),
        Gate::Probe => (1, 0),
        Gate::Probing => (PROBING, 0),
        Gate::Until(end) => (OUT, end.as_micros()),
    };
    let mut all = BTreeMap::new();
    let mut park = |name: String, park: &Park| all.insert(name, gate(park.gate(now)));
    for (up, seat) in table.seats() {
        let (key, group) = (&seat.id.name, format!("{}/{}", up.settings.name, seat.group_name));
        park(format!("key {key}"), &seat.health.park);
        park(format!("group {group}"), &seat.group.park);
        for (class, of) in seat.health.classes() {
            park(format!("key {key} {class}"), &of);
        }
        for (class, of) in seat.group.classes() {
            park(format!("group {group} {class}"), &of);
        }
        for (model, of) in seat.group.missing_models() {
            park(format!("missing {group} {model}"), &of);
        }
    }
    for up in &table.upstreams {
        let models = up.state.models();
        let named = models.iter().map(|(name, breaker)| (name.as_str(), breaker));
        for (name, breaker) in named.chain([("connections", &up.state.connections)]) {
            let (kind, until) = gate(breaker.gate(now));
            all.insert(
                format!("breaker {} {name}", up.settings.name),
                (kind, until ^ u64::from(breaker.generation())),
            );
        }
    }
    all
}

impl World {
    /// A request leaves for upstream: may it?
    pub fn judge_dispatch(&mut self, number: usize, candidate: &Candidate) {
        self.learn(false);
        let now = self.now();
        let attempt = &self.attempts[number];
        let (id, call) = (attempt.call, &self.calls[attempt.call]);
        assert_eq!(call.stage, Stage::Relaying, "call {id} has its answer, yet attempt {number}");
        assert!(call.received.is_empty(), "call {id}: content reached the caller, yet attempt {number}");
        assert!(now <= call.deadline + TICK, "call {id} is past its deadline");
        assert!(candidate.seat.health.is_enabled(), "attempt {number} uses a key that is switched off");
        let bounds = &self.base.relay;
        assert!(call.key_failures < bounds.max_key_attempts, "call {id} tries too many keys");
        assert!(call.other_failures < bounds.max_attempts, "call {id} tries too often");
        let earlier = call.attempts.iter().map(|&earlier| &self.attempts[earlier]);
        for earlier in earlier {
            assert!(!earlier.open, "call {id} has two attempts under way");
            let backend_timed_out = earlier.ill == Some(Ill::Late) && earlier.taken.is_empty();
            let backend = |attempt| oracle::candidate(attempt).upstream.settings.name.clone();
            let same = backend(earlier) == backend(attempt);
            assert!(
                !(backend_timed_out && same),
                "call {id} is sent again to a backend that may be working on it"
            );
        }
        let mut tries = call.attempts.iter().rev().map(|&earlier| &self.attempts[earlier]);
        if let Some(last) = tries.find(|earlier| earlier.secret == attempt.secret) {
            let rested = last.rests_until.is_some_and(|until| until <= now);
            assert!(
                rested,
                "call {id} tries {} again, {:?} after {:?}",
                attempt.secret, last.rests_until, last.ill
            );
        }
        let (epoch, repeat) = (call.epoch, call.last_ill.is_some_and(Ill::is_of_backend));
        self.oracle.dispatched(number, &self.attempts, epoch, now);
        self.breakers.dispatched(number, &self.attempts, candidate, now);
        if repeat {
            self.judge_repeat();
        }
    }

    /// Repeats after backend faults within a second stay within the budget.
    fn judge_repeat(&mut self) {
        let now = self.now();
        self.repeats.push_back(now);
        self.repeats.retain(|at| now.since(*at) < Duration::from_secs(1));
        let bounds = &self.base.relay;
        let reach = bounds.retry_budget_window + Duration::from_secs(3);
        self.starts.retain(|at| now.since(*at) <= reach);
        let earned = self.starts.len() * bounds.retry_budget_percent as usize / 100;
        let most = earned + 2 * bounds.retry_budget_floor_per_s as usize + 1;
        assert!(self.repeats.len() <= most, "{} repeats in a second, {most} allowed", self.repeats.len());
    }

    /// Judges what the gateway has learnt since the last look.
    pub fn learn(&mut self, aborted: bool) {
        for number in std::mem::take(&mut self.closed) {
            self.judge_closed(number, aborted);
        }
        for news in std::mem::take(&mut self.news) {
            match news {
                News::Failed(number, ill) => self.judge_fault(number, ill),
                News::Committed(number) => self.judge_commit(number),
                News::Innocent(before) => {
                    assert_eq!(
                        opinions(&self.gateway),
                        before,
                        "a fault of nobody here moved a park or a breaker"
                    );
                }
            }
        }
    }

    /// The step of call `id` is over.
    pub fn after_step(&mut self, id: Option<usize>, aborted: bool, settlements: &[Settlement]) {
        self.steps += 1;
        self.learn(aborted);
        for (health, count) in self.leases.values() {
            assert_eq!(health.in_flight.load(Relaxed), *count, "in flight");
        }
        for settlement in settlements {
            self.judge_settlement(settlement, id);
        }
        if let Some(id) = id {
            let call = &self.calls[id];
            assert_eq!(call.stage == Stage::Over, call.settled, "call {id} is settled once and at its end");
            self.judge_clocks(id);
        }
        let under_way = |call: &&super::world::Call| {
            let open = call.attempts.last().is_some_and(|&last| self.attempts[last].open);
            call.stage == Stage::Relaying && !open
        };
        let recent = &self.calls[self.oldest..];
        let queued = recent.iter().filter(under_way).count();
        assert_eq!(self.gateway.pool.waiting(), queued, "calls in the queue");
        while self.calls.get(self.oldest).is_some_and(|call| call.stage == Stage::Over) {
            self.oldest += 1;
        }
    }

    /// No call waits beyond its patience or lives beyond its deadline.
    pub fn judge_clocks(&self, id: usize) {
        let (call, now) = (&self.calls[id], self.now());
        let open = call.attempts.last().is_some_and(|&last| self.attempts[last].open);
        if call.stage == Stage::Relaying && !open {
            assert!(now <= call.patience_until + TICK, "call {id} waits beyond its patience");
        }
        if call.stage != Stage::Over && !call.lazy {
            assert!(now <= call.deadline + Duration::from_millis(60), "call {id} lives beyond its deadline");
        }
    }

    /// The gateway let go of an attempt whose end nobody told it: by its own clock, or because its caller left.
    fn judge_closed(&mut self, number: usize, aborted: bool) {
        let attempt = &self.attempts[number];
        if aborted || attempt.open || attempt.told {
            return;
        }
        let (now, call) = (self.now(), &self.calls[attempt.call]);
        let clocks = &self.base.deadlines;
        let idle = attempt.last_byte + clocks.idle;
        let over = attempt.taken.len() >= attempt.over_at;
        if attempt.committed {
            assert!(over || now >= idle.min(call.deadline), "attempt {number} was cut early");
            return;
        }
        let first = attempt.dispatched + if call.stream { clocks.first_event } else { clocks.whole };
        let least = if call.stream { first.min(idle) } else { first };
        assert!(now >= least.min(call.deadline), "attempt {number} was given up early");
        let attempt = &mut self.attempts[number];
        attempt.ill = Some(Ill::Late);
        attempt.told = true;
        self.note(|| format!("attempt {number} is given up"));
        self.news.push(News::Failed(number, Ill::Late));
    }

    fn judge_fault(&mut self, number: usize, ill: Ill) {
        let now = self.now();
        let attempt = &self.attempts[number];
        let (id, late) = (attempt.call, attempt.committed);
        let plan = self.calls[id].plan.clone();
        let candidate = oracle::candidate(attempt).clone();
        self.breakers.failed(attempt, ill, &candidate, &self.base.breaker);
        let call = &mut self.calls[id];
        if !late {
            call.last_ill = Some(ill);
            match ill {
                Ill::Caller => {}
                Ill::Key | Ill::KeyModel | Ill::Credit | Ill::Spent(_) | Ill::Limited(_) | Ill::Missing => {
                    call.key_failures += 1
                }
                Ill::Overloaded | Ill::Server | Ill::Connection | Ill::Late | Ill::Nobody => {
                    call.other_failures += 1
                }
            }
            call.refusals += u32::from(ill.is_refusal());
            if ill.is_refusal() && call.refusals > 1 {
                call.deferred.push(number);
                return;
            }
        }
        let closed = candidate.breakers.iter().all(|breaker| breaker.gate(now) == Gate::Open);
        let last = ill == Ill::Missing && is_last(&plan, &candidate);
        let excused = last || (ill == Ill::Overloaded && !closed);
        if !ill.rests() || excused {
            return;
        }
        let epoch = call.epoch;
        let attempt = &self.attempts[number];
        let until = self.oracle.failed(number, attempt, ill, (epoch, &self.base.park, now));
        let gate = blamed_gate(attempt, ill, now);
        assert!(
            matches!(gate, Some(Gate::Until(end)) if Some(end) >= until),
            "attempt {number}: {ill:?} rests {gate:?}, not {until:?}"
        );
        // Whose failure falls into a rest that another began waits for its end all the same.
        let Some(Gate::Until(end)) = gate else { return };
        self.attempts[number].rests_until = Some(end);
    }

    fn judge_commit(&mut self, number: usize) {
        let now = self.now();
        let attempt = &self.attempts[number];
        let call = &mut self.calls[attempt.call];
        self.oracle.answered(number);
        self.breakers.answered(attempt, oracle::candidate(attempt));
        for refused in std::mem::take(&mut call.deferred) {
            let refused = &self.attempts[refused];
            let Some(ill) = refused.ill else { continue };
            let gate = blamed_gate(refused, ill, now);
            assert!(
                matches!(gate, Some(Gate::Until(_))),
                "the proof that {} was refused for its own sake parks it",
                refused.secret
            );
        }
    }

    fn judge_settlement(&mut self, settlement: &Settlement, id: Option<usize>) {
        let Some(id) = id else { panic!("{settlement:?} belongs to no step") };
        let call = &mut self.calls[id];
        assert_eq!(settlement.request, call.request, "another call was settled");
        assert!(!std::mem::replace(&mut call.settled, true), "call {id} was settled twice");
        let Some((outcome, status)) = call.expected else {
            panic!("call {id} was settled while it runs: {settlement:?}")
        };
        assert_eq!(
            (settlement.outcome.as_str(), settlement.status),
            (outcome, u64::from(status)),
            "call {id}"
        );
        assert_eq!(settlement.attempts, call.attempts.len() as u64, "attempts of call {id}");
    }

    /// A call ended without an answer: was there really nobody left to ask, and is what it says fit for a caller?
    pub fn judge_failure(&mut self, id: usize, failure: &Failure) {
        let (call, now) = (&self.calls[id], self.now());
        let status = failure.status();
        assert!(!matches!(status, 401..=403), "call {id}: {status} means the caller's own key");
        assert!(
            !call.strict,
            "call {id} failed with {status} although nothing is wrong any more: {}",
            failure.message
        );
        if call.poison == Some(super::world::Poison::Bad)
            && !call.attempts.is_empty()
            && call.last_ill == Some(Ill::Caller)
        {
            assert_eq!(status, 400, "call {id}");
        }
        let bounds = &self.base.relay;
        let stopped = match call.last_ill {
            None => false,
            Some(Ill::Caller) => true,
            Some(ill) => {
                ill.is_of_backend()
                    || call.key_failures >= bounds.max_key_attempts
                    || call.other_failures >= bounds.max_attempts
            }
        };
        let crowded = self.gateway.pool.waiting() >= self.base.queue.max_waiting;
        // After a reload it may know other keys than it began with.
        let reloaded = !Rc::ptr_eq(&call.layout, &self.layout);
        if stopped || crowded || reloaded || now >= call.deadline {
            return;
        }
        let tiers = call.plan.tiers.iter().take(if call.first_tier_only { 1 } else { usize::MAX });
        for candidate in tiers.flatten() {
            let left = self.could_serve(id, candidate, now);
            assert!(
                !left,
                "call {id} gave up with {status} although {} could serve it",
                candidate.seat.id.name
            );
        }
    }

    /// Nothing is to do before the next timer: nobody may be waiting for a key that is free.
    pub fn judge_idle(&self) {
        // What became free a moment ago is told by a timer that has whole milliseconds.
        let past = Moment::from_micros(self.now().as_micros().saturating_sub(3_000));
        for id in self.oldest..self.calls.len() {
            let call = &self.calls[id];
            let open = call.attempts.last().is_some_and(|&last| self.attempts[last].open);
            let reloaded = !Rc::ptr_eq(&call.layout, &self.layout);
            if call.stage != Stage::Relaying || open || reloaded {
                continue;
            }
            for candidate in &call.plan.tiers[0] {
                let free = self.could_serve(id, candidate, past);
                assert!(!free, "call {id} waits although {} is free", candidate.seat.id.name);
            }
        }
    }

    /// Whether a candidate that the call has not tried was free at that moment.
    fn could_serve(&self, id: usize, candidate: &Candidate, at: Moment) -> bool {
        let health = &candidate.seat.health;
        let mut tries = self.calls[id].attempts.iter().map(|&number| &self.attempts[number].health);
        let tried = tries.any(|tried| Arc::ptr_eq(tried, health));
        let ready = |gate: Gate| matches!(gate, Gate::Open | Gate::Probe);
        let parks = candidate.parks.iter().chain([&candidate.missing]).all(|park| ready(park.gate(at)));
        let breakers = candidate.breakers.iter().all(|breaker| ready(breaker.gate(at)));
        health.is_enabled() && !tried && parks && breakers && !self.excluded(id, candidate)
    }

    fn excluded(&self, id: usize, candidate: &Candidate) -> bool {
        let mut attempts = self.calls[id].attempts.iter().map(|&number| &self.attempts[number]);
        attempts.any(|attempt| {
            let backend = &oracle::candidate(attempt).upstream.settings.name;
            attempt.ill == Some(Ill::Late) && *backend == candidate.upstream.settings.name
        })
    }
}

/// Whether no other place of the plan is believed to have the model.
fn is_last(plan: &Plan, own: &Candidate) -> bool {
    let mut others = plan.tiers.iter().flatten().filter(|other| !Arc::ptr_eq(&other.missing, &own.missing));
    !others.any(|other| other.missing.notice().is_none())
}
