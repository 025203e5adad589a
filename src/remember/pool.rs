//! The pool's parks and switches in the store's words, and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use headgate_providers::{Dimension, FaultKind, Source};

use crate::clock::Moment;
use crate::pool::health::Hold;
use crate::pool::park::{Notice, Park};
use crate::pool::seat::Seat;
use crate::pool::table::Table;
use crate::store::{ParkScope, StoredPark, StoredSwitch, SwitchState};

/// A park as the pool has it. Compared by moments, which stay as they are while dates move with the machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub scope: ParkScope,
    pub backend: String,
    pub name: String,
    pub generation: u64,
    pub class: String,
    pub notice: Notice,
    pub hold: Option<Hold>,
}

impl Parked {
    /// In the store's words.
    pub fn stored(&self, date: impl Fn(Moment) -> SystemTime) -> StoredPark {
        let Self { scope, backend, name, generation, class, notice, hold } = self;
        StoredPark {
            scope: *scope,
            backend: backend.clone(),
            name: name.clone(),
            generation: *generation,
            class: class.clone(),
            reason: notice.reason.name().to_owned(),
            dimension: notice.dimension.map(|dimension| dimension.name().to_owned()),
            source: notice.source.map(|source| source.name().to_owned()),
            since: date(notice.since),
            until: date(notice.until),
            held_by: hold.as_ref().map(|hold| hold.by.clone()),
            held_for: hold.as_ref().and_then(|hold| hold.reason.clone()),
        }
    }
}

/// Every park that is not open, in one order.
pub fn parks(table: &Table) -> Vec<Parked> {
    let mut found = Vec::new();
    let mut groups = BTreeSet::new();
    for (upstream, seat) in table.seats() {
        let backend = upstream.settings.name.as_str();
        let generation = seat.id.generation;
        let mut note = |scope, name: &str, generation, class: &str, park: &Park| {
            let Some(notice) = park.notice() else { return };
            let hold = if scope == ParkScope::Key { seat.health.hold() } else { None };
            found.push(Parked {
                scope,
                backend: backend.to_owned(),
                name: name.to_owned(),
                generation,
                class: class.to_owned(),
                notice,
                hold: hold.filter(|hold| hold.until == notice.until),
            });
        };
        let key = seat.id.name.as_str();
        note(ParkScope::Key, key, generation, "", &seat.health.park);
        for (class, park) in sorted(seat.health.classes()) {
            note(ParkScope::KeyClass, key, generation, &class, &park);
        }
        let group = seat.group_name.as_str();
        if !groups.insert((backend, group)) {
            continue;
        }
        note(ParkScope::Group, group, 0, "", &seat.group.park);
        for (class, park) in sorted(seat.group.classes()) {
            note(ParkScope::GroupClass, group, 0, &class, &park);
        }
        for (model, park) in sorted(seat.group.missing_models()) {
            note(ParkScope::Missing, group, 0, &model, &park);
        }
    }
    found
}

fn sorted(mut named: Vec<(String, Arc<Park>)>) -> Vec<(String, Arc<Park>)> {
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// The keys an operator switched.
pub fn switches(table: &Table) -> BTreeSet<StoredSwitch> {
    let switched = table.seats().filter_map(|(_, seat)| {
        let switch = |switch: &AtomicBool| switch.load(Relaxed);
        let state = match (switch(&seat.health.disabled), switch(&seat.health.draining)) {
            (true, _) => SwitchState::Disabled,
            (false, true) => SwitchState::Draining,
            (false, false) => return None,
        };
        Some(StoredSwitch { key: seat.id.name.clone(), state })
    });
    switched.collect()
}

/// Parks again what `stored` says, unless it is parked for longer already. False where the settings do not name it.
pub fn put_back(table: &Table, stored: &StoredPark, now: Moment, wall: SystemTime) -> bool {
    let Some(seat) = named(table, stored) else { return false };
    let Some(reason) = FaultKind::named(&stored.reason) else { return true };
    let ahead = stored.until.duration_since(wall).unwrap_or_default();
    let age = wall.duration_since(stored.since).unwrap_or_default();
    let notice = Notice {
        reason,
        dimension: stored.dimension.as_deref().and_then(Dimension::named),
        source: stored.source.as_deref().and_then(Source::named),
        since: now.before(age),
        until: now + ahead,
    };
    let park = match stored.scope {
        ParkScope::Key => seat.health.park.clone(),
        ParkScope::KeyClass => seat.health.class(&stored.class),
        ParkScope::Group => seat.group.park.clone(),
        ParkScope::GroupClass => seat.group.class(&stored.class),
        ParkScope::Missing => seat.group.missing(&stored.class),
    };
    if park.notice().is_some_and(|known| known.until >= notice.until) {
        return true;
    }
    if stored.scope == ParkScope::Key
        && let Some(by) = &stored.held_by
    {
        let (by, reason) = (by.clone(), stored.held_for.clone());
        seat.health.set_hold(Some(Hold { until: notice.until, by, reason }));
    }
    park.hold(now, notice);
    true
}

/// A key that has this park itself or by its group.
fn named<'t>(table: &'t Table, stored: &StoredPark) -> Option<&'t Arc<Seat>> {
    let fits = |seat: &Seat| match stored.scope {
        ParkScope::Key | ParkScope::KeyClass => {
            seat.id.name == stored.name && seat.id.generation == stored.generation
        }
        ParkScope::Group | ParkScope::GroupClass | ParkScope::Missing => seat.group_name == stored.name,
    };
    let mut seats = table.seats().filter(|(upstream, _)| upstream.settings.name == stored.backend);
    seats.find(|(_, seat)| fits(seat)).map(|(_, seat)| seat)
}

/// Switches a key as it was. False where the settings do not name it.
pub fn switch_back(table: &Table, stored: &StoredSwitch) -> bool {
    let mut seats = table.seats().filter(|(_, seat)| seat.id.name == stored.key).peekable();
    let is_named = seats.peek().is_some();
    for (_, seat) in seats {
        match stored.state {
            // A key that was draining has nothing left to finish after a restart.
            SwitchState::Disabled | SwitchState::Draining => seat.health.disabled.store(true, Relaxed),
        }
    }
    is_named
}
