//! From a request on the wire to an answer: who calls, which fault strikes, which endpoint answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::body::{Paperwork, ReplyBody};
use super::clock::sleep;
use super::dialect::Dialect;
use super::error::ApiError;
use super::fault::{Fault, FaultKind};
use super::headers::dress;
use super::mishap::{self, Scene};
use super::owner::{Meter, Payer};
use super::record::{Receipt, Recorded};
use super::reply::Reply;
use super::script::Subject;
use super::server::{Busy, Takeover};
use super::staged::{needs_wire, stage};
use super::world::{Key, World};
use super::{bedrock, control, messages, models, vertex};

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
    /// The API it speaks.
    pub dialect: Dialect,
    /// The place of its key.
    pub key_index: Option<usize>,
    /// The model, once known.
    pub model: String,
    /// The fault that strikes.
    pub fault: Option<Fault>,
    /// Who pays, once it is admitted.
    pub payer: Option<Payer>,
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
        mishap::reply(self.fault.as_ref()?, self.scene())
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            request_id: &self.request_id,
            model: &self.model,
            organization: self.key().map_or("", |key| key.owner.id()),
            clock: &self.world.clock,
            dialect: self.dialect,
            wraps: vertex::wraps(self.path()),
        }
    }

    fn subject<'a>(&'a self, model: Option<&'a str>) -> Subject<'a> {
        let answers = self.dialect.answers(self.path());
        Subject { key: self.key().map_or("unknown", |key| &key.name), path: self.path(), answers, model }
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
    let mut call = received(world, parts);
    let receipt = call.world.book.begin(call.key_index, recorded(&call));
    call.look_for_fault(None);
    let mut reply = match body(&call, &mut incoming).await? {
        Some(body) => {
            receipt.body(&body);
            answer(&mut call, &body)
        }
        None => call.mishap().unwrap_or_else(|| {
            call.fault.get_or_insert_with(|| Fault::new(FaultKind::Early413));
            mishap::spoken(mishap::too_large(), &Fault::new(FaultKind::Early413), call.scene())
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

fn received(world: Arc<World>, parts: Parts) -> Call {
    let headers = &parts.headers;
    let dialect = Dialect::of(parts.uri.path(), headers.contains_key("metadata-flavor"), &world.config);
    let (key_index, request_id) = match dialect {
        Dialect::Anthropic => (
            secret(headers).and_then(|secret| world.names.secrets.get(secret).copied()),
            world.id("req_01", 22),
        ),
        Dialect::Bedrock => (bedrock::access::identify(&world, headers), uuid::Uuid::new_v4().to_string()),
        Dialect::Mantle => (bedrock::access::identify(&world, headers), world.id("req_bdrk_01", 22)),
        Dialect::Vertex => (vertex::identify(&world, headers), world.id("req_vrtx_01", 22)),
        Dialect::Identity => (None, world.id("req_", 22)),
    };
    Call { world, parts, request_id, dialect, key_index, model: String::new(), fault: None, payer: None }
}

fn deliver(
    mut call: Call,
    reply: Reply,
    mut receipt: Receipt,
    busy: Busy,
) -> Result<Response<ReplyBody>, TakenOver> {
    let meter = Meter { payer: call.payer.take(), clock: call.world.clock };
    let staged = call.fault.as_ref().filter(|fault| needs_wire(fault));
    let Some(fault) = staged else {
        receipt.outcome(&reply.status.to_string(), reply.streamed());
        return Ok(response(reply, Paperwork { busy, books: Some((meter, receipt)) }));
    };
    receipt.outcome(&fault.name(), reply.streamed());
    let play = stage(&reply, fault, &call.request_id);
    busy.seat().take_over(Takeover { play, meter, receipt });
    Err(TakenOver)
}

/// The body; `None` when it is left unread, by a fault or because it is too large.
async fn body(call: &Call, incoming: &mut Incoming) -> Result<Option<Bytes>, TakenOver> {
    let limit = call.dialect.max_body_bytes(&call.world.config);
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
    let answered = match call.dialect {
        Dialect::Anthropic => route(call, body),
        Dialect::Mantle => bedrock::native(call, body),
        Dialect::Bedrock => Ok(bedrock::answer(call, body)),
        Dialect::Vertex => Ok(vertex::answer(call, body)),
        Dialect::Identity => Ok(vertex::identity::answer(call, body)),
    };
    answered.unwrap_or_else(|error| Reply::error(&error, &call.request_id))
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

fn response(reply: Reply, paperwork: Paperwork) -> Response<ReplyBody> {
    let exact = !reply.streamed();
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

fn recorded(call: &Call) -> Recorded {
    let parts = &call.parts;
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Recorded {
        sequence: 0,
        dialect: call.dialect,
        key: String::new(),
        owner: String::new(),
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
    header(headers, "x-api-key").or_else(|| bearer(headers))
}

/// The bearer token.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = header(headers, "authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// A header's text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
