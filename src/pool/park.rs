//! `Park`: one scope (a key, a group, a model class of either) stays unused until a deadline, then proves itself.
//!
//! Life: open -> parked until a deadline -> on probation: one lease at a time may probe -> open after the probe's success,
//! parked again after its failure. Concurrent failures of one window move nothing: each lease remembers the window it was
//! taken in, and only a failure from the current window takes the next back-off step. A stated deadline only ever grows.
//!
//! Reads are plain atomic loads, for the choice walks a thousand of them; writes go through the pool's lock or the book's.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headgate_providers::{Dimension, FaultKind, Source};

use crate::clock::Moment;

const OPEN: u8 = 0;
const PROBATION: u8 = 1;
const PROBING: u8 = 2;

/// What a park says to a call that wants through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Go.
    Open,
    /// Go, as the one probe.
    Probe,
    /// A probe is under way; its end decides.
    Probing,
    /// Not before this moment.
    Until(Moment),
}

/// How long to stay away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sentence {
    /// Upstream said so; `buffer` is added, jittered up to twice.
    Stated {
        /// Remaining time as stated.
        after: Duration,
        /// Our own margin.
        buffer: Duration,
    },
    /// Our guess: `first`, times `factor` each window, up to `max`, jittered by up to a tenth.
    Backoff {
        /// First step.
        first: Duration,
        /// Growth.
        factor: u32,
        /// Last step.
        max: Duration,
    },
    /// A short rest, jittered up to one and a half times.
    Rest(Duration),
}

/// Why a scope is parked, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What went wrong.
    pub reason: FaultKind,
    /// Which bucket was empty.
    pub dimension: Option<Dimension>,
    /// Where a stated time was read; `None` for our own guess.
    pub source: Option<Source>,
    /// When it was parked.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
}

#[derive(Debug, Default)]
struct Book {
    step: u32,
    notice: Option<Notice>,
}

/// The parking state of one scope.
#[derive(Debug, Default)]
pub struct Park {
    phase: AtomicU8,
    window: AtomicU32,
    until: AtomicU64,
    book: Mutex<Book>,
}

/// A fault that parks: how long, and what to write on the notice.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// How long.
    pub sentence: Sentence,
    /// What went wrong.
    pub reason: FaultKind,
    /// Which bucket was empty.
    pub dimension: Option<Dimension>,
    /// Where a stated time was read.
    pub source: Option<Source>,
}

impl Park {
    /// What it says at `now`. The pool's lock makes asking and taking one step.
    #[must_use]
    pub fn gate(&self, now: Moment) -> Gate {
        match self.phase.load(Relaxed) {
            OPEN => Gate::Open,
            _ if now < self.until() => Gate::Until(self.until()),
            PROBING => Gate::Probing,
            _ => Gate::Probe,
        }
    }

    /// The window a lease taken now belongs to.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window.load(Relaxed)
    }

    /// Takes the probe's place if the gate offers it; the lease must give it back by [`Park::absolve`] or
    /// [`Park::release_probe`].
    pub fn take_probe(&self, now: Moment) -> bool {
        let offered = self.gate(now) == Gate::Probe;
        if offered {
            self.phase.store(PROBING, Relaxed);
        }
        offered
    }

    /// A lease from `window` that held the probe succeeded: open, back-off forgotten. Ignored when a newer failure has
    /// parked the scope since.
    pub fn absolve(&self, window: u32) {
        let mut book = self.book();
        if self.window() == window {
            *book = Book::default();
            self.phase.store(OPEN, Relaxed);
        }
    }

    /// A lease from `window` that held the probe ended without telling anything: the place is free again.
    pub fn release_probe(&self, window: u32) {
        let _book = self.book();
        if self.window() == window && self.phase.load(Relaxed) == PROBING {
            self.phase.store(PROBATION, Relaxed);
        }
    }

    /// A lease from `window` failed at `now`. `jitter` is a fraction from 0 to 1. Returns the new deadline, or `None`
    /// when this failure changes nothing.
    pub fn sentence(&self, now: Moment, window: u32, verdict: Verdict, jitter: f64) -> Option<Moment> {
        let mut book = self.book();
        let old = if self.phase.load(Relaxed) == OPEN { Moment::default() } else { self.until() };
        let concurrent = window != self.window() && now < old;
        let until = match verdict.sentence {
            // The buffer of the first failure covers those that arrive a moment later.
            Sentence::Stated { after, .. } if concurrent && now + after <= old => return None,
            Sentence::Backoff { .. } | Sentence::Rest(_) if concurrent => return None,
            Sentence::Stated { after, buffer } => now + after + buffer.mul_f64(1.0 + jitter),
            Sentence::Rest(rest) => now + rest.mul_f64(1.0 + jitter / 2.0),
            Sentence::Backoff { first, factor, max } => {
                let grown = first.saturating_mul(factor.saturating_pow(book.step.min(31)));
                now + grown.min(max).mul_f64(1.0 + jitter / 10.0)
            }
        }
        .max(old);
        if !concurrent {
            book.step = book.step.saturating_add(1);
        }
        let Verdict { reason, dimension, source, .. } = verdict;
        book.notice = Some(Notice { reason, dimension, source, since: now, until });
        self.until.store(until.as_micros(), Relaxed);
        self.window.fetch_add(1, Relaxed);
        self.phase.store(PROBATION, Relaxed);
        Some(until)
    }

    /// An operator's word: parked for `span` from `now`, whatever was before.
    pub fn hold(&self, now: Moment, notice: Notice) {
        let mut book = self.book();
        debug_assert!(notice.until >= now);
        book.notice = Some(notice);
        self.until.store(notice.until.as_micros(), Relaxed);
        self.window.fetch_add(1, Relaxed);
        self.phase.store(PROBATION, Relaxed);
    }

    /// An operator's word: open at once, nothing remembered.
    pub fn clear(&self) {
        let mut book = self.book();
        *book = Book::default();
        self.window.fetch_add(1, Relaxed);
        self.phase.store(OPEN, Relaxed);
    }

    /// Why it is not open, if it is not.
    #[must_use]
    pub fn notice(&self) -> Option<Notice> {
        let book = self.book();
        if self.phase.load(Relaxed) == OPEN { None } else { book.notice }
    }

    fn until(&self) -> Moment {
        Moment::from_micros(self.until.load(Relaxed))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
