//! Faults: an upstream's failure, who is to blame, and how long to stay away.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::wire::Headers;

/// What went wrong. One small list with no catch-all; [`FaultKind::blame`] says whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// 400, 413, 422 of the request itself.
    Request,
    /// 404 of something other than the model (a file, a batch).
    NotFound,
    /// The dialect cannot express the request; nothing was sent.
    Inexpressible,
    /// The dialect's edits made the body larger than this backend takes; nothing was sent.
    Oversized,
    /// A thinking signature was refused after a move.
    SignatureRefused,
    /// 401: the key is not valid.
    KeyRefused,
    /// 403: the key may not do this, or not with this model.
    KeyForbidden,
    /// 402, or credit exhausted in whatever status.
    Billing,
    /// A spend limit, daily or weekly quota is used up.
    Quota,
    /// The organization is on hold.
    Hold,
    /// 429 by rate.
    RateLimited,
    /// 404 naming the model, or a model not enabled there.
    ModelMissing,
    /// 529, or 503 for overload: short of capacity.
    Overloaded,
    /// Bedrock's ModelNotReady.
    NotReady,
    /// Any other 5xx.
    Server,
    /// No first event in time.
    FirstEventTimeout,
    /// A whole answer did not end in time.
    WholeTimeout,
    /// Silence in a running answer.
    IdleTimeout,
    /// The call itself has lived for as long as any may.
    CallDeadline,
    /// DNS, TCP connect.
    Connect,
    /// TLS handshake.
    Tls,
    /// The connection broke before an answer.
    Reset,
    /// The answer broke off.
    Truncated,
    /// The answer breaks the protocol.
    Malformed,
    /// A reused idle connection was already closed.
    StaleConnection,
    /// The upload of a large body was refused early.
    UploadRefused,
}

/// Who is to blame: what may be parked and what a breaker may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The request: nothing is parked, nothing counted.
    Caller,
    /// The key.
    Key,
    /// The limit group.
    Group,
    /// The limit group for this model class.
    GroupClass,
    /// The (backend or group, model): not there.
    Model,
    /// The (limit group, model class) briefly and the (backend, model) breaker.
    Capacity,
    /// The (backend, model).
    BackendModel,
    /// The backend's connections.
    Backend,
    /// Nobody.
    Nobody,
}

impl FaultKind {
    /// Every one.
    pub const ALL: [Self; 26] = [
        Self::Request,
        Self::NotFound,
        Self::Inexpressible,
        Self::Oversized,
        Self::SignatureRefused,
        Self::KeyRefused,
        Self::KeyForbidden,
        Self::Billing,
        Self::Quota,
        Self::Hold,
        Self::RateLimited,
        Self::ModelMissing,
        Self::Overloaded,
        Self::NotReady,
        Self::Server,
        Self::FirstEventTimeout,
        Self::WholeTimeout,
        Self::IdleTimeout,
        Self::CallDeadline,
        Self::Connect,
        Self::Tls,
        Self::Reset,
        Self::Truncated,
        Self::Malformed,
        Self::StaleConnection,
        Self::UploadRefused,
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whose fault it is (the classification table of the design, section 5).
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::Request | Self::NotFound => Blame::Caller,
            Self::KeyRefused | Self::KeyForbidden => Blame::Key,
            Self::Billing | Self::Quota | Self::Hold => Blame::Group,
            Self::RateLimited => Blame::GroupClass,
            Self::ModelMissing => Blame::Model,
            Self::Overloaded | Self::NotReady => Blame::Capacity,
            Self::Server
            | Self::FirstEventTimeout
            | Self::WholeTimeout
            | Self::IdleTimeout
            | Self::Truncated
            | Self::Malformed => Blame::BackendModel,
            Self::Connect | Self::Tls | Self::Reset => Blame::Backend,
            Self::StaleConnection
            | Self::UploadRefused
            | Self::SignatureRefused
            | Self::Inexpressible
            | Self::Oversized
            | Self::CallDeadline => Blame::Nobody,
        }
    }

    /// A short, fixed name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::NotFound => "not_found",
            Self::Inexpressible => "inexpressible",
            Self::Oversized => "oversized",
            Self::SignatureRefused => "signature_refused",
            Self::KeyRefused => "key_refused",
            Self::KeyForbidden => "key_forbidden",
            Self::Billing => "billing",
            Self::Quota => "quota",
            Self::Hold => "hold",
            Self::RateLimited => "rate_limited",
            Self::ModelMissing => "model_missing",
            Self::Overloaded => "overloaded",
            Self::NotReady => "not_ready",
            Self::Server => "server_error",
            Self::FirstEventTimeout => "first_event_timeout",
            Self::WholeTimeout => "whole_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::CallDeadline => "call_deadline",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::StaleConnection => "stale_connection",
            Self::UploadRefused => "upload_refused",
        }
    }
}

