//! What travels to and from an upstream, free of any HTTP library: headers, request, response head.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};

/// A header's name, in lower case. A name that is usual on this protocol is a number, so that copying it costs nothing and the
/// edge has its own form of it ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Spelling);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Spelling {
    /// The place in [`USUAL`]; every name that is there is spelt this way.
    Usual(u8),
    Other(Cow<'static, str>),
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Spelling::Usual(place) => USUAL[usize::from(*place)],
            Spelling::Other(name) => name,
        }
    }

    /// Its place in [`USUAL`], if it is there.
    #[must_use]
    pub fn usual(&self) -> Option<usize> {
        match self.0 {
            Spelling::Usual(place) => Some(usize::from(place)),
            Spelling::Other(_) => None,
        }
    }

    fn copied(name: &str) -> Self {
        Self(usual(name).map_or_else(|| Spelling::Other(Cow::Owned(name.to_owned())), Spelling::Usual))
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(usual(name).map_or(Spelling::Other(Cow::Borrowed(name)), Spelling::Usual))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(usual(&name).map_or_else(|| Spelling::Other(Cow::Owned(name)), Spelling::Usual))
    }
}

/// As many lines as a head seldom exceeds.
const USUAL_LINES: usize = 24;

/// Header lines in order, names in lower case. Repeated names stay apart. `Debug` shows the values of a few names that hold
/// nothing private, since any other line may carry a credential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Name, Bytes)>);

impl Headers {
    /// No lines, room for `lines`.
    #[must_use]
    pub fn with_capacity(lines: usize) -> Self {
        Self(Vec::with_capacity(lines))
    }

    /// Adds a line; `name` must be in lower case already.
    pub fn push(&mut self, name: impl Into<Name>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Copies `lines`, whose names are in lower case already. All values go into one buffer, and names that are usual on this
    /// protocol cost no allocation.
    pub fn copied<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        // Walking a map of lines costs more than a list of where they are.
        let mut found = Vec::with_capacity(USUAL_LINES);
        found.extend(lines);
        let mut values = BytesMut::with_capacity(found.iter().map(|(_, value)| value.len()).sum());
        found.iter().for_each(|(_, value)| values.extend_from_slice(value));
        let mut values = values.freeze();
        let taken = found.iter().map(|(name, value)| (Name::copied(name), values.split_to(value.len())));
        Self(taken.collect())
    }

    /// The lines for which `keep` says yes, sharing their bytes, with room for `more`.
    #[must_use]
    pub fn kept(&self, more: usize, keep: impl Fn(&str) -> bool) -> Self {
        let mut headers = Self::with_capacity(self.0.len() + more);
        headers.0.extend(self.0.iter().filter(|(name, _)| keep(name.as_str())).cloned());
        headers
    }

    /// The first value of `name` that is text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.iter();
        lines.find(|(line, _)| *line == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Whether a line of that name is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(line, _)| line == name)
    }

    /// Removes every line for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name.as_str()));
    }

    /// Every line in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Every line in order, taken out.
    pub fn into_lines(self) -> impl Iterator<Item = (Name, Bytes)> {
        self.0.into_iter()
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

/// Names that requests and answers of the Messages API usually carry, by length and then by spelling.
pub const USUAL: [&str; 47] = [
    "via",
    "date",
    "vary",
    "accept",
    "cf-ray",
    "server",
    "x-api-key",
    "connection",
    "keep-alive",
    "request-id",
    "set-cookie",
    "user-agent",
    "retry-after",
    "content-type",
    "x-robots-tag",
    "authorization",
    "cache-control",
    "anthropic-beta",
    "content-length",
    "retry-after-ms",
    "x-should-retry",
    "accept-encoding",
    "cf-cache-status",
    "content-encoding",
    "anthropic-version",
    "transfer-encoding",
    "x-accel-buffering",
    "x-headgate-backend",
    "x-headgate-attempts",
    "x-headgate-queue-ms",
    "anthropic-workspace-id",
    "anthropic-organization-id",
    "strict-transport-security",
    "x-envoy-upstream-service-time",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-output-tokens-remaining",
];

/// Where the names of each length begin in [`USUAL`]; those of length `n` end where those of `n + 1` begin.
const BEGINS: [u8; LONGEST + 2] = begins();
const LONGEST: usize = USUAL[USUAL.len() - 1].len();

#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 usual names")]
const fn begins() -> [u8; LONGEST + 2] {
    let mut begins = [0; LONGEST + 2];
    let mut length = 0;
    while length < begins.len() {
        let mut place = 0;
        while place < USUAL.len() && USUAL[place].len() < length {
            place += 1;
        }
        begins[length] = place as u8;
        length += 1;
    }
    begins
}

fn usual(name: &str) -> Option<u8> {
    if name.len() > LONGEST {
        return None;
    }
    (BEGINS[name.len()]..BEGINS[name.len() + 1]).find(|place| USUAL[usize::from(*place)] == name)
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
            let name = name.as_str();
            let shown = OPEN.contains(&name).then(|| String::from_utf8_lossy(value));
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
        assert!(USUAL.is_sorted_by_key(|name| (name.len(), *name)));
        for (place, name) in USUAL.into_iter().enumerate() {
            assert_eq!(Name::copied(name).usual(), Some(place));
            assert_eq!(Name::from(name), Name::from(name.to_owned()));
        }
        for name in
            ["", "x", "content-typ", "content-typf", "a-name-longer-than-any-that-is-usual-on-this-protocol"]
        {
            assert_eq!((Name::copied(name).usual(), Name::copied(name).as_str()), (None, name));
        }
    }

    #[test]
    fn copies_share_one_buffer_and_keep_order_and_repeats() {
        let lines = [("anthropic-beta", &b"a"[..]), ("x-odd", b""), ("anthropic-beta", b"b,c")];
        let headers = Headers::copied(lines.into_iter());
        let seen: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_ref())).collect();
        assert_eq!(seen, lines);
        assert_eq!(headers.kept(0, |name| name == "x-odd").len(), 1);
    }
}
