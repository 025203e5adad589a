//! Whole answers: a message passes as the Messages API's own does; a token count takes the API's name.

use bytes::Bytes;
use serde::Deserialize;

use super::usage;
use crate::anthropic::whole::Whole as Answer;
use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::wire::WireHead;

/// Decoder of a whole message; AWS tells its usage in headers too.
#[derive(Debug)]
pub(super) struct Whole {
    answer: Answer,
    counted: Option<Usage>,
}

impl Whole {
    /// A decoder for the body that follows `head`, of at most `bound` bytes.
    pub fn new(head: &WireHead, bound: usize) -> Self {
        Self { answer: Answer::new(head, bound), counted: usage::of_headers(&head.headers) }
    }
}

impl Decoder for Whole {
    fn feed(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault> {
        self.answer.feed(bytes, out)
    }

    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault> {
        self.answer.end(out)?;
        if let (Some(last), Some(counted)) = (out.last_mut(), self.counted) {
            last.usage = Some(usage::at_least(last.usage.unwrap_or_default(), counted));
        }
        Ok(())
    }
}

/// Decoder of `{"inputTokens":N}`, which the Messages API calls `{"input_tokens":N}`.
#[derive(Debug)]
pub(super) struct Count {
    answer: Answer,
}

impl Count {
    /// A decoder for the body that follows `head`, of at most `bound` bytes.
    pub fn new(head: &WireHead, bound: usize) -> Self {
        Self { answer: Answer::new(head, bound) }
    }
}

impl Decoder for Count {
    fn feed(&mut self, bytes: Bytes, out: &mut Vec<Frame>) -> Result<(), Fault> {
        self.answer.feed(bytes, out)
    }

    fn end(&mut self, out: &mut Vec<Frame>) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(rename = "inputTokens")]
            input_tokens: u64,
        }
        let mut frames = Vec::new();
        self.answer.end(&mut frames)?;
        if frames.is_empty() {
            return Ok(());
        }
        let body = frames.iter().map(|frame| frame.bytes.as_ref()).collect::<Vec<_>>().concat();
        let counted: Counted = serde_json::from_slice(&body)
            .map_err(|_| Fault::new(FaultKind::Malformed, "the answer holds no count of tokens"))?;
        let bytes = format!(r#"{{"input_tokens":{}}}"#, counted.input_tokens).into();
        out.push(Frame { bytes, mark: Mark::Stop, usage: None });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Count, Whole};
    use crate::fault::FaultKind;
    use crate::frame::{Decoder, Frame, Mark, Usage};
    use crate::wire::{Headers, WireHead};

    fn head(lines: &[(&'static str, &'static str)]) -> WireHead {
        let mut headers = Headers::default();
        for (name, value) in lines {
            headers.push(*name, *value);
        }
        WireHead { status: 200, headers }
    }

    fn decode(mut decoder: impl Decoder, body: &'static str) -> Result<Vec<Frame>, FaultKind> {
        let mut out = Vec::new();
        for piece in body.as_bytes().chunks(3) {
            decoder.feed(Bytes::from_static(piece), &mut out).map_err(|fault| fault.kind)?;
        }
        decoder.end(&mut out).map_err(|fault| fault.kind)?;
        Ok(out)
    }

    #[test]
    fn a_message_passes_unchanged_and_headers_fill_in_its_usage() {
        let counts = [("x-amzn-bedrock-input-token-count", "7"), ("x-amzn-bedrock-output-token-count", "2")];
        for (lines, body, usage) in [
            (&counts[..], r#"{"type":"message"}"#, Some((7, 2))),
            (&counts[..], r#"{"type":"message","usage":{"input_tokens":7,"output_tokens":3}}"#, Some((7, 3))),
            (&[][..], r#"{"type":"message","usage":{"input_tokens":7,"output_tokens":3}}"#, Some((7, 3))),
            (&[][..], r#"{"type":"message"}"#, None),
        ] {
            let frames = decode(Whole::new(&head(lines), 1000), body).unwrap();
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
            assert_eq!(bytes, body.as_bytes());
            let last = frames.last().unwrap();
            assert!(matches!(last.mark, Mark::Stop));
            assert_eq!(last.usage, usage.map(|(input, output)| Usage { input, output, ..Usage::default() }));
        }
    }

    #[test]
    fn a_count_takes_the_name_of_the_messages_api() {
        let frames = decode(Count::new(&head(&[]), 1000), r#"{ "inputTokens": 42, "new": [] }"#).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].bytes, r#"{"input_tokens":42}"#);
        for (body, kind) in [
            (r#"{"input_tokens":42}"#, FaultKind::Malformed),
            (r#"{"inputTokens":"42"}"#, FaultKind::Malformed),
            (r#"{"inputTokens":42"#, FaultKind::Truncated),
        ] {
            assert_eq!(decode(Count::new(&head(&[]), 1000), body).unwrap_err(), kind, "{body}");
        }
    }
}
