//! `Breaker`: stops sending to a backend that fails, and finds out with one live request at a time whether it is back.
//!
//! One per backend and upstream model, one for a backend's connections. Closed -> open on consecutive failures or on a
//! failure rate in a sliding window -> half-open after the open period: one probe -> closed on its success, open for twice as
//! long on its failure. Failures count only when several keys gave them (or all keys there are), be it in a row or within the
//! window: one key's private trouble opens nothing. Every lease remembers the generation it was taken in; outcomes of an
//! earlier one are ignored, so late failures neither extend an open period nor spoil a probe.
//!
//! Reads are atomic loads, as in [`super::park`]; the time and the jitter are arguments.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::park::Gate;
use crate::clock::Moment;
use crate::config::checked;

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const PROBING: u8 = 2;
const FORCED_OPEN: u8 = 3;

/// How long the parts of the sliding window are, microseconds.
const SLICE_MICROS: u64 = 1_000_000;

/// What an operator wants of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Nothing goes through.
    Open,
    /// Everything goes through, whatever is counted.
    Closed,
    /// It decides by itself.
    Auto,
}

/// Who gave a sample.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    /// The generation its lease was taken in.
    pub generation: u32,
    /// A number that tells keys apart.
    pub key: u64,
    /// How many keys could have given it: with a single one, that one is enough.
    pub keys: usize,
    /// Whether the failure is the backend's by itself, whichever key met it (no connection).
    pub backend_itself: bool,
    /// Whether the failure was an overload.
    pub overload: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    number: u64,
    good: u32,
    bad: u32,
    witnesses: Witnesses,
}

/// Keys whose failures are in a count, at most two: more are not told apart.
type Witnesses = [Option<u64>; 2];

#[derive(Debug, Default)]
struct Book {
    consecutive: u32,
    slices: VecDeque<Slice>,
    /// Who gave the failures in a row.
    witnesses: Witnesses,
    /// Open periods in a row without a success.
    step: u32,
    overload: bool,
    forced_closed: bool,
}

/// The state of one breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    phase: AtomicU8,
    until: AtomicU64,
    generation: AtomicU32,
    book: Mutex<Book>,
}

impl Breaker {
    /// What it says at `now`.
    #[must_use]
    pub fn gate(&self, now: Moment) -> Gate {
        match self.phase.load(Relaxed) {
            CLOSED => Gate::Open,
            FORCED_OPEN => Gate::Until(Moment::from_micros(u64::MAX)),
            _ if now < self.until() => Gate::Until(self.until()),
            PROBING => Gate::Probing,
            _ => Gate::Probe,
        }
    }

    /// The generation a lease taken now belongs to.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// Takes the probe's place if the gate offers it. Called under the pool's lock.
    pub fn take_probe(&self, now: Moment) -> bool {
        let offered = self.gate(now) == Gate::Probe;
        if offered {
            self.phase.store(PROBING, Relaxed);
        }
        offered
    }

    /// A lease of `generation` was answered well at `now`. True when that closed the breaker.
    pub fn succeeded(&self, now: Moment, generation: u32, settings: &checked::Breaker) -> bool {
        let mut book = self.book();
        if generation != self.generation() {
            return false;
        }
        match self.phase.load(Relaxed) {
            CLOSED => {
                book.consecutive = 0;
                book.witnesses = Witnesses::default();
                count(&mut book.slices, now, settings.window, None);
                false
            }
            PROBING | OPEN => {
                self.close(&mut book);
                true
            }
            _ => false,
        }
    }

    /// A lease failed at `now`, as `witness` saw it; `jitter` is a fraction from 0 to 1. True when that opened the breaker.
    pub fn failed(&self, now: Moment, witness: Witness, settings: &checked::Breaker, jitter: f64) -> bool {
        let mut book = self.book();
        if witness.generation != self.generation() || book.forced_closed {
            return false;
        }
        match self.phase.load(Relaxed) {
            CLOSED => {
                book.consecutive = book.consecutive.saturating_add(1);
                book.overload = witness.overload;
                note_witness(&mut book.witnesses, witness.key);
                count(&mut book.slices, now, settings.window, Some(witness.key));
                let several =
                    |witnesses: &Witnesses| witness.backend_itself || known(witnesses) >= witness.keys.min(2);
                let in_a_row = book.consecutive >= settings.consecutive_failures && several(&book.witnesses);
                // Each failure of a backend that flaps is answered well by the next key: nobody fails in a row there.
                if in_a_row || too_many(&book.slices, settings) && several(&all_witnesses(&book.slices)) {
                    self.open(&mut book, now, settings, jitter);
                    return true;
                }
                false
            }
            PROBING => {
                book.overload = witness.overload;
                self.open(&mut book, now, settings, jitter);
                true
            }
            _ => false,
        }
    }

