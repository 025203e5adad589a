//! `/__sim/`: the control API for tests and for the curious. It asks for no key; never expose it.
//!
//! - `GET /__sim/stats`: [`Stats`](super::record::Stats).
//! - `GET /__sim/healthz`: it runs.
//! - `GET /__sim/requests?key=NAME&bodies=text|sha256|base64|none`: `{"requests": [...]}`, those kept, oldest first.
//! - `GET /__sim/faults`; `POST /__sim/faults[?key=NAME]` replaces the rules (of one key) with the list in the body;
//!   `DELETE /__sim/faults[?key=NAME]` removes them.
//! - `POST /__sim/keys/NAME/revoke` and `.../restore`.
//! - `POST /__sim/limits/NAME` (of an organization, account or project), `/__sim/timings`, `/__sim/answer`,
//!   `/__sim/connection`: replace that part.
//! - `POST /__sim/tokens/expire[?key=NAME]` ends Google's access tokens; `/__sim/tokens/lifetime` takes the seconds that
//!   new ones live. The token endpoint fails, stalls and comes back by rules of faults with `paths: ["/token"]`.
//! - `POST /__sim/reset`: forgets the record and restores what was configured.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::owner::Owner;
use super::record::Recorded;
use super::reply::Reply;
use super::world::{Control, World, seconds};

/// Answers a call.
pub fn answer(world: &Arc<World>, parts: &Parts, body: &[u8]) -> Reply {
    let control = Control { world: Arc::clone(world) };
    let path = parts.uri.path().trim_start_matches("/__sim/");
    let query = parts.uri.query().unwrap_or("");
    match act(&control, parts.method.as_str(), path, query, body) {
        Ok(value) => Reply::json(200, value.to_string()),
        Err((status, message)) => Reply::json(status, json!({ "error": message }).to_string()),
    }
}

type Acted = Result<Value, (u16, String)>;

fn act(control: &Control, method: &str, path: &str, query: &str, body: &[u8]) -> Acted {
    let key = option(query, "key");
    let steps: Vec<&str> = path.split('/').collect();
    match (method, steps.as_slice()) {
        ("GET", ["stats"]) => Ok(json!(control.stats())),
        ("GET", ["requests"]) => requests(control, key, option(query, "bodies").unwrap_or("text")),
        ("GET", ["healthz"]) => done(),
        ("GET", ["faults"]) => Ok(json!(control.faults())),
        ("POST", ["faults"]) => {
            let rules = read(body)?;
            match key {
                Some(key) => control.set_key_faults(key, rules),
                None => control.set_faults(rules),
            }
            done()
        }
        ("DELETE", ["faults"]) => {
            control.clear_faults(key);
            done()
        }
        ("POST", ["keys", key, "revoke"]) => found(control.revoke(key)),
        ("POST", ["keys", key, "restore"]) => found(control.restore(key)),
        ("POST", ["limits", owner]) => limits(control, owner, body),
        ("POST", ["tokens", "expire"]) => found(control.expire_tokens(key)),
        ("POST", ["tokens", "lifetime"]) => {
            control.set_token_lifetime(seconds(read(body)?));
            done()
        }
        ("POST", ["timings"]) => read(body).map(|timings| control.set_timings(timings)).and_then(|()| done()),
        ("POST", ["answer"]) => read(body).map(|answer| control.set_answer(answer)).and_then(|()| done()),
        ("POST", ["connection"]) => {
            read(body).map(|connection| control.set_connection(connection)).and_then(|()| done())
        }
        ("POST", ["reset"]) => {
            control.reset();
            done()
        }
        _ => Err((404, format!("{method} /__sim/{path} is not known"))),
    }
}

/// Replaces the limits of whoever has this name, in the shape of their kind.
fn limits(control: &Control, owner: &str, body: &[u8]) -> Acted {
    found(match control.owner(owner) {
        Some(Owner::Organization(_)) => control.set_limits(owner, &read::<Vec<_>>(body)?),
        Some(Owner::Account(_)) => control.set_account_limits(owner, &read::<Vec<_>>(body)?),
        Some(Owner::Project(_)) => control.set_quotas(owner, &read::<Vec<_>>(body)?),
        None => false,
    })
}

fn done() -> Acted {
    Ok(json!({ "ok": true }))
}

fn found(found: bool) -> Acted {
    if found { done() } else { Err((404, "no such name".to_owned())) }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (u16, String)> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| (400, error.to_string()))
}

fn option<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
}

fn requests(control: &Control, key: Option<&str>, bodies: &str) -> Acted {
    if !["none", "text", "sha256", "base64"].contains(&bodies) {
        return Err((400, "bodies: text, sha256, base64 or none".to_owned()));
    }
    let wanted = control.requests().into_iter().filter(|request| key.is_none_or(|key| request.key == key));
    let described: Vec<Value> = wanted.map(|request| describe(&request, bodies)).collect();
    Ok(json!({ "requests": described }))
}

fn describe(request: &Recorded, bodies: &str) -> Value {
    let body = match bodies {
        "text" => Some(String::from_utf8_lossy(&request.body).into_owned()),
        "sha256" => Some(Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect()),
        "base64" => Some(STANDARD.encode(&request.body)),
        _ => None,
    };
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    json!({
        "sequence": request.sequence,
        "dialect": request.dialect,
        "key": request.key,
        "owner": request.owner,
        "at_ms": request.at_ms,
        "method": request.method,
        "path": path,
        "query": query,
        "headers": joined(&request.headers),
        "header_lines": request.headers,
        "body_bytes": request.body.len(),
        "body": body,
        "outcome": request.outcome,
        "ending": request.ended.map(|(ending, _)| ending),
        "ended_ms": request.ended.map(|(_, at)| at),
    })
}

/// Headers by name; the values of repeated lines are joined by commas.
fn joined(lines: &[(String, String)]) -> BTreeMap<&str, String> {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in lines {
        match headers.entry(name) {
            Entry::Vacant(place) => drop(place.insert(value.clone())),
            Entry::Occupied(mut known) => known.get_mut().push_str(&format!(", {value}")),
        }
    }
    headers
}
