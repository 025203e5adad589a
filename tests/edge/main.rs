//! The edge on real sockets: the gateway over the simulated upstream, seen by a client that sees every byte.
//!
//! This is the socket tier: times are configured in milliseconds, waiting is polling with a deadline, and what is asserted
//! is what travels. The core's own decisions are tested elsewhere, with time paused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and one with sockets waits by the real clock"
)]

mod caller;
mod clouds;
mod compressed;
mod early;
mod errors;
mod faults;
mod fidelity;
mod flow;
mod idle;
mod leaving;
mod load;
mod log;
mod ops;
mod pinging;
mod process;
mod scripted;
mod stall;
mod stand;
mod tap;
mod tls;
mod truncation;
