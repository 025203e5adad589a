//! What travels to and from an upstream, free of any HTTP library: headers, request, response head.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// Header lines in order, names in lower case. Repeated names stay apart. `Debug` shows the values of a few names that hold
/// nothing private, since any other line may carry a credential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, Bytes)>);

impl Headers {
    /// No lines, room for `lines`.
    #[must_use]
    pub fn with_capacity(lines: usize) -> Self {
        Self(Vec::with_capacity(lines))
    }

    /// Adds a line; `name` must be in lower case already.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value of `name` that is text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(line, _)| line == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Whether a line of that name is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(line, _)| line == name)
    }

    /// Removes every line for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// Every line in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OPEN: [&str; 9] = [
            "content-type",
            "content-encoding",
            "content-length",
            "accept-encoding",
            "anthropic-version",
            "anthropic-beta",
            "request-id",
            "retry-after",
            "retry-after-ms",
        ];
        let lines = self.0.iter().map(|(name, value)| {
            let shown = OPEN.contains(&name.as_ref()).then(|| String::from_utf8_lossy(value));
            (name, shown.unwrap_or_else(|| format!("[{} bytes]", value.len()).into()))
        });
        f.debug_map().entries(lines).finish()
    }
}

/// The request methods an upstream is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Models.
    Get,
    /// Messages and token counts.
    Post,
}

/// One encoded upstream request. The body is a list of slices so that an edit (a spliced model name) copies nothing. `Debug`
/// shows no body.
#[derive(Clone)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Path and query as sent, the base URL's own path included.
    pub path: String,
    /// Every header but `host`, `content-length` and `date`, which the transport adds.
    pub headers: Headers,
    /// Body slices in order; empty: no body.
    pub body: Vec<Bytes>,
}

impl WireRequest {
    /// Bytes of the body.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

impl fmt::Debug for WireRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}

/// Status and headers of an upstream answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireHead {
    /// HTTP status.
    pub status: u16,
    /// Headers as received.
    pub headers: Headers,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Headers, Method, WireRequest};

    #[test]
    fn debug_shows_neither_credentials_nor_content() {
        let mut headers = Headers::default();
        headers.push("x-api-key", "sk-canary");
        headers.push("x-configured", "canary");
        headers.push("content-type", "application/json");
        let body = vec![Bytes::from_static(b"canary")];
        let wire = WireRequest { method: Method::Post, path: "/v1/messages".to_owned(), headers, body };
        let shown = format!("{wire:?}");
        assert!(!shown.contains("canary") && shown.contains("x-api-key"), "{shown}");
        assert!(shown.contains("application/json") && shown.contains("body_len: 6"), "{shown}");
    }
}
