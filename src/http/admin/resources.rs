//! What the admin API makes: create, patch, delete and rotate, the same for every kind.
//!
//! A body is taken apart ([`super::parts`]), drafted on what is known, and judged by the configuration's own loader
//! ([`crate::registry`]); what is wrong comes back with the field as the request has it.

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use headgate_providers::Secret;
use serde_json::{Value, json};

use super::parts::{LEAST_ROLE, Parts, digest, without_nulls};
use super::problem::Problem;
use super::shown::{self, in_files};
use super::{Answer, Asked, repeat};
use crate::config::Kind;
use crate::mint::{self, Prefix};
use crate::registry::{Draft, Entry, Intent, Made, Refusal, View, change};

/// Stored routes are that far apart, so that one fits between.
const ROUTE_STEP: i64 = 10;

/// The page of a kind that is configuration alone.
pub fn list(asked: Asked<'_>) -> Result<Value, Problem> {
    let Asked { gateway, mut query, body, route, .. } = asked;
    let page = query.page()?;
    query.done()?;
    body.done()?;
    let kind = route.kind.unwrap_or(Kind::Route);
    let view = gateway.registry.view(gateway);
    let items: Vec<(String, ())> = shown::ids(gateway, &view, kind).into_iter().map(|id| (id, ())).collect();
    let ids: Vec<(String, String)> = items.into_iter().map(|(id, ())| (id.clone(), id)).collect();
    let show = |id: &String| shown::resource(gateway, &view, kind, id).unwrap_or_default();
    Ok(if kind == Kind::Route { page.in_order(&ids, show) } else { page.of(ids, show) })
}

/// One resource, with its `ETag`.
pub fn get(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let (gateway, kind) = (asked.gateway, kind(&asked));
        let body = match kind {
            Kind::Key => super::keys::get(asked.clone())?,
            Kind::Backend => super::backends::get(asked.clone())?,
            Kind::Group => super::groups::get(asked.clone())?,
            Kind::Route | Kind::Tenant | Kind::Token => {
                asked.query.done()?;
                asked.body.done()?;
                let found = shown::resource(gateway, &gateway.registry.view(gateway), kind, asked.id);
                found.ok_or_else(|| Problem::unknown(kind.name(), asked.id))?
            }
        };
        Ok(tagged(200, body))
    }
    .boxed_local()
}

/// Makes a new one.
pub fn create(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let kind = kind(&asked);
        if let Some(kept) = repeat::kept(&asked, kind).await? {
            return Ok(kept);
        }
        let Asked { gateway, operator, source, body, query, dry, .. } = asked.clone();
        query.done()?;
        let mut fields = body.rest();
        let id = identity(kind, &fields)?;
        if kind == Kind::Token && !fields.contains_key("role") {
            fields.insert("role".to_owned(), json!(LEAST_ROLE));
        }
        let mut parts = Parts::of(kind, fields)?;
        let minted = mint_into(kind, &mut parts);
        let answer = repeat::keep(&asked, &id, minted.as_ref());
        let draft_id = id.clone();
        let drafted = move |view: &View| {
            if view.entry(kind, &draft_id).is_some() {
                return Err(Refusal::Conflict(format!("There is a {} `{draft_id}` already.", kind.name())));
            }
            if in_files(view, kind, &draft_id) {
                return Err(Refusal::OfTheFiles(kind, draft_id));
            }
            let off = if parts.enabled == Some(false) { vec![draft_id.clone()] } else { Vec::new() };
            let position = parts.position.unwrap_or_else(|| next_position(view));
            let secrets = parts.given();
            let body = Value::Object(without_nulls(parts.body));
            let put = Intent::Put { kind, id: draft_id, position, body, secrets };
            Ok(Draft { action: "create", intents: vec![put], answer, off, ..Draft::default() })
        };
        let made = change(gateway.clone(), operator.actor(source), dry, drafted).await?;
        let mut body = warned(&made, shown::after(gateway, &made.view, kind, &id, dry));
        if let (Some(secret), false) = (&minted, dry) {
            body[secret_name(kind)] = secret.expose().into();
        }
        Ok(if dry { Answer::new(200, body) } else { located(kind, &id, tagged(201, body)) })
    }
    .boxed_local()
}

