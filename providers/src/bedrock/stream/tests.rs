//! Recorded streams, in every split. `testdata/record.py` wrote them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;

use super::Stream;
use crate::fault::{Dimension, Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::framing::aws::frame;
use crate::tests::{self, Heard};
use crate::wire::{Headers, WireHead};

/// Name, marks in order (equal neighbours once: `P`, `C`, `S`, `E`), and how it failed.
const STREAMS: [(&str, &str, Option<FaultKind>); 46] = [
    ("after_message_stop", "PCS", None),
    ("after_stop", "PCS", None),
    ("corrupt", "PC", Some(FaultKind::Malformed)),
    ("cut", "PC", Some(FaultKind::Truncated)),
    ("cut_after_frame", "PC", Some(FaultKind::Truncated)),
    ("cut_amid_frame", "PC", Some(FaultKind::Truncated)),
    ("empty_content", "PCS", None),
    ("error_after_content", "PCE", Some(FaultKind::Server)),
    ("error_before_content", "PE", Some(FaultKind::RateLimited)),
    ("error_first", "E", Some(FaultKind::Overloaded)),
    ("error_frame", "PCE", Some(FaultKind::Server)),
    ("escaped_base64", "PCS", None),
    ("first_internalServer", "E", Some(FaultKind::Server)),
    ("first_modelStreamError_overloaded", "E", Some(FaultKind::Overloaded)),
    ("first_modelTimeout", "E", Some(FaultKind::Server)),
    ("first_serviceUnavailable", "E", Some(FaultKind::Overloaded)),
    ("first_throttling", "E", Some(FaultKind::RateLimited)),
    ("first_validation", "E", Some(FaultKind::Request)),
    ("held_throttling", "PE", Some(FaultKind::RateLimited)),
    ("late_internalServer", "PCE", Some(FaultKind::Server)),
    ("late_modelStreamError", "PCE", Some(FaultKind::Server)),
    ("late_modelTimeout", "PCE", Some(FaultKind::Server)),
    ("late_serviceUnavailable", "PCE", Some(FaultKind::Overloaded)),
    ("late_throttling", "PCE", Some(FaultKind::RateLimited)),
    ("late_validation", "PCE", Some(FaultKind::Request)),
    ("metrics", "PCS", None),
    ("metrics_alone_know", "PCS", None),
    ("metrics_first", "PCS", None),
    ("metrics_of_caches", "PCS", None),
    ("new_exception", "E", Some(FaultKind::Server)),
    ("new_kinds_of_frames", "PCS", None),
    ("no_bytes", "PC", Some(FaultKind::Malformed)),
    ("not_base64", "PC", Some(FaultKind::Malformed)),
    ("not_json", "PC", Some(FaultKind::Malformed)),
    ("pings", "PCS", None),
    ("pretty_json", "PCS", None),
    ("refusal", "PCS", None),
    ("server_tool", "PCS", None),
    ("sum_only_cache", "PCS", None),
    ("text", "PCS", None),
    ("thinking", "PCS", None),
    ("tool_use", "PCS", None),
    ("two_message_deltas", "PCS", None),
    ("typeless", "PCS", None),
    ("unicode", "PCS", None),
    ("unknown_events", "PCS", None),
];

fn recorded(name: &str, kind: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bedrock/testdata/streams");
    std::fs::read(folder.join(format!("{name}.{kind}"))).unwrap()
}

fn decoder(bound: usize) -> Stream {
    let mut headers = Headers::default();
    headers.push("date", "Sat, 21 Nov 2026 12:00:00 GMT");
    headers.push("content-type", "application/vnd.amazon.eventstream");
    headers.push("x-amzn-requestid", "aws-1");
    Stream::new(&WireHead { status: 200, headers }, bound)
}

fn hear<'a>(chunks: impl Iterator<Item = &'a [u8]>, bound: usize) -> Heard {
    tests::hear(&mut decoder(bound), chunks, |event| event.ends_with(b"\n\n"))
}

fn whole(body: &[u8]) -> Heard {
    hear(std::iter::once(body), usize::MAX)
}

/// The fault that a stream reports within itself.
fn reported(body: &[u8]) -> Fault {
    let mut out = Vec::new();
    decoder(usize::MAX).feed(Bytes::copy_from_slice(body), &mut out).unwrap();
    match out.pop() {
        Some(Frame { mark: Mark::Error(fault), .. }) => *fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_recording_comes_out_as_the_stream_of_the_messages_api() {
    for (name, marks, fault) in STREAMS {
        let heard = whole(&recorded(name, "bin"));
        assert_eq!(heard.text(), String::from_utf8(recorded(name, "sse")).unwrap(), "{name}");
        assert_eq!((heard.marks.as_str(), heard.fault), (marks, fault), "{name}");
    }
}

#[test]
fn every_recording_is_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bedrock/testdata/streams");
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, 2 * STREAMS.len());
}

