use super::*;

fn at(seconds: f64) -> Moment {
    Moment::default() + Duration::from_secs_f64(seconds)
}

fn verdict(sentence: Sentence) -> Verdict {
    Verdict { sentence, reason: FaultKind::RateLimited, dimension: None, source: None }
}

fn stated(seconds: u64) -> Verdict {
    verdict(Sentence::Stated { after: Duration::from_secs(seconds), buffer: Duration::from_millis(250) })
}

fn backoff() -> Verdict {
    verdict(Sentence::Backoff {
        first: Duration::from_secs(5),
        factor: 4,
        max: Duration::from_secs(3600),
    })
}

#[test]
fn a_stated_time_is_kept_to_the_end_and_over_within_a_second() {
    for jitter in [0.0, 0.5, 0.999] {
        let park = Park::default();
        park.sentence(at(100.0), park.window(), stated(37), jitter);
        assert!(matches!(park.gate(at(137.0)), Gate::Until(_)), "not at the deadline itself: the buffer comes on top");
        assert_eq!(park.gate(at(138.0)), Gate::Probe);
    }
}

#[test]
fn one_probe_at_a_time_and_its_success_opens() {
    let park = Park::default();
    park.sentence(at(0.0), park.window(), stated(1), 0.0);
    let window = park.window();
    assert!(park.take_probe(at(2.0)));
    assert!(!park.take_probe(at(2.0)));
    assert_eq!(park.gate(at(2.0)), Gate::Probing);
    park.release_probe(window);
    assert_eq!(park.gate(at(2.0)), Gate::Probe);
    assert!(park.take_probe(at(2.0)));
    park.absolve(window);
    assert_eq!(park.gate(at(2.0)), Gate::Open);
    assert_eq!(park.notice(), None);
}

#[test]
fn concurrent_failures_of_one_window_take_one_step() {
    let park = Park::default();
    let window = park.window();
    assert_eq!(park.sentence(at(0.0), window, backoff(), 0.0), Some(at(5.0)));
    assert_eq!(park.sentence(at(0.5), window, backoff(), 0.0), None);
    assert_eq!(park.sentence(at(4.9), window, backoff(), 0.0), None);
    assert_eq!(park.gate(at(5.0)), Gate::Probe);
    assert!(park.take_probe(at(5.0)));
    assert_eq!(park.sentence(at(5.0), park.window(), backoff(), 0.0), Some(at(25.0)));
}

#[test]
fn near_simultaneous_stated_failures_do_not_slide_the_deadline_but_a_longer_one_extends_it() {
    let park = Park::default();
    let window = park.window();
    let first = park.sentence(at(0.0), window, stated(2), 0.0);
    assert_eq!(park.sentence(at(0.2), window, stated(2), 0.9), None);
    assert_eq!(park.notice().map(|notice| notice.until), first);
    assert_eq!(park.sentence(at(0.3), window, stated(37), 0.0), Some(at(37.55)));
    assert_eq!(park.sentence(at(0.4), window, stated(5), 0.0), None);
    assert!(matches!(park.gate(at(37.3)), Gate::Until(_)));
}

#[test]
fn a_failure_that_arrives_during_the_probe_outlives_the_probes_success() {
    let park = Park::default();
    let early = park.window();
    park.sentence(at(0.0), early, stated(1), 0.0);
    let probe = park.window();
    assert!(park.take_probe(at(2.0)));
    assert!(park.sentence(at(2.1), early, stated(30), 0.0).is_some());
    park.absolve(probe);
    assert!(matches!(park.gate(at(3.0)), Gate::Until(_)));
}

#[test]
fn back_off_is_capped_and_a_success_resets_it() {
    let park = Park::default();
    let mut now = at(0.0);
    let mut spans = Vec::new();
    for _ in 0..8 {
        let until = park.sentence(now, park.window(), backoff(), 0.0).expect("a new window");
        spans.push(until.since(now).as_secs());
        now = until;
        assert!(park.take_probe(now));
    }
    assert_eq!(spans, [5, 20, 80, 320, 1280, 3600, 3600, 3600]);
    park.absolve(park.window());
    assert_eq!(park.sentence(now, park.window(), backoff(), 0.0), Some(now + Duration::from_secs(5)));
}

#[test]
fn an_operator_opens_at_once() {
    let park = Park::default();
    park.sentence(at(0.0), park.window(), stated(3600), 0.0);
    park.clear();
    assert_eq!(park.gate(at(0.1)), Gate::Open);
}
