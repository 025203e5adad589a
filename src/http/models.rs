//! `GET /v1/models` and `/v1/models/{id}`: the routes' models, paged as the API pages.
//!
//! A route's own name is listed as it is; a wildcard route lists what upstream lists and the pattern takes, by a free call
//! whose answer is kept for a while. Patterns are never listed. A tenant sees what it may use.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use headgate_providers::{Headers, MessagesRequest, Operation, Outline};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::ingress;
use super::messages::{Edge, unknown_model};
use super::respond;
use crate::call::{Call, Fallback, RequestId};
use crate::config::checked::{ModelPattern, Settings, Tenant};
use crate::failure::{Failure, FailureKind};
use crate::models::Model;
use crate::relay::Relay;
use crate::settle::{Outcome, Record};

/// Page sizes of the Models API.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;
/// Most pages of upstream's list that are read.
const MOST_PAGES: usize = 10;

/// How a list is paged.
#[derive(Debug, Deserialize)]
pub struct Paging {
    limit: Option<String>,
    before_id: Option<String>,
    after_id: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<&'a RawValue>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// `GET /v1/models`.
pub async fn list(edge: Data<Edge>, request: HttpRequest, paging: Query<Paging>) -> HttpResponse {
    let mut record = open(&edge);
    let answered = async {
        let seen = visible(&edge, &request, &mut record).await?;
        match seen.failed {
            // Upstream's list cannot be had: what the routes name themselves is still true, but not the word of one that leaves.
            Some(failure) if seen.models.is_empty() || edge.gateway.drain.is_over() => Err(failure),
            Some(_) | None => page(&seen.models, &paging),
        }
    };
    let answered = answered.await;
    respond(&edge, record, answered)
}

/// `GET /v1/models/{id}`.
pub async fn get(edge: Data<Edge>, request: HttpRequest, id: Path<String>) -> HttpResponse {
    let mut record = open(&edge);
    let answered = async {
        let seen = visible(&edge, &request, &mut record).await?;
        match seen.models.iter().find(|model| model.id == *id) {
            Some(found) => Ok(found.object.get().to_owned()),
            // It may well be on the list that could not be had.
            None => Err(seen.failed.filter(is_passing).unwrap_or_else(|| unknown_model(&id))),
        }
    };
    let answered = answered.await;
    respond(&edge, record, answered)
}

fn open(edge: &Edge) -> Record {
    let gateway = &edge.gateway;
    Record::open(gateway.clone(), RequestId::new(), "models", gateway.clock.now())
}

fn respond(edge: &Edge, mut record: Record, answered: Result<String, Failure>) -> HttpResponse {
    match answered {
        Ok(body) => {
            record.status = 200;
            record.outcome = Outcome::Ok;
            HttpResponse::Ok()
                .insert_header(("request-id", record.id.as_str()))
                .content_type("application/json")
                .body(body)
        }
        Err(failure) => respond::failure(&edge.gateway, record, &failure, None),
    }
}

/// Whether a failure is one of the moment.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.status(), 408 | 429 | 500..)
}

/// What a caller sees of the models.
struct Seen {
    /// Every model it may use, in the order of the routes, each once.
    models: Vec<Model>,
    /// Why an upstream's list is not among them.
    failed: Option<Failure>,
}

async fn visible(edge: &Edge, request: &HttpRequest, record: &mut Record) -> Result<Seen, Failure> {
    let tenant = ingress::tenant(&edge.gateway, request.headers())?;
    record.tenant = tenant.as_ref().map(|tenant| tenant.name.clone());
    let settings = edge.gateway.settings().clone();
    let mut models: Vec<Model> = Vec::new();
    let mut failed = None;
    for pattern in patterns(&settings) {
        let listed = if pattern.is_wildcard() {
            match upstream(edge, &pattern).await {
                Ok(listed) => listed.iter().filter(|model| pattern.matches(&model.id)).cloned().collect(),
                Err(failure) => {
                    failed = Some(failure);
                    Vec::new()
                }
            }
        } else {
            vec![own(pattern.pattern())?]
        };
        for model in listed {
            if may_use(tenant.as_deref(), &model.id) && !models.iter().any(|known| known.id == model.id) {
                models.push(model);
            }
        }
    }
    Ok(Seen { models, failed })
}

