//! Server-sent events, read along without changing a byte.
//!
//! [`Scanner`] finds where events end in a body that arrives in any chunking; [`parse`] reads the fields of a whole one. Line
//! ends are LF, CRLF or CR, mixed at will (WHATWG HTML, section 9.2.6). Each byte is looked at a fixed number of times, and
//! only the bytes of an event that straddles chunks are copied, once, into one buffer that never holds more than one event.
//!
//! Where an event ends depends on the bytes alone, never on their chunking. After a line that ended in a lone CR, a blank
//! line's CR ends the event at once (a later LF counts to that line end and travels with the next event); otherwise a
//! blank line's CR waits for the LF that is due, so that CRLF streams are cut behind the LF.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::fault::{Fault, FaultKind};

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Lf,
    Cr,
    CrLf,
}

/// Finds the ends of events.
#[derive(Debug)]
pub struct Scanner {
    /// The bytes so far of an event that began in an earlier chunk.
    held: BytesMut,
    /// Largest event.
    bound: usize,
    /// No byte of the current line was seen yet.
    blank: bool,
    /// The last byte was a CR: an LF next would belong to it.
    after_cr: bool,
    /// That CR ended a blank line, and the event with it, once the next byte is known.
    due: bool,
    /// How the line before ended.
    ending: Ending,
}

impl Scanner {
    /// A scanner at the start of a body, for events of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { held: BytesMut::new(), bound, blank: true, after_cr: false, due: false, ending: Ending::Lf }
    }

    /// The offset behind the next event of `chunk` whose bytes before `at` were scanned already. `None`: the rest belongs to
    /// an event that is not complete; [`hold`](Self::hold) it.
    pub fn event_end(&mut self, chunk: &[u8], mut at: usize) -> Option<usize> {
        loop {
            if self.after_cr {
                let next = *chunk.get(at)?;
                self.after_cr = false;
                self.ending = if next == b'\n' { Ending::CrLf } else { Ending::Cr };
                at += usize::from(next == b'\n');
                if std::mem::take(&mut self.due) {
                    return Some(at);
                }
            }
            let rest = chunk.get(at..)?;
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.blank &= rest.is_empty();
                return None;
            };
            let blank = std::mem::replace(&mut self.blank, true) && length == 0;
            at += length + 1;
            if rest[length] == b'\n' {
                self.ending = Ending::Lf;
                if blank {
                    return Some(at);
                }
            } else {
                self.after_cr = true;
                if blank && self.ending == Ending::Cr {
                    return Some(at);
                }
                self.due = blank;
            }
        }
    }

    /// The offset behind an event of two lines that lies whole in `chunk`, where it begins with `opening`, the first line and
    /// the second one's beginning, and all lines end in LF. `None`: look with [`event_end`](Self::event_end).
    pub fn two_lines_end(&mut self, chunk: &[u8], at: usize, opening: &[u8]) -> Option<usize> {
        if !self.held.is_empty() || self.after_cr || !self.blank {
            return None;
        }
        let rest = chunk.get(at..)?.strip_prefix(opening)?;
        let length = memchr2(b'\r', b'\n', rest)?;
        let ended = rest[length..].starts_with(b"\n\n");
        if ended {
            self.ending = Ending::Lf;
        }
        ended.then_some(at + opening.len() + length + 2)
    }

    /// Whether the event that ends next began in an earlier chunk.
    #[must_use]
    pub fn straddles(&self) -> bool {
        !self.held.is_empty()
    }

    /// The whole of an event that began in an earlier chunk and ends with `tail`.
    ///
    /// # Errors
    /// [`FaultKind::Malformed`] where it is larger than the bound.
    pub fn join(&mut self, tail: &[u8]) -> Result<Bytes, Fault> {
        self.hold(tail)?;
        Ok(self.held.split().freeze())
    }

    /// Keeps the bytes of an event that is not complete.
    ///
    /// # Errors
    /// [`FaultKind::Malformed`] where it is larger than the bound already.
    pub fn hold(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.check(self.held.len().saturating_add(bytes.len()))?;
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Judges the size of an event.
    ///
    /// # Errors
    /// [`FaultKind::Malformed`] where it is larger than the bound.
    pub fn check(&self, size: usize) -> Result<(), Fault> {
        if size > self.bound {
            let detail = format!("an event of the stream is larger than {} bytes", self.bound);
            return Err(Fault::new(FaultKind::Malformed, detail));
        }
        Ok(())
    }

    /// At the end of the body: the last event, where only the LF of its CRLF is missing. What is left otherwise is no event
    /// (WHATWG HTML, section 9.2.6: "Once the end of the file is reached, any pending data must be discarded").
    pub fn finish(&mut self) -> Option<Bytes> {
        let complete = std::mem::take(&mut self.due);
        let last = self.held.split().freeze();
        complete.then_some(last)
    }
}

/// What a whole event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name; empty where it has none.
    pub name: &'a [u8],
    /// Its data: lines joined by LF, borrowed where there is but one.
    pub data: Cow<'a, [u8]>,
}

/// Reads the fields of an event. Comments, `id`, `retry` and unknown fields are passed over, a byte order mark at the very
/// start too (only a stream's first event may have one; nothing useful starts with it elsewhere).
#[must_use]
pub fn parse(event: &[u8]) -> Event<'_> {
    let mut rest = event.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(event);
    let mut name: &[u8] = b"";
    let mut data: Option<Cow<'_, [u8]>> = None;
    while !rest.is_empty() {
        let length = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..length];
        rest = rest.get(length + 1..).unwrap_or_default();
        if let Some(value) = field(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(lines) => {
                    let lines = lines.to_mut();
                    lines.push(b'\n');
                    lines.extend_from_slice(value);
                }
            }
        } else if let Some(value) = field(line, b"event") {
            name = value;
        }
    }
    Event { name, data: data.unwrap_or_default() }
}

/// The value of `line` if it is a field called `name`: behind the colon and at most one space.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
