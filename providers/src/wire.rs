//! What travels to and from an upstream, free of any HTTP library: headers, request, response head.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};

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

    /// Copies the lines that `lines` walks, asked for more than once; names are in lower case already. All values go into one buffer, and
    /// names that are usual on this protocol cost no allocation.
    pub fn copied<'a, I>(lines: impl Fn() -> I) -> Self
    where
        I: Iterator<Item = (&'a str, &'a [u8])>,
    {
        let (count, bytes) =
            lines().fold((0, 0), |(count, bytes), (_, value)| (count + 1, bytes + value.len()));
        let mut values = BytesMut::with_capacity(bytes);
        let mut headers = Self::with_capacity(count);
        for (name, value) in lines() {
            values.extend_from_slice(value);
            headers.0.push((usual(name), Bytes::new()));
        }
        let mut values = values.freeze();
        for ((_, taken), (_, value)) in headers.0.iter_mut().zip(lines()) {
            *taken = values.split_to(value.len());
        }
        headers
    }

    /// The lines for which `keep` says yes, sharing their bytes, with room for `more`.
    #[must_use]
    pub fn kept(&self, more: usize, keep: impl Fn(&str) -> bool) -> Self {
        let mut headers = Self::with_capacity(self.0.len() + more);
        headers.0.extend(self.0.iter().filter(|(name, _)| keep(name)).cloned());
        headers
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

/// Names that requests and answers of the Messages API usually carry, sorted.
const USUAL: [&str; 42] = [
    "accept",
    "accept-encoding",
    "anthropic-beta",
    "anthropic-organization-id",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-version",
    "anthropic-workspace-id",
    "authorization",
    "cache-control",
    "cf-cache-status",
    "cf-ray",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "x-api-key",
    "x-envoy-upstream-service-time",
    "x-robots-tag",
    "x-should-retry",
];

fn usual(name: &str) -> Cow<'static, str> {
    USUAL
        .binary_search(&name)
        .map_or_else(|_| Cow::Owned(name.to_owned()), |index| Cow::Borrowed(USUAL[index]))
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

#[cfg(test)]
mod copied {
    use super::*;

    #[test]
    fn the_usual_names_are_sorted_for_the_search() {
        assert!(USUAL.is_sorted());
    }

    #[test]
    fn copies_share_one_buffer_and_keep_order_and_repeats() {
        let lines = [("anthropic-beta", &b"a"[..]), ("x-odd", b""), ("anthropic-beta", b"b,c")];
        let headers = Headers::copied(|| lines.into_iter());
        let seen: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_ref())).collect();
        assert_eq!(seen, lines);
        assert_eq!(headers.kept(0, |name| name == "x-odd").len(), 1);
    }
}