fn patterns(settings: &Settings) -> Vec<ModelPattern> {
    if settings.routes.is_empty() {
        return vec![ModelPattern::new("*")];
    }
    settings.routes.iter().map(|route| route.model.clone()).collect()
}

fn may_use(tenant: Option<&Tenant>, model: &str) -> bool {
    tenant.is_none_or(|tenant| tenant.may_use(model))
}

/// A route's own name as a model.
fn own(id: String) -> Result<Model, Failure> {
    #[derive(Serialize)]
    struct Object<'a> {
        r#type: &'static str,
        id: &'a str,
        display_name: &'a str,
        created_at: &'static str,
    }
    let object = Object { r#type: "model", id: &id, display_name: &id, created_at: "1970-01-01T00:00:00Z" };
    let object = to_raw_value(&object).map_err(|_| internal())?;
    Ok(Model { object: Arc::from(object), id })
}

fn internal() -> Failure {
    Failure::new(FailureKind::Internal, "The list of models could not be made.")
}

/// Upstream's list for a wildcard route: the kept one, or read anew.
async fn upstream(edge: &Edge, pattern: &ModelPattern) -> Result<Arc<Vec<Model>>, Failure> {
    let gateway = &edge.gateway;
    let name = pattern.pattern();
    if let Some(kept) = gateway.models.get(&name, gateway.clock.now()) {
        return Ok(kept);
    }
    let mut models = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let body = fetch(edge, &name, after.as_deref()).await?;
        let page: Listed = serde_json::from_slice(&body).map_err(|_| {
            Failure::new(FailureKind::NoAnswer, "The upstream's list of models could not be read.")
        })?;
        for object in page.data {
            let Ok(named) = serde_json::from_str::<Named>(object.get()) else { continue };
            models.push(Model { id: named.id, object: Arc::from(object) });
        }
        after = page.last_id;
        if !page.has_more || after.is_none() {
            break;
        }
    }
    let models = Arc::new(models);
    gateway.models.put(name, gateway.clock.now(), models.clone());
    Ok(models)
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// One page of upstream's list, through the same loop as every other call.
async fn fetch(edge: &Edge, pattern: &str, after: Option<&str>) -> Result<Bytes, Failure> {
    let gateway = &edge.gateway;
    let plan = gateway.pool.plan(pattern).ok_or_else(|| unknown_model(pattern))?;
    let request = asking_for_page(pattern, after)?;
    let started = gateway.clock.now();
    let record = Record::open(gateway.clone(), RequestId::new(), "models_upstream", started);
    let call = Rc::new(Call {
        id: record.id.clone(),
        tenant: None,
        request,
        started,
        patience_until: started,
        deadline: started + gateway.settings().deadlines.whole,
        fallback: Fallback::Any,
        used: OnceLock::new(),
    });
    let relay = Relay {
        gateway: gateway.clone(),
        transport: edge.links.clone(),
        call,
        plan,
        progress: Rc::default(),
    };
    match relay.run(record).await {
        Ok(mut reply) => {
            let mut body = BytesMut::new();
            while let Some(bytes) = std::future::poll_fn(|cx| reply.poll_bytes(cx)).await {
                body.extend_from_slice(&bytes);
            }
            Ok(body.freeze())
        }
        Err(mut ended) => {
            ended.record.failed(&ended.failure);
            Err(ended.failure)
        }
    }
}

