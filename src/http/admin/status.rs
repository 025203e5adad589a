//! `GET /admin/v1/status` and `GET /admin/v1/reload`: the process as a whole.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::problem::Problem;
use super::show::Now;
use super::{Asked, reload};
use crate::clock::Moment;
use crate::gateway::{Gateway, Readiness};
use crate::store::StoreState;

/// The process at a glance.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, query, body, .. } = asked;
    query.done()?;
    body.done()?;
    let now = Now::read(gateway.clock);
    let book = gateway.reloads.book();
    let settings = gateway.settings();
    let readiness = match gateway.readiness() {
        Readiness::Ready => "ready",
        Readiness::Draining => "draining",
        Readiness::NoKeys => "no_keys",
    };
    let view = gateway.registry.view(gateway);
    let undecryptable = super::transfer::undecryptable(&view);
    let left_out: Vec<Value> = view
        .left_out
        .values()
        .map(|out| json!({ "kind": out.kind.name(), "id": out.id, "problem": out.text }))
        .collect();
    let table = gateway.pool.table();
    let in_flight: u64 = table.seats().map(|(_, seat)| u64::from(seat.health.in_flight.load(Relaxed))).sum();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": now.date(Moment::default()),
        "uptime_s": now.moment.since(Moment::default()).as_secs(),
        "readiness": readiness,
        "draining": gateway.drain.has_begun(),
        "in_flight": in_flight,
        "waiting": gateway.pool.waiting(),
        "buffered_bytes": gateway.buffered.load(Relaxed),
        "config_generation": book.generation,
        "config_applied_at": now.date(book.applied_at),
        "last_reload": book.last.as_ref().map(|last| reload::shown(last, now)),
        "needs_restart": book.needs_restart,
        "warnings": settings.warnings,
        "store": store(gateway),
        "master_key": settings.store.master_key.is_some(),
        "previous_master_keys": settings.store.previous_master_keys.len(),
        "stored_resources": view.entries.len(),
        "undecryptable": undecryptable,
        "left_out": left_out,
    }))
}

/// How the store is: `none`, `opening`, `open` or `failing`.
fn store(gateway: &Gateway) -> Value {
    let Some(store) = gateway.registry.store() else {
        return json!({ "state": "none", "reason": null, "since": null });
    };
    match store.state() {
        StoreState::Opening => json!({ "state": "opening", "reason": null, "since": null }),
        StoreState::Open => json!({ "state": "open", "reason": null, "since": null }),
        StoreState::Failing { reason, since } => {
            json!({ "state": "failing", "reason": reason, "since": super::show::date(since) })
        }
    }
}

/// The last reload.
pub fn last_reload(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, query, body, .. } = asked;
    query.done()?;
    body.done()?;
    let book = gateway.reloads.book();
    let now = Now::read(gateway.clock);
    Ok(json!({
        "config_generation": book.generation,
        "last_reload": book.last.as_ref().map(|last| reload::shown(last, now)),
        "needs_restart": book.needs_restart,
    }))
}
