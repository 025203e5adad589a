//! The tally: what the callers saw.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::board::Callers;
use crate::clock::Moment;

/// Complete answers remembered for the figures.
const SAMPLES: usize = 100_000;
/// How far back the live figures look.
const RECENT: Duration = Duration::from_secs(5);

/// A complete answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// When it ended.
    pub ended: Moment,
    /// From the request to the end of its answer.
    pub latency: Duration,
    /// From the request to the first content, of a stream.
    pub first_token: Option<Duration>,
    /// Attempts it took.
    pub attempts: u32,
}

/// What all callers saw.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    in_flight: usize,
    answered: u64,
    streamed: u64,
    errors: u64,
    retried: u64,
    last_error: Option<String>,
    samples: VecDeque<Sample>,
}

/// Half, 95 and 99 of 100 took less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half.
    pub p50: Duration,
    /// 95 of 100.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

/// The figures of the whole run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests ended.
    pub finished: u64,
    /// Complete answers that were streams.
    pub streamed: u64,
    /// Requests that ended in anything else than a complete answer.
    pub errors: u64,
    /// The last such ending.
    pub last_error: Option<String>,
    /// Complete answers that took more than one attempt.
    pub retried: u64,
    /// Latency; absent when nothing was answered.
    pub latency: Option<Percentiles>,
    /// The time to the first content of streams.
    pub first_token: Option<Percentiles>,
}

/// A request under way.
pub struct UnderWay(Arc<Tally>);

impl Tally {
    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.book().in_flight += 1;
        UnderWay(self.clone())
    }

    /// What the callers saw up to `now`, with figures of the last seconds.
    #[must_use]
    pub fn callers(&self, now: Moment) -> Callers {
        let book = self.book();
        let recent = || book.samples.iter().rev().take_while(|sample| sample.ended + RECENT >= now);
        let pair = |percentiles: Percentiles| (percentiles.p50, percentiles.p99);
        Callers {
            in_flight: book.in_flight,
            finished: book.answered + book.errors,
            errors: book.errors,
            last_error: book.last_error.clone(),
            retried: book.retried,
            latency: Percentiles::of(recent().map(|sample| sample.latency).collect()).map(pair),
            first_token: Percentiles::of(recent().filter_map(|sample| sample.first_token).collect())
                .map(pair),
        }
    }

    /// The figures of the whole run.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let book = self.book();
        Figures {
            finished: book.answered + book.errors,
            streamed: book.streamed,
            errors: book.errors,
            last_error: book.last_error.clone(),
            retried: book.retried,
            latency: Percentiles::of(book.samples.iter().map(|sample| sample.latency).collect()),
            first_token: Percentiles::of(
                book.samples.iter().filter_map(|sample| sample.first_token).collect(),
            ),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// It ended in a complete answer.
    pub fn answered(self, sample: Sample) {
        let mut book = self.0.book();
        book.answered += 1;
        book.streamed += u64::from(sample.first_token.is_some());
        book.retried += u64::from(sample.attempts > 1);
        if book.samples.len() >= SAMPLES {
            book.samples.pop_front();
        }
        book.samples.push_back(sample);
    }

    /// It ended in an error.
    pub fn failed(self, error: String) {
        let mut book = self.0.book();
        book.errors += 1;
        book.last_error = Some(error);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.book().in_flight -= 1;
    }
}

impl Percentiles {
    /// Of these, by the nearest rank; none of nothing.
    #[must_use]
    pub fn of(mut spans: Vec<Duration>) -> Option<Self> {
        spans.sort_unstable();
        let last = spans.len().checked_sub(1)?;
        let at = |percent: usize| spans[(spans.len() * percent).div_ceil(100).saturating_sub(1).min(last)];
        Some(Self { p50: at(50), p95: at(95), p99: at(99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let millis = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let of = |count| {
            Percentiles::of(millis(count)).map(|p| [p.p50, p.p95, p.p99].map(|span| span.as_millis()))
        };
        assert_eq!(of(0), None);
        assert_eq!(of(1), Some([1, 1, 1]));
        assert_eq!(of(100), Some([50, 95, 99]));
        assert_eq!(of(1_000), Some([500, 950, 990]));
    }

    #[test]
    fn answers_and_errors_are_counted_apart_and_nothing_stays_under_way() {
        let tally = Arc::new(Tally::default());
        let (one, two) = (tally.begin(), tally.begin());
        assert_eq!(tally.callers(Moment::default()).in_flight, 2);
        one.answered(Sample {
            attempts: 2,
            first_token: Some(Duration::from_millis(3)),
            ..Sample::default()
        });
        two.failed("status 503".to_owned());
        let callers = tally.callers(Moment::default());
        assert_eq!((callers.in_flight, callers.finished, callers.errors, callers.retried), (0, 2, 1, 1));
        let figures = tally.figures();
        assert_eq!(
            (figures.finished, figures.streamed, figures.last_error.as_deref()),
            (2, 1, Some("status 503"))
        );
    }

    #[test]
    fn live_figures_forget() {
        let tally = Arc::new(Tally::default());
        let at = |seconds: u64| Moment::default() + Duration::from_secs(seconds);
        for (ended, millis) in [(1, 900), (8, 10), (9, 20)] {
            let latency = Duration::from_millis(millis);
            tally.begin().answered(Sample { ended: at(ended), latency, ..Sample::default() });
        }
        let millis = Duration::from_millis;
        assert_eq!(tally.callers(at(10)).latency, Some((millis(10), millis(20))));
    }
}
