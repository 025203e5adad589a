//! The core by its behaviour: the loop, the pool and the reply over a scripted transport, with time paused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(missing_docs, reason = "tests name themselves")]

#[path = "../support/mod.rs"]
mod support;

mod bedrock;
mod bounds;
mod breakers;
mod capabilities;
mod choice;
mod clocks;
mod credentials;
mod endings;
mod events;
mod faults;
mod parking;
mod poisoned;
mod queue;
mod records;
mod scopes;
mod signatures;
mod splits;
mod streams;
mod usage;
mod waiting;
