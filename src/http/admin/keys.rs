//! `/admin/v1/keys`: every key with its state; an operator's park, un-park, enable and disable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headgate_providers::FaultKind;
use serde_json::{Value, json};

use super::Asked;
use super::problem::Problem;
use super::show::{Now, add, asked_last, millis, parks_of_key};
use super::shown;
use crate::config::Kind;
use crate::events::{Parked, Place, Switched, Unparked, What};
use crate::gateway::Gateway;
use crate::pool::Upstream;
use crate::pool::health::{Health, Hold};
use crate::pool::park::Notice;
use crate::pool::seat::Seat;
use crate::registry::View;

/// A leap year, the longest park.
const LONGEST_PARK_S: f64 = 31_622_400.0;

/// All keys, by name.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let now = Now::read(gateway.clock);
    let view = gateway.registry.view(gateway);
    let table = gateway.pool.table();
    let live: BTreeMap<&str, (&Arc<Upstream>, &Arc<Seat>)> =
        table.seats().map(|(upstream, seat)| (seat.id.name.as_str(), (upstream, seat))).collect();
    let ids = shown::ids(gateway, &view, Kind::Key).into_iter().map(|id| (id.clone(), id)).collect();
    Ok(page.of(ids, |id| match live.get(id.as_str()) {
        Some((upstream, seat)) => live_key(gateway, &view, upstream, seat, now),
        None => left_out(gateway, &view, id),
    }))
}

/// One key.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    asked.query.done()?;
    asked.body.done()?;
    one(asked.gateway, asked.id).ok_or_else(|| Problem::unknown("key", asked.id))
}

/// One key, in force or not.
pub fn one(gateway: &Gateway, id: &str) -> Option<Value> {
    let view = gateway.registry.view(gateway);
    let table = gateway.pool.table();
    let now = Now::read(gateway.clock);
    let found = table.seats().find(|(_, seat)| seat.id.name == id);
    match found {
        Some((upstream, seat)) => Some(live_key(gateway, &view, upstream, seat, now)),
        None => view.entry(Kind::Key, id).map(|_| left_out(gateway, &view, id)),
    }
}

/// Keeps a key from being used for a time.
pub fn park(mut asked: Asked<'_>) -> Result<Value, Problem> {
    let seconds = asked.body.positive("seconds", LONGEST_PARK_S)?;
    let reason = asked.body.text("reason")?;
    let by = asked.operator.name.clone();
    change(asked, |gateway, upstream, seat| {
        let since = gateway.clock.now();
        let span = Duration::from_secs_f64(seconds);
        let until = since + span;
        let (place, told_by) = (place(upstream, seat), Some(by.clone()));
        let parked = Parked { place, reason: "operator", for_ms: millis(span), by: told_by };
        gateway.pool.events().tell(since, What::Park(parked));
        seat.health.set_hold(Some(Hold { until, by, reason }));
        let notice = Notice { reason: FaultKind::Hold, dimension: None, source: None, since, until };
        seat.health.park.hold(since, notice);
        Ok(())
    })
}

/// Lifts the parks of the key itself and lets it be asked as others are; parks of its group stay, and the answer shows
/// them.
pub fn unpark(asked: Asked<'_>) -> Result<Value, Problem> {
    let by = asked.operator.name.clone();
    change(asked, |gateway, upstream, seat| {
        let unparked = Unparked { place: place(upstream, seat), by: Some(by) };
        gateway.pool.events().tell(gateway.clock.now(), What::Unpark(unparked));
        seat.health.set_hold(None);
        seat.health.park.clear();
        seat.health.classes().iter().for_each(|(_, park)| park.clear());
        seat.health.troubles().iter().for_each(|(_, trouble)| trouble.clear());
        Ok(())
    })
}

/// Lets a key be used again.
pub fn enable(asked: Asked<'_>) -> Result<Value, Problem> {
    let table = asked.gateway.pool.table();
    if table.seats().any(|(_, seat)| seat.id.name == asked.id && seat.health.withheld.load(Relaxed)) {
        let detail =
            "The configuration's files have it switched off (enabled: false), which is changed there.";
        return Err(Problem::conflict(detail));
    }
    switch(asked, "enabled", |health| {
        health.disabled.store(false, Relaxed);
        health.draining.store(false, Relaxed);
    })
}

