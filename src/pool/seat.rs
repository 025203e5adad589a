//! A key of one snapshot: its settings, and the state that outlives them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::health::{Group, Health, KeyId};
use super::park::Gate;
use crate::clock::Moment;
use crate::credentials::Holder;

/// A key of this snapshot with its state.
pub struct Seat {
    /// Its id.
    pub id: KeyId,
    /// The id's name, for what keeps it a while.
    pub name: Arc<str>,
    /// Relative share.
    pub weight: f64,
    /// The group's name.
    pub group_name: String,
    /// What it presents.
    pub credential: Holder,
    /// Its state.
    pub health: Arc<Health>,
    /// Its group's state.
    pub group: Arc<Group>,
}

/// How a key stands, all models taken together. Of what its parks say, the later of these is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// It serves.
    Ready,
    /// A probe is under way after a park.
    Probing,
    /// It rests, with its group or for a class of models at least.
    Parked,
    /// It is switched off.
    Disabled,
    /// It is switched off for good, and still serves what it had begun.
    Draining,
    /// It is switched off for good, and serves nothing any more.
    Drained,
}

impl KeyState {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Parked, Self::Probing, Self::Disabled, Self::Draining, Self::Drained];

    /// The name in metrics and the admin API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Probing => "probing",
            Self::Parked => "parked",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

impl Seat {
    /// The key's state, with the time its longest park has left.
    #[must_use]
    pub fn state(&self, now: Moment) -> (KeyState, Duration) {
        if self.health.takes_calls() { self.parked(now) } else { (self.switched_off(), Duration::ZERO) }
    }

    fn switched_off(&self) -> KeyState {
        let draining = self.health.is_enabled() && self.health.draining.load(Relaxed);
        match (draining, self.health.in_flight.load(Relaxed)) {
            (true, 0) => KeyState::Drained,
            (true, _) => KeyState::Draining,
            (false, _) => KeyState::Disabled,
        }
    }

    fn parked(&self, now: Moment) -> (KeyState, Duration) {
        let classes = self.health.classes().into_iter().chain(self.group.classes());
        let parks = classes.map(|(_, park)| park).chain([self.health.park.clone(), self.group.park.clone()]);
        let (mut state, mut left) = (KeyState::Ready, Duration::ZERO);
        for park in parks {
            match park.gate(now) {
                Gate::Open | Gate::Probe => {}
                Gate::Probing => state = state.max(KeyState::Probing),
                Gate::Until(until) => {
                    state = KeyState::Parked;
                    left = left.max(until.since(now));
                }
            }
        }
        (state, left)
    }
}
