//! `/admin/v1/backends`: every backend with its breakers, which an operator may force.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::Asked;
use super::problem::Problem;
use super::show::{Now, add};
use super::shown;
use crate::config::Kind;
use crate::events::{BreakerMoved, What};
use crate::gateway::Gateway;
use crate::pool::Upstream;
use crate::pool::breaker::{Breaker, Force};
use crate::pool::seat::KeyState;
use crate::registry::View;

/// All backends, by name.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let ids = shown::ids(gateway, &gateway.registry.view(gateway), Kind::Backend);
    let ids = ids.into_iter().map(|id| (id.clone(), id)).collect();
    Ok(page.of(ids, |id| one(gateway, id).unwrap_or_default()))
}

/// One backend.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    asked.query.done()?;
    asked.body.done()?;
    one(asked.gateway, asked.id).ok_or_else(|| Problem::unknown("backend", asked.id))
}

/// One backend, in force or not.
pub fn one(gateway: &Gateway, id: &str) -> Option<Value> {
    let view = gateway.registry.view(gateway);
    let table = gateway.pool.table();
    let found = table.upstreams.iter().find(|upstream| upstream.settings.name == id);
    if let Some(upstream) = found {
        return Some(live_backend(&view, upstream, Now::read(gateway.clock)));
    }
    let mut shown = shown::resource(gateway, &view, Kind::Backend, id)?;
    let more =
        json!({ "name": id, "served": false, "keys": 0, "keys_ready": 0, "in_flight": 0, "breakers": [] });
    add(&mut shown, more.as_object().cloned().unwrap_or_default());
    Some(shown)
}

/// Forces a breaker: that of the connections, or with `model` that of an upstream model.
pub fn breaker(mut asked: Asked<'_>) -> Result<Value, Problem> {
    let (force, state) = match asked.body.text("state")?.as_deref() {
        Some("open") => (Force::Open, "open"),
        Some("closed") => (Force::Closed, "closed"),
        Some("auto") => (Force::Auto, "auto"),
        Some(_) | None => return Err(Problem::field("state", "expected open, closed or auto")),
    };
    let model = asked.body.text("model")?;
    let (gateway, by) = (asked.gateway, Some(asked.operator.name.clone()));
    change(asked, |upstream| {
        match &model {
            None => upstream.state.connections.force(force),
            Some(model) => {
                let models = upstream.state.models();
                let known = models.iter().find(|(name, _)| name == model);
                known
                    .ok_or_else(|| Problem::field("model", "no request has asked for this model yet"))?
                    .1
                    .force(force);
            }
        }
        let backend = upstream.settings.name.clone();
        let moved = BreakerMoved { backend, model, state, cause: None, by };
        gateway.pool.events().tell(gateway.clock.now(), What::Breaker(moved));
        Ok(())
    })
}

fn change(asked: Asked<'_>, act: impl FnOnce(&Upstream) -> Result<(), Problem>) -> Result<Value, Problem> {
    let Asked { gateway, id, query, body, .. } = asked;
    query.done()?;
    body.done()?;
    let table = gateway.pool.table();
    let upstream = table.upstreams.iter().find(|upstream| upstream.settings.name == id);
    let upstream = upstream.ok_or_else(|| Problem::unknown("backend", id))?;
    act(upstream)?;
    gateway.pool.changed();
    Ok(live_backend(&gateway.registry.view(gateway), upstream, Now::read(gateway.clock)))
}

fn live_backend(view: &View, upstream: &Arc<Upstream>, now: Now) -> Value {
    let settings = &upstream.settings;
    let breaker = |model: Option<&str>, breaker: &Breaker| json!({ "model": model, "state": breaker.state(now.moment) });
    let mut models = upstream.state.models();
    models.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut breakers = vec![breaker(None, &upstream.state.connections)];
    breakers.extend(models.iter().map(|(model, found)| breaker(Some(model), found)));
    let mut live_shown =
        Value::Object(shown::options(view, Kind::Backend, &settings.name).unwrap_or_default());
    let live = json!({
        "id": settings.name,
        "name": settings.name,
        "provider": settings.provider.name(),
        "served": upstream.provider.is_some(),
        "keys": upstream.keys.len(),
        "keys_ready": upstream.keys.iter().filter(|seat| seat.state(now.moment).0 == KeyState::Ready).count(),
        "in_flight": upstream.keys.iter().map(|seat| u64::from(seat.health.in_flight.load(Relaxed))).sum::<u64>(),
        "breakers": breakers,
    });
    add(&mut live_shown, live.as_object().cloned().unwrap_or_default());
    add(&mut live_shown, shown::origin(view, Kind::Backend, &settings.name));
    live_shown
}
