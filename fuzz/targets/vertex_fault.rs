//! Feeds the body of this name in `providers/tests/fuzz` with inputs of libFuzzer's making.
#![no_main]

#[path = "../../providers/tests/fuzz/vertex_fault.rs"]
mod body;
#[allow(dead_code, reason = "only its reader is used here")]
#[path = "../../providers/tests/fuzz/fault.rs"]
mod fault;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::check(input));
