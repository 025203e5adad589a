use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn park(owner: &str, class: Option<&str>, since: u64, until: u64) -> ParkReading {
    ParkReading {
        owner: owner.to_owned(),
        class: class.map(str::to_owned),
        reason: "rate_limited",
        since: at(since),
        until: at(until),
        probing: false,
    }
}

fn reading(millis: u64, parks: Vec<ParkReading>) -> Reading {
    let key = KeyReading {
        name: "org-b-1".to_owned(),
        organization: "org-b".to_owned(),
        classes: 3,
        ..KeyReading::default()
    };
    Reading { at: at(millis), keys: vec![key], parks, ..Reading::default() }
}

fn breaker(state: &'static str, until: Option<u64>) -> BreakerReading {
    let (backend, of) = ("anthropic-eu".to_owned(), "claude-opus-5-5".to_owned());
    BreakerReading { backend, of, state, until: until.map(at) }
}

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.text.as_str()).collect()
}

#[test]
fn classes_of_one_organization_that_are_parked_together_are_one_event() {
    let mut board = Board::default();
    let parks = vec![
        park("org-b", Some("claude-opus-5"), 50, 2_100),
        park("org-b", Some("claude-haiku-5"), 60, 2_100),
    ];
    let events = board.look(reading(100, parks.clone()));
    assert_eq!(texts(&events), ["org-b (haiku-5, opus-5) parked for 2.0 s: rate_limited"]);
    assert!(board.look(reading(200, parks)).is_empty(), "nothing new");
}

#[test]
fn a_park_that_is_gone_is_an_event_and_so_is_one_that_was_renewed() {
    let mut board = Board::default();
    board.look(reading(100, vec![park("org-b-1", None, 50, 1_100)]));
    let renewed = board.look(reading(1_200, vec![park("org-b-1", None, 1_150, 3_200)]));
    assert_eq!(texts(&renewed), ["org-b-1 parked for 2.0 s: rate_limited"]);
    let gone = board.look(reading(3_300, Vec::new()));
    assert_eq!(texts(&gone), ["org-b-1 is back in service"]);
    assert_eq!(board.events.len(), 3);
}

#[test]
fn a_breaker_tells_when_it_opens_opens_again_and_closes_and_nothing_in_between() {
    let mut board = Board::default();
    let mut look = |millis, state, until| {
        let breakers = vec![breaker(state, until)];
        let events = board.look(Reading { at: at(millis), breakers, ..Reading::default() });
        events.into_iter().map(|event| event.text).collect::<Vec<_>>()
    };
    assert!(look(0, "closed", None).is_empty());
    assert_eq!(look(100, "open", Some(2_100)), ["anthropic-eu · opus-5-5: breaker opened for 2.0 s"]);
    assert!(look(200, "open", Some(2_100)).is_empty());
    assert!(look(2_200, "half_open", None).is_empty());
    assert_eq!(look(2_300, "open", Some(6_300)), ["anthropic-eu · opus-5-5: breaker opened for 4.0 s"]);
    assert_eq!(look(6_400, "closed", None), ["anthropic-eu · opus-5-5: breaker closed"]);
}

#[test]
fn a_key_stands_as_the_worst_of_its_own_and_its_organizations_parks() {
    let mut board = Board::default();
    let mut standing = |parks| {
        board.look(reading(1_000, parks));
        board.standing(&board.now.keys[0])
    };
    let parked = |left, classes| Standing::Parked {
        left: Duration::from_millis(left),
        reason: "rate_limited",
        classes,
    };
    assert_eq!(standing(Vec::new()), Standing::Ready);
    assert_eq!(standing(vec![park("org-c", None, 0, 2_000)]), Standing::Ready);
    assert_eq!(standing(vec![park("org-b", Some("a"), 0, 2_000)]), parked(1_000, Some((1, 3))));
    let all = ["a", "b", "c"].map(|class| park("org-b", Some(class), 0, 3_000)).to_vec();
    assert_eq!(standing(all), parked(2_000, None));
    let both = vec![park("org-b", Some("a"), 0, 9_000), park("org-b-1", None, 0, 2_000)];
    assert_eq!(standing(both), parked(1_000, None));
    assert_eq!(standing(vec![park("org-b-1", None, 0, 900)]), Standing::Probation);
    assert_eq!(board.serving(), 1);
}

#[test]
fn a_key_is_cut_off_while_every_model_s_breaker_of_its_backend_is_open() {
    let standing = |breakers: &[(&str, &str, Option<u64>)]| {
        let of = |(backend, of, until): &(&str, &str, Option<u64>)| BreakerReading {
            backend: (*backend).to_owned(),
            of: (*of).to_owned(),
            state: if until.is_some() { "open" } else { "closed" },
            until: until.map(at),
        };
        let key = KeyReading { backend: "eu".to_owned(), ..KeyReading::default() };
        let breakers = breakers.iter().map(of).collect();
        let mut board = Board::default();
        board.look(Reading { at: at(1_000), keys: vec![key], breakers, ..Reading::default() });
        board.standing(&board.now.keys[0])
    };
    let broken = |millis| Standing::Broken { left: Duration::from_millis(millis) };
    let (opus, haiku, connections) = ("claude-opus-5-5", "claude-haiku-5-5", "connections");
    assert_eq!(standing(&[("eu", opus, Some(2_000)), ("eu", haiku, None)]), Standing::Ready);
    assert_eq!(standing(&[("eu", opus, Some(2_000)), ("eu", haiku, Some(3_000))]), broken(1_000));
    assert_eq!(standing(&[("eu", opus, None), ("eu", connections, Some(1_500))]), broken(500));
    assert_eq!(standing(&[("us", opus, Some(2_000)), ("us", connections, Some(1_500))]), Standing::Ready);
}

#[test]
fn the_rate_is_taken_over_the_last_two_seconds() {
    let mut board = Board::default();
    for step in 0_u64..=50 {
        let finished = if step < 10 { 0 } else { (step - 10) * 5 };
        let callers = Callers { finished, ..Callers::default() };
        board.look(Reading { at: at(step * 100), callers, ..Reading::default() });
    }
    assert!((board.rate() - 50.0).abs() < 0.1, "{}", board.rate());
}

#[test]
fn an_error_that_a_caller_saw_is_told_in_its_words() {
    let mut board = Board::default();
    let callers = Callers { errors: 1, last_error: Some("status 503".to_owned()), ..Callers::default() };
    let events = board.look(Reading { callers, ..Reading::default() });
    assert_eq!(texts(&events), ["caller saw status 503"]);
}

#[test]
fn what_upstream_did_wrong_is_counted_apart_from_its_limits() {
    let outcomes = [("200", 9), ("429", 4), ("529", 3), ("reset", 2)];
    let outcomes = outcomes.map(|(outcome, count)| (outcome.to_owned(), count)).into_iter().collect();
    let mut board = Board::default();
    let key = KeyReading { outcomes, ..KeyReading::default() };
    board.look(Reading { keys: vec![key.clone(), key], ..Reading::default() });
    assert_eq!(board.rate_limits(), 8);
    assert_eq!(board.other_faults(), BTreeMap::from([("529", 6), ("reset", 4)]));
}
