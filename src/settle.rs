//! `Record`: what one request was and how it ended, written exactly once, when it is dropped.
//!
//! It is made with the request id and travels with the call: through the queue, the attempts and the reply's body. Whoever
//! drops it settles it, so an abort at any await point leaves one log line, one set of counts and no gauge behind. The
//! outcome is `client_closed` until something better is known.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headgate_providers::{Fault, Usage};

use crate::call::RequestId;
use crate::clock::Moment;
use crate::events::{FailedOver, What};
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::pool::Lease;
use crate::prices::Schedule;
use crate::usage::UsageRecord;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Whether a backend's answer was committed to.
    pub answered: bool,
    /// Time spent reading the body.
    pub uploading: Duration,
    /// The gateway's own share of the time until the first attempt's first byte, waiting for the body and for keys left out.
    pub before: Option<Duration>,
    /// Its share between the first content and the first byte handed on.
    pub after: Option<Duration>,
    backend: Arc<str>,
    key: Arc<str>,
    cause: &'static str,
    /// What upstream calls the model of the last attempt, and what its tokens cost.
    tried: Option<(Arc<str>, Schedule)>,
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
            answered: false,
            uploading: Duration::ZERO,
            before: None,
            after: None,
            backend: Arc::default(),
            key: Arc::default(),
            cause: "",
            tried: None,
        }
    }

    /// An attempt begins.
    pub fn attempt(&mut self, lease: &Lease) {
        let candidate = lease.candidate();
        let backend = &candidate.upstream.name;
        if self.attempts > 0 && self.backend != *backend {
            self.gateway.metrics.failover(&self.backend, backend, self.cause);
            let moved = FailedOver {
                request_id: self.id.as_str().to_owned(),
                from: self.backend.to_string(),
                to: backend.to_string(),
                cause: self.cause,
            };
            self.gateway.pool.events().tell(self.gateway.clock.now(), What::Failover(moved));
        }
        self.attempts += 1;
        self.backend.clone_from(backend);
        self.key.clone_from(&candidate.seat.name);
        self.tried = Some((candidate.upstream_model.clone(), candidate.prices.clone()));
    }

    /// The first byte of the first attempt left at `sent`.
    pub fn sent(&mut self, sent: Moment) {
        let waited = self.uploading + self.queued;
        self.before.get_or_insert_with(|| sent.since(self.started).saturating_sub(waited));
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

/// When a request began and how long it took.
struct Times {
    at: SystemTime,
    duration: Duration,
    first_content: Option<Duration>,
}

impl Record {
    /// What its tokens cost by the prices of `at`, nano-dollars; `None` where none were told or the model has no price.
    fn cost(&self, at: SystemTime) -> Option<u64> {
        let (_, prices) = self.tried.as_ref().filter(|_| self.usage != Usage::default())?;
        let unix = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        prices.cost(&self.usage, i64::try_from(unix).unwrap_or(i64::MAX))
    }

    /// Hands over what is kept of the request. The last step: it takes the texts along.
    fn keep(&mut self, times: &Times, cost: Option<u64>) {
        let gateway = &self.gateway;
        if !gateway.usage.is_open() {
            return;
        }
        let served = self.tried.take().filter(|_| self.answered).map(|(model, _)| model);
        let routed = || gateway.settings().routes.iter().any(|route| route.model.is(&self.model));
        let named = served.is_some() || routed();
        let kept = gateway.usage.push(UsageRecord {
            id: self.id.clone(),
            at: times.at,
            operation: self.operation,
            tenant: self.tenant.take(),
            key: std::mem::take(&mut self.key),
            backend: std::mem::take(&mut self.backend),
            model: std::mem::take(&mut self.model),
            served,
            named,
            stream: self.stream,
            usage: self.usage,
            cost,
            attempts: self.attempts,
            queued: self.queued,
            first_content: times.first_content,
            duration: times.duration,
            status: self.status,
            outcome: self.outcome,
            cause: self.cause,
        });
        if !kept {
            gateway.metrics.usage_dropped(1);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.gateway.load.end();
        let now = self.gateway.clock.now();
        let duration = now.since(self.started);
        let first_content = self.first_content.map(|moment| moment.since(self.started));
        let wall = self.gateway.clock.wall();
        let times = Times { at: wall.checked_sub(duration).unwrap_or(wall), duration, first_content };
        let cost = self.cost(times.at);
        self.gateway.metrics.request(self, duration, first_content);
        if let Some(cost) = cost {
            self.gateway.metrics.cost(&self.backend, cost);
        }
        self.log(&times, cost);
        self.keep(&times, cost);
    }
}

impl Record {
    fn log(&self, times: &Times, cost: Option<u64>) {
        let Times { duration, first_content, .. } = *times;
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
            backend = (self.attempts > 0).then_some(&*self.backend),
            key = (self.attempts > 0).then_some(&*self.key),
            attempts = self.attempts,
            dropped = self.dropped,
            queue_ms = millis(self.queued),
            first_content_ms = first_content.map(millis),
            duration_ms = millis(duration),
            tokens_in = self.usage.input,
            tokens_out = self.usage.output,
            cache_read = self.usage.cache_read,
            cache_written = self.usage.cache_written(),
            cost_usd = cost.map(crate::prices::dollars),
            "request"
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}
