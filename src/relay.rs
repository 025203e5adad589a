//! The loop: lease, attempt, judge, again.
//!
//! One call from its plan to a committed [`Reply`] or a [`Failure`]. Until the first content frame every failure is ours to
//! hide; the lease and the record of the call are RAII, so dropping this future at any await settles everything.

pub mod retry_budget;
pub mod trail;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headgate_providers::{Fault, MessagesRequest};
use tracing::Instrument as _;

use crate::attempt::{Answered, Attempt};
use crate::call::Call;
use crate::clock::Moment;
use crate::config::checked::Priority;
use crate::failure::{Failure, FailureKind};
use crate::gateway::Gateway;
use crate::pool::waiting::{Line, Place};
use crate::pool::{Lease, Plan, Shortage};
use crate::reply::Reply;
use crate::settle::Record;
use crate::telemetry;
use crate::transport::Transport;

use trail::{Trail, Verdict};

/// One call under way.
pub struct Relay<T> {
    /// All shared state.
    pub gateway: Arc<Gateway>,
    /// This worker's connections.
    pub transport: T,
    /// The call.
    pub call: Rc<Call>,
    /// Who may serve it.
    pub plan: Arc<Plan>,
    /// How far it is, for whoever polls it.
    pub progress: Rc<Progress>,
}

/// What the edge and a call under way tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Since when an upstream's 200 is held back from the caller.
    pub held_since: Cell<Option<Moment>>,
    /// When the call's first request was ready to leave.
    pub sent_at: Cell<Option<Moment>>,
    /// Whether the attempt under way is at a backend that is read on after the caller left.
    pub reads_on: Cell<bool>,
    /// The caller has left: the attempt under way is the last.
    pub abandoned: Cell<bool>,
}

/// A call that ended without an answer, with its record still open.
pub struct Ended {
    /// What the caller is told.
    pub failure: Failure,
    /// The call's record.
    pub record: Record,
}

impl<T: Transport> Relay<T> {
    /// Runs the call until it commits.
    ///
    /// # Errors
    /// The [`Failure`] to tell the caller when nothing could serve it.
    pub async fn run(self, mut record: Record) -> Result<Reply<T::Body>, Ended> {
        let mut trail = Trail::new(&self.call, self.plan.clone());
        let gateway = self.gateway.clone();
        let ended = {
            let answered = std::pin::pin!(self.failover(&mut trail, &mut record));
            gateway.drain.until_goodbye(answered).await
        };
        match ended {
            Some(Ok((answered, lease))) => Ok(Reply::new(answered, lease, self.call, gateway, record)),
            Some(Err(failure)) => Err(Ended { failure, record }),
            None => Err(Ended { failure: Failure::shutting_down(), record }),
        }
    }

    async fn failover(
        &self,
        trail: &mut Trail,
        record: &mut Record,
    ) -> Result<(Answered<T::Body>, Lease), Failure> {
        let clock = self.gateway.clock;
        let settings = self.gateway.settings().clone();
        self.gateway.retry_budget.earn(clock.now(), &settings.relay);
        loop {
            let mut lease = self.lease(trail, record).await?;
            record.attempt(&lease);
            self.progress.reads_on.set(lease.candidate().upstream.settings.drain_on_disconnect);
            record.dropped = trail.dropped();
            let number = trail.attempts;
            let answered = self.attempt(&lease, trail.request(&self.call), number).await;
            self.progress.reads_on.set(false);
            self.progress.sent_at.get().into_iter().for_each(|sent| record.sent(sent));
            match answered {
                Ok(answered) => {
                    lease.absolve(clock.now());
                    trail.answered(&lease, clock.now());
                    self.gateway.metrics.attempt(&lease.candidate().upstream.settings.name, "ok");
                    return Ok((answered, lease));
                }
                Err(fault) => {
                    self.note(&lease, &fault);
                    record.fault(&fault);
                    trail.abandoned = self.progress.abandoned.get();
                    let bounds = (&settings.relay, &self.gateway.retry_budget);
                    trail.judge(&mut lease, fault, clock.now(), bounds)?;
                }
            }
            self.progress.held_since.set(None);
        }
    }

