//! Answers kept for a while, so that a write repeated with its idempotency key is answered and not done again.

use std::fmt;
use std::time::{Duration, SystemTime};

use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, from_micros, micros};

/// An answer to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAnswer {
    /// The name of the token that asked.
    pub actor: String,
    /// Its idempotency key.
    pub key: String,
    /// What was asked; a repeat with another digest is a mistake of the caller.
    pub request_digest: [u8; 32],
    /// HTTP status.
    pub status: u16,
    /// The body, sealed by the vault where it shows a secret.
    pub body: Vec<u8>,
    /// The `ETag` it had.
    pub etag: Option<String>,
}

impl fmt::Debug for NewAnswer {
    /// Without the body and the key, which may be anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("NewAnswer");
        out.field("actor", &self.actor).field("status", &self.status).finish_non_exhaustive()
    }
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it was given.
    pub at: SystemTime,
    /// The answer.
    pub answer: NewAnswer,
}

impl Store {
    /// The answer kept for this actor's idempotency key, unless it is too old at `now`.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where the row cannot be understood.
    pub async fn idempotent(
        &self,
        actor: &str,
        key: &str,
        now: SystemTime,
    ) -> Result<Option<Answered>, StoreError> {
        let (actor, key) = (actor.to_owned(), key.to_owned());
        let oldest = micros(now).saturating_sub(whole_micros(self.keep_answers()));
        self.read(move |connection| Box::pin(select(connection, actor, key, oldest))).await
    }

    /// Every answer that is kept, as idempotency key and body.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn answers(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            Box::pin(async move {
                let query = sqlx::query_as("SELECT key, body FROM answers ORDER BY at, actor, key");
                Ok(query.fetch_all(connection).await?)
            })
        })
        .await
    }

    /// Replaces the bodies of kept answers, given as key, old and new body; those that are another by now stay.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn replace_answers(&self, batch: Vec<(String, Vec<u8>, Vec<u8>)>) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut replaced = 0;
                for (key, old, new) in &batch {
                    let query = sqlx::query("UPDATE answers SET body = ? WHERE key = ? AND body = ?");
                    let query = query.bind(new).bind(key).bind(old);
                    replaced += query.execute(&mut *connection).await?.rows_affected();
                }
                Ok(replaced)
            })
        })
        .await
    }
}

async fn select(
    connection: &mut SqliteConnection,
    actor: String,
    key: String,
    oldest: i64,
) -> Result<Option<Answered>, StoreError> {
    let query = sqlx::query(
        "SELECT at, request_digest, status, body, etag FROM answers WHERE actor = ? AND key = ? AND at > ?",
    );
    let Some(row) = query.bind(&actor).bind(&key).bind(oldest).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let digest: Vec<u8> = row.try_get("request_digest")?;
    let broken = || StoreError::damaged("a kept answer is not whole");
    let answer = NewAnswer {
        actor,
        key,
        request_digest: digest.try_into().map_err(|_| broken())?,
        status: u16::try_from(row.try_get::<i64, _>("status")?).map_err(|_| broken())?,
        body: row.try_get("body")?,
        etag: row.try_get("etag")?,
    };
    Ok(Some(Answered { at: from_micros(row.try_get("at")?), answer }))
}

/// Keeps `answer` and drops those that are too old at `at`.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    at: SystemTime,
    keep: Duration,
    answer: &NewAnswer,
) -> Result<(), StoreError> {
    let oldest = micros(at).saturating_sub(whole_micros(keep));
    sqlx::query("DELETE FROM answers WHERE at <= ?").bind(oldest).execute(&mut *connection).await?;
    let query = sqlx::query(
        "INSERT INTO answers (actor, key, at, request_digest, status, body, etag) \
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    let query = query.bind(&answer.actor).bind(&answer.key).bind(micros(at));
    let query = query.bind(&answer.request_digest[..]).bind(i64::from(answer.status));
    let query = query.bind(&answer.body).bind(&answer.etag);
    match query.execute(connection).await?.rows_affected() {
        0 => Err(StoreError::Answered),
        _ => Ok(()),
    }
}

fn whole_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
