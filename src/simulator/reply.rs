//! An answer ready to be sent: head and pieces of body with their pace. Whole answers have one piece.

use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::config::Timings;
use super::error::ApiError;
use super::events::{self, Event};

/// What a piece of a body is, for faults that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// An event other than a delta, or a whole body.
    Other,
    /// A content delta.
    Delta,
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The pause before it.
    pub after: Duration,
    /// Its bytes.
    pub bytes: Bytes,
    /// Output tokens charged with it.
    pub tokens: u64,
    /// What it is.
    pub kind: PieceKind,
}

impl Piece {
    /// A piece without pause or charge.
    pub fn plain(bytes: impl Into<Bytes>) -> Self {
        Self { after: Duration::ZERO, bytes: bytes.into(), tokens: 0, kind: PieceKind::Other }
    }
}

/// How a body flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As one piece of known length.
    Whole,
    /// As server-sent events, in chunks.
    Sse,
    /// As AWS event-stream frames, in chunks.
    EventStream,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers, framing apart.
    pub headers: Vec<(String, String)>,
    /// The pause before the head.
    pub latency: Duration,
    /// The body.
    pub pieces: Vec<Piece>,
    /// How it flows.
    pub flow: Flow,
}

impl Reply {
    /// A whole body of a content type.
    pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            latency: Duration::ZERO,
            pieces: vec![Piece::plain(body)],
            flow: Flow::Whole,
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "application/json", body)
    }

    /// An error.
    pub fn error(error: &ApiError, request_id: &str) -> Self {
        Self::json(error.status, error.body(request_id))
    }

    /// A message as one JSON body.
    pub fn message(answer: &Answer, timings: Timings) -> Self {
        let mut reply = Self::json(200, events::whole(answer));
        reply.latency = ms(timings.latency_ms + timings.ttft_ms);
        reply.pieces[0].tokens = answer.output_tokens();
        reply
    }

    /// A message as server-sent events.
    pub fn stream(answer: &Answer, timings: Timings) -> Self {
        let mut reply = Self::events(answer, timings, Flow::Sse, |event| Some(event.frame().into()));
        reply.header("content-type", "text/event-stream; charset=utf-8");
        reply.header("cache-control", "no-cache");
        reply
    }

    /// A message as events, each written by `frame`; those without bytes are left out.
    pub fn events(
        answer: &Answer,
        timings: Timings,
        flow: Flow,
        frame: impl Fn(&Event) -> Option<Bytes>,
    ) -> Self {
        let events = events::stream(answer);
        let mut uncharged = answer.output_tokens();
        let mut pieces = Vec::with_capacity(events.len());
        for event in &events {
            let last = event.name == "message_delta";
            let tokens = if last { uncharged } else { event.tokens };
            uncharged = uncharged.saturating_sub(tokens);
            let Some(bytes) = frame(event) else { continue };
            let kind = if event.name == "content_block_delta" { PieceKind::Delta } else { PieceKind::Other };
            let after = ms(if pieces.is_empty() { timings.ttft_ms } else { timings.pace_ms });
            pieces.push(Piece { after, bytes, tokens, kind });
        }
        Self { status: 200, headers: Vec::new(), latency: ms(timings.latency_ms), pieces, flow }
    }

    /// Whether it comes event by event.
    pub fn streamed(&self) -> bool {
        match self.flow {
            Flow::Sse | Flow::EventStream => true,
            Flow::Whole => false,
        }
    }

    /// Adds a header.
    pub fn header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    /// The length of the body.
    pub fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
