//! Reading along in a stream: whole chunks pass as they are, one frame per run of events of one meaning.

use bytes::Bytes;
use serde::Deserialize;

use super::{fault, usage};
use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::framing::sse::{self, Scanner};
use crate::json::{Cursor, Flaw};
use crate::wire::WireHead;

/// How a delta begins.
const PLAIN_DELTA: &[u8] = b"event: content_block_delta\ndata: ";
/// Deepest nesting of an event that is read for its usage: far more than the Messages API has, and no recursion hangs on it.
const DEEPEST: usize = 512;

/// Decoder of `text/event-stream` (Messages API, "Streaming").
#[derive(Debug)]
pub(crate) struct Stream {
    scanner: Scanner,
    head: WireHead,
    usage: Usage,
    started: bool,
    committed: bool,
    done: bool,
}

/// What one event means.
#[derive(Debug)]
enum Meaning {
    /// Start of message or block, ping, comment, anything unknown.
    Neutral,
    Content,
    Stop,
    Error(Box<Fault>),
}

/// Events of one meaning that lie side by side in a chunk.
struct Run {
    start: usize,
    end: usize,
    usage: Option<Usage>,
    content: bool,
}

impl Run {
    fn push(self, chunk: &Bytes, out: &mut Vec<Frame>) {
        let mark = if self.content { Mark::Content } else { Mark::Prelude };
        out.push(Frame { bytes: chunk.slice(self.start..self.end), mark, usage: self.usage });
    }
}

impl Stream {
    /// A decoder at the start of the body that follows `head`.
    pub fn new(head: &WireHead, event_bytes: usize) -> Self {
        Self {
            scanner: Scanner::new(event_bytes),
            head: head.clone(),
            usage: Usage::default(),
            started: false,
            committed: false,
            done: false,
        }
    }

    /// The meaning of one whole event, and the usage if it told any.
    fn judge(&mut self, event: &[u8]) -> Result<(Meaning, Option<Usage>), Fault> {
        let event = sse::parse(event);
        let mut told = None;
        let meaning = match kind(&event).as_ref() {
            b"message_start" => {
                // A start that is no JSON would break every client, and nothing was shown yet: better to fail.
                told = self.told(&event.data, true).map_err(|flaw| {
                    let detail =
                        format!("message_start is not what it should be: {} at byte {}", flaw.what, flaw.at);
                    Fault::new(FaultKind::Malformed, detail)
                })?;
                self.started = true;
                Meaning::Neutral
            }
            b"content_block_delta" | b"content_block_stop" => {
                self.open(&event.data)?;
                Meaning::Content
            }
            b"message_delta" => {
                self.open(&event.data)?;
                // Usage never breaks a good answer: a delta that cannot be read tells none.
                told = self.told(&event.data, false).unwrap_or_default();
                Meaning::Content
            }
            b"message_stop" if !self.committed => {
                return Err(Fault::new(FaultKind::Malformed, "the stream stops before it said anything"));
            }
            b"message_stop" => Meaning::Stop,
            b"error" => Meaning::Error(Box::new(fault::in_answer(&self.head, &event.data))),
            _ => Meaning::Neutral,
        };
        self.committed |= matches!(meaning, Meaning::Content);
        self.done |= matches!(meaning, Meaning::Stop | Meaning::Error(_));
        Ok((meaning, told))
    }

    /// Judges the first content, at which the answer commits: until then nothing was shown, and better than a stream that breaks its
    /// client is another one.
    fn open(&self, data: &[u8]) -> Result<(), Fault> {
        if self.committed {
            return Ok(());
        }
        let malformed = |detail: String| Err(Fault::new(FaultKind::Malformed, detail));
        if !self.started {
            return malformed("content comes before message_start".to_owned());
        }
        let read = Cursor::new(data, DEEPEST).and_then(|mut cursor| {
            cursor.value()?;
            cursor.finish()
        });
        match read {
            Ok(()) => Ok(()),
            Err(flaw) => {
                malformed(format!("the first content is no JSON: {} at byte {}", flaw.what, flaw.at))
            }
        }
    }

