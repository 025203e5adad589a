//! An event stream's decoder hears the same in every split, whatever the frames hold, and keeps its bounds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headgate_providers::bedrock::{Bedrock, Surface, Tables};
use headgate_providers::framing::aws::frame;
use headgate_providers::{
    Bounds, Decoder, FaultKind, Frame, Headers, Mark, MessagesRequest, Operation, Outline, Provider as _,
    Usage, WireHead,
};

/// Small, so that inputs reach it.
const EVENT_BYTES: usize = 4096;

/// What was heard, free of how it was cut.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    bytes: Vec<u8>,
    /// Marks in order, equal neighbours once.
    marks: Vec<char>,
    usage: Option<Usage>,
    failed: Option<FaultKind>,
}

impl Heard {
    fn take(&mut self, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            assert!(!matches!(self.marks.last(), Some('s' | 'e')), "nothing follows the end");
            assert!(frame.bytes.starts_with(b"event: ") && frame.bytes.ends_with(b"\n\n"), "whole events");
            self.bytes.extend_from_slice(&frame.bytes);
            self.usage = frame.usage.or(self.usage);
            let mark = match &frame.mark {
                Mark::Prelude => 'p',
                Mark::Content => 'c',
                Mark::Stop => 's',
                Mark::Error(fault) => {
                    assert!(fault.answer.as_ref().is_some_and(|answer| !answer.body.is_empty()));
                    'e'
                }
            };
            assert!(mark != 'p' || !self.marks.contains(&'c'), "no prelude after content");
            if self.marks.last() != Some(&mark) {
                self.marks.push(mark);
            }
        }
    }
}

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
    let ended = matches!(whole.marks.last(), Some('s' | 'e'));
    assert_eq!(whole.failed.is_none(), ended, "a stream ends well, or in a report, or is a fault");
    for size in [1, 7, 1000] {
        assert_eq!(hear(body, size), whole, "pieces of {size}");
    }
}

fn hear(body: &[u8], size: usize) -> Heard {
    let mut decoder = decoder();
    let (mut heard, mut frames) = (Heard::default(), Vec::new());
    for piece in body.chunks(size) {
        let result = decoder.feed(Bytes::copy_from_slice(piece), &mut frames);
        heard.take(&mut frames);
        if let Err(fault) = result {
            heard.failed = Some(fault.kind);
            return heard;
        }
    }
    let result = decoder.end(&mut frames);
    heard.take(&mut frames);
    heard.failed = result.err().map(|fault| fault.kind);
    heard
}

fn decoder() -> Box<dyn Decoder> {
    let outline =
        Outline { model: "m".to_owned(), model_span: 0..0, stream: true, max_tokens: None, user_id: None };
    let (headers, body) = (Headers::default(), Bytes::new());
    let request = MessagesRequest { operation: Operation::Messages, body, query: None, headers, outline };
    let mut headers = Headers::default();
    headers.push("content-type", "application/vnd.amazon.eventstream");
    let bounds = Bounds { event_bytes: EVENT_BYTES, answer_bytes: EVENT_BYTES };
    let bedrock = Bedrock::new(Surface::Runtime, "r".to_owned(), Tables::default());
    match bedrock.decoder(&request, &WireHead { status: 200, headers }, bounds) {
        Ok(decoder) => decoder,
        Err(fault) => panic!("an event stream was announced: {fault:?}"),
    }
}
