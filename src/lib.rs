//! Headgate: a gateway for the Claude Messages API over many API keys and several provider backends.
//!
//! One `/v1/messages` request, step by step:
//!
//! 1. ingress, authentication before the body, bounded body: [`http`], [`auth`]
//! 2. one validating scan, then the immutable [`call::Call`]
//! 3. [`relay`]: THE loop — lease a key ([`pool`]), [`attempt`], judge ([`relay::trail`]), again
//! 4. [`reply`]: frames to the caller; [`settle`]: the record, written exactly once
//!
//! Decisions are pure, accounting is RAII, I/O is at the edge: dialects live in the crate `headgate_providers`, actix and awc
//! only in [`http`], and [`transport`] is the one hole in the wall between them.

pub mod attempt;
pub mod auth;
mod background;
pub mod call;
pub mod chance;
pub mod clock;
pub mod config;
pub mod credentials;
mod decode;
pub mod demo;
pub mod dial;
pub mod drain;
pub mod events;
pub mod failure;
pub mod gateway;
pub mod http;
pub mod keeping;
pub mod memory;
pub mod metrics;
pub mod mint;
pub mod models;
pub mod operate;
pub mod pool;
pub mod prices;
pub mod registry;
pub mod relay;
pub mod reload;
pub mod remember;
pub mod reply;
pub mod serve;
pub mod settle;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod trial;
pub mod usage;
pub mod vault;
pub mod watch;
