//! The core on a script: a transport that plays what a test wrote, paused time, a world around both.
//!
//! No sockets and no sleeps: time moves only where nothing else can, and randomness is seeded.

mod answer;
mod log;
mod wire;
mod world;

pub use answer::{Answer, delta, envelope, error_event, ping, recorded, split, sse, whole, wrong_beginnings};
pub use log::{Line, Log};
pub use wire::{Sent, Wire};
pub use world::{Answered, Ask, Told, World, backend, backends, key_groups, settings};
