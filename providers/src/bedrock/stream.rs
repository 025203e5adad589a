//! The event stream of InvokeModelWithResponseStream as the stream of the Messages API.
//!
//! Each `chunk` frame holds one event as base64 JSON, which becomes a named server-sent event with the JSON as it was; the
//! dialect of the Messages API then reads along as for its own streams. Bedrock's one addition, the metrics in `message_stop`,
//! is read and left out. Exceptions become an `error` event. Nothing is said to the caller before the first good event, so a
//! throttling exception as the first frame fails over unseen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::{fault, usage};
use crate::anthropic::stream::Stream as Events;
use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::framing::aws::{Frames, Message};
use crate::json::{Cursor, Flaw};
use crate::splice::{Keep, cut};
use crate::wire::WireHead;

/// What Bedrock adds to `message_stop`.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Decoder of `application/vnd.amazon.eventstream`.
#[derive(Debug)]
pub(super) struct Stream {
    frames: Frames,
    events: Events,
    head: WireHead,
    usage: Usage,
    /// The metrics, once they came.
    metrics: Option<Usage>,
    done: bool,
}

/// What a frame comes to.
enum Said {
    /// One server-sent event.
    Event(Vec<u8>),
    /// Nothing for the caller.
    Nothing,
    /// A failure.
    Failed(Fault),
}

impl Stream {
    /// A decoder at the start of the body that follows `head`.
    pub fn new(head: &WireHead, event_bytes: usize) -> Self {
        Self {
            frames: Frames::new(event_bytes),
            events: Events::new(head, event_bytes),
            head: head.clone(),
            usage: Usage::default(),
            metrics: None,
            done: false,
        }
    }

    fn read(&mut self, message: &Message) -> Result<Said, Fault> {
        let text = |name| message.text(name).unwrap_or_default();
        match text(":message-type") {
            "exception" => {
                let name = text(":exception-type");
                Ok(Said::Failed(fault::in_stream(&self.head, name, message.payload())))
            }
            "error" => {
                let told = serde_json::json!({ "message": text(":error-message") }).to_string();
                Ok(Said::Failed(fault::in_stream(&self.head, text(":error-code"), told.as_bytes())))
            }
            "event" if text(":event-type") == "chunk" => {
                let json = chunk(message.payload())?;
                let event = self.event(&json)?;
                Ok(event.map_or(Said::Nothing, Said::Event))
            }
            // Kinds of frames that do not exist yet.
            _ => Ok(Said::Nothing),
        }
    }

    /// The server-sent event for one event as JSON; `None` where it is none (keep-alives of intermediaries).
    fn event(&mut self, json: &Bytes) -> Result<Option<Vec<u8>>, Fault> {
        let facts = facts(json).map_err(|flaw| {
            let detail = format!("an event of the stream is not JSON: {} at byte {}", flaw.what, flaw.at);
            Fault::new(FaultKind::Malformed, detail)
        })?;
        let Some(kind) = facts.kind else { return Ok(None) };
        self.metrics = facts.metrics.or(self.metrics);
        let kept = if facts.metrics.is_some() {
            cut(json, |cursor, key, _| {
                cursor.value()?;
                Ok(if key == METRICS { Keep::No } else { Keep::Yes })
            })?
            .with(std::iter::empty())
        } else {
            vec![json.clone()]
        };
        let mut event = Vec::with_capacity(json.len() + kind.len() + 18);
        event.extend_from_slice(b"event: ");
        event.extend_from_slice(kind.as_bytes());
        event.extend_from_slice(b"\ndata: ");
        for slice in kept {
            // Outside of strings a line end is white space, and inside there can be none.
            event.extend(slice.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        }
        event.extend_from_slice(b"\n\n");
        Ok(Some(event))
    }

    /// Hands whole events to the dialect that reads them, and what the metrics know better to the last frame.
    fn pass(&mut self, events: BytesMut, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if events.is_empty() || self.done {
            return Ok(());
        }
        let first = out.len();
        let result = self.events.feed(events.freeze(), out);
        for frame in out.iter_mut().skip(first) {
            self.usage = frame.usage.unwrap_or(self.usage);
            match &frame.mark {
                Mark::Stop => {
                    self.done = true;
                    let known =
                        self.metrics.map_or(self.usage, |metrics| usage::at_least(self.usage, metrics));
                    if known != self.usage {
                        frame.usage = Some(known);
                    }
                }
                Mark::Error(_) => self.done = true,
                Mark::Prelude | Mark::Content => {}
            }
        }
        result
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<Frame>) {
        self.done = true;
        let envelope = fault.answer.as_ref().map(|answer| answer.body.clone()).unwrap_or_default();
        let bytes = [b"event: error\ndata: ", envelope.as_ref(), b"\n\n"].concat().into();
        out.push(Frame { bytes, mark: Mark::Error(Box::new(fault)), usage: None });
    }
}

impl Decoder for Stream {
    fn feed(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        self.frames.feed(&bytes);
        let mut events = BytesMut::new();
        let broken = loop {
            let said = match self.frames.next_frame() {
                Ok(Some(message)) => self.read(&message),
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            };
            match said {
                Ok(Said::Event(event)) => events.extend_from_slice(&event),
                Ok(Said::Nothing) => {}
                Ok(Said::Failed(fault)) => {
                    self.pass(events, out)?;
                    if !self.done {
                        self.fail(fault, out);
                    }
                    return Ok(());
                }
                Err(fault) => break Some(fault),
            }
        };
        // What came before the broken frame is good, and may have ended the stream.
        self.pass(events, out)?;
        match broken {
            Some(fault) if !self.done => {
                self.done = true;
                Err(fault)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        if self.frames.is_amid() {
            return Err(Fault::new(FaultKind::Truncated, "the event stream ended amid a frame"));
        }
        self.events.end(out)
    }
}

/// The JSON inside of a chunk: `{"bytes":BASE64,"p":PADDING}`.
fn chunk(payload: &[u8]) -> Result<Bytes, Fault> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: std::borrow::Cow<'a, str>,
    }
    let malformed = |what: &str| Fault::new(FaultKind::Malformed, format!("a chunk of the stream {what}"));
    let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(|_| malformed("holds no bytes"))?;
    let json = STANDARD.decode(chunk.bytes.as_bytes()).map_err(|_| malformed("is not base64"))?;
    Ok(json.into())
}

#[derive(Default)]
struct Facts {
    /// The event's type; `None` where it is no text, or none that could stand in a line.
    kind: Option<String>,
    metrics: Option<Usage>,
}

/// Validates an event and reads what is ours to know.
fn facts(json: &[u8]) -> Result<Facts, Flaw> {
    let mut facts = Facts::default();
    let mut cursor = Cursor::new(json, usize::MAX)?;
    if cursor.peek() != Some(b'{') {
        cursor.value()?;
        cursor.finish()?;
        return Ok(facts);
    }
    cursor.members(|cursor, key| {
        let name = cursor.decode(key).unwrap_or_default();
        if name == "type" && cursor.peek() == Some(b'"') {
            let text = cursor.string()?;
            let kind =
                cursor.decode(&text).filter(|kind| !kind.is_empty() && !kind.contains(char::is_control));
            facts.kind = kind.map(std::borrow::Cow::into_owned);
            return Ok::<(), Flaw>(());
        }
        let span = cursor.value()?;
        if name == METRICS {
            facts.metrics = Some(usage::metrics(cursor.slice(span)));
        }
        Ok(())
    })?;
    cursor.finish()?;
    Ok(facts)
}

#[cfg(test)]
mod tests;
