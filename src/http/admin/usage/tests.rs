//! Queries and their answers, over a real database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::*;
use crate::call::RequestId;
use crate::settle::Outcome;
use crate::store::{Place, StoreAddress};
use crate::usage::UsageRecord;
use crate::usage::writer::Sink;

/// 2026-03-17 12:00:00 UTC.
const NOON: u64 = 1_773_748_800;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn record(seconds: u64, tenant: &str) -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        at: at(seconds),
        operation: "messages",
        tenant: Some(tenant.to_owned()),
        key: "k1".into(),
        backend: "a".into(),
        model: "=cmd|'/c calc'!A1".to_owned(),
        served: Some("claude-haiku-4-5".into()),
        named: true,
        stream: false,
        usage: headgate_providers::Usage { input: 1000, output: 100, ..Default::default() },
        cost: Some(1_500_000),
        attempts: 1,
        queued: Duration::ZERO,
        first_content: None,
        duration: Duration::from_millis(20),
        status: 200,
        outcome: Outcome::Ok,
        cause: "",
    }
}

async fn store_with(records: &[UsageRecord]) -> Store {
    let keep_answers = Duration::from_secs(60);
    let address = StoreAddress { place: Place::Memory, timeout: Duration::from_secs(20), keep_answers };
    let store = Store::open(&address).await.unwrap();
    Sink::write(&store, &Arc::new(records.to_vec())).await.unwrap();
    store
}

fn settings() -> UsageRecords {
    let env = crate::config::Environment::default();
    crate::config::load(&[], &env).unwrap().usage
}

