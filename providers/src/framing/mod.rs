//! Bytes in any chunking into events, bounded.

pub mod aws;
pub mod sse;
