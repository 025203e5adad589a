//! How the admin API shows moments and parks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment};
use crate::pool::health::Group;
use crate::pool::park::Park;
use crate::pool::seat::Seat;

/// The clock of one answer: both times read once, so that all its dates agree.
#[derive(Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub moment: Moment,
    wall: SystemTime,
}

impl Now {
    /// Reads `clock`.
    pub fn read(clock: Clock) -> Self {
        Self { moment: clock.now(), wall: clock.wall() }
    }

    /// `moment` as RFC 3339 in UTC, to the millisecond.
    pub fn date(&self, moment: Moment) -> Option<String> {
        let wall = if moment >= self.moment {
            self.wall.checked_add(moment.since(self.moment))?
        } else {
            self.wall.checked_sub(self.moment.since(moment))?
        };
        date(wall)
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn date(wall: SystemTime) -> Option<String> {
    let millis = wall.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
    let date = jiff::Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    Some(format!("{date:.3}"))
}

/// Adds fields to a JSON object.
pub fn add(shown: &mut Value, fields: Map<String, Value>) {
    if let Some(table) = shown.as_object_mut() {
        table.extend(fields);
    }
}

/// Milliseconds as JSON's numbers hold them.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that keeps a key from being used, its group's parks included.
pub fn parks_of_key(seat: &Seat, now: Now) -> Vec<Value> {
    let mut shown = Vec::new();
    let hold = seat.health.hold();
    let mut own = park("key", None, &seat.health.park, now);
    if let (Some(own), Some(hold), Some(notice)) = (&mut own, hold, seat.health.park.notice())
        && hold.until == notice.until
    {
        own["reason"] = "operator".into();
        own["source"] = "operator".into();
        own["by"] = hold.by.into();
        own["detail"] = hold.reason.into();
    }
    shown.extend(own);
    shown.extend(named("key_class", &seat.health.classes(), now));
    shown.extend(parks_of_group(&seat.group, now));
    shown
}

/// The upstream models with which a key alone fails, so that others are asked before it.
pub fn asked_last(seat: &Seat, now: Now) -> Vec<Value> {
    let mut troubles = seat.health.troubles();
    troubles.sort_by(|a, b| a.0.cmp(&b.0));
    let shown = troubles.iter().filter_map(|(model, trouble)| {
        let left = trouble.left(now.moment)?;
        Some(json!({ "model": model, "remaining_ms": millis(left) }))
    });
    shown.collect()
}

/// A group's parks.
pub fn parks_of_group(group: &Group, now: Now) -> Vec<Value> {
    let mut shown: Vec<Value> = park("group", None, &group.park, now).into_iter().collect();
    shown.extend(named("group_class", &group.classes(), now));
    shown.extend(named("model", &group.missing_models(), now));
    shown
}

fn named(scope: &str, parks: &[(String, Arc<Park>)], now: Now) -> Vec<Value> {
    let mut shown: Vec<Value> =
        parks.iter().filter_map(|(name, found)| park(scope, Some(name), found, now)).collect();
    shown.sort_by(|a, b| a["class"].as_str().cmp(&b["class"].as_str()));
    shown
}

/// A park that is not open; one whose time is over but that has not proved itself yet has nothing remaining.
fn park(scope: &str, class: Option<&str>, park: &Park, now: Now) -> Option<Value> {
    let notice = park.notice()?;
    Some(json!({
        "scope": scope,
        "class": class,
        "reason": notice.reason.name(),
        "dimension": notice.dimension.map(|dimension| dimension.name()),
        "source": notice.source.map_or("own", |source| source.name()),
        "since": now.date(notice.since),
        "until": now.date(notice.until),
        "remaining_ms": millis(notice.until.since(now.moment)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339_around_one_reading() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let now = Now { moment: Moment::from_micros(10_000_000), wall };
        assert_eq!(now.date(now.moment).unwrap(), "2027-01-15T08:00:00.123Z");
        assert_eq!(now.date(Moment::from_micros(9_000_000)).unwrap(), "2027-01-15T07:59:59.123Z");
        assert_eq!(now.date(now.moment + Duration::from_secs(60)).unwrap(), "2027-01-15T08:01:00.123Z");
        assert_eq!(now.date(Moment::from_micros(u64::MAX)), None, "past the calendar's end");
    }
}