fn query(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn summed(store: &Store, pairs: &[(&str, &str)]) -> Result<String, UsageError> {
    match usage(store, &settings(), &query(pairs), at(NOON + 1800)).await? {
        Answer::Whole { body, .. } => Ok(String::from_utf8(body).unwrap()),
        Answer::Pages { .. } => panic!("sums are whole"),
    }
}

async fn listed(store: &Store, pairs: &[(&str, &str)]) -> Result<(String, usize), UsageError> {
    match records(store, &query(pairs), at(NOON + 1800)).await? {
        Answer::Whole { body, .. } => Ok((String::from_utf8(body).unwrap(), 1)),
        Answer::Pages { mut export, .. } => {
            let (mut text, mut pages) = (Vec::new(), 0);
            while let Some(page) = export.next().await? {
                text.extend(page);
                pages += 1;
            }
            Ok((String::from_utf8(text).unwrap(), pages))
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn without_words_the_last_day_is_one_sum() {
    let store = store_with(&[record(NOON, "a"), record(NOON - 3600, "b"), record(NOON - 200_000, "a")]).await;
    let answer = parsed(&summed(&store, &[]).await.unwrap());
    assert_eq!(
        (&answer["from"], &answer["to"]),
        (&"2026-03-16T12:00:00Z".into(), &"2026-03-17T13:00:00Z".into())
    );
    assert_eq!((&answer["data"][0]["requests"], &answer["data"][0]["cost_usd"]), (&2.into(), &0.003.into()));
    assert_eq!(answer["data"][0].get("tenant"), None, "it is of all tenants");
    assert_eq!((&answer["has_more"], &answer["last_id"]), (&false.into(), &"1".into()));
}

#[tokio::test]
async fn sums_are_paged_and_apart_by_what_is_asked() {
    let store = store_with(&[record(NOON, "a"), record(NOON, "b"), record(NOON, "c")]).await;
    let by = ("by", "tenant, model,hour");
    let first = parsed(&summed(&store, &[by, ("limit", "2")]).await.unwrap());
    assert_eq!((&first["has_more"], &first["last_id"]), (&true.into(), &"2".into()));
    assert_eq!(first["data"][1]["tenant"], "b");
    assert_eq!(first["data"][1]["model"], "claude-haiku-4-5");
    let rest = parsed(&summed(&store, &[by, ("limit", "2"), ("after", "2")]).await.unwrap());
    assert_eq!((&rest["has_more"], &rest["data"][0]["tenant"]), (&false.into(), &"c".into()));
    let csv = summed(&store, &[("by", "tenant"), ("format", "csv")]).await.unwrap();
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("tenant,requests,failed,") && lines[0].ends_with(",cost_usd,cost_nano_usd"));
    assert_eq!(lines[1], "a,1,0,0,1000,100,0,0,0,0.001500000,1500000");
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn a_range_is_told_as_it_was_rounded() {
    let store = store_with(&[record(NOON, "a")]).await;
    for (pairs, from, to, requests) in [
        (
            &[("from", "2026-03-17T11:30:00Z"), ("to", "2026-03-17T12:30:00Z")][..],
            "2026-03-17T11:00:00Z",
            "2026-03-17T13:00:00Z",
            1,
        ),
        (&[("from", "2026-03-17"), ("to", "2026-03-18")], "2026-03-17T00:00:00Z", "2026-03-18T00:00:00Z", 1),
        (
            &[("from", "1773748801"), ("to", "2026-03-17T14:00:00+01:00"), ("by", "day")],
            "2026-03-17T00:00:00Z",
            "2026-03-18T00:00:00Z",
            1,
        ),
        // Older than sums by the hour are kept: by the day, then.
        (&[("from", "2025-01-01T08:00:00Z")], "2025-01-01T00:00:00Z", "2026-03-18T00:00:00Z", 1),
        (
            &[("from", "2026-03-17T13:00:00Z"), ("to", "2026-03-17T13:00:00Z")],
            "2026-03-17T13:00:00Z",
            "2026-03-17T13:00:00Z",
            0,
        ),
    ] {
        let answer = parsed(&summed(&store, pairs).await.unwrap());
        assert_eq!((&answer["from"], &answer["to"]), (&from.into(), &to.into()), "{pairs:?}");
        let sum: u64 =
            answer["data"].as_array().unwrap().iter().map(|sum| sum["requests"].as_u64().unwrap()).sum();
        assert_eq!(sum, requests, "{pairs:?}");
    }
}

#[tokio::test]
async fn records_are_paged_until_the_last() {
    let all: Vec<UsageRecord> = (0..7).map(|number| record(NOON + number / 3, "a")).collect();
    let store = store_with(&all).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let mut pairs = vec![("limit", "3")];
        pairs.extend(after.as_deref().map(|after| ("after", after)));
        let page = parsed(&listed(&store, &pairs).await.unwrap().0);
        let ids = page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        after = page["last_id"].as_str().map(str::to_owned);
        if page["has_more"] == false {
            break;
        }
    }
    let mut expected: Vec<String> = all.iter().map(|one| one.id.as_str().to_owned()).collect();
    expected.sort();
    assert_eq!(seen, expected);
    let full = parsed(&listed(&store, &[("limit", "7")]).await.unwrap().0);
    assert_eq!(full["has_more"], false);
    let none = parsed(&listed(&store, &[("tenant", "nobody")]).await.unwrap().0);
    assert_eq!((&none["data"], &none["last_id"]), (&Value::Array(Vec::new()), &Value::Null));
}

#[tokio::test]
async fn an_export_has_every_record_once_in_pages() {
    let all: Vec<UsageRecord> = (0..25_000).map(|number| record(NOON + number / 100, "a")).collect();
    let store = store_with(&all).await;
    let (lines, pages) = listed(&store, &[("format", "jsonl")]).await.unwrap();
    assert_eq!(pages, 3);
    let mut ids: Vec<String> =
        lines.lines().map(|line| parsed(line)["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 25_000);
    let (some, _) = listed(&store, &[("format", "jsonl"), ("limit", "12")]).await.unwrap();
    assert_eq!(some.lines().count(), 12);
}

#[tokio::test]
async fn a_spreadsheet_finds_no_formula_in_the_csv() {
    let store = store_with(&[record(NOON, "+tenant, \"with\" commas")]).await;
    let (csv, _) = listed(&store, &[("format", "csv")]).await.unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let head = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| &row[head.iter().position(|column| column == name).unwrap()];
    assert_eq!((cell("model"), cell("tenant")), ("'=cmd|'/c calc'!A1", "'+tenant, \"with\" commas"));
    assert_eq!((cell("cost_usd"), cell("first_content_ms"), cell("cause")), ("0.001500000", "", ""));
    let (empty, _) = listed(&store, &[("format", "csv"), ("tenant", "nobody")]).await.unwrap();
    assert_eq!(empty.lines().count(), 1, "the names of the columns");
    let (empty, pages) = listed(&store, &[("format", "jsonl"), ("tenant", "nobody")]).await.unwrap();
    assert_eq!((empty.as_str(), pages), ("", 0));
}

#[tokio::test]
async fn a_wrong_query_is_told_with_its_field() {
    let store = store_with(&[]).await;
    for (pair, field) in [
        (("from", "yesterday"), "from"),
        (("to", "-5"), "to"),
        (("from", "2030-01-01"), "from"),
        (("by", "tenant,planet"), "by"),
        (("by", "hour,day"), "by"),
        (("format", "xml"), "format"),
        (("limit", "0"), "limit"),
        (("limit", "10001"), "limit"),
        (("after", "x"), "after"),
        (("modell", "x"), "modell"),
    ] {
        let error = summed(&store, &[pair]).await.unwrap_err();
        assert!(matches!(&error, UsageError::Query { field: found, .. } if found == field), "{error:?}");
    }
    for pair in [("by", "tenant"), ("after", "12"), ("after", "12-"), ("after", "x-y"), ("format", "yaml")] {
        let error = listed(&store, &[pair]).await.unwrap_err();
        assert!(matches!(&error, UsageError::Query { field, .. } if field == pair.0), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_told_before_an_export_begins() {
    let place = Place::File("/nowhere/at/all.db".into());
    let address = StoreAddress { place, timeout: Duration::from_millis(200), keep_answers: Duration::ZERO };
    let store = Store::prepare(&address).unwrap();
    assert!(matches!(summed(&store, &[]).await, Err(UsageError::Store(_))));
    assert!(matches!(listed(&store, &[("format", "csv")]).await, Err(UsageError::Store(_))));
}
