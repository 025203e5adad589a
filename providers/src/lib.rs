//! The dialects of the upstream providers: pure encoding, decoding and fault classification.

mod secret;

pub use secret::Secret;
