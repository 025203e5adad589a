//! Usage in a real database: once each, summed rightly, and gone in its time.

use std::time::{Duration, SystemTime};

use headgate_providers::Usage;

use super::*;
use crate::call::RequestId;
use crate::settle::Outcome;
use crate::store::tests::until;
use crate::store::{Place, StoreAddress};
use crate::usage::report::{Cursor, Filter, Grouping, RecordsPage, Sum, SumsPage};

/// 2026-03-17 12:00:00 UTC.
const NOON: u64 = 1_773_748_800;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn address(place: Place) -> StoreAddress {
    StoreAddress { place, timeout: Duration::from_secs(20), keep_answers: Duration::from_secs(DAY) }
}

async fn memory() -> Store {
    Store::open(&address(Place::Memory)).await.unwrap()
}

async fn write(store: &Store, batch: &[UsageRecord]) -> Result<(), Unwritten> {
    Sink::write(store, &Arc::new(batch.to_vec())).await
}

fn record(seconds: u64) -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        at: at(seconds),
        operation: "messages",
        tenant: Some("acme".to_owned()),
        key: "k1".into(),
        backend: "a".into(),
        model: "sonnet".to_owned(),
        served: Some("claude-sonnet-4-5".into()),
        named: true,
        stream: true,
        usage: Usage {
            input: 10,
            output: 20,
            cache_read: 30,
            cache_write_5m: 40,
            cache_write_1h: 50,
            batch: false,
        },
        cost: Some(1000),
        attempts: 2,
        queued: Duration::from_micros(1500),
        first_content: Some(Duration::from_millis(300)),
        duration: Duration::from_secs(2),
        status: 200,
        outcome: Outcome::Ok,
        cause: "overloaded",
    }
}

fn everything() -> Filter {
    Filter { from: at(0), to: at(NOON * 2), tenant: None, key: None, backend: None, model: None }
}

fn sums(by: Grouping, table: Step) -> SumsPage {
    SumsPage { filter: everything(), by, table, skip: 0, limit: 1000 }
}

async fn labels(store: &Store) -> i64 {
    let count = "SELECT count(*) FROM usage_labels";
    let count = store.read(move |connection| {
        Box::pin(async move { Ok(sqlx::query_scalar(count).fetch_one(connection).await?) })
    });
    count.await.unwrap()
}

async fn total(store: &Store) -> Sum {
    let both = [Step::Hour, Step::Day].map(|table| store.usage_sums(sums(Grouping::default(), table)));
    let [hourly, daily] = both;
    let (mut hourly, daily) = (hourly.await.unwrap(), daily.await.unwrap());
    assert_eq!(hourly, daily, "both tables hold the same");
    hourly.pop().unwrap_or_default()
}

fn all_records() -> RecordsPage {
    RecordsPage { filter: everything(), after: None, limit: 10_000 }
}

#[tokio::test]
async fn a_record_comes_back_as_it_went_in() {
    let store = memory().await;
    let written = record(NOON);
    write(&store, std::slice::from_ref(&written)).await.unwrap();
    let (records, last) = store.usage_records(all_records()).await.unwrap();
    let [kept] = &records[..] else { panic!("{records:?}") };
    assert_eq!((kept.id.as_str(), kept.at.as_str()), (written.id.as_str(), "2026-03-17T12:00:00Z"));
    assert_eq!((kept.model.as_str(), kept.model_served.as_deref()), ("sonnet", Some("claude-sonnet-4-5")));
    assert_eq!(
        (kept.tenant.as_deref(), kept.key.as_deref(), kept.backend.as_deref()),
        (Some("acme"), Some("k1"), Some("a"))
    );
    assert_eq!((kept.cost_nano_usd, kept.cost_usd), (Some(1000), Some(0.000_001)));
    assert_eq!((kept.queue_ms, kept.first_content_ms, kept.duration_ms), (1.5, Some(300.0), 2000.0));
    assert_eq!((kept.attempts, kept.status, kept.stream), (2, 200, true));
    assert_eq!((kept.outcome.as_str(), kept.cause.as_deref()), ("ok", Some("overloaded")));
    assert_eq!(kept.cache_write_1h_tokens, 50);
    assert_eq!(last, Some(Cursor { at: 1_773_748_800_000_000, id: written.id.as_str().to_owned() }));
}

