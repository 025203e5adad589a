//! Splits, damage and bounds.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Frames, HEADER_BYTES, frame};
use crate::fault::FaultKind;

const HEADERS: &[(&str, &str)] = &[(":message-type", "event"), (":event-type", "chunk"), ("é", "")];

/// The payloads of a body fed in pieces of `size`, then the fault if there was one.
fn payloads(body: &[u8], size: usize, bound: usize) -> (Vec<Bytes>, Option<FaultKind>) {
    let mut frames = Frames::new(bound);
    let mut found = Vec::new();
    for piece in body.chunks(size) {
        frames.feed(piece);
        loop {
            match frames.next_frame() {
                Ok(Some(message)) => found.push(message.payload().clone()),
                Ok(None) => break,
                Err(fault) => return (found, Some(fault.kind)),
            }
        }
    }
    let cut = frames.is_amid().then_some(FaultKind::Truncated);
    (found, cut)
}

fn body() -> Vec<u8> {
    [frame(HEADERS, b"one").unwrap(), frame(&[], b"").unwrap(), frame(HEADERS, &[0xff; 300]).unwrap()]
        .concat()
}

#[test]
fn every_split_yields_the_same_frames() {
    let body = body();
    let whole = payloads(&body, body.len(), usize::MAX);
    assert_eq!(whole.0.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 0, 300]);
    assert_eq!(whole.1, None);
    for size in 1..body.len() {
        assert_eq!(payloads(&body, size, usize::MAX), whole, "pieces of {size}");
    }
}

#[test]
fn headers_are_read_by_name_where_they_are_text() {
    let mut frames = Frames::new(1000);
    frames.feed(&frame(HEADERS, b"x").unwrap());
    let message = frames.next_frame().unwrap().unwrap();
    assert_eq!(message.text(":event-type"), Some("chunk"));
    assert_eq!((message.text("é"), message.text("absent")), (Some(""), None));
}

#[test]
fn any_flipped_bit_is_a_fault() {
    let body = frame(HEADERS, b"payload").unwrap();
    for at in 0..body.len() {
        for bit in 0..8 {
            let mut damaged = body.to_vec();
            damaged[at] ^= 1 << bit;
            let (found, fault) = payloads(&damaged, 5, usize::MAX);
            assert_eq!((found.len(), fault), (0, Some(FaultKind::Malformed)), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_cut_frame_is_told_from_a_whole_one() {
    let body = frame(HEADERS, b"payload").unwrap();
    for end in 1..body.len() {
        assert_eq!(payloads(&body[..end], end, usize::MAX), (Vec::new(), Some(FaultKind::Truncated)));
    }
}

/// A prelude with a right CRC.
fn prelude(total: u32, headers: u32) -> Vec<u8> {
    let lengths = [total.to_be_bytes(), headers.to_be_bytes()].concat();
    let crc = crc32fast::hash(&lengths);
    [lengths, crc.to_be_bytes().to_vec()].concat()
}

#[test]
fn impossible_and_oversized_lengths_are_faults_at_once() {
    let headers = u32::try_from(HEADER_BYTES).unwrap();
    for (total, of_headers) in [
        (0, 0),
        (15, 0),
        (16, 1),
        (100, 85),
        (u32::MAX, 0),
        (100, u32::MAX),
        (headers + 100, headers + 1),
        (30 << 20, 0),
    ] {
        let fault = payloads(&prelude(total, of_headers), 12, usize::MAX).1;
        assert_eq!(fault, Some(FaultKind::Malformed), "{total} {of_headers}");
    }
    let fits = frame(HEADERS, b"payload").unwrap();
    assert_eq!(payloads(&fits, 7, fits.len()).1, None);
    assert_eq!(payloads(&fits, 7, fits.len() - 1).1, Some(FaultKind::Malformed));
}

#[test]
fn a_header_may_stand_only_once() {
    let twice = frame(&[(":message-type", "event"), (":message-type", "error")], b"").unwrap();
    assert_eq!(payloads(&twice, 9, usize::MAX).1, Some(FaultKind::Malformed));
}

#[test]
fn what_does_not_fit_into_a_frame_is_not_written() {
    assert!(frame(&[("a", &"x".repeat(40_000))], b"").is_none());
    assert!(frame(&[(&"n".repeat(300), "x")], b"").is_none());
}

proptest! {
    #[test]
    fn nothing_upsets_the_reader(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0..400_usize,
        size in 1..50_usize,
        valid: bool,
    ) {
        let mut body = body();
        let at = at.min(body.len());
        if valid {
            // Behind a right prelude more of the reader is reached.
            let length = u32::try_from(bytes.len() + 16).unwrap();
            let headers = bytes.first().copied().map_or(0, u32::from);
            body.splice(at..at, [prelude(length, headers), bytes].concat());
        } else {
            body.splice(at..at, bytes);
        }
        let whole = payloads(&body, body.len(), 1 << 20);
        prop_assert_eq!(payloads(&body, size, 1 << 20), whole);
    }
}
