//! The clocks of an attempt and of a call, on virtual time.

use headgate_providers::FaultKind;

use crate::support::{Answer, Ask, Told, World, backend, backends, delta, ping, recorded, split};

const MINUTE: u64 = 60_000;

async fn one_key(ask: &Ask, answer: Answer) -> (World, Told) {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", answer);
    let told = world.ask(ask).await;
    world.assert_idle();
    (world, told)
}

#[tokio::test(start_paused = true)]
async fn minutes_of_pings_and_nothing_else_hurt_nobody() {
    for (pings, pace) in [(12, 10_000), (20, 15_000), (3, 100_000)] {
        let (opening, words, closing) = split("hello there");
        let text = opening.clone() + &ping().repeat(pings) + &words.concat() + &closing;
        let answer = Answer::raw(opening).chunks(vec![ping(); pings]).paced(pace);
        let (world, told) = one_key(&Ask::stream(), answer.chunk(words.concat() + &closing)).await;
        assert_eq!(told.text(), text);
        assert_eq!(world.wire.total(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn sparse_events_for_twenty_minutes_complete() {
    let text = "a ".repeat(20);
    let (_, told) = one_key(&Ask::stream(), Answer::streams(&text).paced(MINUTE)).await;
    assert_eq!(told.text(), recorded(&text));
    assert!(told.ended.since(told.began).as_secs() > 20 * 60);
}

#[tokio::test(start_paused = true)]
async fn silence_beyond_the_idle_clock_ends_in_one_error_event() {
    let (opening, words, _) = split("one two");
    let answer = Answer::raw(opening + &words[0]).pause(100_000).chunk(words[1].clone()).hang();
    let (world, told) = one_key(&Ask::stream(), answer).await;
    assert_eq!((told.events("error"), told.events("message_stop")), (1, 0));
    assert!(told.text().contains("timeout_error"), "{}", told.text());
    assert_eq!(world.now().as_secs(), 400, "300 s after the last byte");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_may_take_nine_minutes_but_not_eleven() {
    for answer in [Answer::ok().late(9 * MINUTE), Answer::ok().paced(9 * MINUTE)] {
        let (_, told) = one_key(&Ask::whole(), answer).await;
        assert_eq!(told.status, 200);
    }
    for answer in [Answer::ok().late(11 * MINUTE), Answer::ok().paced(11 * MINUTE), Answer::hangs()] {
        let (world, told) = one_key(&Ask::whole(), answer).await;
        assert_eq!((told.status, told.error().0.as_str()), (504, "timeout_error"));
        assert_eq!(world.now().as_secs(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_first_event_another_backend_is_asked_and_never_the_same_again() {
    for silent in [Answer::hangs(), Answer::stream().hang(), Answer::streams("late").late(121_000)] {
        let world = World::new(&backends(&[("a", &["k1", "k2"]), ("b", &["k3", "k4"])]));
        world.wire.always("k1", silent.clone());
        let told = world.ask(&Ask::stream()).await;
        assert_eq!(told.text(), recorded("hello there"));
        assert_eq!(world.wire.order(), ["k1", "k3"]);
        assert_eq!(world.now().as_secs(), 120);

        let world = World::new(&backends(&[("a", &["k1", "k2"]), ("b", &["k3", "k4"])]));
        for key in ["k1", "k2", "k3", "k4"] {
            world.wire.always(key, silent.clone());
        }
        let told = world.ask(&Ask::stream()).await;
        assert_eq!((told.status, told.error().0.as_str()), (504, "timeout_error"));
        assert_eq!(world.wire.order(), ["k1", "k3"], "each backend once");
        assert_eq!(world.now().as_secs(), 240);
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_may_have_a_first_event_clock_of_its_own() {
    let routes = "routes: [{ model: '*', first_event_ms: 300000, targets: [{ backend: a }] }]\n";
    let world = World::new(&(backend("a", &["k1"]) + routes));
    world.wire.always("k1", Answer::streams("hello there").late(299_000));
    assert_eq!(world.ask(&Ask::stream()).await.text(), recorded("hello there"));
}

#[tokio::test(start_paused = true)]
async fn no_call_outlives_the_total_deadline() {
    let (opening, ..) = split("");
    let endless = Answer::raw(opening.clone()).chunks(vec![delta("more"); 1_000]).paced(10_000);
    let (world, told) = one_key(&Ask::stream(), endless).await;
    assert_eq!((told.events("error"), told.events("message_stop")), (1, 0));
    assert!(told.text().contains("did not complete its answer in time"), "{}", &told.text()[..40]);
    assert_eq!(world.now().as_secs(), 3_600);

    let pings = Answer::raw(opening).chunks(vec![ping(); 1_000]).paced(10_000);
    let (world, told) = one_key(&Ask::stream(), pings).await;
    assert_eq!((told.status, told.error().0.as_str()), (504, "timeout_error"));
    assert_eq!((world.now().as_secs(), world.wire.total()), (3_600, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_it_may_live() {
    let world = World::new(&(backend("a", &["k1"]) + "deadlines: { total_ms: 5000 }\n"));
    world.wire.script("k1", [Answer::limited_for(20)]);
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, world.now().as_secs()), (429, 0));
}

#[tokio::test(start_paused = true)]
async fn an_error_answer_whose_body_stalls_is_judged_by_its_head() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    let stalled = Answer::default().head(429, "application/json").with("retry-after", "200").hang();
    world.wire.always("k1", stalled);
    assert_eq!(world.ask(&Ask::stream()).await.text(), recorded("hello there"));
    assert!(world.now().as_secs() <= 120, "within the first-event clock");
    world.ask(&Ask::stream()).await;
    assert_eq!(world.wire.count("k1"), 1, "parked all the same");
}

#[tokio::test(start_paused = true)]
async fn the_time_an_answer_is_held_begins_with_upstreams_200_and_ends_with_its_failure() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    let (opening, ..) = split("");
    world.wire.always("k1", Answer::raw(opening).pause(5_000).breaks(FaultKind::Reset).late(1_000));
    world.wire.always("k2", Answer::streams("hello there").paced(3_000).late(1_000));
    let (relay, record) = world.relay(&Ask::stream());
    let progress = relay.progress.clone();
    let watch = async {
        let mut seen = Vec::new();
        for second in 0..9 {
            world.at(f64::from(second) + 0.5).await;
            seen.push(progress.held_since.get().map(|at| at.as_micros() / 1_000_000));
        }
        seen
    };
    let (reply, seen) = tokio::join!(relay.run(record), watch);
    assert!(reply.is_ok());
    let (held, moved) = (Some(1), Some(7));
    assert_eq!(seen, [None, held, held, held, held, held, None, moved, moved]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_lived_long_enough_blames_no_upstream() {
    for ask in [Ask::whole(), Ask::stream()] {
        let world = World::new(&(backend("a", &["k1"]) + "deadlines: { total_ms: 5000 }\n"));
        world.wire.always("k1", Answer::hangs());
        for _ in 0..10 {
            let told = world.ask(&ask).await;
            assert_eq!((told.status, told.error().0.as_str()), (504, "timeout_error"));
        }
        assert_eq!(world.wire.count("k1"), 10, "a breaker counted the calls' own ends");
        world.assert_idle();
    }
}
