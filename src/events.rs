//! Events: what operators watch as it happens: parks, breakers, failovers, reloads, changes.
//!
//! The newest are kept in a ring, each with a number of its own, so that who reads them may come back after a break and
//! ask for what it missed. Telling costs one short lock and never waits; a reader that is slower than the ring loses the
//! oldest and is told how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Notify;

use crate::clock::Moment;

/// How many events are kept.
pub const KEPT: usize = 1024;

/// One event.
#[derive(Debug)]
pub struct Event {
    /// Its number: each is one more than the last, and those of a process are above those of the one before.
    pub id: u64,
    /// When.
    pub at: Moment,
    /// What happened.
    pub what: What,
}

/// What happened. Names are those of the configuration; nothing here is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A scope stays unused for a time.
    Park(Parked),
    /// A scope may be used again: its probe was answered, or an operator said so.
    Unpark(Unparked),
    /// A circuit breaker changed.
    Breaker(BreakerMoved),
    /// A call moved from one backend to another.
    Failover(FailedOver),
    /// The configuration was read again.
    Reload(Reloaded),
    /// An operator changed something through the admin API.
    Change(Changed),
    /// An operator switched a key.
    Key(Switched),
}

/// Where a park is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `key`, `key_class`, `group`, `group_class` or `model`.
    pub scope: &'static str,
    /// The backend.
    pub backend: String,
    /// The limit group.
    pub group: String,
    /// The key that met the fault, or that is parked.
    pub key: Option<String>,
    /// The model class or upstream model.
    pub class: Option<String>,
}

/// A park.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Why, as a fixed name.
    pub reason: &'static str,
    /// For how long from now, milliseconds.
    pub for_ms: u64,
    /// The operator, where it was one.
    pub by: Option<String>,
}

/// The end of a park.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unparked {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The operator, where it was one; else a probe was answered.
    pub by: Option<String>,
}

/// A breaker's move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerMoved {
    /// The backend.
    pub backend: String,
    /// The upstream model; `None` for the breaker of the connections.
    pub model: Option<String>,
    /// `open`, `closed` or, from an operator, `auto`.
    pub state: &'static str,
    /// The fault that opened it, as a fixed name.
    pub cause: Option<&'static str>,
    /// The operator, where it was one.
    pub by: Option<String>,
}

/// A call's move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedOver {
    /// The request.
    pub request_id: String,
    /// The backend it left.
    pub from: String,
    /// The backend it went to.
    pub to: String,
    /// The fault, as a fixed name.
    pub cause: &'static str,
}

/// A reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// `signal`, `files` or `api`.
    pub trigger: &'static str,
    /// `applied` or `rejected`.
    pub outcome: &'static str,
    /// The generation in force afterwards.
    pub generation: u64,
    /// What was wrong.
    pub problems: Vec<String>,
}

/// A change through the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What was done, as `key.create`.
    pub action: String,
    /// The resource's kind.
    pub kind: &'static str,
    /// The resource's id.
    pub id: String,
    /// The operator.
    pub by: String,
}

/// A switched key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// The key.
    pub key: String,
    /// The backend.
    pub backend: String,
    /// `enabled`, `disabled`, `draining` or `drained`.
    pub state: &'static str,
    /// The operator; `None` when the last call with a draining key ended.
    pub by: Option<String>,
}

impl What {
    /// Its kind's fixed name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Park(_) => "park",
            Self::Unpark(_) => "unpark",
            Self::Breaker(_) => "breaker",
            Self::Failover(_) => "failover",
            Self::Reload(_) => "reload",
            Self::Change(_) => "change",
            Self::Key(_) => "key",
        }
    }

    /// Every kind's name.
    pub const KINDS: [&str; 7] = ["park", "unpark", "breaker", "failover", "reload", "change", "key"];
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Arc<Event>>,
    last: u64,
}

/// What a reader gets.
#[derive(Debug, Default)]
pub struct News {
    /// Events in order.
    pub events: Vec<Arc<Event>>,
    /// How many between what was asked for and the first of them are lost.
    pub missed: u64,
}

/// The events of one gateway.
#[derive(Debug, Default)]
pub struct Events {
    /// The number before the first.
    base: u64,
    ring: Mutex<Ring>,
    bell: Notify,
}

