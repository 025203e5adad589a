//! `Record`: what one request was and how it ended, written exactly once, when it is dropped.
//!
//! It is made with the request id and travels with the call: through the queue, the attempts and the reply's body. Whoever
//! drops it settles it, so an abort at any await point leaves one log line, one set of counts and no gauge behind. The
//! outcome is `client_closed` until something better is known.

use std::sync::Arc;
use std::time::Duration;

use headgate_providers::{Fault, Usage};

use crate::call::RequestId;
use crate::clock::Moment;
use crate::events::{FailedOver, What};
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::pool::Lease;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer was sent.
    Ok,
    /// The caller was told an error before any content.
    Failed,
    /// The answer broke off after content; the caller got an `error` event.
    Cut,
    /// The caller left.
    ClientClosed,
}

impl Outcome {
    /// Its fixed name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::ClientClosed => "client_closed",
        }
    }
}

/// The record of one request.
pub struct Record {
    gateway: Arc<Gateway>,
    /// The request's id.
    pub id: RequestId,
    /// Which endpoint, as a fixed name.
    pub operation: &'static str,
    /// Who called.
    pub tenant: Option<String>,
    /// The asked model; client-chosen text, so in the log only.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// When the head arrived.
    pub started: Moment,
    /// Time spent waiting for a key.
    pub queued: Duration,
    /// Status sent to the caller; 0 when none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens, as far as upstream told.
    pub usage: Usage,
    /// When the first content was there.
    pub first_content: Option<Moment>,
    /// Attempts made.
    pub attempts: u32,
    /// What was left out of the request so that it could be served.
    pub dropped: Option<&'static str>,
    backend: String,
    key: String,
    cause: &'static str,
}

impl Record {
    /// Opens the record of a request that arrived at `started`.
    #[must_use]
    pub fn open(gateway: Arc<Gateway>, id: RequestId, operation: &'static str, started: Moment) -> Self {
        gateway.load.begin();
        Self {
            gateway,
            id,
            operation,
            tenant: None,
            model: String::new(),
            stream: false,
            started,
            queued: Duration::ZERO,
            status: 0,
            outcome: Outcome::ClientClosed,
            usage: Usage::default(),
            first_content: None,
            attempts: 0,
            dropped: None,
            backend: String::new(),
            key: String::new(),
            cause: "",
        }
    }

    /// An attempt begins.
    pub fn attempt(&mut self, lease: &Lease) {
        let candidate = lease.candidate();
        if self.attempts > 0 && self.backend != candidate.upstream.settings.name {
            self.gateway.metrics.failover(&self.backend, &candidate.upstream.settings.name, self.cause);
            let moved = FailedOver {
                request_id: self.id.as_str().to_owned(),
                from: self.backend.clone(),
                to: candidate.upstream.settings.name.clone(),
                cause: self.cause,
            };
            self.gateway.pool.events().tell(self.gateway.clock.now(), What::Failover(moved));
        }
        self.attempts += 1;
        self.backend.clone_from(&candidate.upstream.settings.name);
        self.key.clone_from(&candidate.seat.id.name);
    }

    /// An attempt failed.
    pub fn fault(&mut self, fault: &Fault) {
        self.cause = fault.kind.name();
    }

    /// The call ended with an error answer.
    pub fn failed(&mut self, failure: &Failure) {
        self.status = failure.status();
        self.outcome = Outcome::Failed;
    }

    /// The backend that served, or was tried last.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The key that served, or was tried last.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.gateway.load.end();
        let now = self.gateway.clock.now();
        let duration = now.since(self.started);
        let first_content = self.first_content.map(|moment| moment.since(self.started));
        self.gateway.metrics.request(self, duration, first_content);
        tracing::info!(
            target: "headgate::request",
            request_id = self.id.as_str(),
            operation = self.operation,
            tenant = self.tenant.as_deref(),
            model = self.model.as_str(),
            stream = self.stream,
            status = self.status,
            outcome = self.outcome.name(),
            cause = (!self.cause.is_empty()).then_some(self.cause),
            backend = (self.attempts > 0).then_some(self.backend.as_str()),
            key = (self.attempts > 0).then_some(self.key.as_str()),
            attempts = self.attempts,
            dropped = self.dropped,
            queue_ms = millis(self.queued),
            first_content_ms = first_content.map(millis),
            duration_ms = millis(duration),
            tokens_in = self.usage.input,
            tokens_out = self.usage.output,
            cache_read = self.usage.cache_read,
            cache_written = self.usage.cache_written(),
            "request"
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}