/// Changes some options.
pub fn patch(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let kind = kind(&asked);
        let Asked { gateway, operator, source, body, query, dry, if_match, .. } = asked.clone();
        query.done()?;
        let id = full_id(&asked, kind)?;
        let fields = body.rest();
        if fields.is_empty() {
            return Err(Problem::bad_request("the body names no option to change"));
        }
        if let Some(name) =
            ["name", "backend", "provider"].into_iter().find(|name| fields.contains_key(*name))
            && (name != "backend" || matches!(kind, Kind::Key | Kind::Group))
            && (name != "provider" || kind == Kind::Backend)
        {
            return Err(Problem::field(name, "cannot be changed; make a new one"));
        }
        let parts = Parts::of(kind, fields)?;
        if parts.own.is_some() {
            return Err(Problem::field(secret_name(kind), "is changed by rotate"));
        }
        let (switched, drafted_id) = (parts.enabled, id.clone());
        let only_switch = parts.body.is_empty() && parts.secrets.is_empty() && switched.is_some();
        if !(only_switch && in_files(&gateway.registry.view(gateway), kind, &id)) {
            let drafted = move |view: &View| {
                let old = existing(view, kind, &drafted_id)?;
                let (body, secrets) = parts.over(&old.resource.body, &old.secrets);
                let position = parts.position.unwrap_or(old.resource.position);
                if old.sealed_shut.is_some() && parts.secrets.is_empty() {
                    return Err(Refusal::Conflict("its secret cannot be opened: rotate it first".to_owned()));
                }
                let expected = expected(old, if_match.as_deref());
                let put = Intent::Put { kind, id: drafted_id, position, body, secrets };
                Ok(Draft { action: "update", intents: vec![put], expected, ..Draft::default() })
            };
            let made = change(gateway.clone(), operator.actor(source), dry, drafted).await?;
            if dry {
                return Ok(Answer::new(200, shown::after(gateway, &made.view, kind, &id, true)));
            }
        }
        if let (Some(enabled), false) = (switched, dry) {
            let act = if enabled { super::keys::enable } else { super::keys::disable };
            let action = if enabled { "enable" } else { "disable" };
            let bare = Asked { body: super::Fields::default(), ..asked };
            return super::acts::operate(bare, action, act, super::keys::get).await;
        }
        Ok(tagged(200, shown::after(gateway, &gateway.registry.view(gateway), kind, &id, dry)))
    }
    .boxed_local()
}

/// Takes one away.
pub fn delete(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let kind = kind(&asked);
        let Asked { gateway, operator, source, body, query, dry, if_match, .. } = asked.clone();
        query.done()?;
        body.done()?;
        let id = full_id(&asked, kind)?;
        let drafted_id = id.clone();
        let drafted = move |view: &View| {
            let expected = expected(existing(view, kind, &drafted_id)?, if_match.as_deref());
            let intents = vec![Intent::Delete { kind, id: drafted_id }];
            Ok(Draft { action: "delete", intents, expected, ..Draft::default() })
        };
        let made = change(gateway.clone(), operator.actor(source), dry, drafted).await?;
        Ok(Answer::new(200, warned(&made, json!({ "id": id, "deleted": !dry }))))
    }
    .boxed_local()
}

/// Puts another credential in place: a key's is given, a tenant's or token's is made.
pub fn rotate(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let kind = kind(&asked);
        let Asked { gateway, operator, source, body, query, dry, if_match, .. } = asked.clone();
        query.done()?;
        let id = full_id(&asked, kind)?;
        let mut parts = Parts::of(kind, body.rest())?;
        let plain = parts.body.keys().find(|name| *name != "credential_chain");
        if let Some(name) = plain.map(String::as_str).or(parts.enabled.and(Some("enabled"))) {
            return Err(Problem::field(name, "is not a field of this request"));
        }
        let minted = mint_into(kind, &mut parts);
        let drafted_id = id.clone();
        let drafted = move |view: &View| {
            let old = existing(view, kind, &drafted_id)?;
            let (body, secrets) = parts.in_place_of(&old.resource.body);
            let expected = expected(old, if_match.as_deref());
            let put = Intent::Put { kind, id: drafted_id, position: old.resource.position, body, secrets };
            Ok(Draft { action: "rotate", intents: vec![put], expected, ..Draft::default() })
        };
        let made = change(gateway.clone(), operator.actor(source), dry, drafted).await?;
        let mut body = shown::after(gateway, &made.view, kind, &id, dry);
        if let (Some(secret), false) = (&minted, dry) {
            body[secret_name(kind)] = secret.expose().into();
        }
        Ok(tagged(200, body))
    }
    .boxed_local()
}

fn kind(asked: &Asked<'_>) -> Kind {
    asked.route.kind.unwrap_or(Kind::Key)
}