    /// A probe of `generation` ended without telling anything: its place is free again.
    pub fn release_probe(&self, generation: u32) {
        let _book = self.book();
        if generation == self.generation() && self.phase.load(Relaxed) == PROBING {
            self.phase.store(OPEN, Relaxed);
        }
    }

    /// An operator's word.
    pub fn force(&self, force: Force) {
        let mut book = self.book();
        self.close(&mut book);
        match force {
            Force::Open => self.phase.store(FORCED_OPEN, Relaxed),
            Force::Closed => book.forced_closed = true,
            Force::Auto => book.forced_closed = false,
        }
    }

    /// Whether the failures that opened it were overloads.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        self.book().overload
    }

    /// A fixed name of its state at `now`, for metrics and the admin API.
    #[must_use]
    pub fn state(&self, now: Moment) -> &'static str {
        match self.gate(now) {
            Gate::Open => "closed",
            Gate::Until(_) => "open",
            Gate::Probe | Gate::Probing => "half_open",
        }
    }

    fn open(&self, book: &mut Book, now: Moment, settings: &checked::Breaker, jitter: f64) {
        let period = period(settings, book.step, jitter);
        book.step = book.step.saturating_add(1);
        self.generation.fetch_add(1, Relaxed);
        self.until.store((now + period).as_micros(), Relaxed);
        self.phase.store(OPEN, Relaxed);
    }

    fn close(&self, book: &mut Book) {
        let forced_closed = book.forced_closed;
        *book = Book { forced_closed, ..Book::default() };
        self.generation.fetch_add(1, Relaxed);
        self.phase.store(CLOSED, Relaxed);
    }

    fn until(&self) -> Moment {
        Moment::from_micros(self.until.load(Relaxed))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the open period lasts after `step` others without a success: twice as long each time, up to the longest, and by up
/// to a tenth longer, for `jitter` from 0 to 1.
pub(super) fn period(settings: &checked::Breaker, step: u32, jitter: f64) -> Duration {
    let grown = settings.open.saturating_mul(2_u32.saturating_pow(step.min(31))).min(settings.open_max);
    grown.mul_f64(1.0 + jitter / 10.0)
}

/// Adds a sample, a failure with the key that met it, and forgets slices that have left the window.
fn count(slices: &mut VecDeque<Slice>, now: Moment, window: Duration, failed: Option<u64>) {
    let number = now.as_micros() / SLICE_MICROS;
    let width = u64::try_from(window.as_micros()).unwrap_or(u64::MAX) / SLICE_MICROS;
    while slices.front().is_some_and(|slice| slice.number + width < number) {
        slices.pop_front();
    }
    if slices.back().is_none_or(|slice| slice.number != number) {
        slices.push_back(Slice { number, ..Slice::default() });
    }
    if let Some(slice) = slices.back_mut() {
        let counter = if failed.is_none() { &mut slice.good } else { &mut slice.bad };
        *counter = counter.saturating_add(1);
        failed.into_iter().for_each(|key| note_witness(&mut slice.witnesses, key));
    }
}

fn all_witnesses(slices: &VecDeque<Slice>) -> Witnesses {
    let mut all = Witnesses::default();
    slices.iter().flat_map(|slice| slice.witnesses).flatten().for_each(|key| note_witness(&mut all, key));
    all
}

fn too_many(slices: &VecDeque<Slice>, settings: &checked::Breaker) -> bool {
    let (good, bad) = slices.iter().fold((0, 0), |(good, bad), slice| (good + slice.good, bad + slice.bad));
    good + bad >= settings.min_samples && f64::from(bad) >= settings.failure_rate * f64::from(good + bad)
}

fn note_witness(witnesses: &mut Witnesses, key: u64) {
    if witnesses.contains(&Some(key)) {
        return;
    }
    if let Some(free) = witnesses.iter_mut().find(|witness| witness.is_none()) {
        *free = Some(key);
    }
}

fn known(witnesses: &Witnesses) -> usize {
    witnesses.iter().flatten().count()
}

#[cfg(test)]
mod tests;
