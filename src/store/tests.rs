//! Failures made from within: a caller that gives up, a full and a read-only database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::Semaphore;

use super::{Place, Store, StoreAddress, StoreError, StoreState, StoredSwitch, SwitchState};

/// Longer than a busy machine holds an operation up.
const PATIENCE: Duration = Duration::from_secs(30);

fn address(folder: &tempfile::TempDir, timeout: Duration) -> StoreAddress {
    StoreAddress { place: Place::File(folder.path().join("headgate.db")), timeout, keep_answers: PATIENCE }
}

/// A store in a file of its own; the folder lives as long as the second part.
async fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Store::open(&address(&folder, PATIENCE)).await.unwrap(), folder)
}

/// The store of `folder` once more, for uses that are to take too long.
async fn hasty(folder: &tempfile::TempDir, timeout: Duration) -> Store {
    let store = Store::prepare(&address(folder, timeout)).unwrap();
    until("it opens", async || store.ready().await.is_ok()).await;
    store
}

/// Tries again and again, for with a short timeout a busy machine may be late as well.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let tries = async { while !holds().await {} };
    tokio::time::timeout(PATIENCE, tries).await.expect(what);
}

fn switches(count: usize) -> Vec<StoredSwitch> {
    let one = |number| StoredSwitch { key: format!("key-{number:0>1000}"), state: SwitchState::Disabled };
    (0..count).map(one).collect()
}

async fn pragma(store: &Store, pragma: &'static str) {
    let set = store.write(move |connection| {
        Box::pin(async move {
            sqlx::query(pragma).execute(connection).await?;
            Ok(())
        })
    });
    set.await.unwrap();
}

#[tokio::test]
async fn what_a_caller_gave_up_on_is_not_done_later() {
    let (patient, folder) = store().await;
    let store = hasty(&folder, Duration::from_millis(300)).await;
    let go = Arc::new(Semaphore::new(0));
    let waiting = go.clone();
    let slow = store.write(move |connection| {
        Box::pin(async move {
            sqlx::query("INSERT INTO switches VALUES ('slow', 'disabled')").execute(connection).await?;
            let _permit = waiting.acquire().await;
            Ok(())
        })
    });
    let error = slow.await.unwrap_err();
    assert_eq!(error, StoreError::unavailable("no answer within 300 ms"));
    // One more that waits in vain for its turn, and is then not done either.
    assert!(store.save_switches(&switches(3), &[]).await.is_err());
    assert!(matches!(store.state(), StoreState::Failing { .. }));
    go.add_permits(1);
    until("it works again", async || store.probe().await.is_ok()).await;
    assert_eq!(store.state(), StoreState::Open);
    assert_eq!(patient.switches().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_undone() {
    let (store, _folder) = store().await;
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, waiting) = (begun.clone(), go.clone());
    let slow = store.write(move |connection| {
        Box::pin(async move {
            sqlx::query("INSERT INTO switches VALUES ('slow', 'disabled')").execute(connection).await?;
            tell.add_permits(1);
            let _permit = waiting.acquire().await;
            Ok(())
        })
    });
    tokio::select! {
        _ = slow => panic!("it waits"),
        _ = begun.acquire() => {}
    }
    go.add_permits(1);
    store.probe().await.unwrap();
    assert_eq!(store.switches().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_write_that_panics_leaves_the_store_in_order() {
    let (store, _folder) = store().await;
    let panics = store.write::<(), _>(|connection| {
        Box::pin(async move {
            sqlx::query("INSERT INTO switches VALUES ('half', 'disabled')").execute(connection).await?;
            panic!("on purpose");
        })
    });
    assert_eq!(panics.await, Err(StoreError::unavailable("its task has ended early")));
    store.save_switches(&switches(1), &[]).await.unwrap();
    assert_eq!(store.switches().await, Ok(switches(1)));
}

#[tokio::test]
async fn a_full_database_refuses_writes_without_damage_and_recovers() {
    let (store, _folder) = store().await;
    store.save_switches(&switches(1), &[]).await.unwrap();
    pragma(&store, "PRAGMA max_page_count = 40").await;
    for _ in 0..3 {
        // A failure may cost the connection, and its limit with it.
        pragma(&store, "PRAGMA max_page_count = 40").await;
        let refused = store.save_switches(&switches(1000), &[]).await;
        assert_eq!(refused, Err(StoreError::unavailable("the disk is full")));
        assert!(matches!(store.state(), StoreState::Failing { .. }));
        assert_eq!(store.switches().await, Ok(switches(1)));
    }
    pragma(&store, "PRAGMA max_page_count = 100000").await;
    store.save_switches(&switches(1000), &[]).await.unwrap();
    assert_eq!(store.switches().await, Ok(switches(1000)));
    assert_eq!(store.state(), StoreState::Open);
}

#[tokio::test]
async fn a_read_only_database_refuses_writes_and_recovers() {
    let (store, _folder) = store().await;
    pragma(&store, "PRAGMA query_only = ON").await;
    let refused = store.save_switches(&switches(1), &[]).await;
    assert_eq!(refused, Err(StoreError::unavailable("its file is read-only")));
    assert_eq!(store.switches().await, Ok(Vec::new()));
    pragma(&store, "PRAGMA query_only = OFF").await;
    store.save_switches(&switches(1), &[]).await.unwrap();
    assert_eq!(store.state(), StoreState::Open);
}

#[tokio::test]
async fn a_store_that_hangs_does_not_gather_what_nobody_waits_for() {
    let (patient, folder) = store().await;
    let store = hasty(&folder, Duration::from_millis(100)).await;
    let go = Arc::new(Semaphore::new(0));
    let waiting = go.clone();
    let hung = store.write(move |_| {
        Box::pin(async move {
            let _permit = waiting.acquire().await;
            Ok(())
        })
    });
    assert!(hung.await.is_err());
    for _ in 0..5 {
        let calls = (0..100).map(|_| async { store.save_switches(&switches(1), &[]).await });
        assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_err));
    }
    let settled = async {
        while store.background().metrics().num_alive_tasks() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("only the task that hangs is left");
    go.add_permits(1);
    until("it works again", async || store.probe().await.is_ok()).await;
    assert_eq!(patient.switches().await, Ok(Vec::new()));
}

#[tokio::test]
async fn every_commit_reaches_the_disk_and_readers_cannot_write() {
    let (store, _folder) = store().await;
    let ask = |pragma: &'static str| {
        let store = store.clone();
        async move {
            // Read on the writer's connection: synchronous is a setting of each.
            let asked = store.write(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(pragma).fetch_one(connection).await?;
                    Ok(row.try_get_unchecked::<String, _>(0)?)
                })
            });
            asked.await.unwrap()
        }
    };
    assert_eq!(ask("PRAGMA synchronous").await, "2", "FULL");
    assert_eq!(ask("PRAGMA journal_mode").await, "wal");
    assert_eq!(ask("PRAGMA foreign_keys").await, "1");
    let write = store.read(|connection| {
        Box::pin(async move {
            sqlx::query("DELETE FROM switches").execute(connection).await?;
            Ok(())
        })
    });
    assert_eq!(write.await, Err(StoreError::unavailable("its file is read-only")));
}

#[test]
fn no_error_quotes_what_was_written() {
    for code in 0..30 {
        let text = super::fault::of_sqlite(code).to_string();
        assert!(text.starts_with("the store is "), "{code}: {text}");
    }
    let error = StoreError::from(sqlx::Error::Protocol("canary".to_owned()));
    assert!(!error.to_string().contains("canary"));
}
