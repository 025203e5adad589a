//! Whole answers, complete and not.

use bytes::Bytes;

use super::Whole;
use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::wire::{Headers, WireHead};

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Grüße"}],
  "stop_reason":"end_turn","usage":{"input_tokens":9,"cache_read_input_tokens":100,"cache_creation_input_tokens":7,"output_tokens":3}}"#;

fn decode(body: &[u8], size: usize) -> Result<Vec<Frame>, Fault> {
    let mut decoder = Whole::new(&WireHead { status: 200, headers: Headers::default() }, 1000);
    let mut out = Vec::new();
    for piece in body.chunks(size) {
        decoder.feed(Bytes::copy_from_slice(piece), &mut out)?;
        assert!(out.is_empty());
    }
    decoder.end(&mut out)?;
    Ok(out)
}

fn kind(body: &str) -> FaultKind {
    decode(body.as_bytes(), 1000).unwrap_err().kind
}

#[test]
fn a_complete_answer_passes_in_any_split() {
    for size in 1..=MESSAGE.len() {
        let frames = decode(MESSAGE.as_bytes(), size).unwrap();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        assert_eq!(bytes, MESSAGE.as_bytes());
        let (last, earlier) = frames.split_last().unwrap();
        assert!(matches!(last.mark, Mark::Stop));
        assert!(earlier.iter().all(|frame| matches!(frame.mark, Mark::Content)));
        let usage = Usage {
            input: 9,
            output: 3,
            cache_read: 100,
            cache_write_5m: 7,
            cache_write_1h: 0,
            batch: false,
        };
        assert_eq!(last.usage, Some(usage));
    }
}

#[test]
fn counts_and_lists_have_no_usage() {
    for body in
        [r#"{"input_tokens":2095}"#, r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#, "{}\n"]
    {
        let frames = decode(body.as_bytes(), 1000).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].usage, None);
    }
}

#[test]
fn an_incomplete_answer_is_truncated_wherever_it_is_cut() {
    assert_eq!(kind(""), FaultKind::Truncated);
    for (at, _) in MESSAGE.char_indices() {
        assert_eq!(kind(&MESSAGE[..at]), FaultKind::Truncated, "cut at {at}");
    }
}

#[test]
fn what_is_no_json_object_is_malformed() {
    for body in ["<html></html>", "[]", "null", "{} {}", "{]", "event: message_start\n"] {
        assert_eq!(kind(body), FaultKind::Malformed, "{body}");
    }
    assert_eq!(decode(b"{\"a\":\"\xff\"}", 9).unwrap_err().kind, FaultKind::Malformed);
}

#[test]
fn an_answer_beyond_its_bound_is_malformed() {
    assert_eq!(decode(&[b' '; 1001], 10).unwrap_err().kind, FaultKind::Malformed);
}

#[test]
fn an_error_inside_a_200_is_a_fault_with_its_own_status() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let fault = decode(body.as_bytes(), 10).unwrap_err();
    assert_eq!((fault.kind, fault.status()), (FaultKind::Overloaded, Some(529)));
    assert_eq!(fault.answer.unwrap().body, body);
}

#[test]
fn nothing_comes_after_the_end() {
    let mut decoder = Whole::new(&WireHead { status: 200, headers: Headers::default() }, 1000);
    let mut out = Vec::new();
    decoder.feed(Bytes::from_static(b"{}"), &mut out).unwrap();
    decoder.end(&mut out).unwrap();
    decoder.feed(Bytes::from_static(b"{}"), &mut out).unwrap();
    decoder.end(&mut out).unwrap();
    assert_eq!(out.len(), 1);
}
