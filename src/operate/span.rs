//! Times as operators write and read them: `10m`, `1h30m`, `2026-11-01`.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Milliseconds of each unit, the longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A span of time: numbers with units, such as `90s`, `1h30m` or `1.5h`.
///
/// # Errors
/// What is expected instead.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time with its unit: 500ms, 90s, 10m, 1h30m, 2d".to_owned();
    let (mut rest, mut millis) = (text.trim(), 0.0_f64);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, worth) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let worth = u32::try_from(*worth).map_err(|_| wrong())?;
        millis += digits.parse::<f64>().map_err(|_| wrong())? * f64::from(worth);
        rest = after;
    }
    let span = Duration::try_from_secs_f64(millis / 1000.0).map_err(|_| wrong())?;
    if span.is_zero() { Err("expected a time above 0".to_owned()) } else { Ok(span) }
}

/// A moment: RFC 3339, or a date, which is its midnight in UTC.
///
/// # Errors
/// What is expected instead.
pub fn moment(text: &str) -> Result<String, String> {
    let text = text.trim();
    let date = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let found = text.parse::<Timestamp>().ok().or_else(date);
    found
        .map(|moment| moment.to_string())
        .ok_or_else(|| "expected 2026-11-01 or 2026-11-01T08:00:00Z".to_owned())
}

/// The moment `span` before `now`, as RFC 3339 to the second.
#[must_use]
pub fn before(now: SystemTime, span: Duration) -> Option<String> {
    let since = now.checked_sub(span)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok().map(|moment| moment.to_string())
}

/// Milliseconds in at most two units: `9m58s`, `1d2h`, `850ms`.
#[must_use]
pub fn short(millis: u64) -> String {
    let Some(first) = UNITS.iter().position(|(_, worth)| millis >= *worth) else { return "0s".to_owned() };
    let (unit, worth) = UNITS[first];
    let mut text = format!("{}{unit}", millis / worth);
    if let Some((unit, next)) = UNITS.get(first + 1).filter(|(_, next)| *next >= 1_000) {
        let rest = millis % worth / next;
        if rest > 0 {
            text.push_str(&format!("{rest}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (" 2d ", 172_800_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "10", "m", "-1m", "1 h", "1y", "0s", "1e3s", "1..5s", "99999999999999999999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        assert_eq!(moment("2026-11-01").unwrap(), "2026-11-01T00:00:00Z");
        assert_eq!(moment("2026-11-01T09:00:00+01:00").unwrap(), "2026-11-01T08:00:00Z");
        for wrong in ["", "yesterday", "2026-13-01", "1762000000"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(before(now, Duration::from_secs(86_400)).unwrap(), "2027-01-14T08:00:00Z");
        assert_eq!(before(now, Duration::from_secs(u64::MAX)), None);
    }

    #[test]
    fn what_remains_is_told_in_two_units() {
        for (millis, text) in [
            (0, "0s"),
            (850, "850ms"),
            (1_500, "1s"),
            (598_000, "9m58s"),
            (600_000, "10m"),
            (93_600_000, "1d2h"),
        ] {
            assert_eq!(short(millis), text);
        }
    }
}
