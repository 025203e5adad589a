//! Where a store stands in a test, and things to put into it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use headgate::store::{Change, Kind, NewAudit, Place, Resource, Store, StoreAddress, Write};
use serde_json::json;
use tempfile::TempDir;

/// 2026-03-17 12:00:00 UTC.
pub const NOON: Duration = Duration::from_secs(1_773_748_800);
/// As the default configuration has it.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A place for one store.
pub struct Stand {
    pub address: StoreAddress,
    folder: Option<TempDir>,
}

impl Stand {
    /// A file in a folder of its own.
    pub fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::File(folder.path().join("headgate.db"));
        Self { address: address(place), folder: Some(folder) }
    }

    /// Memory.
    pub fn memory() -> Self {
        Self { address: address(Place::Memory), folder: None }
    }

    /// The same place with a short bound on every operation, for those that are to take too long. A busy machine may be
    /// late with others as well: [`until`] they succeed.
    pub fn within(&self, timeout: Duration) -> StoreAddress {
        StoreAddress { timeout, ..self.address.clone() }
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.address).await.unwrap()
    }

    /// The same records through a new store; in memory there is only the old one.
    pub async fn reopen(&self, old: Store) -> Store {
        match self.address.place {
            Place::Memory => old,
            Place::File(_) => {
                old.close().await;
                self.open().await
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("headgate.db")
    }
}

/// Tries again and again, for so long as a busy machine may hold an operation up.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let tries = async { while !holds().await {} };
    tokio::time::timeout(Duration::from_secs(30), tries).await.expect(what);
}

pub fn address(place: Place) -> StoreAddress {
    StoreAddress { place, timeout: Duration::from_secs(30), keep_answers: DAY }
}

pub fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOON
}

pub fn key(id: &str) -> Resource {
    Resource {
        kind: Kind::Key,
        id: id.to_owned(),
        row: format!("row-of-{id}"),
        position: 0,
        body: json!({ "name": id, "weight": 2.5 }),
        sealed: Vec::new(),
        revision: 1,
        created_at: noon(),
        updated_at: noon(),
    }
}

pub fn change(writes: Vec<Write>) -> Change {
    Change { writes, audit: Vec::new(), answer: None, at: noon() }
}

pub fn create(resource: Resource) -> Change {
    change(vec![Write::Create(resource)])
}

pub fn told(actor: &str, action: &str, id: &str) -> NewAudit {
    NewAudit {
        actor: actor.to_owned(),
        role: "admin".to_owned(),
        source: Some("127.0.0.1".to_owned()),
        action: action.to_owned(),
        kind: "key".to_owned(),
        id: id.to_owned(),
        before: None,
        after: Some(json!({ "fingerprint": "0123456789ab" })),
    }
}
