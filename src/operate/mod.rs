//! The client side of the admin API: what `headgate keys`, `backends`, `usage` and the other commands are made of.
//!
//! [`client`] asks one question over one connection and follows no redirect, since it carries the admin token. [`pages`] reads
//! lists to their end, [`events`] reads the stream of events. The rest turns what an operator writes into what the API takes:
//! [`credential`] and [`import`] for secrets, [`target`] for routes, [`span`] for times. Nothing here writes to a terminal, and
//! no error quotes a secret.

pub mod client;
pub mod credential;
pub mod events;
pub mod import;
pub mod pages;
pub mod printable;
pub mod span;
pub mod target;
pub mod trouble;

pub use client::{Answer, Ask, Client};
pub use trouble::{Problem, Trouble};