/// Which bucket of a limit was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Requests per minute.
    Requests,
    /// Uncached input tokens per minute.
    InputTokens,
    /// Output tokens per minute.
    OutputTokens,
    /// Tokens of both kinds per minute.
    Tokens,
    /// Concurrent requests or connections.
    Concurrent,
    /// How fast usage may grow (acceleration limit).
    Ramp,
    /// A day's quota.
    Day,
    /// A week's quota.
    Week,
    /// Money.
    Spend,
}

impl Dimension {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Tokens,
        Self::Concurrent,
        Self::Ramp,
        Self::Day,
        Self::Week,
        Self::Spend,
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// A short, fixed name for logs, metrics and the admin API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
            Self::Ramp => "ramp",
            Self::Day => "day",
            Self::Week => "week",
            Self::Spend => "spend",
        }
    }
}

/// Where a stated waiting time was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `retry-after-ms`.
    RetryAfterMs,
    /// `retry-after`, in any of its syntaxes.
    RetryAfter,
    /// An `anthropic-ratelimit-*-reset` header of a 429 without `retry-after`.
    ResetHeader,
    /// A date in the error's message.
    Message,
    /// Our own source of short-lived credentials: when it is asked again.
    Credential,
    /// The rule for a limit whose date is not stated (the 1st of next month UTC, the next day).
    Calendar,
}

impl Source {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::RetryAfterMs,
        Self::RetryAfter,
        Self::ResetHeader,
        Self::Message,
        Self::Credential,
        Self::Calendar,
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// A short, fixed name for logs and the admin API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RetryAfterMs => "retry-after-ms",
            Self::RetryAfter => "retry-after",
            Self::ResetHeader => "reset-header",
            Self::Message => "message",
            Self::Credential => "credential",
            Self::Calendar => "calendar",
        }
    }
}

/// How long upstream says to stay away, counted from the moment its answer arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Remaining time.
    pub after: Duration,
    /// Where it was read.
    pub source: Source,
}

/// An upstream's error answer as it came, for the endings that pass it on. `Debug` shows no body: it may quote the caller.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers as received.
    pub headers: Headers,
    /// Body as received, bounded.
    pub body: Bytes,
    /// Whether the body is the Messages API's own error envelope.
    pub is_envelope: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .field("is_envelope", &self.is_envelope)
            .finish_non_exhaustive()
    }
}

/// An upstream's failure.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// How long to stay away, where upstream said so.
    pub stated: Option<Stated>,
    /// Which bucket was empty, where the answer says so.
    pub dimension: Option<Dimension>,
    /// Whether a [`FaultKind::KeyForbidden`] concerns only the asked model.
    pub model_only: bool,
    /// The answer, when there was one.
    pub answer: Option<Box<Answer>>,
    /// One line for the operator; never a secret, never for the caller.
    pub detail: String,
}

impl Fault {
    /// A fault without an answer.
    #[must_use]
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, stated: None, dimension: None, model_only: false, answer: None, detail: detail.into() }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.kind.blame()
    }

    /// The status upstream answered with, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Dimension, FaultKind, Source};

    #[test]
    fn every_name_is_one_s_own_and_leads_back() {
        for kind in FaultKind::ALL {
            assert_eq!(FaultKind::named(kind.name()), Some(kind));
        }
        for dimension in Dimension::ALL {
            assert_eq!(Dimension::named(dimension.name()), Some(dimension));
        }
        for source in Source::ALL {
            assert_eq!(Source::named(source.name()), Some(source));
        }
        let kinds: BTreeSet<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!((kinds.len(), FaultKind::named("no such fault")), (FaultKind::ALL.len(), None));
    }
}
