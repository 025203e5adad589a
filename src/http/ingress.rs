//! Reading a request: who calls, then the bounded body, then its outline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use headgate_providers::{Headers, MessagesRequest, Operation, Outline, forwards, scan};

use crate::auth::{Caller, Refused};
use crate::call::Fallback;
use crate::config::checked::Tenant;
use crate::failure::{Failure, FailureKind};
use crate::gateway::Gateway;

/// From this size a body is scanned off the worker, so that its streams go on.
const SCAN_ELSEWHERE: usize = 1 << 20;
/// Most memory set aside on a caller's word alone (`content-length`).
const BELIEVED_LENGTH: usize = 1 << 20;

/// Who calls.
///
/// # Errors
/// 401 when a key is asked for and none, or an unknown one, is presented.
pub fn tenant(gateway: &Gateway, headers: &HeaderMap) -> Result<Option<Arc<Tenant>>, Failure> {
    let value = |name| headers.get(name).map(header::HeaderValue::as_bytes);
    match gateway.auth.caller(value("x-api-key"), value("authorization")) {
        Ok(Caller::Tenant(tenant)) => Ok(Some(tenant)),
        Ok(Caller::Anonymous) => Ok(None),
        Err(Refused::Missing) => Err(Failure::new(
            FailureKind::Unauthorized,
            "x-api-key header is required, or an Authorization header with a bearer key",
        )),
        Err(Refused::Unknown) => Err(Failure::new(FailureKind::Unauthorized, "invalid x-api-key")),
    }
}

/// The upload that is still to be read after an early answer; `None` where the request announced no body, so that its
/// connection can be used again.
#[must_use]
pub fn unread(request: &HttpRequest, payload: Payload) -> Option<Payload> {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    let announced = length.is_some_and(|length| length.as_bytes() != b"0");
    (announced || headers.contains_key(header::TRANSFER_ENCODING)).then_some(payload)
}

/// Bytes of request bodies held by one call; dropping it gives them back.
#[derive(Debug)]
pub struct Buffered {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Buffered {
    fn new(total: &Arc<AtomicUsize>) -> Self {
        Self { total: total.clone(), bytes: 0 }
    }

    /// Counts `more` bytes; false when that passes `limit`.
    fn take(&mut self, more: usize, limit: usize) -> bool {
        self.bytes += more;
        self.total.fetch_add(more, Relaxed) + more <= limit
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}

/// Reads the body within its bounds.
///
/// # Errors
/// 413 beyond the bound, 503 beyond the total of all calls, 400 for a broken, silent or encoded upload.
pub async fn body(
    gateway: &Gateway,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<(Bytes, Buffered), Failure> {
    let settings = gateway.settings();
    let (limit, total, silence) =
        (settings.server.max_body_bytes, settings.server.max_buffered_bytes, settings.deadlines.write_stall);
    drop(settings);
    refuse_encoding(request.headers())?;
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > limit {
        return Err(too_large(limit));
    }
    let mut held = Buffered::new(&gateway.buffered);
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    while let Some(chunk) = next_chunk(payload, silence).await? {
        if !held.take(chunk.len(), total) {
            return Err(Failure::new(
                FailureKind::Unavailable,
                "The gateway is handling too many bytes. Please try again.",
            )
            .after(Some(Duration::from_secs(1))));
        }
        if held.bytes > limit {
            return Err(too_large(limit));
        }
        match first.take() {
            // A body that came in one piece is not copied.
            None if joined.is_empty() => first = Some(chunk),
            None => joined.extend_from_slice(&chunk),
            Some(start) => {
                joined.reserve(announced.min(BELIEVED_LENGTH).max(start.len() + chunk.len()));
                joined.extend_from_slice(&start);
                joined.extend_from_slice(&chunk);
            }
        }
    }
    Ok((first.unwrap_or_else(|| joined.freeze()), held))
}

async fn next_chunk(payload: &mut Payload, silence: Duration) -> Result<Option<Bytes>, Failure> {
    let broken = |what: &str| {
        Failure::new(FailureKind::BadRequest, format!("The request body could not be read: {what}."))
    };
    // Mostly the bytes are there already: then no timer is made.
    let next = match futures_util::poll!(payload.next()) {
        Poll::Ready(next) => Ok(next),
        Poll::Pending => tokio::time::timeout(silence, payload.next()).await,
    };
    match next {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(_))) => Err(broken("it ended early")),
        Err(_) => Err(broken("no bytes came in time")),
    }
}

fn refuse_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(Failure::new(
            FailureKind::BadRequest,
            "content-encoding: compressed request bodies are not accepted; send the body as it is",
        )),
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(
        FailureKind::TooLarge,
        format!("Request exceeds the maximum size: the body may have at most {limit} bytes."),
    )
}

/// Scans the body; a large one off the worker.
///
/// # Errors
/// 400 naming what is wrong.
pub async fn outline(body: &Bytes, max_nesting: usize) -> Result<Outline, Failure> {
    let scanned = if body.len() < SCAN_ELSEWHERE {
        scan(body, max_nesting)
    } else {
        let body = body.clone();
        actix_web::web::block(move || scan(&body, max_nesting)).await.map_err(|_| {
            Failure::new(FailureKind::Internal, "The request could not be read. Please try again.")
        })?
    };
    scanned.map_err(|error| Failure::new(FailureKind::BadRequest, error.message()))
}

/// The request that travels on.
#[must_use]
pub fn messages_request(
    operation: Operation,
    request: &HttpRequest,
    body: Bytes,
    outline: Outline,
) -> MessagesRequest {
    let lines = || request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = Headers::copied(|| lines().filter(|(name, _)| forwards(name)));
    let query = request.query_string();
    let query = (!query.is_empty()).then(|| query.to_owned());
    MessagesRequest { operation, body, query, headers, outline }
}

/// Which substitutions the caller forbids.
///
/// # Errors
/// 400 for a value that is neither `true`, `false` nor `provider`.
pub fn fallback(headers: &HeaderMap) -> Result<Fallback, Failure> {
    match headers.get("x-headgate-no-fallback").map(header::HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(Fallback::Any),
        Some(b"true") => Ok(Fallback::SameModel),
        Some(b"provider") => Ok(Fallback::FirstTier),
        Some(_) => Err(Failure::new(
            FailureKind::BadRequest,
            "x-headgate-no-fallback: expected true, false or provider",
        )),
    }
}