    /// Takes the usage out of an event's data: its own, or that of the `message` it must have.
    fn told(&mut self, data: &[u8], in_message: bool) -> Result<Option<Usage>, Flaw> {
        let mut usage = self.usage;
        let (mut told, mut found) = (false, !in_message);
        let mut cursor = Cursor::new(data, DEEPEST)?;
        cursor.members(|cursor, key| {
            let name = cursor.name(key);
            if in_message && *name == *b"message" {
                found = true;
                return cursor.members(|cursor, key| {
                    if *cursor.name(key) == *b"usage" {
                        told = usage::merge(&mut usage, cursor)?;
                        return Ok(());
                    }
                    cursor.value().map(drop)
                });
            }
            if !in_message && *name == *b"usage" {
                told = usage::merge(&mut usage, cursor)?;
                return Ok(());
            }
            cursor.value().map(drop)
        })?;
        cursor.finish()?;
        if !found {
            return Err(Flaw { at: data.len(), what: "it has no message", cut: false });
        }
        self.usage = usage;
        Ok(told.then_some(usage))
    }

    /// Takes one event of its own into `out`.
    fn push(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault> {
        let (meaning, usage) = self.judge(&bytes)?;
        let mark = match meaning {
            Meaning::Neutral if !self.committed => Mark::Prelude,
            Meaning::Neutral | Meaning::Content => Mark::Content,
            Meaning::Stop => Mark::Stop,
            Meaning::Error(fault) => Mark::Error(fault),
        };
        out.push(Frame { bytes, mark, usage });
        Ok(())
    }

    /// Takes the event at `start..end` of `chunk`: into the run, or behind it where its meaning is another.
    fn extend(
        &mut self,
        (chunk, start, end): (&Bytes, usize, usize),
        run: &mut Option<Run>,
        out: &mut Vec<Frame>,
    ) -> Result<(), Fault> {
        let (meaning, usage) = self.judge(&chunk[start..end])?;
        let last = match meaning {
            Meaning::Neutral | Meaning::Content => None,
            Meaning::Stop => Some(Mark::Stop),
            Meaning::Error(fault) => Some(Mark::Error(fault)),
        };
        let content = self.committed;
        match run {
            Some(run) if last.is_none() && run.content == content => {
                run.end = end;
                run.usage = usage.or(run.usage);
            }
            Some(_) | None => {
                flush(run, chunk, out);
                match last {
                    Some(mark) => out.push(Frame { bytes: chunk.slice(start..end), mark, usage }),
                    None => *run = Some(Run { start, end, usage, content }),
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, chunk: &Bytes, run: &mut Option<Run>, out: &mut Vec<Frame>) -> Result<(), Fault> {
        let mut start = 0;
        loop {
            // Behind the first content nearly every event is a delta written the way upstream writes it, and needs no closer look.
            while self.committed
                && let Some(end) = self.scanner.two_lines_end(chunk, start, PLAIN_DELTA)
            {
                self.scanner.check(end - start)?;
                match run {
                    Some(run) if run.content => run.end = end,
                    Some(_) | None => {
                        flush(run, chunk, out);
                        *run = Some(Run { start, end, usage: None, content: true });
                    }
                }
                start = end;
            }
            let Some(end) = self.scanner.event_end(chunk, start) else { break };
            if self.scanner.straddles() {
                let event = self.scanner.join(&chunk[start..end])?;
                self.push(event, out)?;
            } else {
                self.scanner.check(end - start)?;
                self.extend((chunk, start, end), run, out)?;
            }
            if self.done {
                return Ok(());
            }
            start = end;
        }
        self.scanner.hold(&chunk[start..])
    }
}

impl Decoder for Stream {
    fn feed(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        let mut run = None;
        let result = self.read(&bytes, &mut run, out);
        flush(&mut run, &bytes, out);
        result
    }

    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        if let Some(event) = self.scanner.finish() {
            self.push(event, out)?;
        }
        if self.done {
            return Ok(());
        }
        let detail = if self.committed { "after content" } else { "before any content" };
        Err(Fault::new(FaultKind::Truncated, format!("the stream ended {detail}, without message_stop")))
    }
}

fn flush(run: &mut Option<Run>, chunk: &Bytes, out: &mut Vec<Frame>) {
    if let Some(run) = run.take() {
        run.push(chunk, out);
    }
}

/// The event's name or, where it has none, the `type` its data tells.
fn kind<'a>(event: &'a sse::Event<'_>) -> std::borrow::Cow<'a, [u8]> {
    if !event.name.is_empty() || event.data.is_empty() {
        return event.name.into();
    }
    let tagged: Option<Tagged> = serde_json::from_slice(&event.data).ok();
    tagged.map(|tagged| tagged.kind.into_bytes()).unwrap_or_default().into()
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    kind: String,
}

#[cfg(test)]
mod tests;
