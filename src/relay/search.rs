//! The search for a key: at once, or after a wait in line.
//!
//! Who came first goes first, but nobody's own time passes for it: a call behind others looks for itself when later tiers may
//! be asked and when its patience ends. A call that finds a key at once takes no place, asks for no memory and never sleeps.

use std::time::Duration;

use crate::call::Call;
use crate::clock::Moment;
use crate::config::checked::Priority;
use crate::failure::{Failure, FailureKind};
use crate::gateway::Gateway;
use crate::pool::waiting::{Line, Place};
use crate::pool::{Lease, Shortage};

use super::trail::{Trail, Verdict};

/// One call's search for its next key; dropping it leaves the line.
pub struct Search<'a> {
    gateway: &'a Gateway,
    call: &'a Call,
    /// Its place among those who wait.
    place: Option<Place>,
    /// It takes what there is, though others stand before it.
    goes_ahead: bool,
}

/// What a look at the pool found.
enum Found {
    Key(Lease),
    /// There is room, and others stand before this call.
    RoomForOthers,
    Nothing(Shortage),
}

impl<'a> Search<'a> {
    /// A search that stands in no line yet.
    #[must_use]
    pub fn new(gateway: &'a Gateway, call: &'a Call) -> Self {
        Self { gateway, call, place: None, goes_ahead: false }
    }

    /// Whether it had to stand in line.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.place.is_some()
    }

    /// Looks until there is a key for the call.
    ///
    /// # Errors
    /// What to tell the caller when it is not worth its while to wait, or the queue is full.
    pub async fn run(&mut self, trail: &mut Trail) -> Result<Lease, Failure> {
        loop {
            let now = self.gateway.clock.now();
            self.renew_plan(trail);
            let is_first = self.is_first(trail);
            let (shortage, until) = match self.look(trail, is_first, now) {
                Found::Key(lease) => return Ok(lease),
                Found::RoomForOthers => (None, trail.own_time(now)),
                Found::Nothing(shortage) => match trail.short(&shortage, now)? {
                    Verdict::Next => continue,
                    Verdict::Wait(until) if is_first => (Some(shortage), until),
                    Verdict::Wait(_) => (Some(shortage), trail.own_time(now)),
                },
            };
            let Some(place) = &self.place else {
                // In line before the last look: what changes in between still wakes this call.
                self.join(shortage.is_none())?;
                continue;
            };
            // While a probe is under way nobody waits in vain.
            if let Some(Shortage { free_at: Some(free_at), probing: false, .. }) = shortage
                && is_first
            {
                place.stays_until(free_at);
            }
            self.goes_ahead = tokio::select! {
                () = place.woken() => false,
                () = self.gateway.clock.sleep_until(until) => true,
            };
        }
    }

    /// Goes on by the newest settings: after a reload a key that is gone is not used, and a new one serves.
    fn renew_plan(&self, trail: &mut Trail) {
        if let Some(plan) = self.gateway.pool.newer_plan(&trail.plan, &self.call.request.outline.model) {
            trail.replan(plan, self.call);
        }
    }

    /// Whether nobody stands before this call in the line of its equals.
    fn is_first(&mut self, trail: &Trail) -> bool {
        match &mut self.place {
            Some(place) => place.stand(&Line::of(&trail.plan, &trail.avoid), trail.patience_until),
            None => !self.gateway.pool.is_waited_for(&trail.plan, &trail.avoid),
        }
    }

    /// Takes a key where it is this call's turn, or its own time has come; else only sees whether there is one.
    fn look(&self, trail: &Trail, is_first: bool, now: Moment) -> Found {
        let pool = &self.gateway.pool;
        let spill_until = trail.spill_until(now);
        if is_first || self.goes_ahead || now >= trail.patience_until {
            match pool.lease(&trail.plan, &trail.avoid, now, spill_until) {
                Ok(lease) => Found::Key(lease),
                Err(shortage) => Found::Nothing(shortage),
            }
        } else {
            match pool.look(&trail.plan, &trail.avoid, now, spill_until) {
                Ok(()) => Found::RoomForOthers,
                Err(shortage) => Found::Nothing(shortage),
            }
        }
    }

    /// Takes a place among those who wait. Where there is none left, a call that saw room goes ahead: nobody loses by it.
    fn join(&mut self, saw_room: bool) -> Result<(), Failure> {
        self.place = self.gateway.pool.join(self.call.started, self.call.request.body.len());
        self.goes_ahead = self.place.is_none() && saw_room;
        if self.place.is_none() && !saw_room { Err(self.queue_full()) } else { Ok(()) }
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
