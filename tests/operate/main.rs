//! The commands that operate a gateway, run as processes against a scripted admin API on a real socket: what they ask, what they
//! print, how they end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod changes;
mod plane;
mod reading;
mod secrets;
mod trouble;
