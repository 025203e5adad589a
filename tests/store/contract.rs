//! What every implementation keeps. A new one adds its stand to `over_every_store!`.

use std::time::{Duration, SystemTime};

use headgate::store::{
    AuditPage, Change, Kind, NewAnswer, ParkScope, Store, StoreError, StoreState, StoredPark, StoredSwitch,
    SwitchState, Write, from_micros, micros,
};
use serde_json::json;

use crate::stand::{DAY, Stand, change, create, key, noon, told};

macro_rules! over_every_store {
    ($($test:ident),+ $(,)?) => {
        mod sqlite_file { $(
            #[tokio::test]
            async fn $test() { super::$test(crate::stand::Stand::file()).await }
        )+ }
        mod sqlite_memory { $(
            #[tokio::test]
            async fn $test() { super::$test(crate::stand::Stand::memory()).await }
        )+ }
    };
}

over_every_store!(
    a_resource_is_found_as_it_was_written,
    resources_come_by_kind_then_position_then_name,
    an_update_needs_the_current_revision,
    a_deleted_resource_is_gone_with_its_secrets_and_its_name_is_free,
    a_change_is_all_or_nothing,
    of_two_changes_of_one_revision_exactly_one_wins,
    ten_thousand_resources_are_kept,
    an_answer_is_kept_for_a_day_and_for_its_actor,
    a_used_idempotency_key_undoes_the_whole_change,
    the_audit_trail_pages_backwards_and_filters,
    parks_and_switches_are_replaced_as_a_whole,
    an_open_store_says_so,
);

async fn a_resource_is_found_as_it_was_written(stand: Stand) {
    let store = stand.open().await;
    let mut strange = key("schlüssel-鍵-🔑-'; DROP TABLE resources; --");
    strange.body = json!({ "name": "鍵", "nested": { "list": [1, 2.5, null, "\u{0}\"'"] } });
    strange.updated_at = noon() + Duration::from_micros(1_234_567);
    store.change(create(strange.clone())).await.unwrap();
    let store = stand.reopen(store).await;
    assert_eq!(store.resources().await.unwrap(), [strange]);
}

async fn resources_come_by_kind_then_position_then_name(stand: Stand) {
    let store = stand.open().await;
    let of = |kind, id: &str, position| {
        let mut resource = key(id);
        (resource.kind, resource.position, resource.row) = (kind, position, format!("{kind}/{id}"));
        Write::Create(resource)
    };
    let writes = vec![
        of(Kind::Token, "t", 0),
        of(Kind::Key, "b", 0),
        of(Kind::Key, "a", 0),
        of(Kind::Key, "z", -1),
        of(Kind::Backend, "a", 9),
    ];
    store.change(change(writes)).await.unwrap();
    let found = store.resources().await.unwrap();
    let ids: Vec<String> = found.iter().map(|found| format!("{} {}", found.kind, found.id)).collect();
    assert_eq!(ids, ["backend a", "key z", "key a", "key b", "token t"]);
}

async fn an_update_needs_the_current_revision(stand: Stand) {
    let store = stand.open().await;
    store.change(create(key("a"))).await.unwrap();
    let mut changed = key("a");
    changed.body = json!({ "weight": 7 });
    changed.updated_at = noon() + DAY;
    let update = |expected| change(vec![Write::Update { resource: changed.clone(), expected }]);
    let conflict = StoreError::Conflict { kind: Kind::Key, id: "a".to_owned() };
    assert_eq!(store.change(update(2)).await, Err(conflict.clone()));
    assert_eq!(store.change(update(1)).await, Ok(()));
    assert_eq!(store.change(update(1)).await, Err(conflict.clone()));

    let store = stand.reopen(store).await;
    let found = store.resources().await.unwrap().remove(0);
    assert_eq!((found.revision, &found.body), (2, &json!({ "weight": 7 })));
    assert_eq!((found.created_at, found.updated_at), (noon(), noon() + DAY));

    let mut another = changed.clone();
    another.row = "the row of an earlier key of that name".to_owned();
    let update = change(vec![Write::Update { resource: another, expected: 2 }]);
    assert_eq!(store.change(update).await, Err(conflict));
    let missing = change(vec![Write::Update { resource: key("b"), expected: 1 }]);
    assert_eq!(store.change(missing).await, Err(StoreError::Missing { kind: Kind::Key, id: "b".to_owned() }));
}

