//! The file: made for its owner, shared by processes, locked by others, of other schemas, or no database at all.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use headgate::clock::{Clock, Moment};
use headgate::store::{Place, Store, StoreError, StoreState};
use headgate::usage::report::{Filter, RecordsPage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

use crate::stand::{Stand, address, create, key, until};

/// Another process's connection.
async fn other(stand: &Stand) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(stand.path()).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn unavailable(result: &Result<(), StoreError>, reason: &str) -> bool {
    matches!(result, Err(StoreError::Unavailable { reason: said }) if said.contains(reason))
}

#[tokio::test]
async fn a_new_file_is_its_owner_s_only() {
    let stand = Stand::file();
    let _store = stand.open().await;
    for name in ["headgate.db", "headgate.db-wal"] {
        let mode = std::fs::metadata(stand.path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let place = Place::File("/nonexistent-folder/headgate.db".into());
    let error = Store::open(&address(place)).await.err().unwrap().to_string();
    assert!(error.contains("/nonexistent-folder/headgate.db cannot be made"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_opens_of_a_new_file_at_once_succeed() {
    for _ in 0..5 {
        let stand = Stand::file();
        let opens = (0..5).map(|_| Store::open(&stand.address));
        for opened in futures_util::future::join_all(opens).await {
            let store = opened.unwrap();
            assert_eq!(store.resources().await, Ok(Vec::new()));
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_of_a_process_that_was_killed() {
    let (stand, copy) = (Stand::file(), Stand::file());
    let store = stand.open().await;
    store.change(create(key("a"))).await.unwrap();
    // The files as a crash leaves them: nothing was closed, the log is not folded in.
    for suffix in ["", "-wal"] {
        let of = |stand: &Stand| format!("{}{suffix}", stand.path().display());
        std::fs::copy(of(&stand), of(&copy)).unwrap();
    }
    assert_eq!(copy.open().await.resources().await, Ok(vec![key("a")]));
}

#[tokio::test]
async fn a_lock_of_another_process_fails_writes_in_time_and_reads_not_at_all() {
    let stand = Stand::file();
    let patient = stand.open().await;
    let store = Store::prepare(&stand.within(Duration::from_millis(200))).unwrap();
    until("it opens", async || store.ready().await.is_ok()).await;
    let mut other = other(&stand).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let clock = Clock::machine();
    let results = tokio::join!(
        store.change(create(key("a"))),
        store.change(create(key("b"))),
        store.change(create(key("c")))
    );
    let spent = clock.now().since(Moment::default());
    assert!(spent < Duration::from_secs(5), "{spent:?}");
    assert!([&results.0, &results.1, &results.2].iter().all(|result| unavailable(result, "")), "{results:?}");
    assert!(matches!(store.state(), StoreState::Failing { .. }));
    assert_eq!(patient.resources().await, Ok(Vec::new()));
    until("it reads", async || store.resources().await.is_ok()).await;
    assert!(matches!(store.state(), StoreState::Failing { .. }), "reading well does not make writing well");

    other.execute("ROLLBACK").await.unwrap();
    until("it recovers by itself", async || store.probe().await.is_ok()).await;
    assert_eq!(store.state(), StoreState::Open);
    patient.change(create(key("d"))).await.unwrap();
    let ids: Vec<String> = patient.resources().await.unwrap().into_iter().map(|found| found.id).collect();
    assert_eq!(ids, ["d"], "what was answered with a failure was not done later");
}

#[tokio::test]
async fn a_file_that_is_held_at_the_start_is_opened_once_it_is_free() {
    let stand = Stand::file();
    let mut other = other(&stand).await;
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await.unwrap();
    let store = Store::prepare(&stand.within(Duration::from_millis(200))).unwrap();
    assert!(unavailable(&store.ready().await, ""));
    assert!(store.resources().await.is_err());
    assert!(matches!(store.state(), StoreState::Failing { .. }));
    other.close().await.unwrap();
    // What is new is made by the first that opens it; a short bound may cut a busy machine off in the midst of it.
    until("it opens by itself", async || store.ready().await.is_ok()).await;
    until("it writes", async || store.probe().await.is_ok()).await;
    assert_eq!(store.state(), StoreState::Open);
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    let stand = Stand::file();
    std::fs::write(
        stand.path(),
        "a text that someone needs, and that is long enough to be read. ".repeat(99),
    )
    .unwrap();
    let before = std::fs::read(stand.path()).unwrap();
    let error = Store::open(&stand.address).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(stand.path()).unwrap(), before);
}

#[tokio::test]
async fn the_first_schema_is_brought_up_to_date_with_what_it_holds() {
    let stand = Stand::file();
    let mut old = other(&stand).await;
    let first = sqlx::migrate!("src/store/migrations");
    first.run_to(1, &mut old).await.unwrap();
    old.execute(
        "INSERT INTO resources VALUES ('key', 'a', 'row-of-a', 0, '{\"name\":\"a\",\"weight\":2.5}', 1, \
         1773748800000000, 1773748800000000)",
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    let store = stand.open().await;
    assert_eq!(store.resources().await, Ok(vec![key("a")]));
    assert_eq!(store.parks().await, Ok(Vec::new()));
}

#[tokio::test]
async fn records_of_usage_of_the_third_schema_come_along() {
    let stand = Stand::file();
    let mut old = other(&stand).await;
    sqlx::migrate!("src/store/migrations").run_to(3, &mut old).await.unwrap();
    old.execute(
        r#"INSERT INTO usage VALUES
        (1773748800000001, 'req_a', 'acme', 'k1', 'a', 'sonnet',
         '{"op":"messages","model":"s","served":"sonnet","stream":true,"tokens":[1,2,3,4,5],"cost":7,"tries":2,"queued":1500,
           "first":300000,"took":2000000,"status":200,"outcome":"ok","cause":"overloaded"}'),
        (1773748800000002, 'req_b', '', 'k1', 'a', 'sonnet',
         '{"op":"messages","model":"sonnet","served":"sonnet","took":1000,"status":200,"outcome":"ok"}'),
        (1773748800000003, 'req_c', '', '', '', 'other',
         '{"op":"count_tokens","model":"what is this","took":1000,"status":404,"outcome":"failed"}'),
        (1773748800000004, 'req_d', '', 'k1', 'a', 'sonnet',
         '{"op":"messages","model":"sonnet","served":"sonnet","took":3000,"status":200,"outcome":"ok"}')"#,
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    let store = stand.open().await;
    let filter = Filter {
        from: SystemTime::UNIX_EPOCH,
        to: SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
        tenant: None,
        key: None,
        backend: None,
        model: None,
    };
    let (records, _) = store.usage_records(RecordsPage { filter, after: None, limit: 10 }).await.unwrap();
    let [first, second, third, fourth] = &records[..] else { panic!("{records:?}") };
    assert_eq!((first.id.as_str(), first.at.as_str()), ("req_a", "2026-03-17T12:00:00.000001Z"));
    assert_eq!((first.tenant.as_deref(), first.key.as_deref()), (Some("acme"), Some("k1")));
    assert_eq!((first.model.as_str(), first.model_served.as_deref()), ("s", Some("sonnet")));
    assert_eq!((first.cache_write_1h_tokens, first.cost_nano_usd, first.attempts), (5, Some(7), 2));
    assert_eq!((first.queue_ms, first.first_content_ms, first.duration_ms), (1.5, Some(300.0), 2000.0));
    assert_eq!((first.stream, first.status, first.cause.as_deref()), (true, 200, Some("overloaded")));
    assert_eq!((second.model_served.as_deref(), second.tenant.as_deref()), (Some("sonnet"), None));
    assert_eq!(
        (third.operation.as_str(), third.status, third.outcome.as_str()),
        ("count_tokens", 404, "failed")
    );
    assert_eq!((third.model.as_str(), third.model_served.as_deref()), ("what is this", None));
    assert_eq!((fourth.id.as_str(), fourth.duration_ms), ("req_d", 3.0));
}

#[tokio::test]
async fn a_newer_schema_is_used_where_it_allows_that_and_refused_where_it_does_not() {
    let stand = Stand::file();
    let store = stand.open().await;
    store.change(create(key("a"))).await.unwrap();
    store.close().await;
    let mut newer = other(&stand).await;
    newer
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (999, 'of a later release', TRUE, x'00', 0)",
        )
        .await
        .unwrap();
    let store = stand.open().await;
    assert_eq!(store.resources().await, Ok(vec![key("a")]), "the release before runs on an additive schema");
    store.close().await;
    newer.execute("UPDATE compatibility SET least_known = 999").await.unwrap();
    let error = Store::open(&stand.address).await.err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 999, known } if known < 999), "{error}");
}