/// The id; a group's bare name is understood where only one backend has it.
fn full_id(asked: &Asked<'_>, kind: Kind) -> Result<String, Problem> {
    if kind != Kind::Group || asked.id.contains(':') {
        return Ok(asked.id.to_owned());
    }
    let view = asked.gateway.registry.view(asked.gateway);
    let all = shown::ids(asked.gateway, &view, Kind::Group);
    let mut fitting =
        all.into_iter().filter(|full| full.split_once(':').is_some_and(|(_, name)| name == asked.id));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Problem::unknown("group", asked.id)),
        (Some(_), Some(_)) => Err(Problem::conflict("Several backends have such a group. Use BACKEND:NAME.")),
    }
}

/// The id of something new.
fn identity(kind: Kind, fields: &serde_json::Map<String, Value>) -> Result<String, Problem> {
    let name = |field: &'static str| {
        let given = fields.get(field).filter(|value| !value.is_null());
        let text = given.ok_or_else(|| Problem::field(field, "is missing"))?.as_str().unwrap_or_default();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte);
        let sound = !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed);
        let wrong = || Problem::field(field, "is not a name, expected 1 to 64 letters, digits and . _ - : @");
        sound.then(|| text.to_owned()).ok_or_else(wrong)
    };
    match kind {
        Kind::Route => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            Ok(format!("route_{}", id.get(..12).unwrap_or(&id)))
        }
        Kind::Group => Ok(format!("{}:{}", name("backend")?, name("name")?)),
        Kind::Key => name("backend").and_then(|_| name("name")),
        Kind::Backend | Kind::Tenant | Kind::Token => name("name"),
    }
}

fn next_position(view: &View) -> i64 {
    view.routes().last().map_or(ROUTE_STEP, |last| last.resource.position + ROUTE_STEP)
}

/// The stored resource of this id.
fn existing<'v>(view: &'v View, kind: Kind, id: &str) -> Result<&'v Entry, Refusal> {
    let missing = || {
        let files = in_files(view, kind, id);
        if files { Refusal::OfTheFiles(kind, id.to_owned()) } else { Refusal::Unknown(kind, id.to_owned()) }
    };
    view.entry(kind, id).map(AsRef::as_ref).ok_or_else(missing)
}

/// Whether `old` has a revision that the request means.
fn expected(old: &Entry, if_match: Option<&str>) -> bool {
    let tag = format!("\"{}\"", old.resource.revision);
    let fits = |wanted: &str| wanted.split(',').map(str::trim).any(|one| one == "*" || one == tag);
    if_match.is_none_or(fits)
}

/// Where the answer shows a new tenant's key or a new token.
pub fn secret_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Tenant => "key",
        Kind::Token => "token",
        Kind::Backend | Kind::Group | Kind::Key | Kind::Route => "secret",
    }
}

/// Makes the key of a tenant or the token of an operator, unless one was brought along, and puts its digest into the body. Only
/// one that was made is told.
fn mint_into(kind: Kind, parts: &mut Parts) -> Option<Secret> {
    let (prefix, option) = match kind {
        Kind::Tenant => (Prefix::Client, "key_sha256"),
        Kind::Token => (Prefix::Admin, "token_sha256"),
        Kind::Backend | Kind::Group | Kind::Key | Kind::Route => return None,
    };
    let minted = parts.own.is_none().then(|| mint::mint(prefix));
    if let Some(secret) = minted.as_ref().or(parts.own.as_ref()) {
        parts.body.insert(option.to_owned(), digest(secret).into());
    }
    minted
}

/// With what the operator should know of the change.
fn warned(made: &Made, mut body: Value) -> Value {
    if let Some(warning) = made.warning {
        body["warning"] = warning.into();
    }
    body
}

fn tagged(status: u16, body: Value) -> Answer {
    let etag = match body["revision"].as_u64() {
        Some(revision) => Some(format!("\"{revision}\"")),
        None => Some(format!("W/\"{}\"", shown::short_digest(&body))),
    };
    Answer::Json { status, body, etag, location: None, replayed: false }
}

pub fn located(kind: Kind, id: &str, answer: Answer) -> Answer {
    match answer {
        Answer::Json { status, body, etag, replayed, .. } => {
            let location = Some(format!("/admin/v1/{}s/{id}", kind.name()));
            Answer::Json { status, body, etag, location, replayed }
        }
        whole @ Answer::Whole(_) => whole,
    }
}
