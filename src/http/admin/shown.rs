//! How resources are shown: their options as a file has them, where they come from, and the fingerprints of their secrets.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::show::date;
use crate::config::Kind;
use crate::config::checked::Credential;
use crate::gateway::Gateway;
use crate::registry::{Entry, View};
use crate::vault;

/// Whether the files, or the usual variables, have a resource of this id.
pub fn in_files(view: &View, kind: Kind, id: &str) -> bool {
    view.entry(kind, id).is_none() && object(view, kind, id).is_some() || file_route(kind, id).is_some()
}

/// Every id of a kind; routes as they match, the rest in no order.
pub fn ids(gateway: &Gateway, view: &View, kind: Kind) -> Vec<String> {
    let name = |item: &Value| item["name"].as_str().map(str::to_owned);
    let stored = || view.entries.keys().filter(|(known, _)| *known == kind).map(|(_, id)| id.clone());
    let mut ids: Vec<String> = match kind {
        Kind::Route => {
            let all = view.document["routes"].as_array().map_or(0, Vec::len);
            let in_force =
                view.routes().iter().filter(|entry| view.problem(kind, &entry.resource.id).is_none()).count();
            let own = view.routes().into_iter().map(|entry| entry.resource.id.clone());
            return own.chain((0..all.saturating_sub(in_force)).map(|at| format!("file:{at}"))).collect();
        }
        Kind::Backend => list(&view.document["backends"]).filter_map(name).collect(),
        Kind::Tenant => list(&view.document["tenants"]).filter_map(name).collect(),
        Kind::Token => list(&view.document["auth"]["admin_tokens"]).filter_map(name).collect(),
        Kind::Key => gateway.pool.table().seats().map(|(_, seat)| seat.id.name.clone()).collect(),
        Kind::Group => {
            let table = gateway.pool.table();
            let group = |backend: &str, name: &str| format!("{backend}:{name}");
            let used = table.seats().map(|(up, seat)| group(&up.settings.name, &seat.group_name));
            let configured = table.upstreams.iter().flat_map(|up| {
                up.settings.limit_groups.iter().map(|found| group(&up.settings.name, &found.name))
            });
            used.chain(configured).collect()
        }
    };
    ids.extend(stored());
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A resource that is configuration alone, or the configured part of one that lives.
pub fn resource(gateway: &Gateway, view: &View, kind: Kind, id: &str) -> Option<Value> {
    let entry = view.entry(kind, id);
    let mut shown = options(view, kind, id)?;
    shown.insert("id".to_owned(), json!(id));
    shown.extend(origin(view, kind, id));
    if kind == Kind::Key {
        let secret = entry.map(|entry| sealed(entry)).or_else(|| presented(gateway, id)).unwrap_or_default();
        shown.insert("secret".to_owned(), secret);
    }
    if matches!(kind, Kind::Tenant | Kind::Token) {
        let digest = configured_digest(gateway, kind, id);
        let text =
            digest.map(|digest| digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let stored = entry.and_then(|entry| entry.shown().get("fingerprint").cloned());
        shown.insert("fingerprint".to_owned(), stored.unwrap_or_else(|| json!(text)));
    }
    Some(Value::Object(shown))
}

/// A resource after a change: as it lives, or as it would be.
pub fn after(gateway: &Gateway, view: &View, kind: Kind, id: &str, dry: bool) -> Value {
    let live = match kind {
        _ if dry => None,
        Kind::Key => super::keys::one(gateway, id),
        Kind::Backend => super::backends::one(gateway, id),
        Kind::Group => super::groups::one(gateway, id),
        Kind::Route | Kind::Tenant | Kind::Token => None,
    };
    let mut shown = live.or_else(|| resource(gateway, view, kind, id)).unwrap_or_default();
    if dry {
        shown["dry_run"] = json!(true);
    }
    shown
}

/// Where a resource comes from, and why it is not in force.
pub fn origin(view: &View, kind: Kind, id: &str) -> Map<String, Value> {
    let entry = view.entry(kind, id);
    let mut origin = Map::new();
    origin.insert("source".to_owned(), json!(if entry.is_some() { "store" } else { "file" }));
    origin.insert("revision".to_owned(), json!(entry.map(|entry| entry.resource.revision)));
    origin.insert("created_at".to_owned(), json!(entry.and_then(|entry| date(entry.resource.created_at))));
    origin.insert("updated_at".to_owned(), json!(entry.and_then(|entry| date(entry.resource.updated_at))));
    origin.insert("problem".to_owned(), json!(view.problem(kind, id)));
    origin
}

/// The options that are set, as a file has them; no secret, no digest, no list of other resources.
pub fn options(view: &View, kind: Kind, id: &str) -> Option<Map<String, Value>> {
    let of_store = view.entry(kind, id);
    let found = match of_store {
        Some(entry) => entry.shown(),
        None => object(view, kind, id)?.clone(),
    };
    let Value::Object(mut options) = found else { return None };
    options.retain(|name, value| {
        let hidden = match kind {
            Kind::Backend => matches!(name.as_str(), "keys" | "limit_groups" | "proxy"),
            Kind::Key => matches!(
                name.as_str(),
                "secret"
                    | "bearer_token"
                    | "access_key_id"
                    | "secret_access_key"
                    | "session_token"
                    | "service_account"
            ),
            Kind::Tenant => matches!(name.as_str(), "key" | "key_sha256" | "fingerprint"),
            Kind::Token => matches!(name.as_str(), "token" | "token_sha256" | "fingerprint"),
            Kind::Group | Kind::Route => false,
        };
        let empty = value.as_object().is_some_and(|table| table.values().all(Value::is_null));
        !hidden && !value.is_null() && !empty && !name.starts_with("headers.")
    });
    let headers = of_store
        .map(|entry| entry.resource.sealed.iter().filter(|field| field.field.starts_with("headers.")));
    let headers: Map<String, Value> = headers
        .into_iter()
        .flatten()
        .map(|field| {
            (field.field["headers.".len()..].to_owned(), json!(format!("sealed:{}", field.fingerprint)))
        })
        .collect();
    if !headers.is_empty() {
        options.insert("headers".to_owned(), Value::Object(headers));
    }
    Some(options)
}

/// What a live key presents.
pub fn presented(gateway: &Gateway, id: &str) -> Option<Value> {
    let settings = gateway.settings();
    let key = settings.backends.iter().flat_map(|backend| &backend.keys).find(|key| key.name == id)?;
    let shown = |kind: &str, secret, visible| json!({ "kind": kind, "fingerprint": vault::fingerprint(secret), "last4": vault::last4(visible) });
    let bare = |kind: &str| json!({ "kind": kind, "fingerprint": null, "last4": null });
    Some(match &key.credential {
        Credential::Secret(secret) => shown("secret", secret, secret),
        Credential::Aws { access_key_id, secret_access_key, .. } => {
            shown("aws", secret_access_key, access_key_id)
        }
        Credential::ServiceAccount(secret) => {
            let mut account = shown("service_account", secret, secret);
            account["last4"] = Value::Null;
            account
        }
        Credential::Chain(_) => bare("credential_chain"),
        Credential::None => bare("none"),
    })
}

/// What a stored key presents, also where it cannot be opened.
fn sealed(entry: &Entry) -> Value {
    let find = |name: &str| entry.resource.sealed.iter().find(|field| field.field == name);
    for name in ["secret", "bearer_token", "service_account", "secret_access_key"] {
        let Some(field) = find(name) else { continue };
        let kind = if name == "secret_access_key" { "aws" } else { name };
        let last4 = if name == "service_account" {
            ""
        } else {
            find("access_key_id").unwrap_or(field).last4.as_str()
        };
        let last4 = Some(last4).filter(|text| !text.is_empty());
        return json!({ "kind": kind, "fingerprint": field.fingerprint, "last4": last4 });
    }
    let chain = entry.resource.body.get("credential_chain").is_some();
    json!({ "kind": if chain { "credential_chain" } else { "none" }, "fingerprint": null, "last4": null })
}

fn configured_digest(gateway: &Gateway, kind: Kind, id: &str) -> Option<[u8; 32]> {
    let settings = gateway.settings();
    match kind {
        Kind::Tenant => settings.tenants.iter().find(|tenant| tenant.name == id).map(|tenant| tenant.digest),
        Kind::Token => {
            settings.auth.admin_tokens.iter().find(|token| token.name == id).map(|token| token.digest)
        }
        Kind::Backend | Kind::Group | Kind::Key | Kind::Route => None,
    }
}

/// A file's object in the document.
fn object<'v>(view: &'v View, kind: Kind, id: &str) -> Option<&'v Value> {
    let named = |items: &'v Value, name: &str| list(items).find(|item| item["name"] == name);
    let backends = &view.document["backends"];
    match kind {
        Kind::Backend => named(backends, id),
        Kind::Tenant => named(&view.document["tenants"], id),
        Kind::Token => named(&view.document["auth"]["admin_tokens"], id),
        Kind::Key => list(backends).find_map(|backend| named(&backend["keys"], id)),
        Kind::Group => {
            let (backend, name) = id.split_once(':')?;
            let backend = named(backends, backend)?;
            named(&backend["limit_groups"], name)
                .or_else(|| named(&backend["keys"], name).filter(|key| key["limit_group"].is_null()))
        }
        Kind::Route => list(&view.document["routes"]).nth(file_route(kind, id)?),
    }
}

fn file_route(kind: Kind, id: &str) -> Option<usize> {
    id.strip_prefix("file:").filter(|_| kind == Kind::Route)?.parse().ok()
}

fn list(items: &Value) -> impl Iterator<Item = &Value> {
    items.as_array().into_iter().flatten()
}

/// A digest that tells whether something was changed.
pub fn short_digest(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