    async fn attempt(
        &self,
        lease: &Lease,
        request: &MessagesRequest,
        number: u32,
    ) -> Result<Answered<T::Body>, Fault> {
        let span = telemetry::attempt_span(lease, number);
        let attempt = Attempt {
            transport: &self.transport,
            clock: self.gateway.clock,
            call: &self.call,
            request,
            bounds: self.gateway.bounds(),
            held_since: &self.progress.held_since,
            sent_at: &self.progress.sent_at,
        };
        attempt.run(lease).instrument(span).await
    }

    /// A key to try: at once, or after a wait in the queue.
    async fn lease(&self, trail: &mut Trail, record: &mut Record) -> Result<Lease, Failure> {
        let asked = self.gateway.clock.now();
        let mut place = None;
        let leased = self.lease_or_wait(trail, &mut place).await;
        if place.is_some() {
            record.queued += self.gateway.clock.now().since(asked);
        }
        leased
    }

    async fn lease_or_wait(&self, trail: &mut Trail, place: &mut Option<Place>) -> Result<Lease, Failure> {
        let pool = &self.gateway.pool;
        let clock = self.gateway.clock;
        // Who came first goes first; but nobody's own time passes for it.
        let mut goes_ahead = false;
        loop {
            let now = clock.now();
            // Of the newest settings: after a reload a key that is gone is not used, and a new one serves.
            if let Some(plan) = pool.newer_plan(&trail.plan, &self.call.request.outline.model) {
                trail.replan(plan, &self.call);
            }
            let is_first = match place {
                Some(place) => place.stand(&Line::of(&trail.plan, &trail.avoid), trail.patience_until),
                None => !pool.is_waited_for(&trail.plan, &trail.avoid),
            };
            let spill_until = trail.spill_until(now);
            let looked = if is_first || goes_ahead || now >= trail.patience_until {
                pool.lease(&trail.plan, &trail.avoid, now, spill_until).map(Some)
            } else {
                pool.look(&trail.plan, &trail.avoid, now, spill_until).map(|()| None)
            };
            let shortage = match looked {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) => None,
                Err(shortage) => Some(shortage),
            };
            let until = match &shortage {
                Some(shortage) => match trail.short(shortage, now)? {
                    Verdict::Wait(until) => until,
                    Verdict::Next => continue,
                },
                None => trail.patience_until,
            };
            let Some(place) = place else {
                // In line before the last look: what changes in between still wakes this call.
                *place = pool.join(self.call.started, self.call.request.body.len());
                goes_ahead = place.is_none() && shortage.is_none();
                if place.is_none() && !goes_ahead {
                    return Err(self.queue_full());
                }
                continue;
            };
            // While a probe is under way nobody waits in vain.
            if let Some(Shortage { free_at: Some(free_at), probing: false, .. }) = shortage
                && is_first
            {
                place.stays_until(free_at);
            }
            let until = if is_first { until } else { trail.own_time(now) };
            goes_ahead = tokio::select! {
                () = place.woken() => false,
                () = clock.sleep_until(until) => true,
            };
        }
    }

    fn note(&self, lease: &Lease, fault: &Fault) {
        let candidate = lease.candidate();
        self.gateway.metrics.attempt(&candidate.upstream.settings.name, fault.kind.name());
        tracing::debug!(
            request_id = self.call.id.as_str(),
            backend = %candidate.upstream.settings.name,
            key = %candidate.seat.id.name,
            fault = fault.kind.name(),
            status = fault.status(),
            detail = %fault.detail,
            "attempt failed"
        );
    }

    fn queue_full(&self) -> Failure {
        let class = self.call.tenant.as_ref().map_or(Priority::Normal, |tenant| tenant.priority);
        self.gateway.metrics.rejected("queue", class.name());
        Failure::new(
            FailureKind::RateLimited,
            "Too many requests are waiting for capacity. Please try again later.",
        )
        .after(Some(Duration::from_secs(1)))
    }
}
