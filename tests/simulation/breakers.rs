//! What must hold of breakers, reckoned from what upstreams did: an open one lets one probe through, and a row of failures
//! opens.

use std::collections::HashMap;
use std::sync::Arc;

use headgate::clock::Moment;
use headgate::config::checked;
use headgate::pool::Candidate;
use headgate::pool::breaker::{Breaker, Force};
use headgate::pool::park::Gate;

use super::script::Ill;
use super::world::Attempt;

#[derive(Default)]
struct Row {
    generation: u32,
    failures: u32,
    witnesses: Vec<u64>,
    probe: Option<usize>,
    forced: Option<Force>,
}

/// All breakers by address: backends, and so breakers, live as long as their world.
#[derive(Default)]
pub struct Breakers(HashMap<usize, Row>);

impl Breakers {
    fn row(&mut self, breaker: &Arc<Breaker>) -> &mut Row {
        self.0.entry(Arc::as_ptr(breaker).addr()).or_default()
    }

    /// A request is dispatched: through closed breakers, or as the one probe.
    pub fn dispatched(&mut self, number: usize, attempts: &[Attempt], candidate: &Candidate, now: Moment) {
        for breaker in &candidate.breakers {
            let gate = breaker.gate(now);
            let row = self.row(breaker);
            assert_ne!(
                row.forced,
                Some(Force::Open),
                "attempt {number} went through a breaker that is forced open"
            );
            match gate {
                Gate::Open => row.probe = None,
                Gate::Probing => {
                    let pending = |&probe: &usize| {
                        let probe = &attempts[probe];
                        probe.open && !probe.committed && !probe.told
                    };
                    let other = row.probe.filter(pending);
                    assert_eq!(other, None, "attempt {number} probes a breaker too");
                    row.probe = Some(number);
                }
                Gate::Until(_) | Gate::Probe => {
                    panic!("attempt {number} went through an open breaker: {gate:?}")
                }
            }
        }
    }

    /// An attempt was answered.
    pub fn answered(&mut self, attempt: &Attempt, candidate: &Candidate) {
        for (breaker, generation) in candidate.breakers.iter().zip(attempt.generations) {
            let row = self.row(breaker);
            if row.generation == generation {
                (row.failures, row.witnesses) = (0, Vec::new());
            }
        }
    }

    /// An attempt failed: after so many in a row, from several keys or from the backend itself, the breaker has opened.
    pub fn failed(
        &mut self,
        attempt: &Attempt,
        ill: Ill,
        candidate: &Candidate,
        settings: &checked::Breaker,
    ) {
        if !ill.is_of_backend() {
            return;
        }
        let (index, itself) = if ill == Ill::Connection { (1, true) } else { (0, false) };
        let (breaker, generation) = (&candidate.breakers[index], attempt.generations[index]);
        let row = self.row(breaker);
        if row.generation != generation {
            (row.generation, row.failures, row.witnesses) = (generation, 0, Vec::new());
        }
        row.failures += 1;
        if !row.witnesses.contains(&attempt.witness) {
            row.witnesses.push(attempt.witness);
        }
        let several = itself || row.witnesses.len() >= candidate.upstream.keys.len().min(2);
        if several && row.failures >= settings.consecutive_failures && row.forced.is_none() {
            assert_ne!(breaker.generation(), generation, "{} failures in a row opened nothing", row.failures);
        }
    }

    /// An operator's word.
    pub fn forced(&mut self, breaker: &Arc<Breaker>, force: Force) {
        let row = self.row(breaker);
        row.forced = (force != Force::Auto).then_some(force);
        row.probe = None;
    }

    /// Whether an operator's word holds.
    pub fn is_forced(&mut self, breaker: &Arc<Breaker>) -> bool {
        self.row(breaker).forced.is_some()
    }
}
