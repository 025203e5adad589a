//! Whole answers: held until they are complete, then passed as received.

use bytes::Bytes;

use super::{fault, usage};
use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::json::{Cursor, Flaw};
use crate::wire::WireHead;

/// Decoder of a JSON answer: a message, a token count, a list of models.
#[derive(Debug)]
pub(crate) struct Whole {
    head: WireHead,
    held: Vec<Bytes>,
    size: usize,
    bound: usize,
    done: bool,
}

impl Whole {
    /// A decoder for the body that follows `head`, of at most `bound` bytes.
    pub fn new(head: &WireHead, bound: usize) -> Self {
        Self { head: head.clone(), held: Vec::new(), size: 0, bound, done: false }
    }
}

impl Decoder for Whole {
    fn feed(&mut self, bytes: Bytes, _out: &mut Vec<Frame>) -> Result<(), Fault> {
        if self.done || bytes.is_empty() {
            return Ok(());
        }
        self.size = self.size.saturating_add(bytes.len());
        if self.size > self.bound {
            self.done = true;
            self.held = Vec::new();
            let detail = format!("the answer is larger than {} bytes", self.bound);
            return Err(Fault::new(FaultKind::Malformed, detail));
        }
        self.held.push(bytes);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        let mut slices = std::mem::take(&mut self.held);
        let joined = match slices.as_slice() {
            [only] => only.clone(),
            _ => Bytes::from(slices.concat()),
        };
        let facts = read(&joined).map_err(fault_of)?;
        if facts.is_error {
            return Err(fault::in_answer(&self.head, &joined));
        }
        let Some(last) = slices.pop() else { return Ok(()) };
        out.extend(slices.into_iter().map(|bytes| Frame { bytes, mark: Mark::Content, usage: None }));
        out.push(Frame { bytes: last, mark: Mark::Stop, usage: facts.usage });
        Ok(())
    }
}

struct Facts {
    is_error: bool,
    usage: Option<Usage>,
}

/// Validates the whole answer in one pass, without building a tree. Depth is bounded by the size: the reader does
/// not recurse.
fn read(body: &[u8]) -> Result<Facts, Flaw> {
    let mut cursor = Cursor::new(body, usize::MAX)?;
    let mut facts = Facts { is_error: false, usage: None };
    cursor.members(|cursor, key| {
        match cursor.name(key).as_ref() {
            b"type" => {
                let span = cursor.value()?;
                facts.is_error = cursor.raw(span) == b"\"error\"";
            }
            b"usage" => {
                let mut usage = Usage::default();
                facts.usage = usage::merge(&mut usage, cursor)?.then_some(usage);
            }
            _ => {
                cursor.value()?;
            }
        }
        Ok::<(), Flaw>(())
    })?;
    cursor.finish()?;
    Ok(facts)
}

fn fault_of(flaw: Flaw) -> Fault {
    let kind = if flaw.cut { FaultKind::Truncated } else { FaultKind::Malformed };
    Fault::new(kind, format!("the answer is not complete JSON: {} at byte {}", flaw.what, flaw.at))
}

#[cfg(test)]
mod tests;
