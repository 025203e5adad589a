//! Takes a [`Reading`]: the gateway's pool and metrics, upstream's own record, the callers' tally.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::board::{BreakerReading, KeyReading, ParkReading, Reading};
use super::tally::Tally;
use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::pool::park::{Gate, Park};
use crate::pool::seat::Seat;
use crate::pool::table::{Table, Upstream};
use crate::simulator::{Control, KeyStats};

/// Looks at everything once.
pub fn take(gateway: &Gateway, upstream: &Control, tally: &Tally) -> Reading {
    let at = gateway.clock.now();
    let table = gateway.pool.table();
    let mut attempts = BTreeMap::new();
    for (outcome, count) in gateway.metrics.attempts_by_outcome() {
        *attempts.entry(outcome).or_default() += count;
    }
    let by_backend: BTreeMap<_, u64> = gateway.metrics.attempts_by_backend();
    let mut providers: Vec<(&'static str, u64)> = Vec::new();
    for upstream in &table.upstreams {
        let (name, settings) = (upstream.settings.provider.name(), &upstream.settings.name);
        let count = by_backend.get(settings).copied().unwrap_or(0);
        match providers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => providers.push((name, count)),
        }
    }
    Reading {
        at,
        keys: keys(&table, upstream.key_stats()),
        parks: parks(&table, at),
        breakers: breakers(&table, at),
        attempts,
        providers,
        failovers: gateway.metrics.failovers_total(),
        waiting: gateway.pool.waiting(),
        callers: tally.callers(at),
    }
}

fn keys(table: &Table, mut stats: Vec<KeyStats>) -> Vec<KeyReading> {
    let key = |(upstream, seat): (&Arc<Upstream>, &Arc<Seat>)| {
        let place = stats.iter().position(|stats| stats.name == seat.id.name);
        let stats = place.map(|place| stats.swap_remove(place)).unwrap_or_default();
        KeyReading {
            name: seat.id.name.clone(),
            organization: seat.group_name.clone(),
            backend: upstream.settings.name.clone(),
            in_flight: seat.health.in_flight.load(Relaxed),
            requests: stats.requests,
            outcomes: stats.outcomes,
            classes: seat.group.classes().len(),
        }
    };
    table.seats().map(key).collect()
}

fn parks(table: &Table, now: Moment) -> Vec<ParkReading> {
    let mut all: Vec<ParkReading> = Vec::new();
    for (_, seat) in table.seats() {
        let key = &seat.id.name;
        let group = &seat.group_name;
        all.extend(parked(key, None, &seat.health.park, now));
        all.extend(
            seat.health
                .classes()
                .into_iter()
                .filter_map(|(class, park)| parked(key, Some(class), &park, now)),
        );
        if all.iter().any(|park| &park.owner == group) {
            continue;
        }
        all.extend(parked(group, None, &seat.group.park, now));
        let classes = seat.group.classes().into_iter().chain(seat.group.missing_models());
        all.extend(classes.filter_map(|(class, park)| parked(group, Some(class), &park, now)));
    }
    all
}

fn parked(owner: &str, class: Option<String>, park: &Park, now: Moment) -> Option<ParkReading> {
    let notice = park.notice()?;
    Some(ParkReading {
        owner: owner.to_owned(),
        class,
        reason: notice.reason.name(),
        since: notice.since,
        until: notice.until,
        probing: park.gate(now) == Gate::Probing,
    })
}

fn breakers(table: &Table, now: Moment) -> Vec<BreakerReading> {
    let mut all = Vec::new();
    for upstream in &table.upstreams {
        let mut models = upstream.state.models();
        models.sort_by(|(one, _), (other, _)| one.cmp(other));
        let connections = ("connections".to_owned(), upstream.state.connections.clone());
        for (of, breaker) in models.into_iter().chain([connections]) {
            let until = match breaker.gate(now) {
                Gate::Until(until) => Some(until),
                Gate::Open | Gate::Probe | Gate::Probing => None,
            };
            let backend = upstream.settings.name.clone();
            all.push(BreakerReading { backend, of, state: breaker.state(now), until });
        }
    }
    all
}
