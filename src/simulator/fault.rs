//! Faults as data: what may go wrong, in the words of the configuration file and of `/__sim/faults`.
//!
//! A fault is a `kind` and a few knobs; a bare word is a kind with its defaults. Knobs that a kind has no use for are
//! ignored.
//!
//! - Answers instead of the real one: every kind up to [`FaultKind::Raw`].
//! - On Bedrock and Vertex the same kinds are told in their words: a `rate_limited` is a `ThrottlingException`, an
//!   `overloaded` a 503 of AWS.
//! - Bedrock's frames: [`FaultKind::ExceptionFrame`] to [`FaultKind::KeepAlives`]; elsewhere they are an `error` event or
//!   nothing. A truncated frame is an `end_early` or `fin` with `mid_event`.
//! - Where a stream breaks: `after_events` (counting pings), `after_deltas` or `after_bytes`; `mid_event` adds half of
//!   the next event. Whole answers break at `after_bytes`, by default in the middle.

use serde::{Deserialize, Serialize};

use super::bedrock::exception::ErrorShape;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing: a healthy turn in a script.
    None,
    /// 401 `authentication_error`.
    InvalidKey,
    /// 402 `billing_error`.
    Billing,
    /// 403 `permission_error`.
    Forbidden,
    /// 404 `not_found_error` that names the model.
    ModelNotFound,
    /// 404 `not_found_error` without a model.
    NotFound,
    /// 429 `rate_limit_error`.
    RateLimited,
    /// 429 `enforced_spend_limit_reached`, never with `retry-after`.
    EnforcedSpendLimit,
    /// 429 `ramp_limit_exceeded`.
    RampLimit,
    /// 400: the organization's own usage limit, until a date.
    UsageLimit,
    /// 400: the workspace's own usage limit, until a date.
    WorkspaceUsageLimit,
    /// 400: prepaid credit is gone.
    LowCredit,
    /// 400 `organization_on_hold`.
    OnHold,
    /// 400 `invalid_request_error`.
    BadRequest,
    /// 413 `request_too_large`.
    TooLarge,
    /// 413 answered while the client is still sending.
    #[serde(rename = "early_413")]
    Early413,
    /// 422 `invalid_request_error`.
    Unprocessable,
    /// 500 `api_error`.
    ServerError,
    /// 503 `api_error`.
    Unavailable,
    /// 504 `timeout_error`.
    Timeout,
    /// 529 `overloaded_error`.
    Overloaded,
    /// 502 with a page of HTML, as a CDN answers.
    Html,
    /// `status`, `headers` and `body` as given.
    Raw,
    /// An AWS exception named by `error_type` (`InternalServerException`), written in the `shape` asked for.
    Exception,
    /// Google's error of the `google.rpc` code in `error_type` (`INTERNAL`); `retry_after` becomes `RetryInfo`.
    GoogleError,
    /// Google's 429 of shared capacity.
    SharedCapacity,
    /// Google's 429 of one's own Provisioned Throughput.
    ProvisionedThroughput,
    /// The connection is closed before the head.
    CloseBeforeHead,
    /// The connection is reset before the head.
    ResetBeforeHead,
    /// Nothing is ever answered.
    StallBeforeHead,
    /// The connection is reset in the middle of the body.
    Reset,
    /// A bare FIN in the middle of the body: chunks complete, terminator (and TLS `close_notify`) missing.
    Fin,
    /// An orderly close (with TLS `close_notify`) in the middle of the body, terminator missing.
    Close,
    /// The body ends in perfect framing, but early: no `message_stop`.
    EndEarly,
    /// Silence for ever at the given place; `after_events: 0` is after the head.
    Stall,
    /// Only pings for `for_ms`, one each `every_ms`; then the rest.
    Pings,
    /// An `error` event of `error_type` and the end of the body; in Bedrock's frames, an exception.
    ErrorEvent,
    /// An exception frame of `error_type` (`throttlingException`) and the end of the body, by default the first frame.
    ExceptionFrame,
    /// A frame of the type `error`, its code in `error_type`, and the end of the body.
    ErrorFrame,
    /// A frame whose checksum is wrong, with `prelude` that of its lengths; the others follow.
    CorruptCrc,
    /// A frame that announces 64 MiB, and the end of the body.
    OversizedFrame,
    /// Two chunks whose JSON has no `type`, as intermediaries insert them.
    KeepAlives,
    /// The socket stays open after `message_stop`, unterminated.
    HoldOpen,
    /// `message_stop` twice.
    DuplicateStop,
    /// Bytes that are no HTTP in place of the head.
    GarbageHead,
    /// Bytes that are no SSE at the given place; in a whole answer, the body.
    Garbage,
    /// 200 with `text/html`.
    WrongContentType,
    /// 200 whose JSON ends early in correct framing (whole answers).
    IncompleteJson,
    /// A body without length or chunks, ended by the close.
    Unframed,
    /// A 103 before the answer.
    EarlyHints,
    /// A perfect answer, then the connection is closed unannounced.
    CloseAfter,
    /// Every byte of the answer is a write of its own.
    ByteWrites,
    /// The request's body is read at `bytes_per_s`; then all is well.
    SlowRead,
    /// The answer starts `for_ms` later.
    Delay,
}

