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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    #[test]
    fn it_is_a_file_or_memory_and_postgresql_is_not_spoken_to_yet() {
        let settings = |url: &str| {
            let env: Environment = [("HEADGATE__STORE__URL", url)].into_iter().collect();
            load(&[], &env).unwrap_or_else(|error| panic!("{error}"))
        };
        let place = |url: &str| StoreAddress::of(&settings(url).store).map(|address| address.place);
        assert_eq!(place("sqlite::memory:"), Ok(Place::Memory));
        assert_eq!(place("sqlite://a/b c.db"), Ok(Place::File("a/b c.db".into())));
        assert_eq!(place("sqlite:///data/x.db"), Ok(Place::File("/data/x.db".into())));
        assert!(place("postgres://db/headgate").is_err());
        let warning = "store.url: PostgreSQL is not spoken to yet: nothing is stored";
        assert!(settings("postgres://db/headgate").warnings.contains(&warning.to_owned()));
        let address = StoreAddress::of(&settings("sqlite::memory:").store).unwrap();
        assert_eq!((address.timeout.as_millis(), address.keep_answers.as_secs()), (5000, 86_400));
    }
}
