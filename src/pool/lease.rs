//! `Lease`: the right to send one request with one key. RAII: dropping it on whatever path counts the key down, frees the
//! probes it held and wakes those who wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headgate_providers::{Blame, Fault, FaultKind, Source};

use super::Shared;
use super::breaker::Witness;
use super::choose::Place;
use super::park::{Gate, Park, Sentence, Verdict};
use super::table::{Candidate, Plan, Scope};
use super::told;
use crate::clock::Moment;
use crate::config::checked;
use crate::events::Place as Told;

/// How many parks concern a candidate: four scopes and the missing model.
const PARKS: usize = 5;

/// The right to send one request with one key.
pub struct Lease {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    place: Place,
    windows: [u32; PARKS],
    probes: [bool; PARKS],
    /// The generations of the two breakers, and whether this lease is a breaker's probe.
    generations: [u32; 2],
    trials: [bool; 2],
}

/// Blame that waits for proof: a refusal by a key that may have been the request's own fault.
pub struct Deferred {
    park: Arc<Park>,
    window: u32,
    verdict: Verdict,
    place: Told,
}

impl Lease {
    /// Takes the candidate at `place`: counts it up and takes the probes its parks offer. Called under the pool's lock.
    pub(super) fn take(shared: &Arc<Shared>, plan: Arc<Plan>, place: Place, uses: u64, now: Moment) -> Self {
        let candidate = &plan.tiers[place.tier][place.index];
        candidate.seat.health.in_flight.fetch_add(1, Relaxed);
        candidate.seat.health.last_used.store(uses, Relaxed);
        candidate.trouble.taken(now, &shared.breaker());
        let mut windows = [0; PARKS];
        let mut probes = [false; PARKS];
        for (index, park) in parks(candidate).enumerate() {
            windows[index] = park.window();
            probes[index] = park.take_probe(now);
        }
        let generations = candidate.breakers.each_ref().map(|breaker| breaker.generation());
        let trials = candidate.breakers.each_ref().map(|breaker| breaker.take_probe(now));
        Self { shared: shared.clone(), plan, place, windows, probes, generations, trials }
    }