impl Events {
    /// The events of a process that starts at `wall`. Their numbers begin with its microseconds since 1970, so that who comes back
    /// after a restart with a number of the process before never takes new events for known ones.
    #[must_use]
    pub fn since_start(wall: SystemTime) -> Self {
        let base = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let base = u64::try_from(base).unwrap_or(0);
        Self { base, ring: Mutex::new(Ring { kept: VecDeque::new(), last: base }), bell: Notify::new() }
    }

    /// Tells that `what` happened at `at`.
    pub fn tell(&self, at: Moment, what: What) {
        {
            let mut ring = self.lock();
            ring.last += 1;
            let id = ring.last;
            if ring.kept.len() == KEPT {
                ring.kept.pop_front();
            }
            ring.kept.push_back(Arc::new(Event { id, at, what }));
        }
        self.bell.notify_waiters();
    }

    /// The number of the newest event, or the one before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// What happened after the event numbered `after`; at most `most`. A number of no event of this process, as
    /// from before a restart, gives all that is kept.
    #[must_use]
    pub fn since(&self, after: u64, most: usize) -> News {
        let ring = self.lock();
        let after = if (self.base..=ring.last).contains(&after) { after } else { self.base };
        let first = ring.kept.front().map_or(ring.last + 1, |event| event.id);
        let skipped = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        News {
            events: ring.kept.iter().skip(skipped).take(most).cloned().collect(),
            missed: first.saturating_sub(after + 1),
        }
    }

    /// Waits for the next event. Make it and `enable` it before asking [`since`](Self::since), so that none is missed.
    pub fn bell(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(count: u64) -> Events {
        let events = Events::default();
        tell(&events, count);
        events
    }

    fn tell(events: &Events, count: u64) {
        for number in 1..=count {
            let what = What::Change(Changed {
                action: "key.create".to_owned(),
                kind: "key",
                id: format!("k{number}"),
                by: "ada".to_owned(),
            });
            events.tell(Moment::from_micros(number), what);
        }
    }

    fn ids(news: &News) -> Vec<u64> {
        news.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn a_reader_gets_what_came_after_its_last_and_hears_what_it_lost() {
        let events = told(3);
        assert_eq!(ids(&events.since(0, 10)), [1, 2, 3]);
        assert_eq!(ids(&events.since(1, 1)), [2]);
        assert!(events.since(3, 10).events.is_empty());
        let kept = u64::try_from(KEPT).unwrap();
        let events = told(kept + 10);
        let news = events.since(4, 2);
        assert_eq!((ids(&news), news.missed), (vec![11, 12], 6));
        assert_eq!(events.since(kept + 9, 5).missed, 0);
        assert_eq!(events.last(), kept + 10);
    }

    #[test]
    fn a_number_from_before_a_restart_gives_all_there_is() {
        assert_eq!(ids(&told(2).since(500, 10)), [1, 2]);
        let start = |seconds| Events::since_start(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let before = start(1_000);
        tell(&before, 3);
        let after = start(1_001);
        tell(&after, 5);
        let news = after.since(before.last(), 10);
        assert_eq!((news.events.len(), news.missed), (5, 0));
        assert_eq!(after.since(after.last() - 1, 10).events.len(), 1);
    }

    #[test]
    fn an_event_is_flat_json() {
        let what = What::Unpark(Unparked {
            place: Place {
                scope: "key",
                backend: "b".to_owned(),
                group: "g".to_owned(),
                key: Some("k".to_owned()),
                class: None,
            },
            by: None,
        });
        let json = serde_json::to_value(&what).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "scope": "key", "backend": "b", "group": "g", "key": "k", "class": null, "by": null })
        );
    }

    #[tokio::test]
    async fn the_bell_rings_for_who_armed_it_before_looking() {
        let events = told(0);
        let mut bell = std::pin::pin!(events.bell());
        bell.as_mut().enable();
        assert!(events.since(0, 1).events.is_empty());
        events.tell(
            Moment::default(),
            What::Key(Switched { key: "k".to_owned(), backend: "b".to_owned(), state: "disabled", by: None }),
        );
        bell.await;
        assert_eq!(ids(&events.since(0, 1)), [1]);
    }
}
