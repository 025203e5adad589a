//! Reading a request: who calls, then the bounded body, then its outline.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use headgate_providers::{Features, Headers, MessagesRequest, Operation, Outline, forwards, scan};

use super::names;
use crate::auth::{Caller, Refused};
use crate::call::Fallback;
use crate::config::checked::Tenant;
use crate::decode::{self, Coding, Undecodable};
use crate::failure::{Failure, FailureKind};
use crate::gateway::Gateway;
use crate::pool::Plan;

/// From this size a body is scanned off the worker, so that its streams go on.
const SCAN_ELSEWHERE: usize = 1 << 20;
/// Most memory set aside on a caller's word alone (`content-length`).
const BELIEVED_LENGTH: usize = 1 << 20;

/// When a caller whose key cannot be checked is told to come back.
const UNSURE_FOR: Duration = Duration::from_secs(1);

/// Who calls.
///
/// # Errors
/// 401 when a key is asked for and none, or an unknown one, is presented; 503 while the tenants are not all known.
pub fn tenant(gateway: &Gateway, headers: &HeaderMap) -> Result<Option<Arc<Tenant>>, Failure> {
    let value = |name| headers.get(name).map(header::HeaderValue::as_bytes);
    match gateway.auth.caller(value(&names::API_KEY), value(&header::AUTHORIZATION)) {
        Ok(Caller::Tenant(tenant)) => Ok(Some(tenant)),
        Ok(Caller::Anonymous) => Ok(None),
        Err(Refused::Missing) => Err(Failure::new(
            FailureKind::Unauthorized,
            "x-api-key header is required, or an Authorization header with a bearer key",
        )),
        Err(Refused::Unknown) => Err(Failure::new(FailureKind::Unauthorized, "invalid x-api-key")),
        Err(Refused::Unsure) => Err(Failure::new(
            FailureKind::Unavailable,
            "Keys cannot be checked for the moment. Please try again.",
        )
        .after(Some(UNSURE_FOR))),
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

    /// Bytes that are no longer held.
    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.total.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}

/// Reads the body within its bounds; a compressed one is decoded, and then the bounds are those of the decoded bytes.
///
/// # Errors
/// 413 beyond the bound, 503 beyond the total of all calls, 400 for a broken, silent or endless upload or an unknown coding.
pub async fn body(
    gateway: &Gateway,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<(Bytes, Buffered), Failure> {
    let settings = gateway.settings();
    let (limit, total, silence) =
        (settings.server.max_body_bytes, settings.server.max_buffered_bytes, settings.deadlines.write_stall);
    let until = gateway.clock.now() + settings.deadlines.total;
    drop(settings);
    if speaks_on(request) {
        let message = "upgrade: websocket is not supported; send the request without it";
        return Err(Failure::new(FailureKind::BadRequest, message));
    }
    let codings = request.headers().get_all(header::CONTENT_ENCODING);
    let coding = decode::coding(codings.map(header::HeaderValue::as_bytes))
        .map_err(|coding| unknown_coding(&coding))?;
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
    while let Some(chunk) = next_chunk(payload, || silence.min(until.since(gateway.clock.now()))).await? {
        if !held.take(chunk.len(), total) {
            return Err(too_busy());
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
    let body = first.unwrap_or_else(|| joined.freeze());
    match coding {
        None => Ok((body, held)),
        Some(coding) => decoded(coding, body, held, (limit, total)).await,
    }
}

/// Whether actix-web takes all that follows the head for a body that the connection's end alone ends, whatever length was announced.
fn speaks_on(request: &HttpRequest) -> bool {
    let mut asked = request.headers().get_all(header::UPGRADE).filter_map(|value| value.to_str().ok());
    asked.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// The bytes that a compressed body stands for, off the worker: a small one may stand for many.
async fn decoded(
    coding: Coding,
    body: Bytes,
    mut held: Buffered,
    (limit, total): (usize, usize),
) -> Result<(Bytes, Buffered), Failure> {
    let unpacked = actix_web::web::block(move || {
        let unpacked = decode::decode(coding, &body, limit, |more| held.take(more, total));
        held.give_back(body.len());
        unpacked.map(|unpacked| (unpacked, held))
    });
    let unpacked = unpacked.await.map_err(|_| {
        Failure::new(FailureKind::Internal, "The request could not be read. Please try again.")
    })?;
    unpacked.map_err(|why| match why {
        Undecodable::Broken => Failure::new(
            FailureKind::BadRequest,
            "The request body could not be decoded: it is not what content-encoding says.",
        ),
        Undecodable::TooLarge => too_large(limit),
        Undecodable::Refused => too_busy(),
    })
}

fn too_busy() -> Failure {
    Failure::new(FailureKind::Unavailable, "The gateway is handling too many bytes. Please try again.")
        .after(Some(Duration::from_secs(1)))
}

async fn next_chunk(
    payload: &mut Payload,
    patience: impl FnOnce() -> Duration,
) -> Result<Option<Bytes>, Failure> {
    let broken = |what: &str| {
        Failure::new(FailureKind::BadRequest, format!("The request body could not be read: {what}."))
    };
    // Mostly the bytes are there already: then no timer is made.
    let next = match futures_util::poll!(payload.next()) {
        Poll::Ready(next) => Ok(next),
        Poll::Pending => tokio::time::timeout(patience(), payload.next()).await,
    };
    match next {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(_))) => Err(broken("it ended early")),
        Err(_) => Err(broken("no bytes came in time")),
    }
}

fn unknown_coding(coding: &str) -> Failure {
    let coding: String = coding.chars().take(40).collect();
    Failure::new(
        FailureKind::BadRequest,
        format!("content-encoding: '{coding}' is not supported; send gzip, deflate, br, zstd or none"),
    )
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

/// What a request uses, where the plan depends on it: of a large one read off the worker, of any other when it is asked for.
pub async fn features(request: &MessagesRequest, plan: &Plan) -> OnceLock<Features> {
    if request.body.len() < SCAN_ELSEWHERE || !plan.reads_features() {
        return OnceLock::new();
    }
    let request = request.clone();
    let read = actix_web::web::block(move || Features::of(&request)).await;
    // Where that failed it is read on use.
    read.map(OnceLock::from).unwrap_or_default()
}

/// The request that travels on.
#[must_use]
pub fn messages_request(
    operation: Operation,
    request: &HttpRequest,
    body: Bytes,
    outline: Outline,
) -> MessagesRequest {
    let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = Headers::copied(lines.filter(|(name, _)| forwards(name)));
    let query = request.query_string();
    let query = (!query.is_empty()).then(|| query.to_owned());
    MessagesRequest { operation, body, query, headers, outline }
}

/// Which substitutions the caller forbids.
///
/// # Errors
/// 400 for a value that is neither `true`, `false` nor `provider`.
pub fn fallback(headers: &HeaderMap) -> Result<Fallback, Failure> {
    match headers.get(&names::NO_FALLBACK).map(header::HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(Fallback::Any),
        Some(b"true") => Ok(Fallback::SameModel),
        Some(b"provider") => Ok(Fallback::FirstTier),
        Some(_) => Err(Failure::new(
            FailureKind::BadRequest,
            "x-headgate-no-fallback: expected true, false or provider",
        )),
    }
}
