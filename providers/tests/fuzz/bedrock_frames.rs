//! An event stream's decoder hears the same in every split, whatever the frames hold, and keeps its bounds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headgate_providers::bedrock::{Bedrock, Surface, Tables};
use headgate_providers::framing::aws::frame;
use headgate_providers::{Frame, Mark};

use super::heard::{Heard, decoder};

/// Small, so that inputs reach it.
const EVENT_BYTES: usize = 4096;

/// The promises, for any bytes: as a body, and, cut at line ends, as the events inside of good frames.
pub fn check(input: &[u8]) {
    alike(input);
    let mut framed = Vec::new();
    // Empty lines are frames too: without a bound they would be all that is tried.
    for piece in input.split(|&byte| byte == b'\n').take(32) {
        let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(piece));
        let (kind, name, payload) = match piece.first() {
            Some(b'!') => ("exception", ":exception-type", piece[1..].to_vec()),
            Some(_) | None => ("event", ":event-type", payload.into_bytes()),
        };
        let name =
            [(":message-type", kind), (name, if kind == "event" { "chunk" } else { "throttlingException" })];
        framed.extend(frame(&name, &payload).expect("small enough for a frame"));
    }
    alike(&framed);
}

fn alike(body: &[u8]) {
    let whole = hear(body, body.len().max(1));
    assert_eq!(whole.failed.is_none(), whole.ended(), "a stream ends well, or in a report, or is a fault");
    for size in [1, 7, 1000] {
        assert_eq!(hear(body, size), whole, "pieces of {size}");
    }
}

fn hear(body: &[u8], size: usize) -> Heard {
    let bedrock = Bedrock::new(Surface::Runtime, "r".to_owned(), Tables::default());
    let decoder = decoder(&bedrock, "application/vnd.amazon.eventstream", EVENT_BYTES);
    Heard::of(decoder, body, &mut |_| size, whole_events)
}

fn whole_events(frame: &Frame) {
    assert!(frame.bytes.starts_with(b"event: ") && frame.bytes.ends_with(b"\n\n"), "whole events");
    if let Mark::Error(fault) = &frame.mark {
        assert!(fault.answer.as_ref().is_some_and(|answer| !answer.body.is_empty()));
    }
}
