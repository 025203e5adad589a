//! From a request on the wire to an answer: who calls, which fault strikes, which endpoint answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::body::{Meter, Paperwork, ReplyBody};
use super::clock::sleep;
use super::error::ApiError;
use super::fault::{Fault, FaultKind};
use super::mishap::{Scene, reply as mishap, too_large};
use super::record::{Receipt, Recorded};
use super::reply::Reply;
use super::script::Subject;
use super::server::{Busy, Takeover};
use super::staged::{needs_wire, stage};
use super::world::{Key, World};
use super::{control, messages, models};

/// hyper has nothing to answer: the connection was handed to a play, or the client is gone.
#[derive(Debug, thiserror::Error)]
#[error("the connection needs no answer from hyper")]
pub struct TakenOver;

/// A request that is being answered.
pub struct Call {
    /// The shared state.
    pub world: Arc<World>,
    /// The head.
    pub parts: Parts,
    /// Its id.
    pub request_id: String,
    /// The place of its key.
    pub key_index: Option<usize>,
    /// The model, once known.
    pub model: String,
    /// The fault that strikes.
    pub fault: Option<Fault>,
}

impl Call {
    /// Its key.
    pub fn key(&self) -> Option<&Key> {
        self.key_index.and_then(|index| self.world.keys.get(index))
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.parts.headers, name)
    }

    /// The answer of the fault, if it is one.
    pub fn mishap(&self) -> Option<Reply> {
        let organization = self.key().map_or("", |key| key.organization.id.as_str());
        let (model, clock) = (self.model.as_str(), &self.world.clock);
        mishap(self.fault.as_ref()?, Scene { request_id: &self.request_id, model, organization, clock })
    }

    fn subject<'a>(&'a self, model: Option<&'a str>) -> Subject<'a> {
        Subject { key: self.key().map_or("unknown", |key| &key.name), path: self.path(), model }
    }

    /// Looks for a fault, unless one strikes already.
    pub fn look_for_fault(&mut self, model: Option<&str>) {
        if self.fault.is_none() {
            self.fault = self.world.fault(self.subject(model));
        }
    }
}

/// Answers one request.
pub async fn handle(
    world: Arc<World>,
    busy: Busy,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, TakenOver> {
    let (parts, mut incoming) = request.into_parts();
    if parts.uri.path().starts_with("/__sim/") {
        let body = incoming.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Ok(response(control::answer(&world, &parts, &body), Paperwork { busy, books: None }));
    }
    let key_index = secret(&parts.headers).and_then(|secret| world.key_of(secret));
    let receipt = world.book.begin(key_index, recorded(&parts));
    let request_id = world.id("req_01", 22);
    let mut call = Call { world, parts, request_id, key_index, model: String::new(), fault: None };
    call.look_for_fault(None);
    let mut reply = match body(&call, &mut incoming).await? {
        Some(body) => {
            receipt.body(&body);
            answer(&mut call, &body)
        }
        None => call.mishap().unwrap_or_else(|| {
            call.fault.get_or_insert_with(|| Fault::new(FaultKind::Early413));
            Reply::error(&too_large(), &call.request_id)
        }),
    };
    dress(&call, &mut reply);
    let delay = match &call.fault {
        Some(fault) if fault.kind == FaultKind::Delay => {
            Duration::from_millis(fault.knobs.for_ms.unwrap_or(1_000))
        }
        Some(_) | None => Duration::ZERO,
    };
    let pause = reply.latency + delay;
    if !pause.is_zero() {
        sleep(pause).await;
    }
    deliver(call, reply, receipt, busy)
}

fn deliver(
    call: Call,
    reply: Reply,
    mut receipt: Receipt,
    busy: Busy,
) -> Result<Response<ReplyBody>, TakenOver> {
    let organization = call.key().map(|key| Arc::clone(&key.organization));
    let meter = Meter { organization, model: call.model.clone(), clock: call.world.clock };
    let staged = call.fault.as_ref().filter(|fault| needs_wire(fault));
    let Some(fault) = staged else {
        receipt.outcome(&reply.status.to_string(), reply.streamed);
        return Ok(response(reply, Paperwork { busy, books: Some((meter, receipt)) }));
    };
    receipt.outcome(&fault.name(), reply.streamed);
    let play = stage(&reply, fault, &call.request_id);
    busy.seat().take_over(Takeover { play, meter, receipt });
    Err(TakenOver)
}

/// The body; `None` when it is left unread, by a fault or because it is too large.
async fn body(call: &Call, incoming: &mut Incoming) -> Result<Option<Bytes>, TakenOver> {
    let limit = call.world.config.max_body_bytes;
    let announced = incoming.size_hint().lower();
    if call.fault.as_ref().is_some_and(Fault::unread) || announced > limit as u64 {
        return Ok(None);
    }
    let speed = match &call.fault {
        Some(fault) if fault.kind == FaultKind::SlowRead => fault.knobs.bytes_per_s.unwrap_or(65_536).max(1),
        Some(_) | None => 0,
    };
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        // The client left while it was sending: there is nobody to answer.
        let Ok(data) = frame.map_err(|_| TakenOver)?.into_data() else { continue };
        if body.len() + data.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&data);
        if speed > 0 {
            sleep(Duration::from_secs_f64(data.len() as f64 / speed as f64)).await;
        }
    }
    Ok(Some(body.freeze()))
}