/// Keeps a key from being used until it is enabled; what runs with it goes on.
pub fn disable(asked: Asked<'_>) -> Result<Value, Problem> {
    switch(asked, "disabled", |health| health.disabled.store(true, Relaxed))
}

/// Gives a key no new calls, and lets those it has finish.
pub fn drain(asked: Asked<'_>) -> Result<Value, Problem> {
    switch(asked, "draining", |health| health.draining.store(true, Relaxed))
}

fn switch(asked: Asked<'_>, state: &'static str, act: impl FnOnce(&Health)) -> Result<Value, Problem> {
    let by = Some(asked.operator.name.clone());
    change(asked, |gateway, upstream, seat| {
        act(&seat.health);
        let (key, backend) = (seat.id.name.clone(), upstream.settings.name.clone());
        let idle = state == "draining" && seat.health.in_flight.load(Relaxed) == 0;
        let state = if idle { "drained" } else { state };
        gateway.pool.events().tell(gateway.clock.now(), What::Key(Switched { key, backend, state, by }));
        Ok(())
    })
}

fn place(upstream: &Upstream, seat: &Seat) -> Place {
    let (backend, group) = (upstream.settings.name.clone(), seat.group_name.clone());
    Place { scope: "key", backend, group, key: Some(seat.id.name.clone()), class: None }
}

/// Finds the key, changes it, wakes the calls that wait, and shows it.
fn change(
    asked: Asked<'_>,
    act: impl FnOnce(&Gateway, &Upstream, &Seat) -> Result<(), Problem>,
) -> Result<Value, Problem> {
    let Asked { gateway, id, query, body, .. } = asked;
    query.done()?;
    body.done()?;
    let table = gateway.pool.table();
    let (upstream, seat) =
        table.seats().find(|(_, seat)| seat.id.name == id).ok_or_else(|| Problem::unknown("key", id))?;
    act(gateway, upstream, seat)?;
    gateway.pool.changed();
    let view = gateway.registry.view(gateway);
    Ok(live_key(gateway, &view, upstream, seat, Now::read(gateway.clock)))
}

fn live_key(gateway: &Gateway, view: &View, upstream: &Arc<Upstream>, seat: &Arc<Seat>, now: Now) -> Value {
    let id = &seat.id.name;
    let (state, remaining) = seat.state(now.moment);
    let in_flight = seat.health.in_flight.load(Relaxed);
    let draining = seat.health.draining.load(Relaxed);
    let mut shown = json!({
        "id": id,
        "name": id,
        "backend": upstream.settings.name,
        "group": seat.group_name,
        "weight": seat.weight,
        "enabled": seat.health.is_enabled(),
        "draining": draining,
        "in_flight": in_flight,
        "retiring_in_flight": gateway.pool.retiring(&seat.id),
        "state": state.name(),
        "remaining_ms": millis(remaining),
        "parks": parks_of_key(seat, now),
        "asked_last": asked_last(seat, now),
        "secret": shown::presented(gateway, id),
    });
    add(&mut shown, shown::origin(view, Kind::Key, id));
    shown
}

/// A stored key that is not in the pool, and why.
fn left_out(gateway: &Gateway, view: &View, id: &str) -> Value {
    let mut shown = shown::resource(gateway, view, Kind::Key, id).unwrap_or_default();
    let shut = view.entry(Kind::Key, id).is_some_and(|entry| entry.sealed_shut.is_some());
    let group = shown["limit_group"].as_str().unwrap_or(id).to_owned();
    let more = json!({
        "group": group,
        "enabled": false,
        "draining": false,
        "in_flight": 0,
        "retiring_in_flight": 0,
        "state": if shut { "undecryptable" } else { "left_out" },
        "remaining_ms": 0,
        "parks": [],
        "asked_last": [],
    });
    let weight = shown["weight"].as_f64().unwrap_or(1.0);
    shown["weight"] = json!(weight);
    add(&mut shown, more.as_object().cloned().unwrap_or_default());
    shown
}
