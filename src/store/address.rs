//! `StoreAddress`: where the store is and how long it may take, from the settings.

use std::path::PathBuf;
use std::time::Duration;

use super::StoreError;
use crate::config::checked;

/// Where the store is and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    /// Where.
    pub place: Place,
    /// Longest time of any one operation.
    pub timeout: Duration,
    /// How long answers are kept for a repeated idempotency key.
    pub keep_answers: Duration,
}

/// What holds the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// An SQLite database in memory, gone with the process.
    Memory,
}

impl StoreAddress {
    /// From checked settings.
    ///
    /// # Errors
    /// `Unavailable` for a database that this program does not speak to yet.
    pub fn of(settings: &checked::Store) -> Result<Self, StoreError> {
        let place = match settings.url.expose().split_once(':') {
            Some(("sqlite", ":memory:")) => Place::Memory,
            Some(("sqlite", rest)) => Place::File(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest))),
            _ => return Err(StoreError::unavailable("PostgreSQL is not spoken to yet, only SQLite")),
        };
        Ok(Self { place, timeout: settings.timeout, keep_answers: settings.idempotency })
    }
}
