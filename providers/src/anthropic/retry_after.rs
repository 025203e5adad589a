//! How long upstream says to stay away.
//!
//! `retry-after-ms` and `retry-after` come first, in the order of the official SDKs. A reset header tells when a bucket is full
//! again, not when the next request would pass, so it is read only for a 429 that has nothing better (Messages API, "Rate
//! limits", response headers). A wait of zero, of the past or of over a year is no statement: the caller of this backs off.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::fault::{Dimension, Source, Stated};
use crate::wire::Headers;

/// Longest wait that is believed: a bit over a year. The longest real ones are a month.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// The wait told by `retry-after-ms` or `retry-after`.
pub(crate) fn retry_after(headers: &Headers, wall: Option<SystemTime>) -> Option<Stated> {
    let milliseconds = texts(headers, "retry-after-ms").find_map(|text| wait(decimal(text)? / 1000.0));
    if let Some(after) = milliseconds {
        return Some(Stated { after, source: Source::RetryAfterMs });
    }
    let after = texts(headers, "retry-after").find_map(|text| match decimal(text) {
        Some(seconds) => wait(seconds),
        None => until(httpdate::parse_http_date(text).ok()?, wall?),
    })?;
    Some(Stated { after, source: Source::RetryAfter })
}

/// The wait told by the reset headers of a 429 without `retry-after`: of the whole account's window where there is one, else of
/// the bucket the message names, else of all empty buckets (the latest), else the earliest of all.
pub(crate) fn reset(headers: &Headers, named: Option<Dimension>, wall: Option<SystemTime>) -> Option<Stated> {
    let wall = wall?;
    let of = |name: &str| until(instant(headers.get(&format!("anthropic-ratelimit-{name}-reset"))?)?, wall);
    let after = of("unified")
        .or_else(|| of(bucket(named?)?))
        .or_else(|| {
            BUCKETS.iter().filter(|(name, _)| is_empty(headers, name)).filter_map(|(name, _)| of(name)).max()
        })
        .or_else(|| BUCKETS.iter().filter_map(|(name, _)| of(name)).min())?;
    Some(Stated { after, source: Source::ResetHeader })
}

/// The bucket the headers show to be empty, where the message names none.
pub(crate) fn empty_bucket(headers: &Headers) -> Option<Dimension> {
    BUCKETS.iter().find(|(name, _)| is_empty(headers, name)).map(|(_, dimension)| *dimension)
}

/// The wait until `moment`, where that lies ahead.
pub(crate) fn until(moment: SystemTime, wall: SystemTime) -> Option<Duration> {
    moment.duration_since(wall).ok().filter(|after| !after.is_zero() && *after <= LONGEST)
}

/// The buckets of the Messages API as its headers call them; the combined one last, since it repeats one of the others.
const BUCKETS: [(&str, Dimension); 4] = [
    ("requests", Dimension::Requests),
    ("input-tokens", Dimension::InputTokens),
    ("output-tokens", Dimension::OutputTokens),
    ("tokens", Dimension::Tokens),
];

fn bucket(dimension: Dimension) -> Option<&'static str> {
    BUCKETS.iter().find(|(_, of)| *of == dimension).map(|(name, _)| *name)
}

fn is_empty(headers: &Headers, name: &str) -> bool {
    headers.get(&format!("anthropic-ratelimit-{name}-remaining")).is_some_and(|text| text.trim() == "0")
}

/// Every text value of `name`, trimmed.
fn texts<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.iter().filter(move |(line, _)| *line == name);
    lines.filter_map(|(_, value)| std::str::from_utf8(value).ok().map(str::trim))
}

/// A plain decimal number: no exponent, no `inf`, no unit. A sign is read so that a negative one is known for what it is.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { text.parse().ok() } else { None }
}

fn wait(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|after| !after.is_zero() && *after <= LONGEST)
}

/// RFC 3339 (the Messages API), or UNIX seconds (the account windows of subscriptions; observed, not documented).
fn instant(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok().map(SystemTime::from),
        Err(_) => text.parse::<Timestamp>().ok().map(SystemTime::from),
    }
}

#[cfg(test)]
mod tests;