fn answer(call: &mut Call, body: &Bytes) -> Reply {
    route(call, body).unwrap_or_else(|error| Reply::error(&error, &call.request_id))
}

fn route(call: &mut Call, body: &Bytes) -> Result<Reply, ApiError> {
    let path = call.path().to_owned();
    let wanted = match path.as_str() {
        "/v1/messages" | "/v1/messages/count_tokens" => "POST",
        "/v1/models" => "GET",
        other if other.starts_with("/v1/models/") => "GET",
        _ => return Err(ApiError::new(404, "Not found")),
    };
    if call.parts.method != wanted {
        return Err(ApiError::new(405, "Method Not Allowed"));
    }
    match call.key() {
        Some(key) if !key.revoked() => {}
        Some(_) | None => return Err(ApiError::new(401, unauthenticated(&call.parts.headers))),
    }
    match path.as_str() {
        "/v1/messages" => messages::create(call, body),
        "/v1/messages/count_tokens" => messages::count(call, body),
        _ => models::answer(call),
    }
}

/// The API says this of bearer tokens too.
fn unauthenticated(headers: &HeaderMap) -> &'static str {
    if secret(headers).is_some() { "invalid x-api-key" } else { "x-api-key header is required" }
}

/// The headers that every answer carries.
fn dress(call: &Call, reply: &mut Reply) {
    let mut common = vec![("request-id".to_owned(), call.request_id.clone())];
    if let Some(key) = call.key() {
        common.push(("anthropic-organization-id".to_owned(), key.organization.id.clone()));
        if let Some(workspace) = &key.organization.workspace_id {
            common.push(("anthropic-workspace-id".to_owned(), workspace.clone()));
        }
    }
    let ray = call.request_id.get(6..22).unwrap_or_default().bytes();
    let ray: String = ray.map(|byte| char::from_digit(u32::from(byte) % 16, 16).unwrap_or('0')).collect();
    common.extend([
        ("via".to_owned(), "1.1 google".to_owned()),
        ("x-envoy-upstream-service-time".to_owned(), reply.latency.as_millis().to_string()),
        ("server".to_owned(), "cloudflare".to_owned()),
        ("cf-ray".to_owned(), format!("{ray}-FRA")),
    ]);
    if call.world.manners().connection.close_each {
        common.push(("connection".to_owned(), "close".to_owned()));
    }
    common.retain(|(name, _)| !reply.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)));
    reply.headers.extend(common);
}

fn response(reply: Reply, paperwork: Paperwork) -> Response<ReplyBody> {
    let exact = !reply.streamed;
    let mut response = Response::new(ReplyBody::new(reply.pieces, exact, paperwork));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::OK);
    for (name, value) in &reply.headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, hyper::header::HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn recorded(parts: &Parts) -> Recorded {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Recorded {
        sequence: 0,
        key: String::new(),
        at_ms: 0,
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Bytes::new(),
        outcome: String::new(),
        ended: None,
    }
}

/// The credential: `x-api-key`, else a bearer token.
fn secret(headers: &HeaderMap) -> Option<&str> {
    header(headers, "x-api-key").or_else(|| {
        let (scheme, token) = header(headers, "authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
