//! The loop: lease, attempt, judge, again.
//!
//! One call from its plan to a committed [`Reply`] or a [`Failure`]. Until the first content frame every failure is ours to
//! hide; the lease and the record of the call are RAII, so dropping this future at any await settles everything.

pub mod retry_budget;
pub mod search;
pub mod trail;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use headgate_providers::Fault;
use tracing::Instrument as _;

use crate::attempt::{Answered, Attempt};
use crate::call::Call;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::pool::{Lease, Plan};
use crate::reply::Reply;
use crate::settle::Record;
use crate::telemetry;
use crate::transport::Transport;

use search::Search;
use trail::Trail;

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
            match self.attempt(&lease, trail, record).await {
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
                    self.progress.held_since.set(None);
                }
            }
        }
    }

    /// A key to try: at once, or after a wait in the queue.
    async fn lease(&self, trail: &mut Trail, record: &mut Record) -> Result<Lease, Failure> {
        let asked = self.gateway.clock.now();
        let mut search = Search::new(&self.gateway, &self.call);
        let leased = search.run(trail).await;
        if search.has_waited() {
            record.queued += self.gateway.clock.now().since(asked);
        }
        leased
    }

    /// One attempt with the key, and what the call's record says of it.
    async fn attempt(
        &self,
        lease: &Lease,
        trail: &mut Trail,
        record: &mut Record,
    ) -> Result<Answered<T::Body>, Fault> {
        record.attempt(lease);
        record.dropped = trail.dropped();
        self.progress.reads_on.set(lease.candidate().upstream.settings.drain_on_disconnect);
        let span = telemetry::attempt_span(lease, trail.attempts);
        let attempt = Attempt {
            transport: &self.transport,
            clock: self.gateway.clock,
            call: &self.call,
            request: trail.request(&self.call),
            bounds: self.gateway.bounds(),
            held_since: &self.progress.held_since,
            sent_at: &self.progress.sent_at,
        };
        let answered = attempt.run(lease).instrument(span).await;
        self.progress.reads_on.set(false);
        if let Some(sent) = self.progress.sent_at.get() {
            record.sent(sent);
        }
        answered
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
}