/// How `retry-after` is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrySyntax {
    /// `retry-after: 37`.
    Integer,
    /// `retry-after: 0.250`.
    Fractional,
    /// `retry-after: Wed, 21 Oct 2026 07:28:00 GMT`.
    HttpDate,
    /// `retry-after-ms: 250` alone.
    Milliseconds,
    /// No header.
    None,
}

/// A kind of fault and its knobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The values of its knobs.
    #[serde(flatten)]
    pub knobs: Knobs,
}

/// What may be set about a fault; everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// Another status than the kind's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Another `error.type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Another message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Another `error.details.error_code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Seconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<f64>,
    /// How they are written; by default an integer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_syntax: Option<RetrySyntax>,
    /// More headers, as `[name, value]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// A body as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Breaks after this many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_events: Option<usize>,
    /// Breaks after this many content deltas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_deltas: Option<usize>,
    /// Breaks after this many bytes of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_bytes: Option<usize>,
    /// Half of the next event goes out too.
    pub mid_event: bool,
    /// What went out before the fault shares one chunk with it.
    pub same_chunk: bool,
    /// The fault acts before the request's body is read.
    pub unread: bool,
    /// The checksum of a frame's prelude is the wrong one.
    pub prelude: bool,
    /// How an AWS exception is written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<ErrorShape>,
    /// Whether Google's error comes in an array; by default on stream endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array: Option<bool>,
    /// A duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// An interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// A speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
}

impl Fault {
    /// A fault with the defaults of its kind.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, knobs: Knobs::default() }
    }

    /// The word of its kind, as the configuration writes it.
    pub fn name(&self) -> String {
        let word = serde_json::to_value(self.kind).unwrap_or_default();
        word.as_str().unwrap_or("fault").to_owned()
    }

    /// Whether it acts before the request's body is read.
    pub fn unread(&self) -> bool {
        self.knobs.unread || self.kind == FaultKind::Early413
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let given = serde_json::Value::deserialize(deserializer)?;
        if given.is_string() {
            return kind::<D>(given).map(Self::new);
        }
        let serde_json::Value::Object(mut knobs) = given else {
            return Err(Error::custom(format!("a fault is a word or a map, not {given}")));
        };
        let word = knobs.remove("kind").ok_or_else(|| Error::missing_field("kind"))?;
        let knobs = serde_json::from_value(knobs.into()).map_err(Error::custom)?;
        Ok(Self { kind: kind::<D>(word)?, knobs })
    }
}

fn kind<'de, D: serde::Deserializer<'de>>(word: serde_json::Value) -> Result<FaultKind, D::Error> {
    serde_json::from_value(word).map_err(serde::de::Error::custom)
}

/// When a fault strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRule {
    /// Names of keys, with `*`; empty = every key.
    pub keys: Vec<String>,
    /// Models, with `*`; empty = every model. Rules with models are looked at after the body was read.
    pub models: Vec<String>,
    /// Paths, with `*`; empty = those that ask for a message.
    pub paths: Vec<String>,
    /// The probability of striking a request that fits.
    pub rate: f64,
    /// Strikes from this second after the start.
    pub from_s: Option<f64>,
    /// Strikes until this second after the start.
    pub to_s: Option<f64>,
    /// Fitting requests let through first.
    pub skip: u64,
    /// Strikes this often and then no more.
    pub count: Option<u64>,
    /// The fault.
    pub fault: Option<Fault>,
    /// Instead of one fault: a fault for each successive request that fits.
    pub script: Vec<Fault>,
    /// The script starts anew when it is through.
    pub repeat: bool,
}

impl Default for FaultRule {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            models: Vec::new(),
            paths: Vec::new(),
            rate: 1.0,
            from_s: None,
            to_s: None,
            skip: 0,
            count: None,
            fault: None,
            script: Vec::new(),
            repeat: false,
        }
    }
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_word_or_a_map() {
        let word: Fault = serde_json::from_str("\"overloaded\"").unwrap();
        assert_eq!(word, Fault::new(FaultKind::Overloaded));
        let map: Fault = serde_json::from_str(r#"{"kind":"reset","after_events":3}"#).unwrap();
        assert_eq!((map.kind, map.knobs.after_events), (FaultKind::Reset, Some(3)));
        assert_eq!(map.name(), "reset");
    }

    #[test]
    fn an_unknown_word_or_knob_is_an_error() {
        assert!(serde_json::from_str::<Fault>("\"gremlins\"").is_err());
        let error = serde_json::from_str::<Fault>(r#"{"kind":"reset","after":3}"#).unwrap_err().to_string();
        assert!(error.contains("after"), "{error}");
    }
}