/// Upstream is asked for the page behind the model `after`, on behalf of the route of `pattern`.
fn asking_for_page(pattern: &str, after: Option<&str>) -> Result<MessagesRequest, Failure> {
    let query = match after {
        None => format!("limit={LARGEST_PAGE}"),
        // An id is a word of the API's own; anything else would not be sent on.
        Some(id) if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte)) => {
            format!("limit={LARGEST_PAGE}&after_id={id}")
        }
        Some(_) => return Err(internal()),
    };
    let mut headers = Headers::with_capacity(1);
    headers.push("anthropic-version", "2023-06-01");
    let outline = Outline {
        model: pattern.to_owned(),
        model_span: 0..0,
        stream: false,
        max_tokens: None,
        user_id: None,
    };
    let (operation, body, query) = (Operation::Models, Bytes::new(), Some(query));
    Ok(MessagesRequest { operation, body, query, headers, outline })
}

/// One page of `models` (Models API: `limit`, `before_id`, `after_id`).
fn page(models: &[Model], paging: &Paging) -> Result<String, Failure> {
    let limit = match paging.limit.as_deref() {
        None => PAGE,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(|| {
                Failure::new(
                    FailureKind::BadRequest,
                    format!("limit: expected a whole number from 1 to {LARGEST_PAGE}"),
                )
            })?
        }
    };
    let place = |name: &str, id: &str| {
        let unknown = || Failure::new(FailureKind::BadRequest, format!("{name}: there is no model {id}"));
        models.iter().position(|model| model.id == id).ok_or_else(unknown)
    };
    let (start, end, has_more) = match (&paging.after_id, &paging.before_id) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                FailureKind::BadRequest,
                "before_id: cannot be used together with after_id",
            ));
        }
        (Some(after), None) => {
            let start = place("after_id", after)? + 1;
            let end = (start + limit).min(models.len());
            (start, end, end < models.len())
        }
        (None, Some(before)) => {
            let end = place("before_id", before)?;
            let start = end.saturating_sub(limit);
            (start, end, start > 0)
        }
        (None, None) => {
            let end = limit.min(models.len());
            (0, end, end < models.len())
        }
    };
    let shown = models.get(start..end).unwrap_or_default();
    let page = Page {
        data: shown.iter().map(|model| &*model.object).collect(),
        has_more,
        first_id: shown.first().map(|model| model.id.as_str()),
        last_id: shown.last().map(|model| model.id.as_str()),
    };
    serde_json::to_string(&page).map_err(|_| internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(count: usize) -> Vec<Model> {
        (0..count).map(|number| own(format!("m{number}")).expect("a model")).collect()
    }

    fn ids(
        models: &[Model],
        limit: Option<&str>,
        before: Option<&str>,
        after: Option<&str>,
    ) -> (Vec<String>, bool) {
        let paging = Paging {
            limit: limit.map(str::to_owned),
            before_id: before.map(str::to_owned),
            after_id: after.map(str::to_owned),
        };
        let page: serde_json::Value =
            serde_json::from_str(&page(models, &paging).expect("a page")).expect("JSON");
        let ids = page["data"].as_array().expect("a list").iter();
        (ids.map(|model| model["id"].as_str().expect("an id").to_owned()).collect(), page["has_more"] == true)
    }

    #[test]
    fn pages_follow_the_api() {
        let models = models(25);
        let (first, more) = ids(&models, None, None, None);
        assert_eq!((first.len(), more), (20, true));
        let (rest, more) = ids(&models, None, None, Some("m19"));
        assert_eq!((rest.len(), more), (5, false));
        let (before, more) = ids(&models, Some("3"), Some("m4"), None);
        assert_eq!((before, more), (vec!["m1".to_owned(), "m2".to_owned(), "m3".to_owned()], true));
        let (none, more) = ids(&[], None, None, None);
        assert_eq!((none.len(), more), (0, false));
    }

    #[test]
    fn a_page_that_cannot_be_is_a_bad_request_naming_the_field() {
        let paging = |limit: &str| Paging { limit: Some(limit.to_owned()), before_id: None, after_id: None };
        for limit in ["0", "1001", "x", "-1"] {
            let failure = page(&models(1), &paging(limit)).expect_err("refused");
            assert_eq!(failure.status(), 400);
            assert!(failure.message.starts_with("limit:"), "{}", failure.message);
        }
    }
}
