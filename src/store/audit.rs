//! The audit trail: who changed what and when, newest first. It holds fingerprints, never secrets.

use std::time::SystemTime;

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, from_micros, micros};

/// What is told of one action.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAudit {
    /// The name of the token that acted.
    pub actor: String,
    /// What it may do.
    pub role: String,
    /// The address it came from.
    pub source: Option<String>,
    /// What was done: `key.create`.
    pub action: String,
    /// What it was done to, mostly a [`Kind`](super::Kind)'s name.
    pub kind: String,
    /// Which.
    pub id: String,
    /// How it was, without secrets.
    pub before: Option<Value>,
    /// How it became, without secrets.
    pub after: Option<Value>,
}

/// One entry as kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its number; later entries have larger ones.
    pub seq: i64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub entry: NewAudit,
}

/// Which entries to read; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// By whom.
    pub actor: Option<String>,
    /// To what.
    pub kind: Option<String>,
    /// To which.
    pub id: Option<String>,
    /// Only entries with a smaller number.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: u32,
}

impl Store {
    /// Entries of the audit trail, newest first.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where a row cannot be understood.
    pub async fn audit(&self, page: AuditPage) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| Box::pin(select(connection, page))).await
    }

    /// Forgets up to `most` entries from before `oldest`, the oldest first; `true` where there may be more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget_audit(&self, oldest: SystemTime, most: u32) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                // Entries are written in the order of their numbers, so that no index by time is needed.
                let query = sqlx::query(
                    "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit ORDER BY seq LIMIT ?) AND at < ?",
                );
                let gone = query.bind(i64::from(most)).bind(micros(oldest)).execute(connection).await?;
                Ok(gone.rows_affected() >= u64::from(most))
            })
        })
        .await
    }
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    at: SystemTime,
    entry: &NewAudit,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO audit (at, actor, role, source, action, kind, id, before, after) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    let query = query.bind(micros(at)).bind(&entry.actor).bind(&entry.role).bind(&entry.source);
    let query = query.bind(&entry.action).bind(&entry.kind).bind(&entry.id);
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    query.bind(text(&entry.before)).bind(text(&entry.after)).execute(connection).await?;
    Ok(())
}

async fn select(connection: &mut SqliteConnection, page: AuditPage) -> Result<Vec<AuditEntry>, StoreError> {
    let query = sqlx::query(
        "SELECT seq, at, actor, role, source, action, kind, id, before, after FROM audit \
         WHERE (?1 IS NULL OR actor = ?1) AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR id = ?3) AND seq < ?4 \
         ORDER BY seq DESC LIMIT ?5",
    );
    let query = query.bind(page.actor).bind(page.kind).bind(page.id);
    let query = query.bind(page.before.unwrap_or(i64::MAX)).bind(i64::from(page.limit));
    query.fetch_all(connection).await?.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Result<AuditEntry, StoreError> {
    let value = |column: &str| -> Result<Option<Value>, StoreError> {
        let text: Option<String> = row.try_get(column)?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map_err(|_| StoreError::damaged("an audit entry is no JSON"))
    };
    Ok(AuditEntry {
        seq: row.try_get("seq")?,
        at: from_micros(row.try_get("at")?),
        entry: NewAudit {
            actor: row.try_get("actor")?,
            role: row.try_get("role")?,
            source: row.try_get("source")?,
            action: row.try_get("action")?,
            kind: row.try_get("kind")?,
            id: row.try_get("id")?,
            before: value("before")?,
            after: value("after")?,
        },
    })
}
