//! The small endpoints: `/healthz`, `/readyz`, `/metrics`, and what no path or method takes.

use actix_web::body::BoxBody;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::ingress;
use super::messages::Edge;
use super::respond;
use crate::call::RequestId;
use crate::failure::{Failure, FailureKind};
use crate::gateway::{Gateway, Readiness};
use crate::settle::Record;
use crate::store::StoreState;
use std::sync::Arc;

/// `GET /healthz`: the process is alive; nothing else is asked.
pub async fn healthz() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)).await
}

/// `GET /readyz`: can it serve.
pub async fn readyz(gateway: Data<Arc<Gateway>>) -> HttpResponse {
    let (status, reason) = match gateway.readiness() {
        Readiness::Ready => (200, r#"{"status":"ready"}"#),
        Readiness::Draining => (503, r#"{"status":"draining","reason":"the gateway is shutting down"}"#),
        Readiness::NoKeys => (503, r#"{"status":"not_ready","reason":"no usable key is configured"}"#),
    };
    let response = HttpResponse::build(respond::status(status)).content_type("application/json").body(reason);
    std::future::ready(response).await
}

/// `GET /metrics` in Prometheus's text format.
pub async fn metrics(gateway: &Gateway) -> HttpResponse {
    if let Some(store) = gateway.registry.store() {
        match store.state() {
            StoreState::Opening => {}
            StoreState::Open => gateway.metrics.store_up(true),
            StoreState::Failing { .. } => gateway.metrics.store_up(false),
        }
    }
    let text = gateway.metrics.text(&gateway.pool, gateway.clock.now());
    let response = match text {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    };
    std::future::ready(response).await
}

/// Any path that is not ours.
pub async fn not_found(edge: Data<Edge>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let failure = Failure::new(FailureKind::NotFound, format!("Not found: {}", request.path()));
    std::future::ready(refuse(&edge, &request, payload, &failure)).await
}

/// A path of ours with a method it does not take; `allowed` is told.
pub async fn method_not_allowed(
    edge: &Edge,
    request: &HttpRequest,
    payload: Payload,
    allowed: &'static str,
) -> HttpResponse {
    let failure = Failure::new(
        FailureKind::MethodNotAllowed,
        format!("Method {} is not allowed here; use {allowed}.", request.method()),
    );
    let mut response = refuse(edge, request, payload, &failure);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    std::future::ready(response).await
}

fn refuse(edge: &Edge, request: &HttpRequest, payload: Payload, failure: &Failure) -> HttpResponse<BoxBody> {
    let gateway = &edge.gateway;
    let record = Record::open(gateway.clone(), RequestId::new(), "other", gateway.clock.now());
    respond::failure(gateway, record, failure, ingress::unread(request, payload))
}
