//! AWS event-stream frames (`application/vnd.amazon.eventstream`), bounded and checked.
//!
//! A frame is length, header length, CRC of these; headers; payload; CRC of everything before (Smithy, "Amazon Event Stream
//! Specification"). Lengths and the first CRC are judged as soon as their twelve bytes are there, so that a damaged length
//! never makes us wait for bytes that do not come. What the rest says is read by Amazon's own crate.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue};
use bytes::{Bytes, BytesMut};

use crate::fault::{Fault, FaultKind};

/// Largest headers of a frame, bytes (as botocore has it).
pub const HEADER_BYTES: usize = 128 << 10;
/// Largest payload of a frame, bytes (as botocore has it).
pub const PAYLOAD_BYTES: usize = 24 << 20;

const PRELUDE: usize = 12;
/// Prelude and closing CRC.
const OVERHEAD: usize = PRELUDE + 4;

/// One frame.
#[derive(Clone, Debug)]
pub struct Message(aws_smithy_types::event_stream::Message);

impl Message {
    /// The value of the header `name`, where it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let header = self.0.headers().iter().find(|header| header.name().as_str() == name)?;
        header.value().as_string().ok().map(|text| text.as_str())
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        self.0.payload()
    }
}

/// Finds frames in a body that arrives in any chunking.
#[derive(Debug)]
pub struct Frames {
    held: BytesMut,
    bound: usize,
}

impl Frames {
    /// At the start of a body, for frames of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { held: BytesMut::new(), bound: bound.min(HEADER_BYTES + PAYLOAD_BYTES + OVERHEAD) }
    }

    /// Takes the next bytes; take all frames out before more are fed.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next frame; `None` while it is not complete.
    ///
    /// # Errors
    /// [`FaultKind::Malformed`] where a length is impossible or beyond its bound, a CRC is wrong, or a header is wrong or
    /// there twice.
    pub fn next_frame(&mut self) -> Result<Option<Message>, Fault> {
        let Some(prelude) = self.held.first_chunk::<PRELUDE>() else { return Ok(None) };
        let total = self.judge(prelude)?;
        if self.held.len() < total {
            return Ok(None);
        }
        let frame = self.held.split_to(total).freeze();
        let message = read_message_from(frame).map_err(|error| malformed(error.to_string()))?;
        let headers = message.headers();
        for (index, header) in headers.iter().enumerate() {
            if headers.iter().take(index).any(|other| other.name() == header.name()) {
                return Err(malformed("a header is there twice"));
            }
        }
        Ok(Some(Message(message)))
    }

    /// Whether the bytes so far end amid a frame.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        !self.held.is_empty()
    }

    /// The length of the frame that begins so.
    fn judge(&self, prelude: &[u8; PRELUDE]) -> Result<usize, Fault> {
        let number = |at: usize| {
            let bytes = prelude.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
            u32::from_be_bytes(bytes)
        };
        if crc32fast::hash(&prelude[..8]) != number(8) {
            return Err(malformed("the CRC of its lengths is wrong"));
        }
        let (total, headers) = (number(0) as usize, number(4) as usize);
        if total > self.bound {
            return Err(malformed(format!("it has {total} bytes, more than {}", self.bound)));
        }
        if headers > HEADER_BYTES || headers.saturating_add(OVERHEAD) > total {
            return Err(malformed(format!("its headers have {headers} bytes of {total}")));
        }
        Ok(total)
    }
}

/// A frame with text headers, as a server writes it; `None` where the headers or the payload do not fit into one.
#[must_use]
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Option<Bytes> {
    let mut message = aws_smithy_types::event_stream::Message::new(Bytes::copy_from_slice(payload));
    for (name, value) in headers {
        let value = HeaderValue::String((*value).to_owned().into());
        message = message.add_header(Header::new((*name).to_owned(), value));
    }
    let mut written = BytesMut::new();
    write_message_to(&message, &mut written).ok()?;
    Some(written.freeze())
}

fn malformed(why: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Malformed, format!("a frame of the event stream cannot be read: {why}"))
}

#[cfg(test)]
mod tests;