#[test]
fn every_split_decodes_alike() {
    for (name, ..) in STREAMS {
        let body = recorded(name, "bin");
        let expected = whole(&body);
        for size in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(hear(body.chunks(size), usize::MAX), expected, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn an_exception_as_the_first_frame_is_a_fault_before_anything_is_shown() {
    let fault = reported(&recorded("first_throttling", "bin"));
    assert_eq!((fault.kind, fault.dimension), (FaultKind::RateLimited, Some(Dimension::Requests)));
    assert_eq!(fault.status(), Some(429));
    let answer = fault.answer.unwrap();
    assert!(answer.is_envelope && answer.body.starts_with(b"{\"type\":\"error\""));
    assert_eq!(answer.headers.get("content-type"), Some("application/json"));
    assert_eq!(answer.headers.get("x-amzn-requestid"), Some("aws-1"));
}

#[test]
fn tokens_per_day_in_the_stream_rest_until_the_next_day() {
    let payload = br#"{"message":"Too many tokens per day, please wait before trying again."}"#;
    let headers = [(":message-type", "exception"), (":exception-type", "throttlingException")];
    let fault = reported(&frame(&headers, payload).unwrap());
    assert_eq!((fault.kind, fault.dimension), (FaultKind::Quota, Some(Dimension::Day)));
    assert_eq!(fault.stated.map(|stated| stated.after.as_secs()), Some(12 * 3600));
}

#[test]
fn message_stop_with_metrics_tells_usage_and_is_stripped_of_them() {
    let usage = |input, output, cache_read, cache_write_5m| {
        Some(Usage { input, output, cache_read, cache_write_5m, cache_write_1h: 0, batch: false })
    };
    for (name, expected) in [
        ("text", usage(25, 12, 0, 0)),
        ("metrics", usage(21, 17, 0, 0)),
        ("metrics_of_caches", usage(21, 17, 900, 64)),
        ("metrics_alone_know", usage(21, 17, 0, 0)),
        ("metrics_first", usage(21, 17, 0, 0)),
        ("first_throttling", None),
    ] {
        let heard = whole(&recorded(name, "bin"));
        assert_eq!(heard.usage, expected, "{name}");
        assert!(!heard.text().contains("invocationMetrics"), "{name}");
    }
}

#[test]
fn any_flipped_bit_is_a_fault_or_changes_nothing_that_is_shown() {
    let body = recorded("metrics", "bin");
    let good = whole(&body);
    for at in 0..body.len() {
        let mut damaged = body.clone();
        damaged[at] ^= 0x10;
        let heard = whole(&damaged);
        assert_eq!(heard.fault, Some(FaultKind::Malformed), "byte {at}");
        assert!(good.bytes.starts_with(&heard.bytes), "byte {at}");
    }
}

#[test]
fn a_frame_beyond_its_bound_is_a_clean_fault_in_any_split() {
    let body = recorded("text", "bin");
    for bound in [0, 16, 100, 300] {
        let expected = hear(std::iter::once(body.as_slice()), bound);
        assert_eq!(expected.fault, Some(FaultKind::Malformed), "{bound}");
        assert_eq!(hear(body.chunks(1), bound), expected, "{bound}");
    }
}

#[test]
fn an_empty_body_is_truncated() {
    assert_eq!(whole(b"").fault, Some(FaultKind::Truncated));
}

#[test]
fn a_long_stream_costs_linear_time() {
    let json = format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(200));
    let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(json));
    let one = frame(&[(":message-type", "event"), (":event-type", "chunk")], payload.as_bytes()).unwrap();
    let body = one.repeat(20_000);
    let heard = hear(body.chunks(1 << 20), 1 << 20);
    assert_eq!(heard.text().matches("event: ping\n").count(), 20_000);
}

proptest! {
    #[test]
    fn any_split_of_any_damaged_recording_decodes_alike(
        place in 0..STREAMS.len(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        sizes in proptest::collection::vec(1..300_usize, 1..30),
    ) {
        let mut body = recorded(STREAMS[place].0, "bin");
        let at = at.index(body.len());
        body[at] = byte;
        let mut rest = body.as_slice();
        let mut sizes = sizes.iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let size = *sizes.next()?;
            let (piece, left) = rest.split_at(size.min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(hear(pieces, 1 << 20), hear(std::iter::once(body.as_slice()), 1 << 20));
    }

    #[test]
    fn no_event_upsets_the_decoder(json in "\\PC{0,60}", kind in "\\PC{0,8}", wrapped: bool) {
        let json = if wrapped { serde_json::json!({ "type": kind, "x": json }).to_string() } else { json };
        let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(json));
        let headers = [(":message-type", "event"), (":event-type", "chunk")];
        whole(&frame(&headers, payload.as_bytes()).unwrap());
    }
}