#[tokio::test]
async fn records_that_are_alike_share_labels_and_differ_in_all_else() {
    let store = memory().await;
    let plain = UsageRecord { model: "claude-sonnet-4-5".to_owned(), ..record(NOON) };
    let unnamed = UsageRecord { served: None, named: false, cause: "", ..record(NOON + 3) };
    let refused = UsageRecord {
        id: RequestId::new(),
        tenant: None,
        key: "".into(),
        backend: "".into(),
        model: "any text, \"quoted\" \u{1F980}".to_owned(),
        status: 404,
        outcome: Outcome::Failed,
        stream: false,
        attempts: 0,
        first_content: None,
        usage: Usage::default(),
        cost: None,
        ..unnamed.clone()
    };
    let refused_too = UsageRecord { id: RequestId::new(), model: "another".to_owned(), ..refused.clone() };
    let batch = [record(NOON), plain, record(NOON + 3601), unnamed, refused, refused_too, record(NOON + DAY)];
    write(&store, &batch).await.unwrap();
    let (records, _) = store.usage_records(all_records()).await.unwrap();
    assert_eq!(records.len(), batch.len());
    for written in &batch {
        let kept = records.iter().find(|kept| kept.id == written.id.as_str()).unwrap();
        assert_eq!((&kept.model, kept.model_served.as_deref()), (&written.model, written.served.as_deref()));
        let texts = [&kept.tenant, &kept.key, &kept.backend].map(|text| text.as_deref().unwrap_or_default());
        assert_eq!(texts, [written.tenant.as_deref().unwrap_or_default(), &written.key, &written.backend]);
        assert_eq!(kept.cause.as_deref().unwrap_or_default(), written.cause);
        assert_eq!(
            (kept.status, kept.stream, kept.attempts),
            (written.status, written.stream, written.attempts)
        );
        assert_eq!((kept.output_tokens, kept.cost_nano_usd), (written.usage.output, written.cost));
        assert_eq!(kept.first_content_ms, written.first_content.map(|_| 300.0));
    }
    // Served as another model and as itself are alike; so are the hours of a day, and texts that callers chose.
    assert_eq!(labels(&store).await, 4);
}

#[tokio::test]
async fn a_batch_of_any_length_is_written_whole_and_once_though_parts_were_there() {
    for length in [1, 3, 4, 5, 31, 37, 255, 256, 257, 293, 600] {
        let store = memory().await;
        let batch: Vec<UsageRecord> = (0..length).map(|number| record(NOON + number)).collect();
        write(&store, &batch[batch.len() / 3..batch.len() / 2]).await.unwrap();
        write(&store, &batch).await.unwrap();
        let sum = total(&store).await;
        assert_eq!((sum.requests, sum.input_tokens), (length, 10 * length), "{length}");
        let (records, _) = store.usage_records(all_records()).await.unwrap();
        let kept: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        let wanted: Vec<&str> = batch.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(kept, wanted);
    }
}

#[tokio::test]
async fn a_batch_written_twice_counts_once() {
    let store = memory().await;
    let batch = vec![record(NOON), record(NOON + 1)];
    for _ in 0..3 {
        write(&store, &batch).await.unwrap();
    }
    // A part of it again, with something new.
    write(&store, &[batch[1].clone(), record(NOON + 2)]).await.unwrap();
    let sum = total(&store).await;
    assert_eq!((sum.requests, sum.input_tokens, sum.cost_nano_usd), (3, 30, 3000));
    assert_eq!(store.usage_records(all_records()).await.unwrap().0.len(), 3);
}

#[tokio::test]
async fn sums_are_apart_by_what_is_asked_and_equal_the_records() {
    let store = memory().await;
    let mut batch = Vec::new();
    for number in 0..60_u64 {
        let mut one = record(NOON + number * 1800);
        one.key = format!("k{}", number % 3).into();
        one.tenant = (number % 2 == 0).then(|| "acme".to_owned());
        one.cost = (number % 4 > 0).then_some(number);
        one.outcome =
            [Outcome::Ok, Outcome::Failed, Outcome::Cut, Outcome::ClientClosed][number as usize % 4];
        batch.push(one);
    }
    for part in batch.chunks(7) {
        write(&store, part).await.unwrap();
    }
    let sum = total(&store).await;
    assert_eq!((sum.requests, sum.failed, sum.unpriced), (60, 30, 15));
    assert_eq!(sum.cost_nano_usd, batch.iter().filter_map(|one| one.cost).sum::<u64>());
    let hours = store
        .usage_sums(sums(Grouping { step: Some(Step::Hour), ..Grouping::default() }, Step::Hour))
        .await
        .unwrap();
    assert_eq!(hours.len(), 30);
    assert_eq!(hours[0].start.as_deref(), Some("2026-03-17T12:00:00Z"));
    assert!(hours.iter().all(|hour| hour.requests == 2 && hour.tenant.is_none()));
    let days = store
        .usage_sums(sums(Grouping { step: Some(Step::Day), ..Grouping::default() }, Step::Day))
        .await
        .unwrap();
    assert_eq!(days.iter().map(|day| day.requests).collect::<Vec<_>>(), [24, 36]);
    let by = Grouping { tenant: true, key: true, ..Grouping::default() };
    let groups = store.usage_sums(sums(by, Step::Hour)).await.unwrap();
    let named: Vec<(&str, &str, u64)> = groups
        .iter()
        .map(|sum| (sum.tenant.as_deref().unwrap(), sum.key.as_deref().unwrap(), sum.requests))
        .collect();
    let expected = [
        ("", "k0", 10),
        ("", "k1", 10),
        ("", "k2", 10),
        ("acme", "k0", 10),
        ("acme", "k1", 10),
        ("acme", "k2", 10),
    ];
    assert_eq!(named, expected);
    let second = store.usage_sums(SumsPage { skip: 4, limit: 1, ..sums(by, Step::Hour) }).await.unwrap();
    assert_eq!(second, groups[4..5]);
}

