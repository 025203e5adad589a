//! `/admin/v1/keys`: every key with its state; an operator's park, un-park, enable and disable.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headgate_providers::FaultKind;
use serde_json::{Value, json};

use super::Asked;
use super::problem::Problem;
use super::show::{Now, millis, parks_of_key};
use crate::gateway::Gateway;
use crate::pool::Upstream;
use crate::pool::health::Hold;
use crate::pool::park::Notice;
use crate::pool::table::Seat;

/// A leap year, the longest park.
const LONGEST_PARK_S: f64 = 31_622_400.0;

/// All keys, by name.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let now = Now::read(gateway.clock);
    let table = gateway.pool.table();
    let keys = table.seats().map(|(upstream, seat)| (seat.id.name.clone(), (upstream.clone(), seat.clone())));
    Ok(page.of(keys.collect(), |(upstream, seat)| shown(upstream, seat, now)))
}

/// One key.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_, _| Ok(()))
}

/// Keeps a key from being used for a time.
pub fn park(mut asked: Asked<'_>) -> Result<Value, Problem> {
    let seconds = asked.body.positive("seconds", LONGEST_PARK_S)?;
    let reason = asked.body.text("reason")?;
    let by = asked.operator.name.clone();
    change(asked, |gateway, seat| {
        let since = gateway.clock.now();
        let until = since + Duration::from_secs_f64(seconds);
        seat.health.set_hold(Some(Hold { until, by, reason }));
        let notice = Notice { reason: FaultKind::Hold, dimension: None, source: None, since, until };
        seat.health.park.hold(since, notice);
        Ok(())
    })
}

/// Lifts the parks of the key itself; those of its group stay, and the answer shows them.
pub fn unpark(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_, seat| {
        seat.health.set_hold(None);
        seat.health.park.clear();
        seat.health.classes().iter().for_each(|(_, park)| park.clear());
        Ok(())
    })
}

/// Lets a key be used again.
pub fn enable(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_, seat| {
        seat.health.disabled.store(false, Relaxed);
        Ok(())
    })
}

/// Keeps a key from being used until it is enabled; what runs with it goes on.
pub fn disable(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_, seat| {
        seat.health.disabled.store(true, Relaxed);
        Ok(())
    })
}

/// Finds the key, changes it, wakes the calls that wait, and shows it.
fn change(
    asked: Asked<'_>,
    act: impl FnOnce(&Gateway, &Seat) -> Result<(), Problem>,
) -> Result<Value, Problem> {
    let Asked { gateway, id, query, body, .. } = asked;
    query.done()?;
    body.done()?;
    let table = gateway.pool.table();
    let (upstream, seat) =
        table.seats().find(|(_, seat)| seat.id.name == id).ok_or_else(|| Problem::unknown("key", id))?;
    act(gateway, seat)?;
    gateway.pool.changed();
    Ok(shown(upstream, seat, Now::read(gateway.clock)))
}

fn shown(upstream: &Arc<Upstream>, seat: &Arc<Seat>, now: Now) -> Value {
    let (state, remaining) = seat.state(now.moment);
    json!({
        "id": seat.id.name,
        "name": seat.id.name,
        "backend": upstream.settings.name,
        "group": seat.group_name,
        "weight": seat.weight,
        "enabled": seat.health.is_enabled(),
        "in_flight": seat.health.in_flight.load(Relaxed),
        "state": state,
        "remaining_ms": millis(remaining),
        "parks": parks_of_key(seat, now),
    })
}
