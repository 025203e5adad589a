//! A stream's decoder hears the same in every split, passes bytes unchanged, and keeps its bounds.

use bytes::Bytes;
use headgate_providers::{
    Anthropic, Bounds, Decoder, FaultKind, Frame, Headers, Mark, MessagesRequest, Operation, Outline,
    Provider as _, Usage, WireHead,
};

/// Small, so that inputs reach it.
const EVENT_BYTES: usize = 2048;

/// What was heard, free of how it was cut.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    bytes: Vec<u8>,
    /// Marks in order, equal neighbours once.
    marks: Vec<char>,
    usage: Option<Usage>,
    reported: Option<FaultKind>,
    failed: Option<FaultKind>,
}

impl Heard {
    fn take(&mut self, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            assert!(!self.ended(), "nothing follows the end");
            assert!(!frame.bytes.is_empty());
            self.bytes.extend_from_slice(&frame.bytes);
            self.usage = frame.usage.or(self.usage);
            let mark = match &frame.mark {
                Mark::Prelude => 'p',
                Mark::Content => 'c',
                Mark::Stop => 's',
                Mark::Error(fault) => {
                    self.reported = Some(fault.kind);
                    'e'
                }
            };
            assert!(mark != 'p' || !self.marks.contains(&'c'), "no prelude after content");
            if self.marks.last() != Some(&mark) {
                self.marks.push(mark);
            }
        }
    }

    fn ended(&self) -> bool {
        matches!(self.marks.last(), Some('s' | 'e'))
    }
}

/// The promises, for any bytes.
pub fn check(input: &[u8]) {
    let whole = hear(input, &mut |rest| rest);
    assert!(input.starts_with(&whole.bytes), "bytes pass unchanged");
    assert_eq!(whole.failed.is_none(), whole.ended(), "a stream ends well, or in a report, or is a fault");
    assert_eq!(hear(input, &mut |_| 1), whole, "one byte at a time");
    assert_eq!(hear(input, &mut |rest| if rest % 2 == 0 { 0 } else { 2 }.max(usize::from(rest > 0))), whole);
    // Splits that look random and follow from the input alone, so that a finding repeats.
    let mut state = input.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    for reach in [7, 64] {
        let mut next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % reach).unwrap_or(0)
        };
        assert_eq!(hear(input, &mut next), whole, "pieces below {reach}");
    }
}

/// Feeds `input` in pieces of the sizes that `piece` says, given what is left; empty pieces among them.
fn hear(input: &[u8], piece: &mut dyn FnMut(usize) -> usize) -> Heard {
    let mut decoder = decoder();
    let (mut heard, mut frames) = (Heard::default(), Vec::new());
    let mut rest = Bytes::copy_from_slice(input);
    while !rest.is_empty() {
        let size = piece(rest.len()).min(rest.len());
        let result = decoder.feed(rest.split_to(size), &mut frames);
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
    let outline = Outline {
        model: "claude-x".to_owned(),
        model_span: 0..0,
        stream: true,
        max_tokens: None,
        user_id: None,
    };
    let (headers, body) = (Headers::default(), Bytes::new());
    let request = MessagesRequest { operation: Operation::Messages, body, query: None, headers, outline };
    let mut headers = Headers::default();
    headers.push("content-type", "text/event-stream; charset=utf-8");
    let bounds = Bounds { event_bytes: EVENT_BYTES, answer_bytes: EVENT_BYTES };
    match Anthropic.decoder(&request, &WireHead { status: 200, headers }, bounds) {
        Ok(decoder) => decoder,
        Err(fault) => panic!("an event stream was announced: {fault:?}"),
    }
}
