//! `/admin/v1/groups`: keys that share one upstream quota, and the parks they share.
//!
//! A group's name is unique within its backend, so its id is `BACKEND:NAME`. A bare name is understood where only one backend
//! has it, and `?backend=` settles it where several do.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Asked;
use super::problem::Problem;
use super::show::{Now, parks_of_group};
use crate::gateway::Gateway;
use crate::pool::health::Group;

/// A group of the current settings.
struct Found {
    backend: String,
    name: String,
    keys: Vec<String>,
    state: Arc<Group>,
}

/// All groups, by id.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let now = Now::read(gateway.clock);
    Ok(page.of(groups(gateway), |found| shown(found, now)))
}

/// One group.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_| ())
}

/// Lifts every park that its keys share.
pub fn unpark(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |state| {
        state.park.clear();
        state.classes().iter().chain(&state.missing_models()).for_each(|(_, park)| park.clear());
    })
}

fn change(asked: Asked<'_>, act: impl FnOnce(&Group)) -> Result<Value, Problem> {
    let Asked { gateway, id, mut query, body, .. } = asked;
    let backend = query.text("backend")?;
    query.done()?;
    body.done()?;
    let mut fitting: Vec<Found> = groups(gateway)
        .into_iter()
        .filter(|(full, found)| match &backend {
            Some(backend) => found.backend == *backend && found.name == id,
            None => full == id || found.name == id,
        })
        .map(|(_, found)| found)
        .collect();
    if fitting.len() > 1 {
        let backends: Vec<String> = fitting.iter().map(|found| found.backend.clone()).collect();
        let backends = backends.join(", ");
        return Err(Problem::conflict(format!(
            "Several backends have such a group: {backends}. Add ?backend=NAME."
        )));
    }
    let found = fitting.pop().ok_or_else(|| Problem::unknown("group", id))?;
    act(&found.state);
    gateway.pool.changed();
    Ok(shown(&found, Now::read(gateway.clock)))
}

fn groups(gateway: &Gateway) -> Vec<(String, Found)> {
    let mut groups: BTreeMap<String, Found> = BTreeMap::new();
    for (upstream, seat) in gateway.pool.table().seats() {
        let (backend, name) = (&upstream.settings.name, &seat.group_name);
        let found = groups.entry(format!("{backend}:{name}")).or_insert_with(|| Found {
            backend: backend.clone(),
            name: name.clone(),
            keys: Vec::new(),
            state: seat.group.clone(),
        });
        found.keys.push(seat.id.name.clone());
    }
    groups.into_iter().collect()
}

fn shown(found: &Found, now: Now) -> Value {
    json!({
        "id": format!("{}:{}", found.backend, found.name),
        "name": found.name,
        "backend": found.backend,
        "keys": found.keys,
        "parks": parks_of_group(&found.state, now),
    })
}
