//! Amazon Bedrock: Claude behind the APIs of AWS.
//!
//! Two surfaces: the runtime (InvokeModel: the model in the path, AWS frames and exceptions back) and mantle (the Messages API
//! itself, signed). Requests stay the received bytes but for what the dialect demands; answers come out as the Messages API's.
//! What a model cannot serve is not judged here, only what the dialect cannot say. Facts are from the Amazon Bedrock API
//! reference, botocore's models and the official SDKs (`anthropic`, `@anthropic-ai/bedrock-sdk`).

mod edit;
mod fault;
mod mantle;
mod nulls;
mod runtime;
mod sign;
mod stream;
mod tables;
mod usage;
mod whole;

use std::time::SystemTime;

use bytes::Bytes;

pub use tables::Tables;

use crate::anthropic::{Anthropic, encoded, malformed};
use crate::fault::{Fault, FaultKind};
use crate::frame::Decoder;
use crate::request::{MessagesRequest, Operation};
use crate::wire::{WireHead, WireRequest};
use crate::{Bounds, Credential, Encode, Provider};

/// Which of Bedrock's APIs is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// InvokeModel and the event stream.
    Runtime,
    /// Native Messages.
    Mantle,
}

/// The dialect of one surface in one region.
#[derive(Clone, Debug)]
pub struct Bedrock {
    surface: Surface,
    region: String,
    tables: Tables,
}

impl Bedrock {
    /// The dialect of `surface` in `region`, which signatures name, with the configured tables.
    #[must_use]
    pub fn new(surface: Surface, region: String, tables: Tables) -> Self {
        Self { surface, region, tables }
    }
}

impl Provider for Bedrock {
    fn encode(&self, encode: &Encode<'_>) -> Result<WireRequest, Fault> {
        let (mut wire, service) = match self.surface {
            Surface::Runtime => (runtime::encode(encode, &self.tables)?, "bedrock"),
            Surface::Mantle => (mantle::encode(encode)?, mantle::service(encode.authority)),
        };
        match encode.credential {
            Credential::Aws(keys) => {
                let scope = sign::Scope { region: &self.region, service };
                sign::add(&mut wire, keys, encode, scope)?;
            }
            Credential::ApiKey(_) | Credential::Bearer(_) | Credential::None => {}
        }
        Ok(wire)
    }

    fn decoder(
        &self,
        request: &MessagesRequest,
        head: &WireHead,
        bounds: Bounds,
    ) -> Result<Box<dyn Decoder>, Fault> {
        match self.surface {
            Surface::Mantle => Anthropic.decoder(request, head, bounds),
            Surface::Runtime => runtime_decoder(request, head, bounds),
        }
    }

    fn fault(&self, head: &WireHead, body: &Bytes, wall: SystemTime) -> Fault {
        fault::classify(head, body, Some(wall))
    }
}

fn runtime_decoder(
    request: &MessagesRequest,
    head: &WireHead,
    bounds: Bounds,
) -> Result<Box<dyn Decoder>, Fault> {
    if encoded(head) {
        return Err(malformed("the answer is compressed, which was not asked for"));
    }
    let kind = head.headers.get("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let announced = kind.trim().eq_ignore_ascii_case("application/vnd.amazon.eventstream");
    match (request.operation, request.outline.stream, announced) {
        (Operation::Messages, true, true) => Ok(Box::new(stream::Stream::new(head, bounds.event_bytes))),
        (Operation::Messages, false, false) => Ok(Box::new(whole::Whole::new(head, bounds.answer_bytes))),
        (Operation::CountTokens | Operation::Models, _, false) => {
            Ok(Box::new(whole::Count::new(head, bounds.answer_bytes)))
        }
        (_, _, true) => Err(malformed("no stream was asked for, but an event stream is announced")),
        (Operation::Messages, true, false) => {
            Err(malformed("a stream was asked for, but no event stream is announced"))
        }
    }
}

/// Whether a top-level field is left out where it is `null`.
pub(crate) fn drops_null(field: &str) -> bool {
    nulls::TOP.contains(&field)
}

fn no_models() -> Fault {
    Fault::new(FaultKind::Inexpressible, "Bedrock has no list of models in the shape of the Messages API")
}

#[cfg(test)]
mod tests;
