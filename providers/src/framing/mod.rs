//! Bytes in any chunking into events, bounded.

pub mod sse;
