//! `Failure`: what the caller is told. An exhaustive match from kind to status and `error.type`; no HTTP library here.
//!
//! Everything the gateway itself says wears the API's own envelope; what upstream said and may be shown passes as it came
//! ([`FailureKind::Passed`]). No key name, organization or limit of a pool key ever enters a [`Failure`].

use std::time::Duration;

use headgate_providers::{Answer, Blame, Fault, FaultKind, Obstacle, anthropic};

/// What happened, in the caller's terms.
#[derive(Clone, Debug)]
pub enum FailureKind {
    /// 400: the request itself.
    BadRequest,
    /// 400: no backend can express it.
    Inexpressible,
    /// 401: the caller's key.
    Unauthorized,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: no such path, or no such model.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 413: the body is too large.
    TooLarge,
    /// 429: rate limits, own or upstream's.
    RateLimited,
    /// 500: our own fault.
    Internal,
    /// 502: no answer came from upstream.
    NoAnswer,
    /// 503: nothing can serve it now.
    Unavailable,
    /// 504: upstream did not answer in time.
    TimedOut,
    /// 529: upstream is short of capacity.
    Overloaded,
    /// Upstream's own answer.
    Passed(Box<Answer>),
}

/// What the caller is told.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// One sentence for the caller; unused where upstream's answer passes.
    pub message: String,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a time to try again.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The same with the time after which it is worth trying again.
    #[must_use]
    pub fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The process ends before the call does; another replica, or the next process, can serve it at once.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(FailureKind::Unavailable, crate::drain::GOODBYE).after(Some(Duration::from_secs(1)))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match &self.kind {
            FailureKind::BadRequest | FailureKind::Inexpressible => 400,
            FailureKind::Unauthorized => 401,
            FailureKind::Forbidden => 403,
            FailureKind::NotFound => 404,
            FailureKind::MethodNotAllowed => 405,
            FailureKind::TooLarge => 413,
            FailureKind::RateLimited => 429,
            FailureKind::Internal => 500,
            FailureKind::NoAnswer => 502,
            FailureKind::Unavailable => 503,
            FailureKind::TimedOut => 504,
            FailureKind::Overloaded => 529,
            FailureKind::Passed(answer) => answer.status,
        }
    }

    /// The envelope's `error.type`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match &self.kind {
            FailureKind::BadRequest | FailureKind::Inexpressible | FailureKind::MethodNotAllowed => {
                "invalid_request_error"
            }
            FailureKind::Unauthorized => "authentication_error",
            FailureKind::Forbidden => "permission_error",
            FailureKind::NotFound => "not_found_error",
            FailureKind::TooLarge => "request_too_large",
            FailureKind::RateLimited => "rate_limit_error",
            FailureKind::Internal | FailureKind::NoAnswer | FailureKind::Unavailable => "api_error",
            FailureKind::TimedOut => "timeout_error",
            FailureKind::Overloaded => "overloaded_error",
            FailureKind::Passed(answer) => anthropic::error_type_for_status(answer.status),
        }
    }

    /// No backend of the call's plan can express it.
    #[must_use]
    pub fn inexpressible(obstacle: &Obstacle) -> Self {
        let kind = match obstacle {
            Obstacle::Size(_) => FailureKind::TooLarge,
            Obstacle::Operation(_) | Obstacle::Part { .. } => FailureKind::Inexpressible,
        };
        Self::new(kind, obstacle.message())
    }

    /// The ending of a call whose last attempt met `fault`; `free_after` is the time until the earliest key can serve.
    #[must_use]
    pub fn from_fault(fault: Fault, free_after: Option<Duration>) -> Self {
        match fault.kind {
            FaultKind::Request
            | FaultKind::NotFound
            | FaultKind::SignatureRefused
            | FaultKind::ModelMissing
            | FaultKind::Server
            | FaultKind::Overloaded
            | FaultKind::NotReady => Self::passed(fault, free_after),
            FaultKind::RateLimited => Self::rate_limited(fault.answer, free_after),
            FaultKind::Quota if fault.status() == Some(429) => Self::rate_limited(None, free_after),
            FaultKind::KeyRefused
            | FaultKind::KeyForbidden
            | FaultKind::Billing
            | FaultKind::Quota
            | FaultKind::Hold => Self::new(
                FailureKind::Unavailable,
                "No upstream credential can serve this request at the moment.",
            )
            .after(free_after),
            FaultKind::Inexpressible => Self::new(FailureKind::Inexpressible, fault.detail),
            FaultKind::Oversized => Self::new(FailureKind::TooLarge, fault.detail),
            FaultKind::FirstEventTimeout
            | FaultKind::WholeTimeout
            | FaultKind::IdleTimeout
            | FaultKind::CallDeadline => {
                Self::new(FailureKind::TimedOut, "The upstream did not answer in time.")
            }
            FaultKind::Connect
            | FaultKind::Tls
            | FaultKind::Reset
            | FaultKind::Truncated
            | FaultKind::Malformed
            | FaultKind::StaleConnection
            | FaultKind::UploadRefused => {
                Self::new(FailureKind::NoAnswer, "The connection to the upstream failed before it answered.")
            }
        }
    }

    /// Upstream's own answer. What it states of time is told the way ours is: the edge puts it in seconds and caps it.
    fn passed(fault: Fault, free_after: Option<Duration>) -> Self {
        let overloaded = fault.kind.blame() == Blame::Capacity;
        let stated = fault.stated.map(|stated| stated.after);
        let retry_after = if overloaded { free_after.or(stated) } else { stated };
        match fault.answer {
            // To a caller these mean a key of its own.
            Some(answer) if matches!(answer.status, 401..=403) => {
                Self::new(FailureKind::NoAnswer, "The upstream refused the connection.")
            }
            Some(answer) if answer.is_envelope => {
                Self::new(FailureKind::Passed(answer), String::new()).after(retry_after)
            }
            Some(answer) => {
                // HTML and other shapes become an envelope of the same status.
                let status = answer.status;
                let kind = FailureKind::Passed(Box::new(Answer { body: bytes::Bytes::new(), ..*answer }));
                Self::new(kind, format!("The upstream answered with status {status}.")).after(retry_after)
            }
            None => Self::new(FailureKind::NoAnswer, "The upstream failed before it answered."),
        }
    }

    /// 429 with the API's own sentence; upstream's answer, where there is one, keeps everything but its message.
    #[must_use]
    pub fn rate_limited(answer: Option<Box<Answer>>, free_after: Option<Duration>) -> Self {
        let free_after = free_after.unwrap_or(Duration::from_secs(1));
        let seconds = whole_seconds(free_after);
        let message =
            format!("This request would exceed the rate limit. Please try again in {seconds} seconds.");
        let kind = match answer {
            Some(mut answer) if answer.is_envelope && answer.status == 429 => {
                answer.body = anthropic::scrub_rate_limit(&answer.body, seconds);
                FailureKind::Passed(answer)
            }
            Some(_) | None => FailureKind::RateLimited,
        };
        Self::new(kind, message).after(Some(free_after))
    }
}

/// Seconds as `retry-after` says them: rounded up, at least 1.
#[must_use]
pub fn whole_seconds(span: Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1)
}
