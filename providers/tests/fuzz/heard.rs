//! What a stream's decoder made of a body, free of how it was cut, and what every decoder promises meanwhile.

use bytes::Bytes;
use headgate_providers::{
    Bounds, Decoder, FaultKind, Frame, Headers, Mark, MessagesRequest, Operation, Outline, Provider, Usage,
    WireHead,
};

/// What was heard.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    pub bytes: Vec<u8>,
    /// Marks in order, equal neighbours once.
    marks: Vec<char>,
    usage: Option<Usage>,
    reported: Option<FaultKind>,
    pub failed: Option<FaultKind>,
}

impl Heard {
    /// Feeds `input` in pieces of the sizes that `piece` says, given what is left; empty pieces among them. `judge` looks at every
    /// frame.
    pub fn of(
        mut decoder: Box<dyn Decoder>,
        input: &[u8],
        piece: &mut dyn FnMut(usize) -> usize,
        judge: fn(&Frame),
    ) -> Self {
        let (mut heard, mut frames) = (Self::default(), Vec::new());
        let mut rest = Bytes::copy_from_slice(input);
        while !rest.is_empty() {
            let size = piece(rest.len()).min(rest.len());
            let result = decoder.feed(rest.split_to(size), &mut frames);
            heard.take(&mut frames, judge);
            if let Err(fault) = result {
                heard.failed = Some(fault.kind);
                return heard;
            }
        }
        let result = decoder.end(&mut frames);
        heard.take(&mut frames, judge);
        heard.failed = result.err().map(|fault| fault.kind);
        heard
    }

    fn take(&mut self, frames: &mut Vec<Frame>, judge: fn(&Frame)) {
        for frame in frames.drain(..) {
            assert!(!self.ended(), "nothing follows the end");
            assert!(!frame.bytes.is_empty());
            judge(&frame);
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

    /// Whether the stream said how it ended.
    pub fn ended(&self) -> bool {
        matches!(self.marks.last(), Some('s' | 'e'))
    }
}

/// The decoder of a stream that was asked for and is announced as `content_type`; no event may be longer than `event_bytes`.
pub fn decoder(provider: &dyn Provider, content_type: &'static str, event_bytes: usize) -> Box<dyn Decoder> {
    let model = "claude-x".to_owned();
    let outline = Outline { model, model_span: 0..0, stream: true, max_tokens: None, user_id: None };
    let (headers, body) = (Headers::default(), Bytes::new());
    let request = MessagesRequest { operation: Operation::Messages, body, query: None, headers, outline };
    let mut headers = Headers::default();
    headers.push("content-type", content_type);
    let bounds = Bounds { event_bytes, answer_bytes: event_bytes };
    match provider.decoder(&request, &WireHead { status: 200, headers }, bounds) {
        Ok(decoder) => decoder,
        Err(fault) => panic!("an event stream was announced: {fault:?}"),
    }
}
