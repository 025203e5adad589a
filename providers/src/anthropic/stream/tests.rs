//! Recorded streams, in every split and with every line end.

use bytes::Bytes;
use proptest::prelude::*;

use super::Stream;
use crate::fault::{Dimension, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::framing::sse::Scanner;
use crate::tests::{self, Heard};
use crate::wire::{Headers, WireHead};

macro_rules! streams {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../testdata/streams/", $name, ".sse")))),+]
    };
}

const STREAMS: [(&str, &str); 18] = streams![
    "text",
    "tool_use",
    "thinking",
    "unicode",
    "pings",
    "unknown_events",
    "two_message_deltas",
    "sum_only_cache",
    "empty_content",
    "server_tool",
    "comments_and_joined_data",
    "nameless",
    "after_stop",
    "error_first",
    "error_before_content",
    "error_after_content",
    "cut",
    "refusal",
];

fn decoder(bound: usize) -> Stream {
    Stream::new(&WireHead { status: 200, headers: Headers::default() }, bound)
}

fn hear<'a>(chunks: impl Iterator<Item = &'a [u8]>, bound: usize) -> Heard {
    tests::hear(&mut decoder(bound), chunks, ends_an_event)
}

/// Whether events end with these bytes, given that one begins with them.
fn ends_an_event(bytes: &[u8]) -> bool {
    let mut scanner = Scanner::new(usize::MAX);
    let mut at = 0;
    while let Some(end) = scanner.event_end(bytes, at) {
        at = end;
    }
    // The LF of the last CRLF may be due still.
    at == bytes.len() || scanner.hold(&bytes[at..]).is_ok_and(|()| scanner.finish().is_some())
}

fn whole(text: &str) -> Heard {
    hear(std::iter::once(text.as_bytes()), usize::MAX)
}

/// The same stream with other line ends.
fn spellings(text: &str) -> [String; 4] {
    [text.to_owned(), text.replace('\n', "\r\n"), text.replace('\n', "\r"), format!("\u{feff}{text}")]
}

fn find(name: &str) -> &'static str {
    STREAMS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).unwrap_or_default()
}

#[test]
fn marks_and_faults_are_as_recorded() {
    for (name, marks, fault) in [
        ("text", "PCS", None),
        ("tool_use", "PCS", None),
        ("thinking", "PCS", None),
        ("unicode", "PCS", None),
        ("pings", "PCS", None),
        ("unknown_events", "PCS", None),
        ("two_message_deltas", "PCS", None),
        ("sum_only_cache", "PCS", None),
        ("empty_content", "PCS", None),
        ("server_tool", "PCS", None),
        ("comments_and_joined_data", "PCS", None),
        ("nameless", "PCS", None),
        ("after_stop", "PCS", None),
        ("error_first", "E", Some(FaultKind::Overloaded)),
        ("error_before_content", "PE", Some(FaultKind::RateLimited)),
        ("error_after_content", "PCE", Some(FaultKind::Server)),
        ("cut", "PC", Some(FaultKind::Truncated)),
        ("refusal", "PCS", None),
    ] {
        for text in spellings(find(name)) {
            let heard = whole(&text);
            assert_eq!((heard.marks.as_str(), heard.fault), (marks, fault), "{name}");
        }
    }
}

#[test]
fn every_byte_up_to_the_stop_passes_and_none_behind_it() {
    for (name, text) in STREAMS {
        let end = match name {
            "after_stop" => find("text").len(),
            "error_after_content" => text.len() - "event: ping\ndata: {\"type\": \"ping\"}\n\n".len(),
            _ => text.len(),
        };
        assert_eq!(whole(text).bytes, &text.as_bytes()[..end], "{name}");
    }
}

#[test]
fn usage_is_the_newest_of_each_field() {
    let usage = |input, output, cache_read, cache_write_5m, cache_write_1h| {
        Some(Usage { input, output, cache_read, cache_write_5m, cache_write_1h, batch: false })
    };
    for (name, expected) in [
        ("text", usage(25, 12, 0, 0, 0)),
        ("thinking", usage(25, 310, 5000, 100, 200)),
        ("two_message_deltas", usage(12, 9, 3, 0, 0)),
        ("sum_only_cache", usage(25, 4, 0, 777, 0)),
        ("comments_and_joined_data", usage(25, 6, 0, 0, 0)),
        ("nameless", usage(25, 8, 0, 0, 0)),
        ("cut", usage(25, 1, 0, 0, 0)),
        ("error_first", None),
    ] {
        assert_eq!(whole(find(name)).usage, expected, "{name}");
    }
}

