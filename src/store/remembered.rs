//! What the pool must not forget over a restart: long parks, and the keys an operator switched.

use std::time::SystemTime;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, from_micros, micros};

/// What a park belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParkScope {
    /// A key.
    Key,
    /// A key with one model class.
    KeyClass,
    /// A limit group.
    Group,
    /// A limit group with one model class.
    GroupClass,
    /// A limit group without one model.
    Missing,
}

impl ParkScope {
    const ALL: [Self; 5] = [Self::Key, Self::KeyClass, Self::Group, Self::GroupClass, Self::Missing];

    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KeyClass => "key-class",
            Self::Group => "group",
            Self::GroupClass => "group-class",
            Self::Missing => "missing",
        }
    }
}

/// A park as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPark {
    /// What it belongs to.
    pub scope: ParkScope,
    /// The backend's name.
    pub backend: String,
    /// The key's or the group's name.
    pub name: String,
    /// The generation of the key's secret; 0 for a group.
    pub generation: u64,
    /// The model class or the model; empty for a whole key or group.
    pub class: String,
    /// What went wrong, by name.
    pub reason: String,
    /// Which bucket was empty, by name.
    pub dimension: Option<String>,
    /// Where a stated time was read, by name.
    pub source: Option<String>,
    /// When it was parked.
    pub since: SystemTime,
    /// Until when.
    pub until: SystemTime,
    /// The operator who parked it, if one did.
    pub held_by: Option<String>,
    /// The reason the operator gave.
    pub held_for: Option<String>,
}

/// What an operator made of a key, by its name: a new secret does not undo it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredSwitch {
    /// The key's name.
    pub key: String,
    /// What it was made.
    pub state: SwitchState,
}

/// What an operator can make of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwitchState {
    /// Off.
    Disabled,
    /// No new leases.
    Draining,
}

impl SwitchState {
    fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Draining => "draining",
        }
    }
}

impl Store {
    /// The parks kept last.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where a row cannot be understood.
    pub async fn parks(&self) -> Result<Vec<StoredPark>, StoreError> {
        self.read(|connection| {
            Box::pin(async move {
                let rows = sqlx::query("SELECT * FROM parks ORDER BY scope, backend, name, class");
                rows.fetch_all(connection).await?.iter().map(park).collect()
            })
        })
        .await
    }

    /// Keeps exactly these parks.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn save_parks(&self, all: &[StoredPark]) -> Result<(), StoreError> {
        let all = all.to_vec();
        self.write(|connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM parks").execute(&mut *connection).await?;
                for park in &all {
                    insert_park(connection, park).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The switches kept last.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` where a row cannot be understood.
    pub async fn switches(&self) -> Result<Vec<StoredSwitch>, StoreError> {
        self.read(|connection| {
            Box::pin(async move {
                let rows = sqlx::query("SELECT key, state FROM switches ORDER BY key");
                rows.fetch_all(connection).await?.iter().map(switch).collect()
            })
        })
        .await
    }

    /// Keeps these switches, forgets those of the keys `on`, and leaves all others as they are.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn save_switches(&self, off: &[StoredSwitch], on: &[String]) -> Result<(), StoreError> {
        let (off, on) = (off.to_vec(), on.to_vec());
        self.write(|connection| {
            Box::pin(async move {
                for key in &on {
                    forget_switch(connection, key).await?;
                }
                for switch in &off {
                    insert_switch(connection, switch).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// The key is not switched any more, or gone.
pub(super) async fn forget_switch(connection: &mut SqliteConnection, key: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM switches WHERE key = ?").bind(key).execute(connection).await?;
    Ok(())
}

pub(super) async fn insert_switch(
    connection: &mut SqliteConnection,
    StoredSwitch { key, state }: &StoredSwitch,
) -> Result<(), StoreError> {
    let query = sqlx::query("INSERT OR REPLACE INTO switches (key, state) VALUES (?, ?)");
    query.bind(key).bind(state.name()).execute(connection).await?;
    Ok(())
}

async fn insert_park(connection: &mut SqliteConnection, park: &StoredPark) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT OR REPLACE INTO parks (scope, backend, name, generation, class, reason, dimension, source, \
         since, until, held_by, held_for) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    // A generation uses all 64 bits, which is more than the database's numbers hold.
    let query = query.bind(park.scope.name()).bind(&park.backend).bind(&park.name);
    let query = query.bind(format!("{:016x}", park.generation)).bind(&park.class).bind(&park.reason);
    let query = query.bind(&park.dimension).bind(&park.source);
    let query = query.bind(micros(park.since)).bind(micros(park.until));
    query.bind(&park.held_by).bind(&park.held_for).execute(connection).await?;
    Ok(())
}

fn park(row: &SqliteRow) -> Result<StoredPark, StoreError> {
    let scope: String = row.try_get("scope")?;
    let generation: String = row.try_get("generation")?;
    Ok(StoredPark {
        scope: ParkScope::ALL
            .into_iter()
            .find(|known| known.name() == scope)
            .ok_or_else(|| StoreError::damaged("a park has an unknown scope"))?,
        backend: row.try_get("backend")?,
        name: row.try_get("name")?,
        generation: u64::from_str_radix(&generation, 16)
            .map_err(|_| StoreError::damaged("a park has no generation"))?,
        class: row.try_get("class")?,
        reason: row.try_get("reason")?,
        dimension: row.try_get("dimension")?,
        source: row.try_get("source")?,
        since: from_micros(row.try_get("since")?),
        until: from_micros(row.try_get("until")?),
        held_by: row.try_get("held_by")?,
        held_for: row.try_get("held_for")?,
    })
}

fn switch(row: &SqliteRow) -> Result<StoredSwitch, StoreError> {
    let state: String = row.try_get("state")?;
    let state = [SwitchState::Disabled, SwitchState::Draining].into_iter().find(|s| s.name() == state);
    let state = state.ok_or_else(|| StoreError::damaged("a key was switched to an unknown state"))?;
    Ok(StoredSwitch { key: row.try_get("key")?, state })
}
