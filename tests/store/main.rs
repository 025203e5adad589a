//! The store by its contract, over every implementation; then what is SQLite's own: files, locks, full disks, schemas.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(missing_docs, reason = "tests name themselves")]

mod contract;
mod disk;
mod file;
mod secrets;
mod stand;
