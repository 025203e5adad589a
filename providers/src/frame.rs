//! Frames: bytes ready for the caller, with what they taught us.

use bytes::Bytes;

use crate::fault::Fault;

/// Tokens of one answer as upstream counted them. The three kinds of input are disjoint
/// (Messages API, "usage"): total input = `input` + `cache_read` + `cache_write_5m` + `cache_write_1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Uncached input.
    pub input: u64,
    /// All output, thinking included.
    pub output: u64,
    /// Input read from the prompt cache.
    pub cache_read: u64,
    /// Input written to the five-minute cache.
    pub cache_write_5m: u64,
    /// Input written to the one-hour cache.
    pub cache_write_1h: u64,
    /// Whether upstream billed it as part of a batch (`service_tier`).
    pub batch: bool,
}

impl Usage {
    /// Input written to either cache.
    #[must_use]
    pub fn cache_written(&self) -> u64 {
        self.cache_write_5m + self.cache_write_1h
    }
}

/// What the last bytes of a [`Frame`] mean.
#[derive(Debug)]
pub enum Mark {
    /// Nothing that shows content yet: kept back while failover must stay unseen.
    Prelude,
    /// Content, or the end of a block, or the final delta: from here on the answer is committed.
    Content,
    /// The end of a good answer: exactly once, last.
    Stop,
    /// Upstream reported a failure inside its 200: last. The frame's bytes are upstream's own report.
    Error(Box<Fault>),
}

/// Bytes ready for the caller plus what they taught us. Pass-through dialects never re-serialise: the bytes are slices of
/// what upstream sent, cut only between events.
#[derive(Debug)]
pub struct Frame {
    /// Whole events, or a whole answer.
    pub bytes: Bytes,
    /// What they mean.
    pub mark: Mark,
    /// The newest usage known, when these bytes told one.
    pub usage: Option<Usage>,
}

/// Sans-I/O decoding of one upstream body.
///
/// `feed` may be given any split of the body and yields the same bytes in the same order. After a frame marked
/// [`Mark::Stop`] or [`Mark::Error`] nothing further comes out: later bytes are dropped.
pub trait Decoder {
    /// Takes the next bytes and appends what became complete to `out`, one frame per run of events with one meaning.
    ///
    /// # Errors
    /// A body that breaks the protocol or its bounds.
    fn feed(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault>;

    /// The body has ended as HTTP says; appends what is left.
    ///
    /// # Errors
    /// An end before the answer was complete.
    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault>;
}