async fn a_deleted_resource_is_gone_with_its_secrets_and_its_name_is_free(stand: Stand) {
    let store = stand.open().await;
    store.change(create(crate::secrets::with_secret("a", "sk-old"))).await.unwrap();
    let delete = |expected| change(vec![Write::Delete { kind: Kind::Key, id: "a".to_owned(), expected }]);
    let conflict = StoreError::Conflict { kind: Kind::Key, id: "a".to_owned() };
    assert_eq!(store.change(delete(3)).await, Err(conflict));
    let exists = StoreError::Exists { kind: Kind::Key, id: "a".to_owned() };
    assert_eq!(store.change(create(key("a"))).await, Err(exists));
    store.change(delete(1)).await.unwrap();
    let store = stand.reopen(store).await;
    assert_eq!(store.resources().await.unwrap(), []);
    // The same row again: a secret left behind would come back with it.
    store.change(create(key("a"))).await.unwrap();
    assert_eq!(store.resources().await.unwrap(), [key("a")]);
    let missing = change(vec![Write::Delete { kind: Kind::Tenant, id: "a".to_owned(), expected: 1 }]);
    assert_eq!(
        store.change(missing).await,
        Err(StoreError::Missing { kind: Kind::Tenant, id: "a".to_owned() })
    );
}

async fn a_change_is_all_or_nothing(stand: Stand) {
    let store = stand.open().await;
    store.change(create(key("a"))).await.unwrap();
    let mut both = change(vec![Write::Create(key("b")), Write::Create(key("a"))]);
    both.audit.push(told("ops", "key.create", "b"));
    let exists = StoreError::Exists { kind: Kind::Key, id: "a".to_owned() };
    assert_eq!(store.change(both).await, Err(exists));
    let store = stand.reopen(store).await;
    assert_eq!(store.resources().await.unwrap(), [key("a")]);
    assert_eq!(store.audit(AuditPage { limit: 10, ..AuditPage::default() }).await.unwrap(), []);
}

async fn of_two_changes_of_one_revision_exactly_one_wins(stand: Stand) {
    let store = stand.open().await;
    store.change(create(key("a"))).await.unwrap();
    for revision in 1..=20 {
        let update = || change(vec![Write::Update { resource: key("a"), expected: revision }]);
        let results = tokio::join!(store.change(update()), store.change(update()));
        let won = [&results.0, &results.1].iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        assert_eq!(store.resources().await.unwrap()[0].revision, revision + 1);
    }
}

async fn ten_thousand_resources_are_kept(stand: Stand) {
    let store = stand.open().await;
    let writes = (0..10_000).map(|number| Write::Create(key(&format!("key-{number:05}")))).collect();
    store.change(change(writes)).await.unwrap();
    let store = stand.reopen(store).await;
    let found = store.resources().await.unwrap();
    assert_eq!((found.len(), found[9_999].id.as_str()), (10_000, "key-09999"));
}

fn answer(actor: &str, key: &str, at: SystemTime) -> Change {
    let answer = NewAnswer {
        actor: actor.to_owned(),
        key: key.to_owned(),
        request_digest: [7; 32],
        status: 201,
        body: vec![0, 159, 146, 150],
        etag: Some("\"1\"".to_owned()),
    };
    Change { writes: Vec::new(), audit: Vec::new(), answer: Some(answer), at }
}

