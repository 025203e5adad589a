//! The bodies of the fuzz targets over their seeds, so that they hold on every toolchain and at every `cargo test`.
//!
//! `fuzz/` runs the same bodies on inputs of its own making. Each body takes any bytes and panics on a broken promise.
#![expect(clippy::expect_used, clippy::panic, reason = "a test tells by panicking")]

use std::fs;
use std::path::Path;

mod bedrock_fault;
mod bedrock_frames;
mod fault;
mod heard;
mod request_scan;
mod sse;
mod vertex_fault;

/// The files of a folder of this package whose names end so, in order.
fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a readable folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == ending));
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

/// Every seed as it is, cut short anywhere, and with any one byte replaced by bytes that mean something.
fn around(seeds: Vec<Vec<u8>>, check: fn(&[u8])) {
    assert!(!seeds.is_empty());
    for seed in seeds {
        check(&seed);
        let step = seed.len() / 12 + 1;
        for at in (0..seed.len()).step_by(step) {
            check(&seed[..at]);
            for byte in *b"\r\n\"{}[],:\\0e-\x00\xFF" {
                let mut changed = seed.clone();
                changed[at] = byte;
                check(&changed);
            }
        }
    }
}

#[test]
fn request_bodies_are_judged_as_json_and_read_as_any_reader_would() {
    around(files("tests/fuzz/requests", "json"), request_scan::check);
}

#[test]
fn streams_say_the_same_in_every_split() {
    around(files("src/anthropic/testdata/streams", "sse"), sse::check);
}

#[test]
fn event_streams_say_the_same_in_every_split() {
    // Some of them: the decoder's own tests damage every recording.
    let named = |ending| files("src/bedrock/testdata/streams", ending).into_iter().step_by(8);
    around(named("bin").collect(), bedrock_frames::check);
    // The events inside of frames, one a line.
    let events = named("sse").map(|text| {
        let text = String::from_utf8(text).expect("text");
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        data.join("\n").into_bytes()
    });
    around(events.collect(), bedrock_frames::check);
}

/// The cases of a table of error answers: a title, then what the target reads, then the expectation.
fn table(dialect: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{dialect}/testdata/errors.txt"));
    let table = fs::read_to_string(file).expect("the table of error answers");
    let case = |text: &str| Some(text.split_once('\n')?.1.split("\n=> ").next()?.as_bytes().to_vec());
    table.split("\n== ").skip(1).filter_map(case).collect()
}

#[test]
fn any_error_answer_is_classified_within_bounds() {
    around(table("anthropic"), fault::check);
}

#[test]
fn any_error_answer_of_bedrock_is_classified_and_told_in_an_envelope() {
    around(table("bedrock"), bedrock_fault::check);
}

#[test]
fn any_error_answer_of_vertex_is_told_as_an_envelope() {
    around(table("vertex"), vertex_fault::check);
}