    /// The key and its backend.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.plan.tiers[self.place.tier][self.place.index]
    }

    /// The plan it was taken from.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Upstream answered well at `now`: every probe this lease held is passed, and those who wait for it may go.
    pub fn absolve(&mut self, now: Moment) {
        let mut opened = false;
        let settings = &self.shared.breaker();
        self.candidate().trouble.succeeded();
        for (index, generation) in self.generations.into_iter().enumerate() {
            let candidate = self.candidate();
            if candidate.breakers[index].succeeded(now, generation, settings) {
                opened = true;
                self.shared.tell_breaker(candidate, index, ("closed", None), now);
            }
        }
        self.trials = [false; 2];
        for (index, park) in parks(self.candidate()).enumerate() {
            if self.probes[index] {
                park.absolve(self.windows[index]);
                opened = true;
                self.shared.tell_unparked(told::place(self.candidate(), index), now);
            }
        }
        self.probes = [false; PARKS];
        if opened {
            self.shared.changed();
        }
    }

    /// Gives the breakers their sample and parks what `fault` blames. Returns until when what it blames is parked, by this
    /// failure or by one of the same window before it; `None` where it is not.
    pub fn blame(&mut self, fault: &Fault, now: Moment) -> Option<Moment> {
        self.sample(fault, now);
        let (index, verdict) = self.sentence(fault)?;
        // While a breaker is open its keys are not parked: the breaker already keeps calls away.
        if fault.blame() == Blame::Capacity && self.is_broken(now) {
            return None;
        }
        let candidate = self.candidate();
        let park = parks(candidate).nth(index)?;
        let until = park.sentence(now, self.windows[index], verdict, self.shared.chance.fraction());
        if let Some(until) = until {
            self.shared.tell_parked(told::place(candidate, index), verdict.reason.name(), now, until);
            return Some(until);
        }
        match park.gate(now) {
            Gate::Until(until) => Some(until),
            Gate::Open | Gate::Probe | Gate::Probing => None,
        }
    }

    /// The same blame, kept for later.
    #[must_use]
    pub fn defer(&self, fault: &Fault) -> Option<Deferred> {
        let (index, verdict) = self.sentence(fault)?;
        let candidate = self.candidate();
        let park = parks(candidate).nth(index)?.clone();
        Some(Deferred { park, window: self.windows[index], verdict, place: told::place(candidate, index) })
    }

    /// Carries out deferred blame.
    pub fn carry_out(&self, deferred: &Deferred, now: Moment) {
        let Deferred { park, window, verdict, place } = deferred;
        if let Some(until) = park.sentence(now, *window, *verdict, self.shared.chance.fraction()) {
            self.shared.tell_parked(place.clone(), verdict.reason.name(), now, until);
        }
    }

    fn sample(&mut self, fault: &Fault, now: Moment) {
        let (index, backend_itself) = match fault.blame() {
            Blame::Capacity | Blame::BackendModel => (0, false),
            Blame::Backend => (1, true),
            Blame::Caller | Blame::Key | Blame::Group | Blame::GroupClass | Blame::Model | Blame::Nobody => {
                return;
            }
        };
        let candidate = self.candidate();
        let witness = Witness {
            generation: self.generations[index],
            key: candidate.seat.id.generation,
            keys: candidate.upstream.keys.len(),
            backend_itself,
            overload: fault.blame() == Blame::Capacity,
        };
        let (settings, jitter) = (self.shared.breaker(), self.shared.chance.fraction());
        if fault.blame() == Blame::BackendModel && candidate.trouble.failed(now, &settings, jitter) {
            tracing::warn!(
                backend = %candidate.upstream.settings.name,
                key = %candidate.seat.id.name,
                model = &*candidate.upstream_model,
                cause = fault.kind.name(),
                "a key fails again and again: others are asked before it"
            );
        }
        let opened = candidate.breakers[index].failed(now, witness, &settings, jitter);
        if opened {
            tracing::warn!(
                backend = %candidate.upstream.settings.name,
                model = (index == 0).then_some(&*candidate.upstream_model),
                cause = fault.kind.name(),
                "a circuit breaker opened"
            );
            self.shared.tell_breaker(candidate, index, ("open", Some(fault.kind.name())), now);
        }
    }

    fn is_broken(&self, now: Moment) -> bool {
        self.candidate().breakers.iter().any(|breaker| breaker.gate(now) != Gate::Open)
    }

    /// Which park a fault goes to and for how long; `None` where it parks nothing.
    fn sentence(&self, fault: &Fault) -> Option<(usize, Verdict)> {
        let times = &self.candidate().upstream.settings.park;
        let (index, sentence) = match fault.blame() {
            Blame::Key if fault.model_only => (Scope::KeyClass as usize, key_fault(times)),
            Blame::Key => {
                (Scope::Key as usize, without_credential(fault).unwrap_or_else(|| key_fault(times)))
            }
            Blame::Group => (Scope::Group as usize, quota(fault, times)),
            Blame::GroupClass => (Scope::GroupClass as usize, rate_limit(fault, times)),
            Blame::Capacity => (Scope::GroupClass as usize, capacity(fault, times)),
            Blame::Model if self.is_last_with_model() => return None,
            Blame::Model => (PARKS - 1, Sentence::Rest(times.missing_model)),
            Blame::Caller | Blame::BackendModel | Blame::Backend | Blame::Nobody => return None,
        };
        let source = match sentence {
            Sentence::Stated { .. } => fault.stated.map(|stated| stated.source),
            Sentence::Backoff { .. } | Sentence::Rest(_) => None,
        };
        Some((index, Verdict { sentence, reason: fault.kind, dimension: fault.dimension, source }))
    }

    /// Whether no other place of the plan is believed to have the model: the last one is never put aside.
    fn is_last_with_model(&self) -> bool {
        let own = &self.candidate().missing;
        let mut others = self.plan.tiers.iter().flatten().map(|candidate| &candidate.missing);
        !others.any(|park| !Arc::ptr_eq(park, own) && park.notice().is_none())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let candidate = self.candidate();
        let before = candidate.seat.health.in_flight.fetch_sub(1, Relaxed);
        if before == 1 && candidate.seat.health.draining.load(Relaxed) {
            self.shared.tell_drained(candidate, self.shared.clock.now());
        }
        let mut freed = false;
        for (index, park) in parks(candidate).enumerate() {
            if self.probes[index] {
                park.release_probe(self.windows[index]);
                freed = true;
            }
        }
        for (index, breaker) in candidate.breakers.iter().enumerate() {
            if self.trials[index] {
                breaker.release_probe(self.generations[index]);
                freed = true;
            }
        }
        if freed {
            self.shared.changed();
        }
    }
}

fn parks(candidate: &Candidate) -> impl Iterator<Item = &Arc<Park>> {
    candidate.parks.iter().chain([&candidate.missing])
}

fn key_fault(times: &checked::Park) -> Sentence {
    Sentence::Backoff { first: times.key_fault_first, factor: 4, max: times.key_fault_max }
}

/// A key whose credential cannot be refreshed rests until that is tried again: upstream has not refused it.
fn without_credential(fault: &Fault) -> Option<Sentence> {
    let stated = fault.stated.filter(|stated| stated.source == Source::Credential)?;
    Some(Sentence::Stated { after: stated.after, buffer: Duration::ZERO })
}

fn rate_limit(fault: &Fault, times: &checked::Park) -> Sentence {
    match fault.stated {
        Some(stated) => Sentence::Stated { after: stated.after, buffer: times.retry_after_buffer },
        None => Sentence::Backoff { first: times.backoff_first, factor: 2, max: times.backoff_max },
    }
}

fn quota(fault: &Fault, times: &checked::Park) -> Sentence {
    match fault.stated {
        Some(stated) => Sentence::Stated {
            after: times.quota_max.map_or(stated.after, |max| stated.after.min(max)),
            buffer: times.retry_after_buffer,
        },
        // No date: credit may be topped up, a hold lifted; the key-fault ladder asks rarely but does not give up.
        None => key_fault(times),
    }
}

fn capacity(fault: &Fault, times: &checked::Park) -> Sentence {
    let rest = if fault.kind == FaultKind::NotReady { times.not_ready } else { times.overloaded };
    match fault.stated {
        Some(stated) if stated.after > rest => {
            Sentence::Stated { after: stated.after, buffer: times.retry_after_buffer }
        }
        Some(_) | None => Sentence::Rest(rest.max(Duration::from_millis(1))),
    }
}
