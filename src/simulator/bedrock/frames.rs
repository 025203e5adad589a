//! The event stream of Bedrock's runtime: events as frames, and frames that go wrong.
//!
//! A chunk is `{"bytes":"<base64 of one event>","p":"<padding>"}`; the padding hides the length and means nothing.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::super::answer::Answer;
use super::super::config::Timings;
use super::super::events::Event;
use super::super::fault::Knobs;

const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// What `oversized_frame` announces: botocore takes 24 MiB.
const OVERSIZED: u32 = 64 * 1024 * 1024;

/// A frame around the JSON of one event; `padding` is a length up to 62.
pub fn chunk(data: &str, padding: usize) -> Bytes {
    let padding = &PADDING[..padding.min(PADDING.len())];
    let payload = format!(r#"{{"bytes":"{}","p":"{padding}"}}"#, STANDARD.encode(data));
    frame(
        &[(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// An exception frame. A `modelStreamErrorException` tells what the model said too.
pub fn exception(name: &str, message: &str, original_status: u16) -> Bytes {
    let payload = if name == "modelStreamErrorException" {
        json!({"message": message, "originalStatusCode": original_status, "originalMessage": message})
    } else {
        json!({ "message": message })
    };
    let headers =
        [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    frame(&headers, payload.to_string())
}

/// The JSON of `message_stop` with what the call cost.
pub fn with_metrics(data: &str, answer: &Answer, timings: Timings) -> String {
    let mut metrics = json!({
        "inputTokenCount": answer.input.input,
        "outputTokenCount": answer.output_tokens(),
        "invocationLatency": timings.latency_ms + timings.ttft_ms,
        "firstByteLatency": timings.latency_ms,
    });
    let (read, written) = (answer.input.read, answer.input.written_5m + answer.input.written_1h);
    for (name, count) in [("cacheReadInputTokenCount", read), ("cacheWriteInputTokenCount", written)] {
        if count > 0 {
            metrics[name] = json!(count);
        }
    }
    let open = data.strip_suffix('}').unwrap_or(data);
    format!(r#"{open},"amazon-bedrock-invocationMetrics":{metrics}}}"#)
}

/// How a frame goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// An exception in place of all that follows; `usual` is its name when nothing else is said.
    Exception {
        /// The name.
        usual: &'static str,
    },
    /// An error frame in place of all that follows.
    Error,
    /// A wrong checksum.
    CorruptCrc,
    /// A frame that announces more than any client takes, and then nothing.
    Oversized,
    /// Two chunks without a `type`.
    KeepAlives,
}

/// Frames that stand in a stream for a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The bytes.
    pub bytes: Bytes,
    /// They stand in place of the next good frame.
    pub replaces: bool,
    /// The stream goes on behind them.
    pub goes_on: bool,
}

/// What an oddity puts into the stream before the frame `next`.
pub fn odd(oddity: Oddity, knobs: &Knobs, next: &[u8]) -> Odd {
    let end = |bytes| Odd { bytes, replaces: false, goes_on: false };
    let message = |usual: &str| knobs.message.clone().unwrap_or_else(|| usual.to_owned());
    let name = |usual: &str| knobs.error_type.clone().unwrap_or_else(|| usual.to_owned());
    match oddity {
        Oddity::Exception { usual } => {
            let said = message(said_by(&name(usual)));
            end(exception(&name(usual), &said, knobs.status.unwrap_or(500)))
        }
        Oddity::Error => {
            let (code, said) = (name("InternalFailure"), message("An internal server error occurred."));
            let headers = [(":error-code", &*code), (":error-message", &*said), (":message-type", "error")];
            end(frame(&headers, ""))
        }
        Oddity::CorruptCrc => {
            let place = if knobs.prelude { 8 } else { next.len().saturating_sub(1) };
            let flip = |(at, byte): (usize, &u8)| if at == place { byte ^ 0xff } else { *byte };
            let bytes: Vec<u8> = next.iter().enumerate().map(flip).collect();
            Odd { bytes: bytes.into(), replaces: true, goes_on: true }
        }
        Oddity::Oversized => end(oversized(OVERSIZED)),
        Oddity::KeepAlives => {
            let typeless = [chunk(r#"{"keepAlive":true}"#, 3), chunk("{}", 0)].concat();
            Odd { bytes: typeless.into(), replaces: false, goes_on: true }
        }
    }
}

/// The usual message of an exception frame.
fn said_by(name: &str) -> &'static str {
    match name {
        "throttlingException" => "Too many requests, please wait before trying again.",
        "serviceUnavailableException" => "Bedrock is unable to process your request.",
        "modelTimeoutException" => "The model did not answer in time.",
        "validationException" => "The provided request is not valid.",
        _ => "The system encountered an unexpected error during processing. Try your request again.",
    }
}

/// A sound prelude that announces a frame of so many bytes, and a little of it.
fn oversized(length: u32) -> Bytes {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    let checksum = crc32(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes.extend([b' '; 64]);
    bytes.into()
}

/// The checksum of the preludes (IEEE, bit by bit: the eight bytes of a prelude need no table).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

fn frame(headers: &[(&'static str, &str)], payload: impl Into<Bytes>) -> Bytes {
    let header = |(name, value): &(&'static str, &str)| {
        Header::new(*name, HeaderValue::String((*value).to_owned().into()))
    };
    let message = Message::new_from_parts(headers.iter().map(header).collect(), payload.into());
    let mut bytes = Vec::new();
    // Only headers beyond 64 KiB would fail; what a rule says of them is then left out.
    drop(write_message_to(&message, &mut bytes));
    bytes.into()
}

/// A ping in a frame.
pub fn ping() -> Bytes {
    chunk(&Event::ping().data, 7)
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::read_message_from;

    use super::*;

    #[test]
    fn a_chunk_is_read_back_by_the_official_crate() {
        let message = read_message_from(&mut &chunk(r#"{"type":"ping"}"#, 5)[..]).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(message.payload()).unwrap();
        assert_eq!(payload["p"], "abcde");
        assert_eq!(STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap(), br#"{"type":"ping"}"#);
        assert_eq!(message.headers().len(), 3);
    }

    #[test]
    fn odd_frames_are_odd_in_the_way_they_say() {
        let good = chunk("{}", 1);
        let read = |bytes: &Bytes| read_message_from(&mut &bytes[..]).map_err(|error| error.to_string());
        let odd = |oddity| odd(oddity, &Knobs::default(), &good);
        assert!(read(&odd(Oddity::CorruptCrc).bytes).is_err());
        let prelude = Knobs { prelude: true, ..Knobs::default() };
        assert!(read(&super::odd(Oddity::CorruptCrc, &prelude, &good).bytes).is_err());
        assert_eq!(read(&odd(Oddity::Error).bytes).unwrap().headers().len(), 3);
        let exception = read(&odd(Oddity::Exception { usual: "throttlingException" }).bytes).unwrap();
        assert!(exception.headers().iter().any(|header| {
            header.value().as_string().is_ok_and(|value| value.as_str() == "throttlingException")
        }));
        let oversized = odd(Oddity::Oversized).bytes;
        assert_eq!(oversized[..4], (64_u32 << 20).to_be_bytes());
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(&good[..8]).to_be_bytes(), good[8..12]);
    }
}
