//! `/admin/v1/groups`: keys that share one upstream quota, and the parks they share.
//!
//! A group's name is unique within its backend, so its id is `BACKEND:NAME`. A bare name is understood where only one backend
//! has it, and `?backend=` settles it where several do.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Asked;
use super::problem::Problem;
use super::show::{Now, add, parks_of_group};
use super::shown;
use crate::config::Kind;
use crate::gateway::Gateway;
use crate::pool::health::Group;
use crate::registry::View;

/// A group of the current settings.
struct Found {
    backend: String,
    name: String,
    keys: Vec<String>,
    /// Without keys there is none.
    state: Option<Arc<Group>>,
}

/// All groups, by id.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let now = Now::read(gateway.clock);
    let view = gateway.registry.view(gateway);
    Ok(page.of(groups(gateway), |found| live_group(&view, found, now)))
}

/// One group.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    change(asked, |_| ())
}

/// One group by its full id.
pub fn one(gateway: &Gateway, id: &str) -> Option<Value> {
    let (_, found) = groups(gateway).into_iter().find(|(full, _)| full == id)?;
    Some(live_group(&gateway.registry.view(gateway), &found, Now::read(gateway.clock)))
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
    if let Some(state) = &found.state {
        act(state);
    }
    gateway.pool.changed();
    Ok(live_group(&gateway.registry.view(gateway), &found, Now::read(gateway.clock)))
}

fn groups(gateway: &Gateway) -> Vec<(String, Found)> {
    let mut groups: BTreeMap<String, Found> = BTreeMap::new();
    for (upstream, seat) in gateway.pool.table().seats() {
        let (backend, name) = (&upstream.settings.name, &seat.group_name);
        let found = groups.entry(format!("{backend}:{name}")).or_insert_with(|| Found {
            backend: backend.clone(),
            name: name.clone(),
            keys: Vec::new(),
            state: Some(seat.group.clone()),
        });
        found.keys.push(seat.id.name.clone());
    }
    for id in shown::ids(gateway, &gateway.registry.view(gateway), Kind::Group) {
        let Some((backend, name)) =
            id.split_once(':').map(|(backend, name)| (backend.to_owned(), name.to_owned()))
        else {
            continue;
        };
        groups.entry(id).or_insert(Found { backend, name, keys: Vec::new(), state: None });
    }
    groups.into_iter().collect()
}

fn live_group(view: &View, found: &Found, now: Now) -> Value {
    let id = format!("{}:{}", found.backend, found.name);
    let implied = view.entry(Kind::Group, &id).is_none() && found.keys.contains(&found.name);
    let options = shown::options(view, Kind::Group, &id).filter(|_| !implied).unwrap_or_default();
    let mut live = Value::Object(options);
    let more = json!({
        "id": id,
        "name": found.name,
        "backend": found.backend,
        "keys": found.keys,
        "parks": found.state.as_ref().map_or_else(Vec::new, |state| parks_of_group(state, now)),
    });
    add(&mut live, more.as_object().cloned().unwrap_or_default());
    add(&mut live, shown::origin(view, Kind::Group, &id));
    live
}
