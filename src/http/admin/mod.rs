//! The admin API under `/admin/v1`: what operators see and do. One file per resource, one table of routes.
//!
//! Who may do what is decided from the matched route of the table alone, before a byte of the body is read. Answers are JSON,
//! errors `application/problem+json`; nothing here ever shows a secret.

mod access;
mod accounts;
mod acts;
mod audit;
mod backends;
mod events;
mod fields;
mod groups;
mod keys;
mod openapi;
mod parts;
mod problem;
mod reload;
mod repeat;
mod resources;
mod show;
mod shown;
mod status;
mod table;
mod transfer;
mod trial;
pub mod usage;
mod views;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::client::Links;
use crate::config::checked::AdminRole;
use crate::gateway::Gateway;

use access::{Access, Operator};
use fields::Fields;
use problem::Problem;
use table::{Act, Route};

/// Largest body of an admin request, bytes: every write is a few fields,
const MAX_BODY_BYTES: usize = 64 << 10;
/// but for credentials, of which a key may have several,
const MAX_ADMIN_BYTES: usize = 256 << 10;
/// and for a list of keys.
const MAX_IMPORT_BYTES: usize = 4 << 20;

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
#[derive(Clone)]
struct Asked<'a> {
    gateway: &'a Arc<Gateway>,
    /// This worker's connections upstream.
    links: &'a Links,
    operator: &'a Operator,
    source: Option<IpAddr>,
    route: &'static Route,
    /// What stood for `{}` in the route.
    id: &'a str,
    /// The query.
    query: Fields,
    /// The body.
    body: Fields,
    /// Only say what would be.
    dry: bool,
    /// The `If-Match` header.
    if_match: Option<String>,
    /// The `Idempotency-Key` header.
    idempotency: Option<String>,
    /// The `Last-Event-ID` header, where it is a number.
    last_event: Option<u64>,
    /// What was asked, for a repeat.
    digest: [u8; 32],
}

/// What an operator gets.
enum Answer {
    /// A JSON document.
    Json { status: u16, body: Value, etag: Option<String>, location: Option<String>, replayed: bool },
    /// Anything else.
    Whole(HttpResponse),
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        Self::Json { status, body, etag: None, location: None, replayed: false }
    }

    fn response(self) -> HttpResponse {
        let (status, body, etag, location, replayed) = match self {
            Self::Whole(response) => return response,
            Self::Json { status, body, etag, location, replayed } => (status, body, etag, location, replayed),
        };
        let mut response = HttpResponse::build(super::respond::status(status));
        if let Some(etag) = etag {
            response.insert_header((header::ETAG, etag));
        }
        if let Some(location) = location {
            response.insert_header((header::LOCATION, location));
        }
        if replayed {
            response.insert_header(("idempotent-replayed", "true"));
        }
        shown(&mut response).content_type("application/json").body(body.to_string())
    }
}

/// Answers every request under `/admin`.
pub async fn answer(
    plane: Data<Plane>,
    links: Data<Links>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    match act(&plane, &links, &request, payload).await {
        Ok(answer) => answer.response(),
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

async fn act(
    plane: &Plane,
    links: &Links,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Answer, Problem> {
    let operator = plane.operator(request)?;
    let path = fields::decoded(request.path());
    let (route, id) = matched(request.method().as_str(), path.strip_prefix("/admin/v1").unwrap_or(""))?;
    if operator.role < route.role {
        return Err(Problem::forbidden(operator.role, route.role));
    }
    let mut query = Fields::of_query(request.query_string())?;
    let largest = match route.path {
        "/keys/import" => MAX_IMPORT_BYTES,
        _ if route.role == AdminRole::Admin => MAX_ADMIN_BYTES,
        _ => MAX_BODY_BYTES,
    };
    let bytes = body(payload, largest).await?;
    let asked = Asked {
        gateway: &plane.gateway,
        links,
        operator: &operator,
        source: request.peer_addr().map(|address| address.ip()),
        route,
        id,
        dry: if route.can_be_dry() { query.switch("dry_run")?.unwrap_or(false) } else { false },
        query,
        body: Fields::of_body(&bytes)?,
        if_match: text_header(request, "if-match")?,
        idempotency: text_header(request, "idempotency-key")?,
        last_event: text_header(request, "last-event-id")?.and_then(|text| text.parse().ok()),
        digest: digest(request, &bytes),
    };
    match route.act {
        Act::Now(act) => act(asked).map(|body| Answer::new(200, body)),
        Act::Operate { action, act, show } => acts::operate(asked, action, act, show).await,
        Act::Later(act) => act(asked).await,
    }
}

/// What was asked: the same digest means the same request.
fn digest(request: &HttpRequest, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [request.method().as_str(), request.path(), request.query_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(body);
    hash.finalize().into()
}

fn text_header(request: &HttpRequest, name: &'static str) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(name) else { return Ok(None) };
    let visible = |text: &&str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 200).filter(visible);
    text.map(|text| Some(text.to_owned()))
        .ok_or_else(|| Problem::field(name, "expected 1 to 200 visible ASCII characters"))
}

fn matched<'a>(method: &str, path: &'a str) -> Result<(&'static Route, &'a str), Problem> {
    let mut allowed = Vec::new();
    // A path written out is that path: what a pattern would make of it does not count.
    let written_out = table::routes().any(|route| route.path == path);
    for route in table::routes().filter(|route| !written_out || route.path == path) {
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

async fn body(mut payload: Payload, largest: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body could not be read"))?;
        if body.len() + chunk.len() > largest {
            return Err(Problem::too_large(largest));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_segment_by_segment() {
        assert_eq!(fits("/keys/{}/park", "/keys/a:b@c/park"), Some("a:b@c"));
        assert_eq!(fits("/keys/{}", "/keys/"), None);
        assert_eq!(fits("/keys/{}", "/keys/a/b"), None);
        assert!(matched("GET", "/keys/a").is_ok() && matched("HEAD", "/status").is_ok());
        for (method, path) in
            [("GET", "/keys/a/park"), ("DELETE", "/status"), ("PUT", "/keys/a"), ("GET", "/nothing")]
        {
            assert!(matched(method, path).is_err(), "{method} {path}");
        }
    }
}