#[test]
fn one_byte_at_a_time_decodes_alike() {
    for (name, text) in STREAMS {
        for text in spellings(text) {
            let bytewise = hear(text.as_bytes().chunks(1), usize::MAX);
            assert_eq!(bytewise, whole(&text), "{name}");
        }
    }
}

#[test]
fn every_cut_in_two_decodes_alike() {
    for (name, text) in STREAMS {
        for text in [text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
            let expected = whole(&text);
            for at in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(at);
                assert_eq!(hear([head, tail].into_iter(), usize::MAX), expected, "{name} cut at {at}");
            }
        }
    }
}

#[test]
fn a_chunk_of_whole_events_passes_without_a_copy() {
    let chunk = Bytes::copy_from_slice(find("text").as_bytes());
    let mut out = Vec::new();
    decoder(1 << 20).feed(chunk.clone(), &mut out).unwrap();
    assert_eq!(out.len(), 3);
    let range = chunk.as_ptr_range();
    assert!(out.iter().all(|frame| range.contains(&frame.bytes.as_ptr())));
}

#[test]
fn a_rate_limit_in_the_stream_is_classified_by_its_words() {
    let mut out = Vec::new();
    let text = find("error_before_content");
    decoder(1 << 20).feed(Bytes::from(text), &mut out).unwrap();
    let Some(Frame { mark: Mark::Error(fault), bytes, .. }) = out.pop() else { panic!("no error frame") };
    assert_eq!(fault.dimension, Some(Dimension::OutputTokens));
    assert_eq!(fault.status(), Some(429));
    assert!(bytes.starts_with(b"event: error\n"));
    let answer = fault.answer.unwrap();
    assert!(answer.is_envelope && answer.body.starts_with(b"{\"type\":\"error\""));
}

#[test]
fn an_event_beyond_its_bound_is_a_clean_fault_in_any_split() {
    let text = find("text");
    for bound in [0, 1, 20, 100, 300] {
        let expected = hear(std::iter::once(text.as_bytes()), bound);
        assert_eq!(expected.fault, Some(FaultKind::Malformed), "{bound}");
        assert_eq!(hear(text.as_bytes().chunks(1), bound), expected, "{bound}");
    }
    assert_eq!(hear(text.as_bytes().chunks(7), 500).fault, None);
}

#[test]
fn a_start_that_is_no_json_fails_before_anything_is_shown() {
    let heard = whole("event: message_start\ndata: <html>\n\n");
    assert_eq!((heard.marks.as_str(), heard.fault), ("", Some(FaultKind::Malformed)));
}

#[test]
fn an_empty_body_is_truncated() {
    assert_eq!(whole("").fault, Some(FaultKind::Truncated));
}

proptest! {
    #[test]
    fn any_split_decodes_alike(
        place in 0..STREAMS.len(),
        spelling in 0..4_usize,
        sizes in proptest::collection::vec(1..200_usize, 1..60),
    ) {
        let text = &spellings(STREAMS[place].1)[spelling];
        prop_assert_eq!(hear(Pieces::of(text.as_bytes(), &sizes), usize::MAX), whole(text));
    }

    #[test]
    fn any_mix_of_lines_decodes_alike(
        lines in proptest::collection::vec(prop::sample::select(LINES.to_vec()), 0..30),
        sizes in proptest::collection::vec(1..9_usize, 1..20),
    ) {
        let text = lines.concat();
        prop_assert_eq!(hear(Pieces::of(text.as_bytes(), &sizes), usize::MAX), whole(&text));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_decode_alike(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        sizes in proptest::collection::vec(1..9_usize, 1..20),
    ) {
        let expected = hear(std::iter::once(bytes.as_slice()), 100);
        prop_assert_eq!(hear(Pieces::of(&bytes, &sizes), 100), expected);
    }
}

const LINES: [&str; 12] = [
    "\n",
    "\r",
    "\r\n",
    "event: ping",
    "event: content_block_delta\r",
    "event: message_stop\n",
    "event: error\r\n",
    "data: {}",
    "data",
    ":",
    "\u{feff}",
    "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n",
];

/// A body in pieces of the given sizes, over and over.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl<'a> Pieces<'a> {
    fn of(rest: &'a [u8], sizes: &'a [usize]) -> Self {
        Self { rest, sizes: sizes.iter().cycle() }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let size = *self.sizes.next()?;
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
