//! The dialects of the upstream providers: pure encoding, decoding and fault classification.
//!
//! No I/O, no async runtime, no HTTP library, no clock, no environment: bytes and values in, bytes and values out. The
//! gateway picks a [`Provider`] by configuration, has it [encode](Provider::encode) a request, sends it, and feeds what
//! comes back to its [`Decoder`] or, for an error answer, to [`Provider::fault`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![forbid(unsafe_code)]

pub mod anthropic;
pub mod bedrock;
pub mod capability;
pub mod fault;
pub mod frame;
pub mod framing;
mod json;
mod pass;
pub mod request;
mod secret;
mod splice;
#[cfg(test)]
mod tests;
pub mod thinking;
pub mod vertex;
pub mod wire;

use std::time::SystemTime;

use bytes::Bytes;

pub use anthropic::Anthropic;
pub use bedrock::Bedrock;
pub use capability::{Features, Limits, Obstacle};
pub use fault::{Answer, Blame, Dimension, Fault, FaultKind, Source, Stated};
pub use frame::{Decoder, Frame, Mark, Usage};
pub use pass::{forwards, reply_header_passes};
pub use request::{MessagesRequest, Operation, Outline, Prefix, ScanError, scan, scan_with_prefix};
pub use secret::Secret;
pub use vertex::Vertex;
pub use wire::{Headers, Method, Name, WireHead, WireRequest};

/// What a request carries upstream to prove who asks.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `x-api-key: SECRET`.
    ApiKey(Secret),
    /// `authorization: Bearer SECRET`.
    Bearer(Secret),
    /// AWS keys: the request is signed (Signature Version 4).
    Aws(AwsKeys),
    /// Nothing.
    None,
}

/// AWS keys, long-lived or of a session.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Access key id.
    pub access_key_id: Secret,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token of temporary keys.
    pub session_token: Option<Secret>,
}

/// One request to encode.
#[derive(Clone, Copy, Debug)]
pub struct Encode<'a> {
    /// The caller's request.
    pub request: &'a MessagesRequest,
    /// Upstream's name for the asked model; differs from the outline's only where a route maps it.
    pub model: &'a str,
    /// What to present.
    pub credential: &'a Credential,
    /// The `host` header as the transport will send it, for signatures.
    pub authority: &'a str,
    /// The base URL's path, empty or `/...` without a trailing slash.
    pub base_path: &'a str,
    /// Configured extra headers, names in lower case; they replace forwarded ones of the same name.
    pub extra_headers: &'a [(String, Secret)],
    /// The wall clock, for signatures.
    pub wall: SystemTime,
}

impl Encode<'_> {
    /// Whether a configured header takes the place of any other of this name.
    pub(crate) fn replaces(&self, name: &str) -> bool {
        self.extra_headers.iter().any(|(other, _)| other == name)
    }

    /// Adds the credential as the Messages API takes it, where no configured header stands in its place. AWS keys sign in the
    /// dialects that know them.
    pub(crate) fn present(&self, headers: &mut Headers) {
        let (name, value) = match self.credential {
            Credential::ApiKey(secret) => ("x-api-key", secret.expose().to_owned()),
            Credential::Bearer(secret) => ("authorization", format!("Bearer {}", secret.expose())),
            Credential::Aws(_) | Credential::None => return,
        };
        if !self.replaces(name) {
            headers.push(name, value);
        }
    }

    /// Adds the configured headers.
    pub(crate) fn add_configured(&self, headers: &mut Headers) {
        for (name, value) in self.extra_headers {
            headers.push(name.clone(), value.expose().to_owned());
        }
    }
}

/// Bounds of what a decoder holds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest single event of a stream, bytes.
    pub event_bytes: usize,
    /// Largest whole answer, bytes.
    pub answer_bytes: usize,
}

/// A dialect.
pub trait Provider: Send + Sync {
    /// Turns the caller's request into upstream's.
    ///
    /// # Errors
    /// [`FaultKind::Inexpressible`] where the dialect cannot say it.
    fn encode(&self, encode: &Encode<'_>) -> Result<WireRequest, Fault>;

    /// The decoder for a 2xx answer.
    ///
    /// # Errors
    /// [`FaultKind::Malformed`] where the head does not fit the request (a stream asked for, something else announced).
    fn decoder(
        &self,
        request: &MessagesRequest,
        head: &WireHead,
        bounds: Bounds,
    ) -> Result<Box<dyn Decoder>, Fault>;

    /// Classifies an answer that is not 2xx. `wall` turns stated dates into remaining time.
    fn fault(&self, head: &WireHead, body: &Bytes, wall: SystemTime) -> Fault;
}
