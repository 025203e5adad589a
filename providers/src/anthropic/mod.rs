//! The Messages API itself: what goes out is what came in, what comes back passes as it is.
//!
//! Only the model's name may be edited, and only where a route maps it; prompt caches are kept by byte-equal prefixes and
//! thinking blocks are signed, so every other byte stays. Facts about the protocol are from the public documentation of the
//! Messages API (platform.claude.com/docs) and the official SDKs; where only observed behaviour backs one, it says so.

mod encode;
pub mod envelope;
pub(crate) mod fault;
pub(crate) mod message;
pub(crate) mod retry_after;
pub(crate) mod stream;
mod usage;
pub(crate) mod whole;

use std::time::SystemTime;

use bytes::Bytes;

pub use envelope::{envelope, error_type_for_status, identified, scrub_rate_limit};

use crate::fault::{Fault, FaultKind};
use crate::frame::Decoder;
use crate::request::{MessagesRequest, Operation};
use crate::wire::{WireHead, WireRequest};
use crate::{Bounds, Encode, Provider};

/// The dialect of the Messages API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anthropic;

impl Provider for Anthropic {
    fn encode(&self, encode: &Encode<'_>) -> Result<WireRequest, Fault> {
        encode::encode(encode)
    }

    fn decoder(
        &self,
        request: &MessagesRequest,
        head: &WireHead,
        bounds: Bounds,
    ) -> Result<Box<dyn Decoder>, Fault> {
        if encoded(head) {
            return Err(malformed("the answer is compressed, which was not asked for"));
        }
        let announced = is_event_stream(head);
        let asked = request.operation == Operation::Messages && request.outline.stream;
        match (asked, announced) {
            (true, true) => Ok(Box::new(stream::Stream::new(head, bounds.event_bytes))),
            (false, false) => Ok(Box::new(whole::Whole::new(head, bounds.answer_bytes))),
            (true, false) => Err(malformed("a stream was asked for, but no event stream is announced")),
            (false, true) => Err(malformed("no stream was asked for, but an event stream is announced")),
        }
    }

    fn fault(&self, head: &WireHead, body: &Bytes, wall: SystemTime) -> Fault {
        fault::classify(head, body, Some(wall))
    }
}

pub(crate) fn malformed(detail: &str) -> Fault {
    Fault::new(FaultKind::Malformed, detail)
}

/// Whether the body is compressed: we ask for `identity`, so it should never be.
pub(crate) fn encoded(head: &WireHead) -> bool {
    head.headers.get("content-encoding").is_some_and(|coding| {
        let coding = coding.trim();
        !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")
    })
}

fn is_event_stream(head: &WireHead) -> bool {
    head.headers.get("content-type").is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

#[cfg(test)]
mod tests;
