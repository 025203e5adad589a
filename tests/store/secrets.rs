//! Secrets in the store: sealed, found again with the right master key only, and nowhere in the clear.

use std::time::Duration;

use headgate::config::checked::{self, MasterKey};
use headgate::store::{Change, Resealed, Resource, SealedField, Write};
use headgate::vault::{Unsealable, Vault};
use headgate_providers::Secret;

use crate::stand::{Stand, change, create, key};

const CANARY: &str = "sk-ant-canary-4f9d2c7e8b1a";

pub fn vault(newest: u8, previous: &[u8]) -> Vault {
    let of = |byte: u8| MasterKey::new([byte; 32].into());
    Vault::of(&checked::Store {
        url: Secret::new("sqlite::memory:".to_owned()),
        master_key: Some(of(newest)),
        previous_master_keys: previous.iter().copied().map(of).collect(),
        timeout: Duration::from_secs(1),
        idempotency: Duration::from_secs(1),
        durable_park: Duration::from_secs(1),
        keep_audit: Duration::from_secs(1),
    })
    .unwrap()
}

pub fn with_secret(id: &str, secret: &str) -> Resource {
    let mut resource = key(id);
    let secret = Secret::new(secret.to_owned());
    resource.sealed.push(SealedField::new(&vault(1, &[]), &resource.row, "secret", &secret));
    resource
}

fn opened(vault: &Vault, resource: &Resource) -> Result<String, Unsealable> {
    let field = &resource.sealed[0];
    vault.open(&resource.row, &field.field, &field.sealed).map(|secret| secret.expose().to_owned())
}

#[tokio::test]
async fn a_secret_comes_back_by_the_master_key_and_is_nowhere_in_the_files() {
    let stand = Stand::file();
    let store = stand.open().await;
    store.change(create(with_secret("a", CANARY))).await.unwrap();
    let in_files = |text: &str| {
        let folder = stand.path().parent().unwrap().to_owned();
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let texts: Vec<Vec<u8>> = files.collect();
        texts.iter().any(|held| held.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(in_files("row-of-a"), "the record is there, if only in the log");
    assert!(!in_files(CANARY) && !in_files(&CANARY[7..]));
    store
        .change(change(vec![Write::Delete {
            kind: headgate::store::Kind::Key,
            id: "a".to_owned(),
            expected: 1,
        }]))
        .await
        .unwrap();
    store.change(create(with_secret("a", CANARY))).await.unwrap();
    let store = stand.reopen(store).await;
    assert!(!in_files(CANARY));
    let found = store.resources().await.unwrap().remove(0);
    assert_eq!(opened(&vault(1, &[]), &found).unwrap(), CANARY);
    assert!(matches!(opened(&vault(2, &[]), &found), Err(Unsealable::UnknownKey { .. })));
    assert_eq!((found.sealed[0].fingerprint.len(), found.sealed[0].last4.as_str()), (12, "8b1a"));
    assert!(!format!("{found:?}").contains(CANARY));
}

#[tokio::test]
async fn secrets_sealed_anew_open_with_the_new_key_alone_and_keep_their_revision() {
    let stand = Stand::file();
    let store = stand.open().await;
    let writes = ["a", "b"].map(|id| Write::Create(with_secret(id, CANARY))).to_vec();
    store.change(change(writes)).await.unwrap();
    let both = vault(2, &[1]);
    let anew = |resource: &Resource| {
        let field = &resource.sealed[0];
        assert!(!both.is_current(&field.sealed));
        let secret = both.open(&resource.row, &field.field, &field.sealed).unwrap();
        Resealed {
            row: resource.row.clone(),
            field: field.field.clone(),
            old: field.sealed.clone(),
            new: both.seal(&resource.row, &field.field, &secret),
        }
    };
    let found = store.resources().await.unwrap();
    let batch: Vec<Resealed> = found.iter().map(anew).collect();
    // Meanwhile `b` gets another secret: what was sealed before must not come back over it.
    let mut rotated = with_secret("b", "sk-another-secret");
    rotated.revision = 2;
    let rotate = Write::Update { resource: rotated.clone(), expected: 1 };
    store.change(Change { ..change(vec![rotate]) }).await.unwrap();
    assert_eq!(store.reseal(batch).await, Ok(1));
    let store = stand.reopen(store).await;
    let found = store.resources().await.unwrap();
    assert_eq!(opened(&vault(2, &[]), &found[0]).unwrap(), CANARY);
    assert!(both.is_current(&found[0].sealed[0].sealed));
    assert_eq!((found[0].revision, &found[1]), (1, &rotated));
}
