//! Long parks and switched-off keys outlive the process.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::checked::Settings;
use headgate::config::{Environment, load};
use headgate::gateway::Gateway;
use headgate::pool::health::Hold;
use headgate::pool::park::{Notice, Park};
use headgate::pool::seat::Seat;
use headgate::remember::{Memory, Reminder};
use headgate::store::{AuditPage, Change, Kind, NewAudit, Resource, Store, StoredSwitch, SwitchState, Write};
use headgate_providers::{Dimension, FaultKind, Source};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use crate::stand::{DAY, Stand, change, create, key, noon, until};

/// Two keys of one backend, `k2` with this secret.
fn settings(secret: &str) -> Settings {
    let yaml = format!(
        "backends: [ {{ name: b, provider: anthropic, base_url: 'http://127.0.0.1:9', limit_groups: [ {{ name: g }} ], keys: [ \
         {{ name: k1, secret: 'value:one', limit_group: g }}, {{ name: k2, secret: 'value:{secret}', limit_group: g }} ] }} ]"
    );
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    load(&[file.path().to_owned()], &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A process that starts at this date.
fn process(settings: Settings, start: SystemTime) -> Arc<Gateway> {
    Arc::new(Gateway::new(settings, Clock::starting_at(start), Chance::seeded(7)).unwrap())
}

fn seat(gateway: &Gateway, name: &str) -> Arc<Seat> {
    gateway.pool.table().seats().find(|(_, seat)| seat.id.name == name).unwrap().1.clone()
}

fn park(gateway: &Gateway, park: &Park, span: Duration) -> Notice {
    let since = gateway.clock.now();
    let notice = Notice {
        reason: FaultKind::Quota,
        dimension: Some(Dimension::Week),
        source: Some(Source::Message),
        since,
        until: since + span,
    };
    park.hold(since, notice);
    notice
}

/// How long it is still parked; rounded, since the tests themselves take time.
fn left(gateway: &Gateway, park: &Park) -> Option<u64> {
    let left = park.notice()?.until.since(gateway.clock.now());
    Some(left.as_secs_f64().round() as u64)
}

async fn saved(gateway: &Arc<Gateway>, store: &Store) -> Memory {
    let mut memory = Memory::new(gateway.clone(), store.clone());
    memory.save().await.unwrap();
    memory
}

async fn restarted(settings: Settings, store: &Store, start: SystemTime) -> (Arc<Gateway>, Memory) {
    let gateway = process(settings, start);
    let mut memory = Memory::new(gateway.clone(), store.clone());
    memory.restore().await.unwrap();
    (gateway, memory)
}

#[tokio::test]
async fn parks_of_more_than_a_minute_outlive_the_process_with_their_reasons() {
    let stand = Stand::file();
    let store = stand.open().await;
    let before = process(settings("two"), noon());
    let seats = [seat(&before, "k1"), seat(&before, "k2")];
    let notice = park(&before, &seats[0].health.park, Duration::from_secs(3600));
    park(&before, &seats[0].health.class("opus"), Duration::from_secs(600));
    park(&before, &seats[0].group.class("sonnet"), Duration::from_secs(700));
    park(&before, &seats[0].group.missing("m-1"), Duration::from_secs(800));
    park(&before, &seats[1].health.park, Duration::from_secs(59));
    saved(&before, &store).await;

    let store = stand.reopen(store).await;
    let (after, _memory) = restarted(settings("two"), &store, noon() + Duration::from_secs(100)).await;
    let seats = [seat(&after, "k1"), seat(&after, "k2")];
    let found = seats[0].health.park.notice().unwrap();
    assert_eq!(
        (found.reason, found.dimension, found.source),
        (notice.reason, notice.dimension, notice.source)
    );
    assert_eq!(left(&after, &seats[0].health.park), Some(3500));
    assert_eq!(left(&after, &seats[0].health.class("opus")), Some(500));
    assert_eq!(left(&after, &seats[1].group.class("sonnet")), Some(600), "the group is the same for both");
    assert_eq!(left(&after, &seats[0].group.missing("m-1")), Some(700));
    assert_eq!(left(&after, &seats[1].health.park), None, "a short park is over before it matters");
}

#[tokio::test]
async fn a_rotated_secret_starts_clean_and_its_group_does_not() {
    let store = Stand::memory().open().await;
    let before = process(settings("two"), noon());
    park(&before, &seat(&before, "k2").health.park, DAY);
    park(&before, &seat(&before, "k2").group.park, DAY);
    saved(&before, &store).await;
    let (after, _memory) = restarted(settings("another"), &store, noon()).await;
    assert_eq!(left(&after, &seat(&after, "k2").health.park), None);
    assert_eq!(left(&after, &seat(&after, "k2").group.park), Some(86_400));
}

#[tokio::test]
async fn a_park_that_ended_meanwhile_is_not_put_back() {
    let store = Stand::memory().open().await;
    let before = process(settings("two"), noon());
    park(&before, &seat(&before, "k1").health.park, Duration::from_secs(90));
    saved(&before, &store).await;
    let (after, _memory) = restarted(settings("two"), &store, noon() + Duration::from_secs(100)).await;
    assert_eq!(left(&after, &seat(&after, "k1").health.park), None);
}

#[tokio::test]
async fn an_operator_s_park_keeps_its_name_and_lifting_it_lasts() {
    let store = Stand::memory().open().await;
    let before = process(settings("two"), noon());
    let key = seat(&before, "k1");
    let until = park(&before, &key.health.park, DAY).until;
    let reason = Some("see the incident".to_owned());
    key.health.set_hold(Some(Hold { until, by: "ops".to_owned(), reason: reason.clone() }));
    saved(&before, &store).await;

    let (after, mut memory) = restarted(settings("two"), &store, noon()).await;
    let key = seat(&after, "k1");
    let hold = key.health.hold().unwrap();
    assert_eq!((hold.by.as_str(), hold.reason), ("ops", reason));
    assert_eq!(hold.until, key.health.park.notice().unwrap().until, "it is still the operator's");
    key.health.set_hold(None);
    key.health.park.clear();
    memory.save().await.unwrap();
    assert_eq!(store.parks().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_key_that_was_switched_off_stays_off_until_it_is_switched_on() {
    let store = Stand::memory().open().await;
    let before = process(settings("two"), noon());
    seat(&before, "k1").health.disabled.store(true, Relaxed);
    saved(&before, &store).await;
    let (after, mut memory) = restarted(settings("two"), &store, noon()).await;
    assert!(!seat(&after, "k1").health.is_enabled() && seat(&after, "k2").health.is_enabled());
    // Before anything was written by this process: what it read is not what is so any more.
    seat(&after, "k1").health.disabled.store(false, Relaxed);
    memory.save().await.unwrap();
    let (last, _memory) = restarted(settings("two"), &store, noon()).await;
    assert!(seat(&last, "k1").health.is_enabled());
}

#[tokio::test]
async fn what_belongs_to_a_key_that_comes_later_waits_for_it() {
    let store = Stand::memory().open().await;
    let before = process(settings("two"), noon());
    park(&before, &seat(&before, "k2").health.park, DAY);
    seat(&before, "k2").health.disabled.store(true, Relaxed);
    saved(&before, &store).await;

    let mut without = settings("two");
    let none: headgate::config::checked::Backend = {
        let mut backend = (*without.backends[0]).clone();
        backend.keys.retain(|key| key.name == "k1");
        backend
    };
    without.backends = vec![Arc::new(none)];
    let (after, mut memory) = restarted(without, &store, noon()).await;
    park(&after, &seat(&after, "k1").health.park, DAY);
    memory.save().await.unwrap();
    assert_eq!(store.parks().await.unwrap().len(), 2, "what is not claimed is not forgotten");
    after.reload(settings("two"));
    memory.save().await.unwrap();
    assert_eq!(left(&after, &seat(&after, "k2").health.park), Some(86_400));
    assert!(!seat(&after, "k2").health.is_enabled());
    let switch = StoredSwitch { key: "k2".to_owned(), state: SwitchState::Disabled };
    assert_eq!(store.switches().await, Ok(vec![switch]));
}

#[tokio::test]
async fn a_store_that_cannot_be_read_at_the_start_is_not_written_over() {
    let stand = Stand::file();
    let store = stand.open().await;
    let before = process(settings("two"), noon());
    park(&before, &seat(&before, "k1").health.park, DAY);
    saved(&before, &store).await;
    store.close().await;
    let options = SqliteConnectOptions::new().filename(stand.path());
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await.unwrap();

    let store = Store::prepare(&stand.within(Duration::from_secs(1))).unwrap();
    let after = process(settings("two"), noon());
    let mut memory = Memory::new(after.clone(), store.clone());
    assert!(memory.restore().await.is_err());
    assert!(memory.save().await.is_err());
    assert_eq!(left(&after, &seat(&after, "k1").health.park), None);
    other.close().await.unwrap();
    until("it comes back by itself", async || memory.save().await.is_ok()).await;
    assert!(
        left(&after, &seat(&after, "k1").health.park).is_some_and(|left| left > 86_300),
        "less the time of the tries"
    );
    assert_eq!(stand.open().await.parks().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unchanged_pool_writes_nothing_and_a_kept_one_is_looked_at_every_second() {
    let store = Stand::memory().open().await;
    let gateway = process(settings("two"), noon());
    let mut memory = saved(&gateway, &store).await;
    let other = StoredSwitch { key: "of another hand".to_owned(), state: SwitchState::Draining };
    store.save_switches(std::slice::from_ref(&other), &[]).await.unwrap();
    memory.save().await.unwrap();
    assert_eq!(store.switches().await, Ok(vec![other.clone()]), "nothing was written over it");

    let (reminder, asked) = Reminder::new();
    let keeping = store.background().spawn(memory.keep(asked));
    seat(&gateway, "k1").health.disabled.store(true, Relaxed);
    let off = StoredSwitch { key: "k1".to_owned(), state: SwitchState::Disabled };
    let noticed = async {
        while store.switches().await.unwrap() != [off.clone(), other.clone()] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noticed).await.unwrap();

    seat(&gateway, "k2").health.disabled.store(true, Relaxed);
    reminder.write_down().await.unwrap();
    assert_eq!(store.switches().await.unwrap().len(), 3, "who asks is told once it is written");
    seat(&gateway, "k2").health.disabled.store(false, Relaxed);
    reminder.write_down().await.unwrap();
    let behind = StoredSwitch { key: "k2".to_owned(), state: SwitchState::Disabled };
    store.save_switches(&[behind], &[]).await.unwrap();
    reminder.write_down().await.unwrap();
    assert_eq!(store.switches().await.unwrap().len(), 2, "what a change has stored meanwhile is seen");
    seat(&gateway, "k1").health.disabled.store(false, Relaxed);
    reminder.end();
    keeping.await.unwrap();
    assert_eq!(store.switches().await, Ok(vec![other]), "the last is written at the end");
    assert!(reminder.write_down().await.is_err());
}

#[tokio::test]
async fn a_key_made_anew_does_not_begin_as_one_of_its_name_that_is_gone() {
    let store = Stand::memory().open().await;
    let off = StoredSwitch { key: "k2".to_owned(), state: SwitchState::Disabled };
    store.change(create(key("k2"))).await.unwrap();
    store.save_switches(std::slice::from_ref(&off), &[]).await.unwrap();
    let delete = Write::Delete { kind: Kind::Key, id: "k2".to_owned(), expected: 1 };
    store.change(change(vec![delete])).await.unwrap();
    assert_eq!(store.switches().await, Ok(Vec::new()), "it goes with its key");

    // One whose key this process never had, as where its secret did not open.
    store.save_switches(&[off], &[]).await.unwrap();
    let mut without = settings("two");
    let mut backend = (*without.backends[0]).clone();
    backend.keys.retain(|key| key.name == "k1");
    without.backends = vec![Arc::new(backend)];
    let (gateway, mut memory) = restarted(without, &store, noon()).await;
    memory.save().await.unwrap();
    assert_eq!(store.switches().await.unwrap().len(), 1);
    store.change(create(Resource { row: "another".to_owned(), ..key("k2") })).await.unwrap();
    gateway.reload(settings("two"));
    memory.save().await.unwrap();
    assert!(seat(&gateway, "k2").health.is_enabled());
    assert_eq!(store.switches().await, Ok(Vec::new()));

    let begins_off = vec![
        Write::Create(Resource { row: "a third".to_owned(), ..key("k3") }),
        Write::SwitchOff { key: "k3".to_owned() },
    ];
    store.change(change(begins_off)).await.unwrap();
    let switch = StoredSwitch { key: "k3".to_owned(), state: SwitchState::Disabled };
    assert_eq!(store.switches().await, Ok(vec![switch]));
}

#[tokio::test]
async fn the_audit_trail_is_forgotten_in_small_steps_once_it_is_old() {
    let store = Stand::memory().open().await;
    let entry = |id: u64| NewAudit {
        actor: "ada".to_owned(),
        role: "admin".to_owned(),
        source: None,
        action: "key.create".to_owned(),
        kind: "key".to_owned(),
        id: id.to_string(),
        before: None,
        after: None,
    };
    for day in 0..5 {
        let at = noon() + Duration::from_secs(86_400 * day);
        let change = Change { writes: Vec::new(), audit: vec![entry(day)], answer: None, at };
        store.change(change).await.unwrap();
    }
    let third = noon() + Duration::from_secs(86_400 * 3);
    assert_eq!(store.forget_audit(third, 2).await, Ok(true));
    let left = async || store.audit(AuditPage { limit: 9, ..AuditPage::default() }).await.unwrap().len();
    assert_eq!(left().await, 3);
    assert_eq!(store.forget_audit(third, 2).await, Ok(false));
    assert_eq!((store.forget_audit(third, 2).await, left().await), (Ok(false), 2));

    // By itself, with the default of a year.
    let year_later = noon() + Duration::from_secs(86_400 * 368 + 43_200);
    let gateway = process(settings("two"), year_later);
    let (reminder, asked) = Reminder::new();
    let keeping = store.background().spawn(Memory::new(gateway, store.clone()).keep(asked));
    let forgotten = async {
        while left().await != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), forgotten).await.unwrap();
    reminder.end();
    keeping.await.unwrap();
}
