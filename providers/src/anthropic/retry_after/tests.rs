//! Every syntax of waiting.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{empty_bucket, reset, retry_after};
use crate::fault::{Dimension, Source, Stated};
use crate::wire::Headers;

fn wall() -> Option<SystemTime> {
    // 2026-11-21T12:00:00Z
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400))
}

fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push(*name, Bytes::from_static(value.as_bytes()));
    }
    headers
}

fn milliseconds(stated: Option<Stated>) -> Option<u128> {
    stated.map(|stated| stated.after.as_millis())
}

#[test]
fn retry_after_is_read_in_all_its_syntaxes() {
    for (value, expected) in [
        ("7", Some(7000)),
        (" 7 ", Some(7000)),
        ("1.5", Some(1500)),
        ("0.02", Some(20)),
        (".5", Some(500)),
        ("Sat, 21 Nov 2026 12:01:30 GMT", Some(90_000)),
        ("Saturday, 21-Nov-26 12:01:30 GMT", Some(90_000)),
        ("Sat Nov 21 12:01:30 2026", Some(90_000)),
        ("2592000", Some(2_592_000_000)),
        ("Sat, 21 Nov 2026 11:59:59 GMT", None),
        ("0", None),
        ("0.0", None),
        ("-5", None),
        ("99999999999", None),
        ("18446744073709551616000000000000000000000000", None),
        ("1e3", None),
        ("inf", None),
        ("NaN", None),
        ("+5", None),
        ("5s", None),
        ("1-2", None),
        ("soon", None),
        ("", None),
    ] {
        let stated = retry_after(&headers(&[("retry-after", value)]), wall());
        assert_eq!(milliseconds(stated), expected, "{value:?}");
        assert!(stated.is_none_or(|stated| stated.source == Source::RetryAfter));
    }
}

#[test]
fn milliseconds_go_first_and_garbage_falls_through() {
    let both = retry_after(&headers(&[("retry-after", "9"), ("retry-after-ms", "250.5")]), wall());
    assert_eq!(both.map(|it| (it.after.as_micros(), it.source)), Some((250_500, Source::RetryAfterMs)));
    let garbage =
        retry_after(&headers(&[("retry-after-ms", "x"), ("retry-after", "y"), ("retry-after", "9")]), wall());
    assert_eq!(garbage.map(|it| (it.after.as_secs(), it.source)), Some((9, Source::RetryAfter)));
}

#[test]
fn a_date_needs_a_clock() {
    assert_eq!(retry_after(&headers(&[("retry-after", "Sat, 21 Nov 2026 12:01:30 GMT")]), None), None);
    assert_eq!(
        reset(&headers(&[("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:09Z")]), None, None),
        None
    );
}

#[test]
fn the_right_reset_is_taken() {
    let lines = [
        ("anthropic-ratelimit-requests-remaining", "10"),
        ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:05Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T12:00:40+00:00"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-11-21T13:00:20+01:00"),
    ];
    let all = headers(&lines);
    assert_eq!(milliseconds(reset(&all, Some(Dimension::OutputTokens), wall())), Some(20_000));
    assert_eq!(milliseconds(reset(&all, None, wall())), Some(40_000));
    assert_eq!(milliseconds(reset(&all, Some(Dimension::Concurrent), wall())), Some(40_000));
    assert_eq!(empty_bucket(&all), Some(Dimension::InputTokens));
    let mut none_empty = all.clone();
    none_empty.retain(|name| !name.ends_with("-remaining"));
    assert_eq!(milliseconds(reset(&none_empty, None, wall())), Some(5000));
    assert_eq!(empty_bucket(&none_empty), None);
}

#[test]
fn the_accounts_window_goes_before_its_buckets() {
    let lines = [
        ("anthropic-ratelimit-unified-reset", "1795262460"),
        ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:05Z"),
    ];
    assert_eq!(milliseconds(reset(&headers(&lines), None, wall())), Some(60_000));
}

#[test]
fn a_reset_that_is_garbage_or_past_says_nothing() {
    for value in [
        "",
        "soon",
        "2026-11-21",
        "2026-11-21T11:59:59Z",
        "9223372036854775807",
        "-1",
        "9999-12-31T23:59:59Z",
    ] {
        let stated = reset(&headers(&[("anthropic-ratelimit-tokens-reset", value)]), None, wall());
        assert_eq!(stated, None, "{value}");
    }
}
