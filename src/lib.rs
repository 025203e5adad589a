//! Headgate: a gateway for the Claude Messages API over many API keys and several provider backends.

pub mod simulator;
