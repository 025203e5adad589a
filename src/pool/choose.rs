//! Choosing: the least used healthy key of the first tier that has one.
//!
//! Pure: a plan, what the call has tried, and the time go in; a candidate or a shortage comes out. The order of preference
//! is: a key no fault of this call speaks against (another group, another backend first) and no trouble of its own, then the
//! tier, then the smallest `(in_flight + 1) / weight`, then the least recently used.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use headgate_providers::{Blame, FaultKind};

use super::breaker::Breaker;
use super::capability::Unable;
use super::health::{Group, Health};
use super::park::Gate;
use super::table::{Candidate, Plan, Upstream};
use crate::clock::Moment;

/// What a call's earlier attempts say about the next choice.
#[derive(Default)]
pub struct Avoid {
    /// Keys tried, each with the end of the park its attempt incurred, if it did.
    pub tried: Vec<(Arc<Health>, Option<Moment>)>,
    /// Groups to leave for last.
    pub groups: Vec<Arc<Group>>,
    /// Backends to leave for last.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Backends never to be asked again by this call.
    pub excluded: Vec<Arc<Upstream>>,
    /// Only the first tier may serve.
    pub first_tier_only: bool,
    /// Targets that cannot express the call.
    pub unable: Unable,
}

impl Avoid {
    /// Whether the candidate's backend is to be left for last; it is not waited for either.
    fn speaks_against_upstream(&self, candidate: &Candidate) -> bool {
        is_among(&self.upstreams, candidate)
    }
}

/// Where a candidate stands in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the tier.
    pub tier: usize,
    /// Index within the tier.
    pub index: usize,
}

/// Why nothing can be leased now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The earliest moment a candidate becomes free; `None` where that hangs on a probe under way, or on nothing.
    pub free_at: Option<Moment>,
    /// Whether a probe under way may free a candidate.
    pub probing: bool,
    /// What kept the candidates away.
    pub cause: Cause,
}

/// What kept the candidates away; the most tellable wins, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No target can express the call.
    Inexpressible,
    /// No key is configured or enabled for the model.
    NoKey,
    /// Every candidate was tried by this call.
    Tried,
    /// Parked for reasons of keys and groups that are no rate limit.
    Parked,
    /// Breakers are open on faults that are no overload.
    Broken,
    /// Parked after overload, or breakers are open on it.
    Overloaded,
    /// Parked by rate limits.
    RateLimited,
}

/// Chooses at `now`. While a tier is short only for a time that ends by `spill_until`, later tiers are not asked.
///
/// # Errors
/// The [`Shortage`] when no candidate may be used now.
pub fn choose(plan: &Plan, avoid: &Avoid, now: Moment, spill_until: Moment) -> Result<Place, Shortage> {
    let mut best: Option<(Rank, Place)> = None;
    let cause = if plan.tiers.is_empty() { Cause::NoKey } else { Cause::Inexpressible };
    let mut shortage = Shortage { free_at: None, probing: false, cause };
    for (tier, candidates) in plan.tiers.iter().enumerate() {
        for (index, candidate) in candidates.iter().enumerate() {
            // The rank is cheap and one load decides most: only who would lead is looked at closely.
            let leads = |rank: &Rank| best.as_ref().is_none_or(|(found, _)| rank.beats(found));
            let rank = Rank::of(candidate, avoid, tier);
            if !leads(&rank) {
                continue;
            }
            let rank = rank.with(candidate.trouble.is_asked_last(now));
            if leads(&rank) && is_eligible(candidate, avoid, now) {
                best = Some((rank, Place { tier, index }));
            }
        }
        let found = best.as_ref().is_some_and(|(rank, _)| rank.spoken_against == 0);
        let short = best.is_none() && shortage.add(candidates, avoid, now, spill_until);
        if found || avoid.first_tier_only {
            break;
        }
        if short {
            return Err(shortage);
        }
    }
    best.map(|(_, place)| place).ok_or(shortage)
}

impl Shortage {
    /// Notes what keeps a tier's candidates away; true when the tier is short only for a time that ends by `spill_until`.
    fn add(&mut self, candidates: &[Candidate], avoid: &Avoid, now: Moment, spill_until: Moment) -> bool {
        let mut short = false;
        for candidate in candidates {
            match standing(candidate, avoid, now) {
                Standing::Until(free_at, cause) => {
                    self.free_at = soonest(self.free_at, Some(free_at));
                    self.cause = self.cause.max(cause);
                    short |= free_at <= spill_until && !avoid.speaks_against_upstream(candidate);
                }
                Standing::Probing(cause) => {
                    self.probing = true;
                    self.cause = self.cause.max(cause);
                    short |= now < spill_until && !avoid.speaks_against_upstream(candidate);
                }
                // A tier whose breakers are open is not short, it is out: nothing waits for it before it spills.
                Standing::Broken(free_at, cause) => {
                    self.probing |= free_at.is_none();
                    self.free_at = soonest(self.free_at, free_at);
                    self.cause = self.cause.max(cause);
                }
                Standing::Tried => self.cause = self.cause.max(Cause::Tried),
                Standing::Off => self.cause = self.cause.max(Cause::NoKey),
                Standing::Unable | Standing::Eligible => {}
            }
        }
        short
    }
}

