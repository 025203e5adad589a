//! Headgate: a gateway for the Claude Messages API over many API keys and several provider backends.

pub mod attempt;
pub mod auth;
pub mod call;
pub mod chance;
pub mod clock;
pub mod config;
pub mod failure;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod models;
pub mod pool;
pub mod relay;
pub mod reply;
pub mod settle;
pub mod telemetry;
pub mod transport;
