//! Many at once: keys imported each by itself, everything exported without secrets, every secret sealed anew.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use headgate_providers::Secret;
use serde_json::{Map, Value, json};

use super::parts::{Parts, without_nulls};
use super::problem::Problem;
use super::shown::in_files;
use super::{Answer, Asked};
use crate::config::Kind;
use crate::registry::{self, Draft, Intent, Refusal, View};
use crate::store::NewAudit;
use crate::vault;

/// Keys in one request.
const MOST: usize = 1000;

/// Makes keys, each by itself: what is there already is left as it is, what is wrong is told.
pub fn import(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, operator, source, mut body, query, dry, .. } = asked;
        query.done()?;
        let Some(Value::Array(keys)) = body.take("keys") else {
            return Err(Problem::field("keys", "expected a list of keys"));
        };
        body.done()?;
        if keys.is_empty() || keys.len() > MOST {
            return Err(Problem::field("keys", format!("expected 1 to {MOST} keys")));
        }
        if let Some(at) = keys.iter().position(|key| !key.is_object()) {
            return Err(Problem::field(&format!("keys[{at}]"), "is not an object"));
        }
        let (mut results, mut wanted) = (Vec::with_capacity(keys.len()), BTreeMap::new());
        for key in keys {
            let name = key["name"].as_str().unwrap_or_default().to_owned();
            let Value::Object(fields) = key else { continue };
            let status = sort(&name, fields, &mut wanted);
            results.push((name, status.err().map(|detail| ("invalid", detail))));
        }
        let drafted_keys = wanted.clone();
        let drafted = move |view: &View| {
            let mut draft = Draft { action: "import", lenient: true, ..Draft::default() };
            for (id, parts) in drafted_keys {
                if standing(view, &id, &parts).is_some() {
                    continue;
                }
                if parts.enabled == Some(false) {
                    draft.off.push(id.clone());
                }
                let (secrets, body) = (parts.given(), Value::Object(without_nulls(parts.body)));
                draft.intents.push(Intent::Put { kind: Kind::Key, id, position: 0, body, secrets });
            }
            Ok(draft)
        };
        let before = gateway.registry.view(gateway);
        let made = registry::change(gateway.clone(), operator.actor(source), dry, drafted).await?;
        let results: Vec<Value> = results
            .into_iter()
            .map(|(name, known)| {
                let wrong = || {
                    let left = made.left_out.iter().find(|out| out.id == name)?;
                    let at = left.field.as_ref().map_or_else(String::new, |field| format!("{field}: "));
                    Some(("invalid", format!("{at}{}", left.text)))
                };
                let there = || wanted.get(&name).and_then(|parts| standing(&before, &name, parts));
                let (status, detail) =
                    known.or_else(there).or_else(wrong).unwrap_or(("created", String::new()));
                json!({ "name": name, "status": status, "detail": Some(detail).filter(|text| !text.is_empty()) })
            })
            .collect();
        Ok(Answer::new(200, json!({ "results": results })))
    }
    .boxed_local()
}

/// Takes one key apart, unless something is wrong with it.
fn sort(name: &str, fields: Map<String, Value>, wanted: &mut BTreeMap<String, Parts>) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err("name: is not a name, expected 1 to 64 letters, digits and . _ - : @".to_owned());
    }
    if wanted.contains_key(name) {
        return Err("name: is there twice".to_owned());
    }
    if fields.get("backend").is_none_or(Value::is_null) {
        return Err("backend: is missing".to_owned());
    }
    let parts = Parts::of(Kind::Key, fields).map_err(|problem| problem.to_string())?;
    wanted.insert(name.to_owned(), parts);
    Ok(())
}

/// What is to be said of a key that is there already.
fn standing(view: &View, id: &str, parts: &Parts) -> Option<(&'static str, String)> {
    if in_files(view, Kind::Key, id) {
        return Some(("conflict", "the configuration's files have a key of this name".to_owned()));
    }
    let entry = view.entry(Kind::Key, id)?;
    let prints = |secrets: BTreeMap<String, Secret>| -> BTreeMap<String, String> {
        secrets.iter().map(|(name, secret)| (name.clone(), vault::fingerprint(secret))).collect()
    };
    let known =
        entry.resource.sealed.iter().map(|field| (field.field.clone(), field.fingerprint.clone())).collect();
    if prints(parts.given()) == known {
        return Some(("unchanged", String::new()));
    }
    Some(("conflict", "a key of this name has another secret".to_owned()))
}

