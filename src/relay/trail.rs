//! `Trail`: what a call has tried, and what follows from the next fault or shortage.
//!
//! Pure: faults, shortages and the time go in; out comes how the call goes on, or the [`Failure`] that ends it.

use std::sync::Arc;
use std::time::Duration;

use headgate_providers::thinking::without_thinking;
use headgate_providers::{Blame, Fault, FaultKind, MessagesRequest, Operation};

use crate::call::{Call, Fallback};
use crate::clock::Moment;
use crate::config::checked::Relay;
use crate::failure::{Failure, FailureKind};
use crate::pool::{Avoid, Cause, Deferred, Lease, Plan, Shortage, Upstream, choose};
use crate::relay::retry_budget::RetryBudget;

/// How a call goes on; one that does not ends with a [`Failure`].
#[derive(Debug)]
pub enum Verdict {
    /// Choose again.
    Next,
    /// Choose again at this moment, or when something changes before it.
    Wait(Moment),
}

/// A call under way.
pub struct Trail {
    /// What the next choice should know.
    pub avoid: Avoid,
    /// Attempts made, of whatever blame.
    pub attempts: u32,
    /// The caller has left: nothing more is tried.
    pub abandoned: bool,
    /// Until when a tier that is short is waited for; set at the first shortage.
    spill_until: Option<Moment>,
    /// Who may serve the call; a reload during a wait replaces it.
    pub plan: Arc<Plan>,
    /// Until when the call may wait.
    pub patience_until: Moment,
    deadline: Moment,
    key_attempts: u32,
    other_attempts: u32,
    upload_refused: bool,
    refusals: u32,
    deferred: Vec<Deferred>,
    last: Option<Fault>,
    signature: Signature,
    /// It asks for a message, not for a count or a list.
    asks_message: bool,
}

/// What became of the thinking signatures of a call.
#[derive(Default)]
struct Signature {
    /// Attempts that ended so since the last change of the request.
    refusals: usize,
    /// Backends that are left out for it.
    left_out: Vec<Arc<Upstream>>,
    /// The call may be tried without its thinking, once.
    may_strip: bool,
    stripped: bool,
    /// What is sent once it is tried so; absent where there was no thinking.
    without: Option<MessagesRequest>,
}

/// Kinds of backends that may refuse one signature before the call gives up on it: a caller's own flaw is refused everywhere.
const SIGNATURE_REFUSALS: usize = 2;

impl Trail {
    /// A call that has tried nothing.
    #[must_use]
    pub fn new(call: &Call, plan: Arc<Plan>) -> Self {
        let first_tier_only = call.fallback == Fallback::FirstTier;
        Self {
            avoid: Avoid { first_tier_only, unable: plan.unable(call), ..Avoid::default() },
            attempts: 0,
            abandoned: false,
            spill_until: None,
            plan,
            patience_until: call.patience_until.min(call.deadline),
            deadline: call.deadline,
            key_attempts: 0,
            other_attempts: 0,
            upload_refused: false,
            refusals: 0,
            deferred: Vec::new(),
            last: None,
            signature: Signature::default(),
            asks_message: call.request.operation == Operation::Messages,
        }
    }

    /// Goes on with the plan of a newer snapshot.
    pub fn replan(&mut self, plan: Arc<Plan>, call: &Call) {
        self.avoid.unable = plan.unable(call);
        self.plan = plan;
    }

    /// What is sent: the call's own request, or the same without the thinking of its earlier turns.
    #[must_use]
    pub fn request<'a>(&'a mut self, call: &'a Call) -> &'a MessagesRequest {
        let Signature { stripped, without, .. } = &mut self.signature;
        if *stripped && without.is_none() {
            *without = without_thinking(&call.request);
        }
        without.as_ref().unwrap_or(&call.request)
    }

