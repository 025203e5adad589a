//! Resources the admin API made: JSON bodies without their secrets, the secrets sealed beside them, a revision on each.
//!
//! All that one admin request changes is one [`Change`], written in one transaction with its audit entries and its answer.

use std::time::SystemTime;

use futures_util::future::BoxFuture;
use headgate_providers::Secret;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::remembered::{forget_switch, insert_switch};
use super::{
    Kind, NewAnswer, NewAudit, Store, StoreError, StoredSwitch, SwitchState, answers, audit, from_micros,
    micros,
};
use crate::vault::{self, Sealed, Vault};

/// One stored resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Its name within its kind.
    pub id: String,
    /// Its identity over its whole life (a version 7 UUID): bound into what is sealed, never used again.
    pub row: String,
    /// Order among its kind; equal positions go by id.
    pub position: i64,
    /// The object as a configuration file would hold it, without its secrets.
    pub body: Value,
    /// The secrets, sealed.
    pub sealed: Vec<SealedField>,
    /// Counts changes, from 1.
    pub revision: u64,
    /// When it was made, in whole microseconds.
    pub created_at: SystemTime,
    /// When it last changed, in whole microseconds.
    pub updated_at: SystemTime,
}

/// One secret of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedField {
    /// Where it belongs in the body: `secret`, `secret_access_key`, `headers.x-team`.
    pub field: String,
    /// The secret, readable with the master key only.
    pub sealed: Sealed,
    /// The first 12 hex digits of its SHA-256.
    pub fingerprint: String,
    /// Its last 4 characters; empty for a short secret.
    pub last4: String,
}

impl SealedField {
    /// Seals `secret` as `field` of the resource with identity `row`.
    #[must_use]
    pub fn new(vault: &Vault, row: &str, field: &str, secret: &Secret) -> Self {
        Self {
            field: field.to_owned(),
            sealed: vault.seal(row, field, secret),
            fingerprint: vault::fingerprint(secret),
            last4: vault::last4(secret),
        }
    }
}

/// All that one admin request changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// What becomes of resources, in this order.
    pub writes: Vec<Write>,
    /// What is told of it.
    pub audit: Vec<NewAudit>,
    /// The answer to keep for a repeat.
    pub answer: Option<NewAnswer>,
    /// When.
    pub at: SystemTime,
}

/// What becomes of one resource.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new one.
    Create(Resource),
    /// Body, position and secrets are replaced; the revision becomes `expected + 1`, whatever the resource says.
    Update {
        /// The new state; kind, id and row say which.
        resource: Resource,
        /// The revision it must have now.
        expected: u64,
    },
    /// Gone, with its secrets.
    Delete {
        /// What it is.
        kind: Kind,
        /// Which.
        id: String,
        /// The revision it must have now.
        expected: u64,
    },
    /// The key begins switched off; comes after its creation.
    SwitchOff {
        /// The key's id.
        key: String,
    },
}

/// A secret sealed anew, with another master key. Revisions do not count it.
#[derive(Clone, Debug)]
pub struct Resealed {
    /// The resource's identity.
    pub row: String,
    /// Which of its secrets.
    pub field: String,
    /// What is stored now; written over only while it still is.
    pub old: Sealed,
    /// What to store.
    pub new: Sealed,
}

impl Store {
    /// Every stored resource: by kind, then position, then id.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where a row cannot be understood.
    pub async fn resources(&self) -> Result<Vec<Resource>, StoreError> {
        self.read(|connection| Box::pin(all(connection))).await
    }

    /// Writes all of `change` or nothing; what it returns from is on the disk.
    ///
    /// # Errors
    /// `Conflict`, `Exists`, `Missing`, `Answered`; `Unavailable`.
    pub async fn change(&self, change: Change) -> Result<(), StoreError> {
        let keep_answers = self.keep_answers();
        self.write(move |connection| {
            Box::pin(async move {
                for write in &change.writes {
                    apply(connection, write).await?;
                }
                for entry in &change.audit {
                    audit::insert(connection, change.at, entry).await?;
                }
                if let Some(answer) = &change.answer {
                    answers::insert(connection, change.at, keep_answers, answer).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Writes secrets that were sealed anew and returns how many were still as `old` says.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn reseal(&self, batch: Vec<Resealed>) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut written = 0;
                for Resealed { row, field, old, new } in &batch {
                    let query = sqlx::query(
                        "UPDATE sealed SET key_id = ?, nonce = ?, text = ? WHERE row = ? AND field = ? AND nonce = ?",
                    );
                    let query = query.bind(&new.key_id).bind(&new.nonce[..]).bind(&new.text);
                    let query = query.bind(row).bind(field).bind(&old.nonce[..]);
                    written += query.execute(&mut *connection).await?.rows_affected();
                }
                Ok(written)
            })
        })
        .await
    }
}

fn apply<'c>(
    connection: &'c mut SqliteConnection,
    write: &'c Write,
) -> BoxFuture<'c, Result<(), StoreError>> {
    Box::pin(async move {
        match write {
            Write::Create(resource) => create(connection, resource).await,
            Write::Update { resource, expected } => update(connection, resource, *expected).await,
            Write::Delete { kind, id, expected } => {
                let query = sqlx::query("DELETE FROM resources WHERE kind = ? AND id = ? AND revision = ?");
                let query = query.bind(kind.name()).bind(id).bind(number(*expected));
                match query.execute(&mut *connection).await?.rows_affected() {
                    0 => Err(absent(connection, *kind, id).await?),
                    _ => forget_of(connection, *kind, id).await,
                }
            }
            Write::SwitchOff { key } => {
                let switch = StoredSwitch { key: key.clone(), state: SwitchState::Disabled };
                insert_switch(connection, &switch).await
            }
        }
    })
}