/// Everything as the tree of a configuration file; in place of each secret of the store stands what to fill in.
pub fn export(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        asked.query.done()?;
        asked.body.done()?;
        let view = asked.gateway.registry.view(asked.gateway);
        let mut tree = (*view.document).clone();
        fill_in(&mut tree, "");
        let table = asked.gateway.pool.table();
        let off = table.seats().filter(|(_, seat)| !seat.health.takes_calls());
        tell_off(&mut tree, &off.map(|(_, seat)| seat.id.name.as_str()).collect());
        Ok(Answer::new(200, tree))
    }
    .boxed_local()
}

/// Drops what is not set, and puts a variable of a telling name in place of every secret that is stored or written out in a file;
/// loaded as it stands, `[redacted]` would be taken for the secret. `place` names what `value` belongs to.
fn fill_in(value: &mut Value, place: &str) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            let place = match table.get("name").and_then(Value::as_str) {
                Some(name) => format!("{place}/{name}"),
                None => place.to_owned(),
            };
            for (option, value) in table.iter_mut() {
                // As a stored secret is named: what there are several of, in the singular.
                let inner = match value {
                    Value::Array(_) => {
                        option.strip_prefix("admin_").unwrap_or(option).trim_end_matches('s').to_owned()
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                        format!("{place}/{option}")
                    }
                };
                fill_in(value, &inner);
            }
            table.retain(|_, value| value.as_object().is_none_or(|table| !table.is_empty()));
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                // A text in a list has no name of its own.
                let place = if item.is_string() { format!("{place}/{at}") } else { place.to_owned() };
                fill_in(item, &place);
            }
        }
        Value::String(text) => {
            let written_out = (text == "value:[redacted]").then_some(place);
            if let Some(name) = text.strip_prefix("stored:").or(written_out) {
                let symbol = |symbol: char| if symbol.is_ascii_alphanumeric() { symbol } else { '_' };
                let name: String = name.trim_start_matches('/').chars().map(symbol).collect();
                *text = format!("env:HEADGATE_{}", name.to_ascii_uppercase());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Says of the keys that operators have switched off or drain that they are off: nothing else would, where the tree is loaded.
fn tell_off(tree: &mut Value, off: &BTreeSet<&str>) {
    for backend in tree["backends"].as_array_mut().into_iter().flatten() {
        for key in backend["keys"].as_array_mut().into_iter().flatten() {
            if key["name"].as_str().is_some_and(|name| off.contains(name)) {
                key["enabled"] = json!(false);
            }
        }
    }
}

/// Seals every secret with the newest master key.
pub fn reseal(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, operator, source, query, body, .. } = asked;
        query.done()?;
        body.done()?;
        let actor = operator.actor(source);
        let resealed = registry::reseal(gateway).await?;
        let view = gateway.registry.view(gateway);
        let shut = view.entries.values().filter(|entry| entry.sealed_shut.is_some()).count();
        let entry = NewAudit {
            actor: actor.name,
            role: actor.role.to_owned(),
            source: actor.source,
            action: "reseal".to_owned(),
            kind: "store".to_owned(),
            id: String::new(),
            before: None,
            after: Some(json!({ "resealed": resealed })),
        };
        registry::note(gateway, entry).await.map_err(|refusal: Refusal| Problem::from(refusal))?;
        Ok(Answer::new(200, json!({ "resealed": resealed, "undecryptable": shut })))
    }
    .boxed_local()
}

/// The ids of stored keys that cannot be opened.
pub fn undecryptable(view: &View) -> Vec<String> {
    let shut = view.entries.values().filter(|entry| entry.sealed_shut.is_some());
    shut.map(|entry| format!("{}/{}", entry.resource.kind.name(), entry.resource.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_names_variables_where_secrets_were() {
        let mut tree = json!({
            "auth": { "admin_tokens": [{ "name": "ada", "token": "value:[redacted]" }] },
            "backends": [{ "name": "b", "headers": { "x-a": "value:[redacted]" }, "park": {}, "keys": [
                { "name": "a-1", "secret": "stored:key/a-1/secret", "weight": null },
                { "name": "a-2", "secret": "value:[redacted]" },
            ] }],
            "store": { "master_key": "value:[redacted]", "previous_master_keys": [], "url": "sqlite::memory:" },
        });
        fill_in(&mut tree, "");
        let expected = json!({
            "auth": { "admin_tokens": [{ "name": "ada", "token": "env:HEADGATE_TOKEN_ADA_TOKEN" }] },
            "backends": [{ "name": "b", "headers": { "x-a": "env:HEADGATE_BACKEND_B_HEADERS_X_A" }, "keys": [
                { "name": "a-1", "secret": "env:HEADGATE_KEY_A_1_SECRET" },
                { "name": "a-2", "secret": "env:HEADGATE_KEY_A_2_SECRET" },
            ] }],
            "store": {
                "master_key": "env:HEADGATE_STORE_MASTER_KEY", "previous_master_keys": [], "url": "sqlite::memory:",
            },
        });
        assert_eq!(tree, expected);
    }
}