    /// What the call goes on without, for the caller.
    #[must_use]
    pub fn dropped(&self) -> Option<&'static str> {
        self.signature.stripped.then_some("thinking")
    }

    /// Until when later tiers are not asked while an earlier one is only short.
    #[must_use]
    pub fn spill_until(&self, now: Moment) -> Moment {
        self.spill_until.unwrap_or(now + self.plan.spill_after).min(self.patience_until)
    }

    /// When a call that waits behind others looks all the same: when later tiers may be asked, and when its patience ends.
    #[must_use]
    pub fn own_time(&self, now: Moment) -> Moment {
        let spill = self.spill_until.filter(|spill| now < *spill);
        spill.map_or(self.patience_until, |spill| spill.min(self.patience_until))
    }

    /// Nothing can be leased at `now`: wait for it or give up.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn short(&mut self, shortage: &Shortage, now: Moment) -> Result<Verdict, Failure> {
        let spill_until = *self.spill_until.get_or_insert(now + self.plan.spill_after);
        let patient = now < self.patience_until;
        let reachable = shortage.free_at.is_some_and(|free_at| free_at <= self.patience_until);
        if patient && (reachable || shortage.probing) {
            // Behind the wait their parks are over, and with them what spoke against the groups.
            self.avoid.groups.clear();
            let until = shortage.free_at.unwrap_or(self.patience_until).min(self.patience_until);
            return Ok(Verdict::Wait(if now < spill_until { until.min(spill_until) } else { until }));
        }
        if self.strip() {
            return Ok(Verdict::Next);
        }
        let free_after = self.free_after(now);
        Err(match (self.last.take(), &self.avoid.unable.obstacle) {
            (Some(fault), _) => Failure::from_fault(fault, free_after),
            (None, Some(obstacle)) if shortage.cause == Cause::Inexpressible => {
                Failure::inexpressible(obstacle)
            }
            (None, _) => without_attempt(shortage.cause, free_after),
        })
    }

    /// How long until any key of the plan can serve a new call; `None` where none ever can.
    fn free_after(&self, now: Moment) -> Option<Duration> {
        let Avoid { first_tier_only, unable, .. } = &self.avoid;
        let fresh = Avoid { first_tier_only: *first_tier_only, unable: unable.clone(), ..Avoid::default() };
        match choose::choose(&self.plan, &fresh, now, now) {
            Ok(_) => Some(Duration::ZERO),
            Err(Shortage { free_at: Some(free_at), .. }) => Some(free_at.since(now)),
            Err(Shortage { probing, .. }) => probing.then_some(Duration::ZERO),
        }
    }

    /// An attempt under `lease` met `fault` at `now`: blame, then go on or stop.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn judge(
        &mut self,
        lease: &mut Lease,
        fault: Fault,
        now: Moment,
        (bounds, budget): (&Relay, &RetryBudget),
    ) -> Result<(), Failure> {
        self.attempts += 1;
        if fault.kind == FaultKind::SignatureRefused {
            return self.signature_refused(lease, fault, now, bounds);
        }
        let parked = self.blame(lease, &fault, now);
        // What refused this very request will not take it seconds later: no park of a key or group makes it worth a wait.
        let again = parked.filter(|_| !matches!(fault.blame(), Blame::Key | Blame::Group));
        self.avoid.tried.push((lease.candidate().seat.health.clone(), again));
        self.avoid_after(lease, &fault);
        let stop = match fault.blame() {
            Blame::Caller => true,
            Blame::Key | Blame::Group | Blame::GroupClass | Blame::Model => {
                self.key_attempts += 1;
                self.key_attempts >= bounds.max_key_attempts
            }
            Blame::Capacity | Blame::BackendModel | Blame::Backend => {
                self.other_attempts += 1;
                self.other_attempts >= bounds.max_attempts || !budget.spend(now, bounds)
            }
            Blame::Nobody => {
                self.other_attempts += 1;
                let again = fault.kind != FaultKind::UploadRefused || !self.upload_refused;
                self.upload_refused |= fault.kind == FaultKind::UploadRefused;
                !again || self.other_attempts >= bounds.max_attempts
            }
        };
        if stop || now >= self.deadline {
            return Err(Failure::from_fault(fault, self.free_after(now)));
        }
        self.last = Some(fault);
        self.go_on()
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.abandoned {
            return Err(Failure::new(FailureKind::Unavailable, "The caller has left."));
        }
        Ok(())
    }

    /// A thinking signature was refused, which all backends of that dialect then do. Whoever made it takes it: a backend of another
    /// dialect is asked first, then the call is tried without its thinking where that is configured.
    fn signature_refused(
        &mut self,
        lease: &Lease,
        fault: Fault,
        now: Moment,
        bounds: &Relay,
    ) -> Result<(), Failure> {
        let upstream = &lease.candidate().upstream;
        self.other_attempts += 1;
        self.signature.refusals += 1;
        self.signature.may_strip = bounds.strip_refused_thinking;
        let kindred = self.plan.tiers.iter().flatten().map(|candidate| &candidate.upstream);
        let kindred = kindred.filter(|other| other.settings.provider.is_kin(&upstream.settings.provider));
        for other in std::iter::once(upstream).chain(kindred) {
            if !self.avoid.excluded.iter().any(|known| Arc::ptr_eq(known, other)) {
                self.avoid.excluded.push(other.clone());
                self.signature.left_out.push(other.clone());
            }
        }
        // Where another backend failed first, its failure is why the call is here at all.
        let told = self.last.take().unwrap_or(fault);
        let stop = self.other_attempts >= bounds.max_attempts || now >= self.deadline;
        let enough = self.signature.stripped || self.signature.refusals >= SIGNATURE_REFUSALS;
        if stop || enough && !self.strip() {
            return Err(Failure::from_fault(told, self.free_after(now)));
        }
        self.last = Some(told);
        self.go_on()
    }

    /// Goes on without thinking, where that is allowed and was not done yet: then those who refused it may be asked again.
    fn strip(&mut self) -> bool {
        let strips = self.signature.may_strip && !self.signature.stripped;
        if strips {
            self.signature.stripped = true;
            let left_out = std::mem::take(&mut self.signature.left_out);
            self.avoid.excluded.retain(|other| !left_out.iter().any(|it| Arc::ptr_eq(it, other)));
        }
        strips
    }

    /// An attempt under `lease` was answered: the keys that refused this request were to blame after all.
    pub fn answered(&mut self, lease: &Lease, now: Moment) {
        self.attempts += 1;
        for deferred in self.deferred.drain(..) {
            lease.carry_out(&deferred, now);
        }
    }

    /// Parks what the fault blames. Of a call's refusals (401, 402, 403, credit) only the first parks at once: a poisoned
    /// request must not empty the pool.
    fn blame(&mut self, lease: &mut Lease, fault: &Fault, now: Moment) -> Option<Moment> {
        // What has no count of a model's tokens, or no list, may well have the model.
        if fault.blame() == Blame::Model && !self.asks_message {
            self.avoid.groups.push(lease.candidate().seat.group.clone());
            return None;
        }
        if is_refusal(fault.kind) {
            self.refusals += 1;
            if self.refusals > 1 {
                self.deferred.extend(lease.defer(fault));
                return None;
            }
        }
        lease.blame(fault, now)
    }

    fn avoid_after(&mut self, lease: &Lease, fault: &Fault) {
        let candidate = lease.candidate();
        match fault.blame() {
            Blame::GroupClass | Blame::Group => self.avoid.groups.push(candidate.seat.group.clone()),
            Blame::Capacity => {
                // Another group may have room; after a second overload another backend is likelier to.
                if self.other_attempts > 0 {
                    self.avoid.upstreams.push(candidate.upstream.clone());
                }
                self.avoid.groups.push(candidate.seat.group.clone());
            }
            Blame::BackendModel | Blame::Backend | Blame::Nobody => {
                self.avoid.upstreams.push(candidate.upstream.clone());
            }
            Blame::Caller | Blame::Key | Blame::Model => {}
        }
        if matches!(fault.kind, FaultKind::FirstEventTimeout | FaultKind::WholeTimeout) {
            // Upstream may be working on it, and billing: never the same backend again.
            self.avoid.excluded.push(candidate.upstream.clone());
        }
    }
}

/// The ending of a call that could make no attempt.
fn without_attempt(cause: Cause, free_after: Option<Duration>) -> Failure {
    let (kind, message) = match cause {
        Cause::RateLimited => return Failure::rate_limited(None, free_after),
        Cause::Overloaded => {
            (FailureKind::Overloaded, "All upstreams are overloaded. Please try again later.")
        }
        Cause::Broken => (FailureKind::Unavailable, "All upstreams are failing at the moment."),
        Cause::Parked | Cause::Tried => {
            (FailureKind::Unavailable, "No upstream credential can serve this request at the moment.")
        }
        Cause::Inexpressible | Cause::NoKey => {
            (FailureKind::Unavailable, "No upstream credential is configured for this model.")
        }
    };
    Failure::new(kind, message).after(free_after)
}

fn is_refusal(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::KeyRefused | FaultKind::KeyForbidden | FaultKind::Billing)
}
