//! The admin API under `/admin/v1`: what operators see and do. One file per resource, one table of routes.
//!
//! Who may do what is decided from the matched route of the table alone, before a byte of the body is read. Answers are JSON,
//! errors `application/problem+json`; nothing here ever shows a secret.

mod access;
mod backends;
mod fields;
mod groups;
mod keys;
mod problem;
mod reload;
mod show;
mod status;
pub mod usage;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::config::checked::AdminRole;
use crate::gateway::Gateway;

use access::{Access, Operator};
use fields::Fields;
use problem::Problem;

/// Largest body of an admin request, bytes: every write is a few fields.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What the admin plane serves with.
pub struct Plane {
    gateway: Arc<Gateway>,
    access: Access,
    /// Whether whoever reaches the listener is on this machine.
    loopback: bool,
}

impl Plane {
    /// The plane of `gateway` on a listener at `address`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, address: SocketAddr) -> Self {
        Self { gateway, access: Access::default(), loopback: address.ip().to_canonical().is_loopback() }
    }

    /// Who asks, if it may.
    fn operator(&self, request: &HttpRequest) -> Result<Operator, Problem> {
        let mut credentials = request.headers().get_all(header::AUTHORIZATION);
        let first = credentials.next().map(header::HeaderValue::as_bytes);
        let several = credentials.next().is_some();
        let source = request.peer_addr().map(|address| address.ip());
        let settings = self.gateway.settings();
        self.access.operator(&settings.auth, (first, several), source, self.gateway.clock.now())
    }
}

/// One request of an operator that may make it.
struct Asked<'a> {
    gateway: &'a Gateway,
    operator: &'a Operator,
    /// What stood for `{}` in the route.
    id: &'a str,
    /// The query.
    query: Fields,
    /// The body.
    body: Fields,
}

/// What a route does; reloading alone waits.
enum Act {
    Now(fn(Asked<'_>) -> Result<Value, Problem>),
    Reload,
}

/// One line of the table.
struct Route {
    method: &'static str,
    /// Segments after `/admin/v1`; `{}` stands for any one.
    path: &'static str,
    /// The least role.
    role: AdminRole,
    act: Act,
}

const fn get(path: &'static str, act: fn(Asked<'_>) -> Result<Value, Problem>) -> Route {
    Route { method: "GET", path, role: AdminRole::Viewer, act: Act::Now(act) }
}

const fn operate(path: &'static str, act: fn(Asked<'_>) -> Result<Value, Problem>) -> Route {
    Route { method: "POST", path, role: AdminRole::Operator, act: Act::Now(act) }
}

/// Everything there is.
const ROUTES: [Route; 15] = [
    get("/status", status::get),
    get("/keys", keys::list),
    get("/keys/{}", keys::get),
    operate("/keys/{}/park", keys::park),
    operate("/keys/{}/unpark", keys::unpark),
    operate("/keys/{}/enable", keys::enable),
    operate("/keys/{}/disable", keys::disable),
    get("/groups", groups::list),
    get("/groups/{}", groups::get),
    operate("/groups/{}/unpark", groups::unpark),
    get("/backends", backends::list),
    get("/backends/{}", backends::get),
    operate("/backends/{}/breaker", backends::breaker),
    get("/reload", status::last_reload),
    Route { method: "POST", path: "/reload", role: AdminRole::Admin, act: Act::Reload },
];

/// Answers every request under `/admin`.
pub async fn answer(plane: Data<Plane>, request: HttpRequest, payload: Payload) -> HttpResponse {
    match act(&plane, &request, payload).await {
        Ok(value) => shown(&mut HttpResponse::Ok()).content_type("application/json").body(value.to_string()),
        Err(problem) => problem.response(),
    }
}

/// `GET /metrics` in Prometheus's text format: for anyone on this machine, else for any token.
pub async fn metrics(plane: Data<Plane>, request: HttpRequest) -> HttpResponse {
    if !plane.loopback
        && let Err(problem) = plane.operator(&request)
    {
        return problem.response();
    }
    super::ops::metrics(&plane.gateway).await
}

/// What every answer of this plane carries.
fn shown(response: &mut actix_web::HttpResponseBuilder) -> &mut actix_web::HttpResponseBuilder {
    response
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
}

async fn act(plane: &Plane, request: &HttpRequest, payload: Payload) -> Result<Value, Problem> {
    let operator = plane.operator(request)?;
    let path = fields::decoded(request.path());
    let (route, id) = matched(request.method().as_str(), path.strip_prefix("/admin/v1").unwrap_or(""))?;
    if operator.role < route.role {
        return Err(Problem::forbidden(operator.role, route.role));
    }
    let query = Fields::of_query(request.query_string())?;
    let body = body(payload).await?;
    match route.act {
        Act::Now(act) => act(Asked { gateway: &plane.gateway, operator: &operator, id, query, body }),
        Act::Reload => {
            query.done()?;
            body.done()?;
            tracing::info!(operator = operator.name, "an operator asks for a reload");
            reload::reload(&plane.gateway).await
        }
    }
}

fn matched<'a>(method: &str, path: &'a str) -> Result<(&'static Route, &'a str), Problem> {
    let mut allowed = Vec::new();
    for route in &ROUTES {
        let Some(id) = fits(route.path, path) else { continue };
        if route.method == method || (method == "HEAD" && route.method == "GET") {
            return Ok((route, id));
        }
        allowed.push(route.method);
    }
    Err(if allowed.is_empty() { Problem::no_such_path() } else { Problem::method_not_allowed(allowed) })
}

/// What stands for `{}`, if the path fits; empty where the pattern has none.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut id = "";
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(id),
            (Some("{}"), Some(segment)) if !segment.is_empty() => id = segment,
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return None,
        }
    }
}

async fn body(mut payload: Payload) -> Result<Fields, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body could not be read"))?;
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Problem::too_large(MAX_BODY_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    Fields::of_body(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_needs_no_more_than_a_viewer_and_every_write_more() {
        for route in &ROUTES {
            let least = if route.method == "GET" { AdminRole::Viewer } else { AdminRole::Operator };
            assert!(route.role >= least && (route.method != "GET" || route.role == least), "{}", route.path);
        }
    }

    #[test]
    fn a_path_is_matched_segment_by_segment() {
        assert_eq!(fits("/keys/{}/park", "/keys/a:b@c/park"), Some("a:b@c"));
        assert_eq!(fits("/keys/{}", "/keys/"), None);
        assert_eq!(fits("/keys/{}", "/keys/a/b"), None);
        assert!(matched("GET", "/keys/a").is_ok() && matched("HEAD", "/status").is_ok());
        for (method, path) in
            [("GET", "/keys/a/park"), ("DELETE", "/status"), ("PATCH", "/keys/a"), ("GET", "/nothing")]
        {
            assert!(matched(method, path).is_err(), "{method} {path}");
        }
    }
}