async fn create(connection: &mut SqliteConnection, new: &Resource) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO resources (kind, id, row, position, body, revision, created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    let query = query.bind(new.kind.name()).bind(&new.id).bind(&new.row).bind(new.position);
    let query = query.bind(new.body.to_string()).bind(number(new.revision));
    let query = query.bind(micros(new.created_at)).bind(micros(new.updated_at));
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Err(StoreError::Exists { kind: new.kind, id: new.id.clone() });
    }
    forget_of(connection, new.kind, &new.id).await?;
    seal(connection, new).await
}

/// Forgets what was made of a resource that is gone: a later one of the same name is another.
async fn forget_of(connection: &mut SqliteConnection, kind: Kind, id: &str) -> Result<(), StoreError> {
    if kind == Kind::Key { forget_switch(connection, id).await } else { Ok(()) }
}

async fn update(connection: &mut SqliteConnection, new: &Resource, expected: u64) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE resources SET position = ?, body = ?, revision = revision + 1, updated_at = ? \
         WHERE kind = ? AND id = ? AND row = ? AND revision = ?",
    );
    let query = query.bind(new.position).bind(new.body.to_string()).bind(micros(new.updated_at));
    let query = query.bind(new.kind.name()).bind(&new.id).bind(&new.row).bind(number(expected));
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Err(absent(connection, new.kind, &new.id).await?);
    }
    sqlx::query("DELETE FROM sealed WHERE row = ?").bind(&new.row).execute(&mut *connection).await?;
    seal(connection, new).await
}

async fn seal(connection: &mut SqliteConnection, resource: &Resource) -> Result<(), StoreError> {
    for SealedField { field, sealed, fingerprint, last4 } in &resource.sealed {
        let query = sqlx::query(
            "INSERT INTO sealed (row, field, key_id, nonce, text, fingerprint, last4) VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        let query = query.bind(&resource.row).bind(field).bind(&sealed.key_id).bind(&sealed.nonce[..]);
        query.bind(&sealed.text).bind(fingerprint).bind(last4).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Why nothing with the expected revision was found.
async fn absent(connection: &mut SqliteConnection, kind: Kind, id: &str) -> Result<StoreError, StoreError> {
    let query = sqlx::query("SELECT 1 FROM resources WHERE kind = ? AND id = ?").bind(kind.name()).bind(id);
    let id = id.to_owned();
    Ok(match query.fetch_optional(connection).await? {
        Some(_) => StoreError::Conflict { kind, id },
        None => StoreError::Missing { kind, id },
    })
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<Resource>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.kind, r.id, r.row, r.position, r.body, r.revision, r.created_at, r.updated_at, \
                s.field, s.key_id, s.nonce, s.text, s.fingerprint, s.last4 \
         FROM resources r LEFT JOIN sealed s ON s.row = r.row ORDER BY r.row, s.field",
    );
    let mut found: Vec<Resource> = Vec::new();
    for row in rows.fetch_all(connection).await? {
        let identity: String = row.try_get("row")?;
        if found.last().is_none_or(|last| last.row != identity) {
            found.push(resource(&row, identity)?);
        }
        if let (Some(last), Some(field)) = (found.last_mut(), row.try_get::<Option<String>, _>("field")?) {
            last.sealed.push(sealed_field(&row, field)?);
        }
    }
    found.sort_by(|a, b| (a.kind, a.position, &a.id).cmp(&(b.kind, b.position, &b.id)));
    Ok(found)
}

fn resource(row: &SqliteRow, identity: String) -> Result<Resource, StoreError> {
    let kind: String = row.try_get("kind")?;
    let body: String = row.try_get("body")?;
    let revision: i64 = row.try_get("revision")?;
    Ok(Resource {
        kind: Kind::named(&kind).ok_or_else(|| StoreError::damaged("a resource has an unknown kind"))?,
        id: row.try_get("id")?,
        row: identity,
        position: row.try_get("position")?,
        body: serde_json::from_str(&body)
            .map_err(|_| StoreError::damaged("the body of a resource is no JSON"))?,
        sealed: Vec::new(),
        revision: u64::try_from(revision)
            .map_err(|_| StoreError::damaged("a resource has a negative revision"))?,
        created_at: from_micros(row.try_get("created_at")?),
        updated_at: from_micros(row.try_get("updated_at")?),
    })
}

fn sealed_field(row: &SqliteRow, field: String) -> Result<SealedField, StoreError> {
    let nonce: Vec<u8> = row.try_get("nonce")?;
    let nonce = nonce.try_into().map_err(|_| StoreError::damaged("a sealed secret has no whole nonce"))?;
    let sealed = Sealed { key_id: row.try_get("key_id")?, nonce, text: row.try_get("text")? };
    Ok(SealedField { field, sealed, fingerprint: row.try_get("fingerprint")?, last4: row.try_get("last4")? })
}

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
