//! Waiting calls: bounded in count and bytes, and in lines of equals, of whom the first is woken.
//!
//! Calls that the same candidates can serve at the same moment stand in one [`Line`], in the order of their beginning. What frees
//! up wakes the first of each line; whoever leaves the head of a line, served, told or gone, wakes the next. So as many are woken as
//! there is room for and one more, and none is forgotten: a call stands in line before it looks a last time.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::choose::Avoid;
use super::table::{Plan, Upstream};
use crate::clock::Moment;

/// What equals have in common: the plan, and what of it their earlier attempts and their needs leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line(Box<[u64]>);

impl Line {
    /// Where a call stands that may use what `avoid` leaves of `plan`. Groups that are left for last do not matter to one who waits.
    #[must_use]
    pub fn of(plan: &Arc<Plan>, avoid: &Avoid) -> Self {
        let mut marks = vec![address(plan), u64::from(avoid.first_tier_only)];
        marks.extend((0..plan.limits.len()).filter(|&target| avoid.unable.has(target)).map(|it| it as u64));
        let mut tried: Vec<(u64, u64)> = avoid
            .tried
            .iter()
            .map(|(health, until)| (address(health), until.map_or(u64::MAX, Moment::as_micros)))
            .collect();
        tried.sort_unstable();
        marks.extend([avoid.tried.len() as u64, u64::MAX]);
        marks.extend(tried.into_iter().flat_map(|(health, until)| [health, until]));
        for upstreams in [&avoid.excluded, &avoid.upstreams] {
            let states = |upstream: &Arc<Upstream>| address(&upstream.state);
            let mut states: Vec<u64> = upstreams.iter().map(states).collect();
            states.sort_unstable();
            marks.push(u64::MAX);
            marks.extend(states);
        }
        Self(marks.into())
    }
}

/// Who something is: those who wait keep it alive, so that no other can have its place.
fn address<T>(of: &Arc<T>) -> u64 {
    Arc::as_ptr(of).addr() as u64
}

/// One who stands in line.
#[derive(Debug)]
struct Waiter {
    bell: Arc<Notify>,
    patience_until: Moment,
}

/// A place within a line: when the call began, and a number for those who began at once.
type Turn = (Moment, u64);

type Lines = HashMap<Line, BTreeMap<Turn, Waiter>>;

/// Who waits.
#[derive(Debug, Default)]
pub struct Waiting {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    turns: AtomicU64,
    lines: Mutex<Lines>,
}

impl Waiting {
    /// How many calls wait.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Something changed that may let a waiting call go: the first of each line looks, in the order in which they began.
    pub fn ring(&self) {
        let lines = self.lines();
        let mut firsts: Vec<_> = lines.values().filter_map(BTreeMap::first_key_value).collect();
        firsts.sort_unstable_by_key(|(turn, _)| **turn);
        firsts.into_iter().for_each(|(_, first)| first.bell.notify_one());
    }

