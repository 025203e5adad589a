//! `StoreError`: why the store did not do it, in words that never quote a value.

use std::time::Duration;

use super::Kind;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, locked or too slow. Nothing was changed, unless a commit was already under way.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// A fixed sentence, without values.
        reason: String,
    },
    /// The resource has another revision than the expected one.
    #[error("the {kind} `{id}` was changed meanwhile")]
    Conflict {
        /// What it is.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// A resource of this kind and id is already there.
    #[error("the {kind} `{id}` exists already")]
    Exists {
        /// What it is.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// No resource of this kind and id is there.
    #[error("there is no {kind} `{id}`")]
    Missing {
        /// What it is.
        kind: Kind,
        /// Which.
        id: String,
    },
    /// An answer is already kept for this actor's idempotency key.
    #[error("the idempotency key was used already")]
    Answered,
    /// A newer program made the schema and says that this one must not use it.
    #[error("the store has schema {found}, this program knows {known}: run the newer one")]
    NewerSchema {
        /// The database's.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The file is no database of ours, or its contents cannot be read.
    #[error("the store is damaged: {reason}")]
    Damaged {
        /// A fixed sentence, without values.
        reason: String,
    },
}

impl StoreError {
    /// Whether the store works and only the caller's wish does not.
    #[must_use]
    pub fn is_a_caller_s(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Exists { .. } | Self::Missing { .. } | Self::Answered => true,
            Self::Unavailable { .. } | Self::NewerSchema { .. } | Self::Damaged { .. } => false,
        }
    }

    pub(in crate::store) fn late(timeout: Duration) -> Self {
        Self::unavailable(format!("no answer within {} ms", timeout.as_millis()))
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    pub(in crate::store) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }
}

impl From<sqlx::Error> for StoreError {
    /// The text of a database's own message may quote what was written, so it is not used.
    fn from(error: sqlx::Error) -> Self {
        if let Some(fault) = error.as_database_error() {
            let code = fault.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
            return of_sqlite(code);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, open to growth")]
        match error {
            sqlx::Error::PoolClosed => Self::unavailable("it is closed"),
            sqlx::Error::PoolTimedOut => Self::unavailable("all its connections are busy"),
            sqlx::Error::Io(error) => Self::unavailable(format!("{}", error.kind())),
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::damaged(format!("the column {index} holds something else than expected"))
            }
            sqlx::Error::WorkerCrashed => Self::unavailable("its thread has ended"),
            _ => Self::unavailable("an unexpected error of the database"),
        }
    }
}

/// By SQLite's result code, whose low byte is the kind.
pub(in crate::store) fn of_sqlite(code: i32) -> StoreError {
    let reason = match code & 0xff {
        11 => return StoreError::damaged("the file's contents are not sound"),
        26 => return StoreError::damaged("the file is not a database"),
        3 | 23 => "access to its file is denied",
        5 | 6 => "another process holds its lock",
        7 => "there is no memory for it",
        8 => "its file is read-only",
        10 => "reading or writing its file fails",
        13 => "the disk is full",
        14 => "its file cannot be opened",
        other => return StoreError::unavailable(format!("unexpected result {other} of the database")),
    };
    StoreError::unavailable(reason)
}
