//! Google Vertex AI: Claude behind `rawPredict` and `streamRawPredict`.
//!
//! Requests stay the received bytes but for what the dialect demands: the model moves into the path, the version into the body.
//! Answers are the Messages API's own, event streams included; errors may be Google's, and become the Messages API's. What a model
//! cannot serve is not judged here. Facts are from Google's documentation of Claude on Vertex AI and the official SDKs (`anthropic`,
//! `@anthropic-ai/vertex-sdk`); where only observed behaviour backs one, it says so.

mod encode;
mod fault;
mod tables;

use std::time::SystemTime;

use bytes::Bytes;

pub use tables::Tables;

use crate::anthropic::Anthropic;
use crate::fault::Fault;
use crate::frame::Decoder;
use crate::request::MessagesRequest;
use crate::wire::{WireHead, WireRequest};
use crate::{Bounds, Encode, Provider};

/// The dialect of one project at one location.
#[derive(Clone, Debug)]
pub struct Vertex {
    project: String,
    location: String,
    tables: Tables,
}

impl Vertex {
    /// The dialect of `project` at `location` (a region, `us`, `eu` or `global`), with the configured tables.
    #[must_use]
    pub fn new(project: String, location: String, tables: Tables) -> Self {
        Self { project, location, tables }
    }
}

impl Provider for Vertex {
    fn encode(&self, encode: &Encode<'_>) -> Result<WireRequest, Fault> {
        encode::encode(self, encode)
    }

    fn decoder(
        &self,
        request: &MessagesRequest,
        head: &WireHead,
        bounds: Bounds,
    ) -> Result<Box<dyn Decoder>, Fault> {
        Anthropic.decoder(request, head, bounds)
    }

    fn fault(&self, head: &WireHead, body: &Bytes, wall: SystemTime) -> Fault {
        fault::classify(&self.project, head, body, wall)
    }
}

#[cfg(test)]
mod tests;