    /// Whether anyone stands there; its first is then woken, in case it sleeps while there is room.
    #[must_use]
    pub fn ring_line(&self, line: &Line) -> bool {
        self.calls() > 0 && self.lines().get(line).map(wake_first).is_some()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake_first(line: &BTreeMap<Turn, Waiter>) {
    if let Some((_, first)) = line.first_key_value() {
        first.bell.notify_one();
    }
}

/// A place in the queue; dropping it leaves.
#[derive(Debug)]
pub struct Place {
    waiting: Arc<Waiting>,
    bytes: usize,
    turn: Turn,
    line: Option<Line>,
    bell: Arc<Notify>,
}

impl Place {
    /// Joins with a body of `bytes`, for a call that began at `began`; `None` when the queue is full.
    #[must_use]
    pub fn join(
        waiting: &Arc<Waiting>,
        (began, bytes): (Moment, usize),
        max_calls: usize,
        max_bytes: usize,
    ) -> Option<Self> {
        let calls = waiting.calls.fetch_add(1, Relaxed) + 1;
        let total = waiting.bytes.fetch_add(bytes, Relaxed) + bytes;
        let turn = (began, waiting.turns.fetch_add(1, Relaxed));
        let place = Self { waiting: waiting.clone(), bytes, turn, line: None, bell: Arc::default() };
        // Counted before it is checked, so that a burst cannot slip in between; a refused one counts itself down again.
        (calls <= max_calls && total <= max_bytes).then_some(place)
    }

    /// Stands in `line`, with patience until then; whether it is the first there.
    pub fn stand(&mut self, line: &Line, patience_until: Moment) -> bool {
        if self.line.as_ref() != Some(line) {
            self.step_out();
            let waiter = Waiter { bell: self.bell.clone(), patience_until };
            self.waiting.lines().entry(line.clone()).or_default().insert(self.turn, waiter);
            self.line = Some(line.clone());
        }
        let lines = self.waiting.lines();
        lines.get(line).and_then(BTreeMap::first_key_value).is_some_and(|(first, _)| *first == self.turn)
    }

    /// The first of the line has seen that nothing frees up before `free_at`: who cannot wait for that is to be told.
    pub fn stays_until(&self, free_at: Moment) {
        let lines = self.waiting.lines();
        let line = self.line.as_ref().and_then(|line| lines.get(line));
        for (turn, waiter) in line.into_iter().flatten() {
            if *turn != self.turn && waiter.patience_until < free_at {
                waiter.bell.notify_one();
            }
        }
    }

    /// Until it is woken; a word that came before is not lost.
    pub async fn woken(&self) {
        self.bell.notified().await;
    }

    /// Leaves its line; behind one who stood at the head the next is woken.
    fn step_out(&mut self) {
        let Some(name) = self.line.take() else { return };
        let mut lines = self.waiting.lines();
        let Some(line) = lines.get_mut(&name) else { return };
        let was_first = line.first_key_value().is_some_and(|(first, _)| *first == self.turn);
        line.remove(&self.turn);
        if line.is_empty() {
            lines.remove(&name);
        } else if was_first {
            wake_first(line);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.step_out();
        self.waiting.calls.fetch_sub(1, Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(0);
    const LATER: Moment = Moment::from_micros(9);

    fn join(waiting: &Arc<Waiting>, began: u64) -> Place {
        Place::join(waiting, (Moment::from_micros(began), 0), 100, 100).unwrap()
    }

    fn line(name: u64) -> Line {
        Line([name].into())
    }

    /// Whether it has been woken since it was last asked.
    fn is_woken(place: &Place) -> bool {
        futures_util::FutureExt::now_or_never(place.woken()).is_some()
    }

    #[test]
    fn the_queue_is_bounded_in_calls_and_bytes_and_a_refusal_consumes_nothing() {
        let waiting = Arc::new(Waiting::default());
        let join = |bytes| Place::join(&waiting, (NOW, bytes), 2, 100);
        let first = join(60);
        assert!(first.is_some());
        assert!(join(50).is_none(), "too many bytes");
        let second = join(40);
        assert!(second.is_some());
        assert!(join(0).is_none(), "too many calls");
        drop((first, second));
        assert_eq!((waiting.calls(), waiting.bytes.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_frees_up_wakes_the_first_of_each_line_and_who_leaves_wakes_the_next() {
        let waiting = Arc::new(Waiting::default());
        let mut places = [3, 1, 2, 5].map(|began| join(&waiting, began));
        let firsts = [1, 1, 1, 2].iter().zip(&mut places);
        let firsts: Vec<bool> = firsts.map(|(name, place)| place.stand(&line(*name), LATER)).collect();
        assert_eq!(firsts, [true, true, false, true], "who began earlier goes before who came earlier");
        waiting.ring();
        assert_eq!(places.each_ref().map(is_woken), [false, true, false, true]);
        let [late, first, second, other] = places;
        drop(first);
        assert_eq!((is_woken(&late), is_woken(&second), is_woken(&other)), (false, true, false));
        drop(late);
        assert!(!is_woken(&second), "nobody left before it");
        drop((second, other));
        assert!(waiting.lines().is_empty() && !waiting.ring_line(&line(1)));
    }

    #[test]
    fn a_word_that_its_caller_did_not_live_to_hear_goes_to_the_next() {
        let waiting = Arc::new(Waiting::default());
        let (mut first, mut second) = (join(&waiting, 1), join(&waiting, 2));
        first.stand(&line(1), LATER);
        second.stand(&line(1), LATER);
        assert!(waiting.ring_line(&line(1)));
        drop(first);
        assert!(is_woken(&second) && second.stand(&line(1), LATER));
    }

    #[test]
    fn who_moves_to_another_line_wakes_the_next_of_the_old_one() {
        let waiting = Arc::new(Waiting::default());
        let (mut first, mut second) = (join(&waiting, 1), join(&waiting, 2));
        first.stand(&line(1), LATER);
        second.stand(&line(1), LATER);
        assert!(first.stand(&line(2), LATER) && is_woken(&second) && second.stand(&line(1), LATER));
    }

    #[test]
    fn who_cannot_wait_so_long_is_told() {
        let waiting = Arc::new(Waiting::default());
        let (mut first, mut hasty, mut patient) = (join(&waiting, 1), join(&waiting, 2), join(&waiting, 3));
        for (place, patience) in [(&mut first, 50), (&mut hasty, 10), (&mut patient, 40)] {
            place.stand(&line(1), Moment::from_micros(patience));
        }
        first.stays_until(Moment::from_micros(30));
        assert_eq!((is_woken(&first), is_woken(&hasty), is_woken(&patient)), (false, true, false));
        first.stays_until(Moment::from_micros(60));
        assert_eq!(
            (is_woken(&first), is_woken(&hasty), is_woken(&patient)),
            (false, true, true),
            "not itself"
        );
    }
}