#[tokio::test]
async fn filters_and_ranges_hold_for_sums_and_records_alike() {
    let store = memory().await;
    let (mut other, mut nobody) = (record(NOON + 3600), record(NOON + 7200));
    other.tenant = Some("o'hara; DROP TABLE usage".to_owned());
    (other.served, other.named) = (None, false);
    nobody.tenant = None;
    write(&store, &[record(NOON), other, nobody]).await.unwrap();
    for (filter, expected) in [
        (everything(), 3),
        (Filter { tenant: Some("acme".to_owned()), ..everything() }, 1),
        (Filter { tenant: Some(String::new()), ..everything() }, 1),
        (Filter { tenant: Some("o'hara; DROP TABLE usage".to_owned()), ..everything() }, 1),
        (Filter { tenant: Some("%".to_owned()), ..everything() }, 0),
        (Filter { model: Some("other".to_owned()), ..everything() }, 1),
        (Filter { model: Some("sonnet".to_owned()), ..everything() }, 0),
        (Filter { key: Some("k1".to_owned()), backend: Some("a".to_owned()), ..everything() }, 3),
        (Filter { from: at(NOON + 3600), to: at(NOON + 7200), ..everything() }, 1),
    ] {
        let page = SumsPage { filter: filter.clone(), ..sums(Grouping::default(), Step::Hour) };
        let summed = store.usage_sums(page).await.unwrap().first().map_or(0, |sum| sum.requests);
        let (records, _) =
            store.usage_records(RecordsPage { filter: filter.clone(), ..all_records() }).await.unwrap();
        assert_eq!((summed, records.len()), (expected, expected as usize), "{filter:?}");
    }
}

#[tokio::test]
async fn what_is_too_old_goes_step_by_step_and_nothing_else() {
    let store = memory().await;
    let batch: Vec<UsageRecord> = (0..10).map(|day| record(NOON + day * DAY)).collect();
    write(&store, &batch).await.unwrap();
    let retention = Retention {
        records: at(NOON + 7 * DAY),
        hourly: at(NOON + 5 * DAY + 1800),
        daily: at(NOON + 2 * DAY),
    };
    let mut steps = 1;
    while Sink::forget(&store, retention, 3).await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 5, "10, 7 and 2 rows of records, hours and days, then 7 of labels");
    assert_eq!(labels(&store).await, 3);
    let (records, _) = store.usage_records(all_records()).await.unwrap();
    assert_eq!(records.len(), 3);
    let count = async |table| store.usage_sums(sums(Grouping::default(), table)).await.unwrap()[0].requests;
    // The hour and the day that are not over yet stay.
    assert_eq!((count(Step::Hour).await, count(Step::Day).await), (5, 8));
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let place = || address(Place::File(folder.path().join("headgate.db")));
    let batch: Vec<UsageRecord> = (0..1000).map(|number| record(NOON + number)).collect();
    let store = Store::open(&place()).await.unwrap();
    write(&store, &batch).await.unwrap();
    store.close().await;
    let store = Store::open(&place()).await.unwrap();
    write(&store, &batch[..10]).await.unwrap();
    assert_eq!(total(&store).await.requests, 1000);
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_lose_records() {
    let folder = tempfile::tempdir().unwrap();
    let place = address(Place::File(folder.path().join("missing/headgate.db")));
    let hasty = StoreAddress { timeout: Duration::from_secs(1), ..place.clone() };
    let store = Store::prepare(&hasty).unwrap();
    let batch = [record(NOON)];
    let failed = write(&store, &batch).await.unwrap_err();
    assert!(matches!(failed, Unwritten::Later(_)), "{failed:?}");
    std::fs::create_dir(folder.path().join("missing")).unwrap();
    until("it is written", async || write(&store, &batch).await.is_ok()).await;
    let patient = Store::open(&place).await.unwrap();
    assert_eq!(total(&patient).await.requests, 1);
}

#[tokio::test]
async fn nonsense_counts_do_not_break_the_sums() {
    let store = memory().await;
    let batch: Vec<UsageRecord> = (0..50)
        .map(|_| UsageRecord {
            usage: Usage { input: u64::MAX, ..Usage::default() },
            cost: Some(u64::MAX),
            duration: Duration::MAX,
            ..record(NOON)
        })
        .collect();
    write(&store, &batch).await.unwrap();
    assert_eq!(total(&store).await.requests, 50);
}

#[tokio::test]
async fn while_another_process_holds_the_file_a_batch_waits_and_then_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headgate.db");
    let mut place = address(Place::File(file.clone()));
    let patient = Store::open(&place).await.unwrap();
    place.timeout = Duration::from_millis(300);
    let store = Store::prepare(&place).unwrap();
    until("it opens", async || store.ready().await.is_ok()).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut other = <SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let batch = [record(NOON), record(NOON)];
    for _ in 0..3 {
        let failed = write(&store, &batch).await.unwrap_err();
        assert!(matches!(failed, Unwritten::Later(_)), "{failed:?}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    until("it is written", async || write(&store, &batch).await.is_ok()).await;
    assert_eq!(total(&patient).await.requests, 2);
}
