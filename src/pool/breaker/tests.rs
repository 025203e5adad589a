use super::*;

fn settings() -> checked::Breaker {
    checked::Breaker {
        consecutive_failures: 5,
        failure_rate: 0.5,
        min_samples: 20,
        window: Duration::from_secs(30),
        open: Duration::from_secs(10),
        open_max: Duration::from_secs(240),
    }
}

fn at(seconds: f64) -> Moment {
    Moment::default() + Duration::from_secs_f64(seconds)
}

fn witness(key: u64, keys: usize) -> Witness {
    Witness { generation: 0, key, keys, backend_itself: false, overload: false }
}

fn fail(breaker: &Breaker, now: Moment, witness: Witness) -> bool {
    let witness = Witness { generation: breaker.generation(), ..witness };
    breaker.failed(now, witness, &settings(), 0.0)
}

fn succeed(breaker: &Breaker, now: Moment) -> bool {
    breaker.succeeded(now, breaker.generation(), &settings())
}

fn opened(now: Moment) -> Breaker {
    let breaker = Breaker::default();
    for _ in 0..5 {
        fail(&breaker, now, witness(1, 1));
    }
    breaker
}

#[test]
fn five_failures_in_a_row_of_several_keys_open_it() {
    let breaker = Breaker::default();
    for key in [1, 2, 1, 2] {
        assert!(!fail(&breaker, at(0.0), witness(key, 3)));
    }
    assert!(fail(&breaker, at(0.0), witness(1, 3)));
    assert_eq!(breaker.gate(at(9.9)), Gate::Until(at(10.0)));
    assert_eq!(breaker.gate(at(10.0)), Gate::Probe);
}

#[test]
fn one_keys_private_trouble_opens_nothing_but_the_only_keys_does() {
    let breaker = Breaker::default();
    for _ in 0..100 {
        assert!(!fail(&breaker, at(0.0), witness(1, 3)));
    }
    assert_eq!(breaker.gate(at(0.0)), Gate::Open);
    assert_eq!(opened(at(0.0)).state(at(0.0)), "open");
}

#[test]
fn a_failure_of_the_backend_itself_needs_no_second_key() {
    let breaker = Breaker::default();
    let lone = Witness { backend_itself: true, ..witness(1, 3) };
    assert_eq!((0..5).filter(|_| fail(&breaker, at(0.0), lone)).count(), 1);
}

#[test]
fn a_success_resets_the_count_but_half_of_twenty_samples_open_it() {
    let breaker = Breaker::default();
    let mut opened = None;
    for sample in 0..40 {
        let key = if sample % 4 == 0 { 1 } else { 2 };
        let now = at(f64::from(sample) * 0.1);
        if sample % 2 == 1 {
            succeed(&breaker, now);
        } else if fail(&breaker, now, witness(key, 1)) && opened.is_none() {
            opened = Some(sample);
        }
    }
    assert_eq!(opened, Some(20), "the 21st sample makes it 11 bad of 21");
}

#[test]
fn samples_leave_the_window() {
    let breaker = Breaker::default();
    for sample in 0..19 {
        let now = at(f64::from(sample) * 0.01);
        if sample % 2 == 0 {
            fail(&breaker, now, witness(1, 1))
        } else {
            succeed(&breaker, now)
        };
    }
    assert!(!fail(&breaker, at(60.0), witness(1, 1)), "a minute later the old samples do not count");
}

#[test]
fn one_probe_at_a_time_and_its_success_closes() {
    let breaker = opened(at(0.0));
    assert!(breaker.take_probe(at(10.0)));
    assert!(!breaker.take_probe(at(10.0)));
    assert_eq!(breaker.gate(at(10.0)), Gate::Probing);
    assert!(succeed(&breaker, at(10.1)));
    assert_eq!(breaker.gate(at(10.1)), Gate::Open);
    assert!(!fail(&breaker, at(10.2), witness(1, 1)), "the window is clear again");
}

#[test]
fn failed_probes_double_the_period_up_to_the_cap() {
    let breaker = opened(at(0.0));
    let mut now = at(10.0);
    let mut spans = Vec::new();
    for _ in 0..7 {
        assert!(breaker.take_probe(now));
        assert!(fail(&breaker, now, witness(1, 1)));
        let Gate::Until(until) = breaker.gate(now) else { panic!("open") };
        spans.push(until.since(now).as_secs());
        now = until;
    }
    assert_eq!(spans, [20, 40, 80, 160, 240, 240, 240]);
}

#[test]
fn a_probe_that_tells_nothing_frees_its_place() {
    let breaker = opened(at(0.0));
    assert!(breaker.take_probe(at(10.0)));
    breaker.release_probe(breaker.generation());
    assert!(breaker.take_probe(at(10.0)));
}

#[test]
fn outcomes_of_an_earlier_generation_are_ignored() {
    let breaker = Breaker::default();
    let early = breaker.generation();
    for _ in 0..5 {
        fail(&breaker, at(0.0), witness(1, 1));
    }
    assert!(!breaker.failed(at(9.0), Witness { generation: early, ..witness(1, 1) }, &settings(), 0.0));
    assert_eq!(breaker.gate(at(9.0)), Gate::Until(at(10.0)), "late failures do not extend it");
    assert!(!breaker.succeeded(at(9.0), early, &settings()), "nor do late successes close it");
    assert!(breaker.take_probe(at(10.0)));
    breaker.failed(at(10.1), Witness { generation: early, ..witness(1, 1) }, &settings(), 0.0);
    assert_eq!(breaker.gate(at(10.1)), Gate::Probing, "nor does one spoil the probe");
}

#[test]
fn an_operator_may_force_it() {
    let breaker = Breaker::default();
    breaker.force(Force::Open);
    assert!(matches!(breaker.gate(at(1e9)), Gate::Until(_)));
    breaker.force(Force::Closed);
    for _ in 0..50 {
        assert!(!fail(&breaker, at(0.0), witness(1, 1)));
    }
    breaker.force(Force::Auto);
    assert!((0..5).any(|_| fail(&breaker, at(0.0), witness(1, 1))));
}

/// Every other sample fails, as when each failure is repeated at once with success; the sample that opened it.
fn flapping(key_of: impl Fn(u64) -> u64) -> Option<u64> {
    let breaker = Breaker::default();
    (0..40).find(|&sample| {
        let now = at(0.1 * f64::from(u32::try_from(sample).unwrap()));
        if sample % 2 == 1 {
            return succeed(&breaker, now);
        }
        fail(&breaker, now, witness(key_of(sample / 2), 3))
    })
}

#[test]
fn every_other_failure_opens_it_when_several_keys_gave_them_and_not_when_one_did() {
    assert_eq!(flapping(|failure| failure % 3), Some(20));
    assert_eq!(flapping(|_| 1), None);
}

#[test]
fn a_key_that_failed_before_the_window_is_no_witness() {
    let breaker = Breaker::default();
    fail(&breaker, at(0.0), witness(2, 3));
    let opened = (0..40).any(|sample| {
        let now = at(100.0 + 0.1 * f64::from(sample));
        if sample % 2 == 0 { succeed(&breaker, now) } else { fail(&breaker, now, witness(1, 3)) }
    });
    assert!(!opened);
}
