//! Feeds the body of this name in `providers/tests/fuzz` with inputs of libFuzzer's making.
#![no_main]

#[path = "../../providers/tests/fuzz/sse.rs"]
mod body;
#[path = "../../providers/tests/fuzz/heard.rs"]
mod heard;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::check(input));
