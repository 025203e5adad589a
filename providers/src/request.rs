//! A request as received: the body, the headers that travel on, and the few facts read from it.

mod scan;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

pub use crate::pass::forwards;
use crate::wire::Headers;
pub use scan::{Prefix, ScanError, scan, scan_with_prefix};

/// Which endpoint was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`: free, never streams.
    CountTokens,
    /// `GET /v1/models`: free, no body; the query pages.
    Models,
}

/// What one validating scan found in a body. No tree is built; offsets point into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The asked model, unescaped.
    pub model: String,
    /// Where the model's JSON string stands, quotes included.
    pub model_span: Range<usize>,
    /// Whether `"stream": true`.
    pub stream: bool,
    /// `max_tokens`, where it is a whole number.
    pub max_tokens: Option<u64>,
    /// `metadata.user_id`, where it is text, unescaped.
    pub user_id: Option<String>,
}

/// The received body and forwarded headers. Cheap to clone: the body is shared by all attempts. `Debug` shows neither the body
/// nor the end user's name.
#[derive(Clone)]
pub struct MessagesRequest {
    /// Which endpoint.
    pub operation: Operation,
    /// The body as received; empty for [`Operation::Models`].
    pub body: Bytes,
    /// The query string as received, without `?`.
    pub query: Option<String>,
    /// Headers of the allow-list, as received.
    pub headers: Headers,
    /// What the scan found.
    pub outline: Outline,
}

impl fmt::Debug for MessagesRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagesRequest")
            .field("operation", &self.operation)
            .field("body_len", &self.body.len())
            .field("query", &self.query)
            .field("headers", &self.headers)
            .field("model", &self.outline.model)
            .field("stream", &self.outline.stream)
            .finish_non_exhaustive()
    }
}
