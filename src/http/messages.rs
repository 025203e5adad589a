//! `POST /v1/messages` and `/v1/messages/count_tokens`: one request from its head to its reply.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::http::{ConnectionType, Version};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use headgate_providers::Operation;
use tracing::Instrument as _;

use super::body::{Held, PingingBody, ReplyBody, hold};
use super::client::{Links, WireBody};
use super::ingress::{self, Buffered};
use super::names;
use super::read_on::Abandonable;
use super::respond;
use super::stall::Stalls;
use crate::call::{Call, RequestId, patience};
use crate::config::checked::Tenant;
use crate::failure::{Failure, FailureKind};
use crate::gateway::Gateway;
use crate::relay::{Ended, Relay};
use crate::reply::Reply;
use crate::settle::Record;
use crate::telemetry;

/// What a worker serves with: the shared gateway and its own connections.
#[derive(Clone)]
pub struct Edge {
    /// All shared state.
    pub gateway: Arc<Gateway>,
    /// This worker's connections.
    pub links: Links,
    /// Cuts this worker's stalled HTTP/2 callers.
    pub stalls: Stalls,
}

/// `POST /v1/messages`.
pub async fn messages(edge: Data<Edge>, request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(&edge, Operation::Messages, "messages", request, payload).await
}

/// `POST /v1/messages/count_tokens`.
pub async fn count_tokens(edge: Data<Edge>, request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(&edge, Operation::CountTokens, "count_tokens", request, payload).await
}

async fn serve(
    edge: &Edge,
    operation: Operation,
    name: &'static str,
    request: HttpRequest,
    mut payload: Payload,
) -> HttpResponse {
    let gateway = &edge.gateway;
    let id = RequestId::new();
    let span = telemetry::request_span(&id, name);
    let mut record = Record::open(gateway.clone(), id, name, gateway.clock.now());
    let tenant = match ingress::tenant(gateway, request.headers()) {
        Ok(tenant) => tenant,
        Err(failure) => {
            return respond::failure(gateway, record, &failure, ingress::unread(&request, payload));
        }
    };
    record.tenant = tenant.as_ref().map(|tenant| tenant.name.clone());
    let asked = gateway.clock.now();
    let read = {
        let body = std::pin::pin!(ingress::body(gateway, &request, &mut payload));
        gateway.drain.until_goodbye(body).await
    };
    record.uploading = gateway.clock.now().since(asked);
    let (body, held) = match read.unwrap_or_else(|| Err(Failure::shutting_down())) {
        Ok(read) => read,
        Err(failure) => return respond::failure(gateway, record, &failure, Some(payload)),
    };
    let relay = match prepare(edge, &request, Received { operation, body, tenant }, &mut record).await {
        Ok(relay) => relay,
        Err(failure) => return respond::failure(gateway, record, &failure, None),
    };
    let version = request.version();
    drop(request);
    let mut response = run(gateway, relay, record, held, span).await;
    if matches!(version, Version::HTTP_09 | Version::HTTP_10) && response.body().size() == BodySize::Stream {
        // It knows no chunks: the end of the connection is the end of its answer (RFC 9112, 6.1 and 6.3).
        response.head_mut().no_chunking(true);
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    if gateway.drain.has_begun() {
        // The caller's next request goes to a process that stays.
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    if version == Version::HTTP_2 { response.map_body(|_, body| edge.stalls.watch(body)) } else { response }
}

/// A request whose caller is known and whose body is read.
struct Received {
    operation: Operation,
    body: bytes::Bytes,
    tenant: Option<Arc<Tenant>>,
}

/// Parses the body and finds who may serve it.
async fn prepare(
    edge: &Edge,
    request: &HttpRequest,
    received: Received,
    record: &mut Record,
) -> Result<Relay<Links>, Failure> {
    let Received { operation, body, tenant } = received;
    let gateway = &edge.gateway;
    let settings = gateway.settings();
    let fallback = ingress::fallback(request.headers())?;
    let outline = ingress::outline(&body, settings.server.max_nesting).await?;
    record.model.clone_from(&outline.model);
    record.stream = outline.stream && operation == Operation::Messages;
    if tenant.as_ref().is_some_and(|tenant| !tenant.may_use(&outline.model)) {
        return Err(Failure::new(
            FailureKind::Forbidden,
            format!("Your API key does not have permission to use the model {}.", outline.model),
        ));
    }
    let plan = gateway.pool.plan(&outline.model).ok_or_else(|| unknown_model(&outline.model))?;
    let timeout = request.headers().get(&names::STAINLESS_TIMEOUT).and_then(|value| value.to_str().ok());
    let patience = patience(settings.relay.max_wait, timeout);
    let started = record.started;
    let request = ingress::messages_request(operation, request, body, outline);
    let used = ingress::features(&request, &plan).await;
    let call = Rc::new(Call {
        id: record.id.clone(),
        tenant,
        request,
        started,
        patience_until: started + patience,
        deadline: started + settings.deadlines.total,
        fallback,
        used,
    });
    let (gateway, transport) = (gateway.clone(), edge.links.clone());
    Ok(Relay { gateway, transport, call, plan, progress: Rc::default() })
}

/// The API's own words for a model that is not there.
#[must_use]
pub fn unknown_model(model: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("model: {model}"))
}

async fn run(
    gateway: &Arc<Gateway>,
    relay: Relay<Links>,
    record: Record,
    held: Buffered,
    span: tracing::Span,
) -> HttpResponse {
    let (progress, call) = (relay.progress.clone(), relay.call.clone());
    let running = Box::pin(relay.run(record).instrument(span));
    match hold(gateway, Abandonable::new(gateway.clone(), running, progress)).await {
        Held::Settled(Ok(reply)) => committed(reply, held),
        // Counting is free and an estimate better than nothing, where no backend has it.
        Held::Settled(Err(Ended { failure, record }))
            if matches!(failure.kind, FailureKind::Inexpressible)
                && call.request.operation == Operation::CountTokens =>
        {
            respond::estimate(record, call.features().estimated_tokens())
        }
        Held::Settled(Err(Ended { failure, record })) => respond::failure(gateway, record, &failure, None),
        Held::Overdue(running) => {
            let body = PingingBody::new(gateway.clone(), running, held);
            HttpResponse::Ok()
                .insert_header(("content-type", "text/event-stream; charset=utf-8"))
                .insert_header(("request-id", call.id.as_str()))
                .insert_header(("cache-control", "no-cache"))
                .insert_header(("x-accel-buffering", "no"))
                .body(BoxBody::new(body))
        }
    }
}

fn committed(mut reply: Reply<WireBody>, held: Buffered) -> HttpResponse {
    let head = reply.take_head();
    let mut response =
        HttpResponse::with_body(respond::status(head.status), BoxBody::new(ReplyBody::new(reply, held)));
    respond::put(&mut response, head.headers);
    response
}