/// Whether a candidate's backend is among these: by its state, which outlives a reload during the call.
fn is_among(upstreams: &[Arc<Upstream>], candidate: &Candidate) -> bool {
    upstreams.iter().any(|upstream| Arc::ptr_eq(&upstream.state, &candidate.upstream.state))
}

/// Whether a candidate may be used now: what [`standing`] says, without asking what keeps it away.
fn is_eligible(candidate: &Candidate, avoid: &Avoid, now: Moment) -> bool {
    let goes = |gate: Gate| matches!(gate, Gate::Open | Gate::Probe);
    let clear = !avoid.unable.has(candidate.limits)
        && candidate.health.takes_calls()
        && candidate.breakers.iter().all(|breaker| goes(breaker.gate(now)))
        && candidate.parks.iter().chain([&candidate.missing]).all(|park| goes(park.gate(now)));
    // A call's first choice has tried nothing, which is by far the most frequent.
    let untried = avoid.tried.is_empty() && avoid.excluded.is_empty();
    clear && (untried || matches!(standing(candidate, avoid, now), Standing::Eligible))
}

enum Standing {
    Eligible,
    /// A breaker is open until then, or a probe is under way.
    Broken(Option<Moment>, Cause),
    Until(Moment, Cause),
    Probing(Cause),
    Tried,
    Off,
    /// It cannot express the call: whatever else keeps it away does not matter.
    Unable,
}

fn standing(candidate: &Candidate, avoid: &Avoid, now: Moment) -> Standing {
    let health = &candidate.health;
    if avoid.unable.has(candidate.limits) {
        return Standing::Unable;
    }
    if !health.takes_calls() {
        return Standing::Off;
    }
    let tried = avoid.tried.iter().rev().find(|(tried, _)| Arc::ptr_eq(tried, health));
    let excluded = is_among(&avoid.excluded, candidate);
    // A key tried before may be tried again only once a park that this call incurred has passed.
    if excluded || matches!(tried, Some((_, None))) {
        return Standing::Tried;
    }
    let mut until = None;
    let mut probing = None;
    for breaker in &candidate.breakers {
        match breaker.gate(now) {
            Gate::Open | Gate::Probe => {}
            Gate::Probing => return Standing::Broken(None, broken(breaker)),
            Gate::Until(end) => return Standing::Broken(Some(end), broken(breaker)),
        }
    }
    for park in candidate.parks.iter().chain([&candidate.missing]) {
        match park.gate(now) {
            Gate::Open | Gate::Probe => {}
            Gate::Probing => probing = Some(park),
            Gate::Until(end) => {
                if until.is_none_or(|(latest, _)| latest < end) {
                    until = Some((end, park));
                }
            }
        }
    }
    match (until, probing) {
        (Some((end, park)), _) => Standing::Until(end, cause(park.notice().map(|notice| notice.reason))),
        (None, Some(park)) => Standing::Probing(cause(park.notice().map(|notice| notice.reason))),
        (None, None) => match tried {
            Some((_, Some(end))) if now < *end => Standing::Tried,
            _ => Standing::Eligible,
        },
    }
}

fn soonest(known: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    known.into_iter().chain(other).min()
}

fn broken(breaker: &Breaker) -> Cause {
    if breaker.is_overload() { Cause::Overloaded } else { Cause::Broken }
}

/// What a park for `reason` means to a call that cannot be served.
fn cause(reason: Option<FaultKind>) -> Cause {
    match reason.map(FaultKind::blame) {
        Some(Blame::GroupClass) => Cause::RateLimited,
        Some(Blame::Capacity) => Cause::Overloaded,
        Some(
            Blame::Caller
            | Blame::Key
            | Blame::Group
            | Blame::Model
            | Blame::BackendModel
            | Blame::Backend
            | Blame::Nobody,
        )
        | None => Cause::Parked,
    }
}

struct Rank {
    spoken_against: u8,
    tier: usize,
    load: f64,
    last_used: u64,
}

impl Rank {
    /// The rank of a candidate without trouble of its own.
    fn of(candidate: &Candidate, avoid: &Avoid, tier: usize) -> Self {
        let spoken_against = if avoid.groups.is_empty() && avoid.upstreams.is_empty() {
            0
        } else {
            let group = avoid.groups.iter().any(|group| Arc::ptr_eq(group, &candidate.seat.group));
            u8::from(avoid.speaks_against_upstream(candidate)) * 2 + u8::from(group)
        };
        let health = &candidate.health;
        Self {
            spoken_against,
            tier,
            load: f64::from(health.in_flight.load(Relaxed) + 1) / candidate.weight,
            last_used: health.last_used.load(Relaxed),
        }
    }

    /// With the key's own trouble, which weighs as much as what speaks against its group.
    fn with(self, trouble: bool) -> Self {
        Self { spoken_against: self.spoken_against | u8::from(trouble), ..self }
    }

    fn beats(&self, other: &Self) -> bool {
        (self.spoken_against, self.tier)
            .cmp(&(other.spoken_against, other.tier))
            .then(self.load.total_cmp(&other.load))
            .then(self.last_used.cmp(&other.last_used))
            .is_lt()
    }
}
