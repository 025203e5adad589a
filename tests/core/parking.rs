//! Parking: stated times are kept to the second, guesses back off, one probe goes first.

use futures_util::future::join_all;
use headgate::pool::table::Scope;

use crate::support::{Answer, Ask, World, backend};

/// Wall time in the tests begins at 12:00:00.
const IN_37_SECONDS: &str = "Tue, 17 Mar 2026 12:00:37 GMT";

#[tokio::test(start_paused = true)]
async fn a_stated_time_is_kept_to_the_end_and_over_within_a_second() {
    for (name, value, seconds) in [
        ("retry-after", "37", 37.0),
        ("retry-after", "36.5", 36.5),
        ("retry-after", IN_37_SECONDS, 37.0),
        ("retry-after-ms", "37250", 37.25),
    ] {
        let world = World::new(&backend("a", &["k1", "k2"]));
        world.wire.script("k1", [Answer::limited().with(name, value)]);
        assert_eq!(world.ask(&Ask::whole()).await.status, 200, "the other key answers");
        while world.now().as_secs_f64() < 60.0 {
            assert_eq!(world.ask(&Ask::whole()).await.status, 200);
            world.pass(0.1).await;
        }
        let times = world.wire.times("k1");
        let again = times[1].as_secs_f64();
        assert!(again > seconds && again <= seconds + 1.0, "{name}: {value}: asked again at {again}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_wins_over_a_reset_header_and_milliseconds_over_seconds() {
    let world = World::new(&backend("a", &["k1"]));
    let answer = Answer::limited_for(20)
        .with("anthropic-ratelimit-requests-remaining", "0")
        .with("anthropic-ratelimit-requests-reset", "2026-03-17T12:05:00Z");
    world.wire.script("k1", [answer, Answer::limited_for(1).with("retry-after-ms", "7000")]);
    world.ask(&Ask::whole().now()).await;
    assert_parked(&world, 20.0);
    world.at(21.0).await;
    world.ask(&Ask::whole().now()).await;
    assert_parked(&world, 28.0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_header_counts_where_nothing_else_is_stated() {
    let world = World::new(&backend("a", &["k1"]));
    let answer = Answer::limited()
        .with("anthropic-ratelimit-input-tokens-remaining", "0")
        .with("anthropic-ratelimit-input-tokens-reset", "2026-03-17T12:00:42Z");
    world.wire.script("k1", [answer]);
    world.ask(&Ask::whole().now()).await;
    assert_parked(&world, 42.0);
}

/// Asserts that `k1`'s group is parked from this second until at most one later.
fn assert_parked(world: &World, seconds: f64) {
    let until = world.parked("k1", Scope::GroupClass).expect("k1 is parked");
    assert!(until > seconds && until <= seconds + 1.0, "parked until {until}, not {seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_second_429_sets_the_later_of_both_times() {
    for (second, until) in [(5, 30.0), (60, 61.0)] {
        let world = World::new(&backend("a", &["k1"]));
        world.wire.script("k1", [Answer::limited_for(30).late(100), Answer::limited_for(second).late(1_000)]);
        let ask = Ask::whole().now();
        tokio::join!(world.ask(&ask), world.ask(&ask));
        assert_parked(&world, until);
        assert_eq!(world.wire.total(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_failures_of_one_window_take_one_step_of_the_back_off() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::limited().late(10));
    let ask = Ask::whole().now();
    world.crowd(50, &ask).await;
    let until = world.parked("k1", Scope::GroupClass).unwrap();
    assert!((1.0..1.2).contains(&until), "{until}");
}

#[tokio::test(start_paused = true)]
async fn without_a_stated_time_rests_double_from_one_second_to_a_minute() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::limited());
    assert_rests(&rests(&world, Scope::GroupClass, 9).await, &[1, 2, 4, 8, 16, 32, 60, 60, 60]);
    world.wire.heal("k1");
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 200);
    world.wire.always("k1", Answer::limited());
    assert_rests(&rests(&world, Scope::GroupClass, 2).await, &[1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_rests_for_five_seconds_times_four_up_to_an_hour() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::refused());
    assert_rests(&rests(&world, Scope::Key, 7).await, &[5, 20, 80, 320, 1280, 3600, 3600]);
    world.wire.heal("k1");
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 200);
    world.wire.always("k1", Answer::refused());
    assert_rests(&rests(&world, Scope::Key, 1).await, &[5]);
}

/// The rests of `k1`, seconds, over this many failures, each tried when the rest before is over.
async fn rests(world: &World, scope: Scope, failures: usize) -> Vec<f64> {
    let mut rests = Vec::new();
    for _ in 0..failures {
        let now = world.now().as_secs_f64();
        world.ask(&Ask::whole().now()).await;
        let until = world.parked("k1", scope).expect("parked");
        rests.push(until - now);
        world.at(until + 0.01).await;
    }
    rests
}

/// Asserts that each rest is as long as told, with at most a tenth of jitter on top.
fn assert_rests(rests: &[f64], told: &[u32]) {
    let fits = |(rest, told): (&f64, &u32)| (f64::from(*told)..=f64::from(*told) * 1.1).contains(rest);
    assert!(rests.len() == told.len() && rests.iter().zip(told).all(fits), "{rests:?} are not {told:?}");
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_first_and_the_others_follow_its_success() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::limited_for(10), Answer::ok().late(2_000)]);
    world.ask(&Ask::whole().now()).await;
    let told = world.crowd(20, &Ask::whole()).await;
    assert!(told.iter().all(|told| told.status == 200));
    let times: Vec<f64> = world.wire.times("k1").iter().map(|at| at.as_secs_f64()).collect();
    assert_eq!(times.len(), 21);
    assert!((10.0..11.0).contains(&times[1]), "the probe leaves at the un-park: {times:?}");
    for at in &times[2..] {
        assert!((at - times[1] - 2.0).abs() < 0.01, "the others leave as the probe succeeds: {times:?}");
    }
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_parks_again_and_a_probe_that_leaves_frees_its_place() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::limited_for(5), Answer::hangs(), Answer::limited_for(8)]);
    world.ask(&Ask::whole().now()).await;
    let gone = async {
        let ask = Ask::whole();
        tokio::select! { _ = world.ask(&ask) => panic!("it hangs"), () = world.at(7.0) => {} }
    };
    let patient = async {
        world.at(0.5).await;
        world.ask(&Ask::whole()).await
    };
    let ((), told) = tokio::join!(gone, patient);
    assert_eq!(told.status, 200);
    let times: Vec<u64> = world.wire.times("k1").iter().map(std::time::Duration::as_secs).collect();
    assert_eq!(times, [0, 5, 7, 15], "parked, probe left behind, probe limited, probe that succeeds");
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_hit_at_most_three_times_in_a_minute() {
    for keys in [&["k1", "k2"][..], &["k1"]] {
        let world = World::new(&backend("a", keys));
        world.wire.always("k1", Answer::refused());
        let calls = (0..1_200).map(|number| {
            let world = &world;
            async move {
                world.at(f64::from(number) / 20.0).await;
                world.ask(&Ask::whole()).await
            }
        });
        let told = join_all(calls).await;
        let hits = world.wire.times("k1").iter().filter(|at| at.as_secs() < 60).count();
        assert!((1..=3).contains(&hits), "{hits} hits with keys {keys:?}");
        let status = if keys.len() == 2 { 200 } else { 503 };
        assert!(told.iter().all(|told| told.status == status));
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_costs_no_caller_anything() {
    for (answer, period) in [
        (Answer::limited_for(5), 5.0),
        (Answer::limited(), 1.0),
        (Answer::overloaded(), 1.0),
        (Answer::overloaded().with("retry-after", "3"), 3.0),
    ] {
        let world = World::new(&backend("a", &["bad", "k1"]));
        world.wire.always("bad", answer.late(30));
        world.wire.always("k1", Answer::ok().late(70));
        let calls = (0..1_000).map(|number| {
            let world = &world;
            async move {
                world.at(f64::from(number) / 50.0).await;
                world.ask(&Ask::whole()).await
            }
        });
        let told = join_all(calls).await;
        assert!(told.iter().all(|told| told.status == 200), "1,000 requests, 1,000 answers");
        // In flight before the first verdict: 30 ms at 50 requests a second.
        let most = 2 + (world.now().as_secs_f64() / period).ceil() as usize;
        assert!(world.wire.count("bad") <= most, "{} of {most}", world.wire.count("bad"));
        world.assert_idle();
    }
}
