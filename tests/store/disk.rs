//! A disk that is full or read-only: a small file system of our own, where this user may mount one.

use std::path::Path;
use std::process::Command;

use headgate::store::{Place, Store, StoreError, StoreState};
use serde_json::json;
use tempfile::TempDir;

use crate::stand::{address, create, key};

/// A file system in memory of 512 KiB, unmounted when dropped.
struct Small(TempDir);

impl Small {
    /// `None` where this user may not mount; `src/store/tests.rs` has the same failures without a mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let small = mount(&["-t", "tmpfs", "-o", "size=512k", "tmpfs"], folder.path());
        small.then_some(Self(folder))
    }

    fn store(&self) -> Store {
        Store::prepare(&address(Place::File(self.0.path().join("headgate.db")))).unwrap()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _mounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let status =
        Command::new("mount").args(arguments).arg(folder).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_full_disk_refuses_writes_without_damage_and_recovers() {
    let Some(small) = Small::mount() else { return };
    let store = small.store();
    store.change(create(key("a"))).await.unwrap();
    std::fs::write(small.0.path().join("ballast"), vec![1; 200 << 10]).unwrap();
    let mut large = key("large");
    large.body = json!({ "text": "x".repeat(400 << 10) });
    let refused = store.change(create(large.clone())).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(store.state(), StoreState::Failing { .. }));
    assert_eq!(store.resources().await, Ok(vec![key("a")]));

    std::fs::remove_file(small.0.path().join("ballast")).unwrap();
    store.change(create(key("b"))).await.unwrap();
    assert_eq!(store.state(), StoreState::Open);
    store.close().await;
    assert_eq!(small.store().resources().await, Ok(vec![key("a"), key("b")]));
}

#[tokio::test]
async fn a_disk_that_is_read_only_at_the_start_is_opened_once_it_is_writable() {
    let Some(small) = Small::mount() else { return };
    assert!(mount(&["-o", "remount,ro"], small.0.path()));
    let store = small.store();
    let error = store.ready().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(mount(&["-o", "remount,rw"], small.0.path()));
    store.ready().await.unwrap();
    store.change(create(key("a"))).await.unwrap();
    assert_eq!(store.state(), StoreState::Open);
}