async fn an_answer_is_kept_for_a_day_and_for_its_actor(stand: Stand) {
    let store = stand.open().await;
    let given = answer("ops", "k", noon());
    store.change(given.clone()).await.unwrap();
    let store = stand.reopen(store).await;
    let found = store.idempotent("ops", "k", noon() + DAY - Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!((found.at, Some(found.answer)), (noon(), given.answer));
    assert_eq!(store.idempotent("dev", "k", noon()).await, Ok(None));
    assert_eq!(store.idempotent("ops", "other", noon()).await, Ok(None));
    assert_eq!(store.idempotent("ops", "k", noon() + DAY).await, Ok(None));
    store.change(answer("ops", "k", noon() + DAY)).await.unwrap();
    assert!(store.idempotent("ops", "k", noon() + DAY).await.unwrap().is_some());
}

async fn a_used_idempotency_key_undoes_the_whole_change(stand: Stand) {
    let store = stand.open().await;
    store.change(answer("ops", "k", noon())).await.unwrap();
    let mut again = answer("ops", "k", noon());
    again.writes.push(Write::Create(key("a")));
    assert_eq!(store.change(again).await, Err(StoreError::Answered));
    assert_eq!(store.resources().await.unwrap(), []);
}

async fn the_audit_trail_pages_backwards_and_filters(stand: Stand) {
    let store = stand.open().await;
    for number in 0..5 {
        let actor = if number % 2 == 0 { "ops" } else { "dev" };
        let mut one = change(Vec::new());
        one.audit = vec![told(actor, "key.update", &format!("k{number}")), told(actor, "key.park", "k0")];
        one.at = noon() + Duration::from_secs(number);
        store.change(one).await.unwrap();
    }
    let store = stand.reopen(store).await;
    let page = AuditPage { limit: 4, ..AuditPage::default() };
    let first = store.audit(page.clone()).await.unwrap();
    let ids = |entries: &[headgate::store::AuditEntry]| -> Vec<String> {
        entries.iter().map(|entry| entry.entry.id.clone()).collect()
    };
    assert_eq!(ids(&first), ["k0", "k4", "k0", "k3"]);
    assert_eq!(first[0].at, noon() + Duration::from_secs(4));
    assert_eq!(first[0].entry, told("ops", "key.park", "k0"));
    let next = store.audit(AuditPage { before: Some(first[3].seq), ..page.clone() }).await.unwrap();
    assert_eq!(ids(&next), ["k0", "k2", "k0", "k1"]);
    let of = |actor: Option<&str>, id: Option<&str>| AuditPage {
        actor: actor.map(str::to_owned),
        id: id.map(str::to_owned),
        limit: 100,
        ..AuditPage::default()
    };
    assert_eq!(store.audit(of(Some("dev"), None)).await.unwrap().len(), 4);
    assert_eq!(store.audit(of(None, Some("k0"))).await.unwrap().len(), 6);
    assert_eq!(store.audit(of(Some("dev"), Some("k3"))).await.unwrap().len(), 1);
    let tenants = AuditPage { kind: Some("tenant".to_owned()), limit: 100, ..AuditPage::default() };
    assert_eq!(store.audit(tenants).await, Ok(Vec::new()));
}

async fn parks_and_switches_are_replaced_as_a_whole(stand: Stand) {
    let store = stand.open().await;
    let park = |scope, class: &str| StoredPark {
        scope,
        backend: "b".to_owned(),
        name: "k".to_owned(),
        generation: u64::MAX,
        class: class.to_owned(),
        reason: "quota".to_owned(),
        dimension: Some("week".to_owned()),
        source: None,
        since: noon(),
        until: noon() + DAY,
        held_by: Some("ops".to_owned()),
        held_for: Some("see the incident".to_owned()),
    };
    let off = |key: &str, state| StoredSwitch { key: key.to_owned(), state };
    let parks = [park(ParkScope::Key, ""), park(ParkScope::KeyClass, "opus"), park(ParkScope::Missing, "m")];
    let switches = [off("a", SwitchState::Disabled), off("b", SwitchState::Draining)];
    store.save_parks(&parks).await.unwrap();
    store.save_switches(&switches, &[]).await.unwrap();
    let store = stand.reopen(store).await;
    assert_eq!(store.parks().await.unwrap(), parks);
    assert_eq!(store.switches().await.unwrap(), switches);
    store.save_parks(&parks[1..2]).await.unwrap();
    store.save_switches(&[off("c", SwitchState::Disabled)], &["a".to_owned()]).await.unwrap();
    let store = stand.reopen(store).await;
    assert_eq!(store.parks().await.unwrap(), parks[1..2]);
    let left = [off("b", SwitchState::Draining), off("c", SwitchState::Disabled)];
    assert_eq!(store.switches().await.unwrap(), left, "those that are not named stay");
}

async fn an_open_store_says_so(stand: Stand) {
    let store = Store::prepare(&stand.address).unwrap();
    assert_eq!(store.state(), StoreState::Opening);
    store.ready().await.unwrap();
    assert_eq!(store.state(), StoreState::Open);
    store.probe().await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.change(create(key("a"))).await, Ok(()));
    assert!(store.change(create(key("a"))).await.is_err());
    assert_eq!(store.state(), StoreState::Open, "a caller's mistake is no failure of the store");
}

#[test]
fn times_are_kept_to_the_microsecond() {
    assert_eq!(from_micros(micros(noon())), noon());
    assert_eq!(micros(SystemTime::UNIX_EPOCH - DAY), 0);
    assert_eq!(from_micros(-1), SystemTime::UNIX_EPOCH);
}
