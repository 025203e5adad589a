//! Choosing: the least used key first, ties to the least recently used, whatever becomes of the calls.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::future::join_all;
use headgate_providers::FaultKind;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Answer, Answered, Ask, Sent, World, backend, delta};

const FIVE: [&str; 5] = ["k1", "k2", "k3", "k4", "k5"];

/// Asserts that each of these keys had its share of the requests, within a tenth.
fn assert_shares(world: &World, shares: &[(&str, f64)]) {
    let whole: f64 = shares.iter().map(|(_, share)| share).sum();
    let total = shares.iter().map(|(key, _)| world.wire.count(key)).sum::<usize>() as f64;
    for (key, share) in shares {
        let fair = total * share / whole;
        let count = world.wire.count(key) as f64;
        assert!((count - fair).abs() <= fair / 10.0, "{key} got {count} of {total}, fair were {fair}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_keys_get_equal_shares_of_calls_one_after_another() {
    let world = World::new(&backend("a", &FIVE));
    for _ in 0..10_000 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    for key in FIVE {
        assert_eq!(world.wire.count(key), 2_000, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_keys_get_equal_shares_of_calls_at_the_same_time() {
    let world = World::new(&backend("a", &FIVE));
    let mut dice = SmallRng::seed_from_u64(1);
    for key in FIVE {
        let mut dice = SmallRng::seed_from_u64(dice.random());
        world.wire.on(key, move |_| Answer::ok().late(dice.random_range(1..500)));
    }
    for _ in 0..40 {
        let told = world.crowd(250, &Ask::whole()).await;
        assert!(told.iter().all(|told| told.status == 200));
    }
    assert_shares(&world, &FIVE.map(|key| (key, 1.0)));
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn weights_divide_calls_at_the_same_time() {
    let world = World::new(&backend("a", &["k1 weight: 1", "k2 weight: 3", "k3 weight: 0.5"]));
    for key in ["k1", "k2", "k3"] {
        world.wire.always(key, Answer::ok().late(100));
    }
    let told = world.crowd(9_000, &Ask::whole()).await;
    assert!(told.iter().all(|told| told.status == 200));
    assert_shares(&world, &[("k1", 1.0), ("k2", 3.0), ("k3", 0.5)]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_is_passed_over_for_an_idle_one() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::ok().late(10_000));
    let slow = async { world.ask(&Ask::whole()).await };
    let quick = async {
        world.at(1.0).await;
        for _ in 0..5 {
            world.ask(&Ask::whole()).await;
        }
    };
    tokio::join!(slow, quick);
    assert_eq!((world.wire.count("k1"), world.wire.count("k2")), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn ties_go_to_the_least_recently_used_and_not_to_the_first_of_the_list() {
    let world = World::new(&backend("a", &["k1", "k2", "k3"]));
    for _ in 0..6 {
        world.ask(&Ask::whole()).await;
    }
    assert_eq!(world.wire.order(), ["k1", "k2", "k3", "k1", "k2", "k3"]);
    world.wire.forget();
    world.wire.script("k1", [Answer::broken()]);
    world.ask(&Ask::whole()).await;
    world.ask(&Ask::whole()).await;
    world.ask(&Ask::whole()).await;
    assert_eq!(world.wire.order(), ["k1", "k2", "k3", "k1"], "a failed use is a use as well");
}

#[tokio::test(start_paused = true)]
async fn calls_at_the_same_moment_never_all_pick_the_same_key() {
    let world = World::new(&backend("a", &FIVE));
    for key in FIVE {
        world.wire.always(key, Answer::ok().late(1));
    }
    world.crowd(5, &Ask::whole()).await;
    for key in FIVE {
        assert_eq!(world.wire.count(key), 1, "{key}");
    }
}

/// Polls `work` at most `polls` times, then drops it where it stands.
async fn abandoned<F: Future>(work: F, polls: usize) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// What keys do in the mixed run: mostly well, sometimes every kind of wrong; `limited` in a hundred are rate limited.
fn mixed(seed: u64, limited: u32) -> impl FnMut(&Sent) -> Answer {
    let mut dice = SmallRng::seed_from_u64(seed);
    let kinds = [FaultKind::Connect, FaultKind::Reset, FaultKind::StaleConnection, FaultKind::UploadRefused];
    move |sent| {
        let streams = sent.body.windows(13).any(|part| part == br#""stream":true"#);
        let good = if streams { Answer::streams("one two three").paced(3) } else { Answer::ok().paced(5) };
        let answer = match dice.random_range(0..100) {
            0..70 => good,
            70..75 => Answer::error(400, "invalid_request_error", "max_tokens: required"),
            75..80 => Answer::broken(),
            80..84 => Answer::fails(*kinds.choose(&mut dice).unwrap()),
            84..88 if streams => Answer::raw(delta("cut")).paced(2).breaks(FaultKind::Reset),
            88..92 if streams => Answer::stream().breaks(FaultKind::Truncated),
            kind if kind >= 100 - limited => Answer::limited_for("0.05"),
            _ => good,
        };
        answer.late(dice.random_range(0..20))
    }
}

#[tokio::test(start_paused = true)]
async fn after_ten_thousand_mixed_calls_every_gauge_is_zero_and_shares_are_fair() {
    let world = ten_thousand_mixed_calls(0).await;
    assert_shares(&world, &FIVE.map(|key| (key, 1.0)));
}

#[tokio::test(start_paused = true)]
async fn rate_limits_among_ten_thousand_mixed_calls_leave_no_gauge_behind() {
    // How long each key is parked is luck here, so shares are not compared.
    ten_thousand_mixed_calls(4).await;
}

/// Success, error, abort and stream in bursts of fifty over five equal keys; the pool is idle after each burst.
async fn ten_thousand_mixed_calls(limited: u32) -> World {
    let world = World::new(&backend("a", &FIVE));
    for (seed, key) in FIVE.iter().enumerate() {
        world.wire.on(key, mixed(seed as u64, limited));
    }
    let mut dice = SmallRng::seed_from_u64(11);
    for _ in 0..200 {
        let calls: Vec<(Ask, usize, usize)> = (0..50)
            .map(|_| {
                let ask = if dice.random_bool(0.5) { Ask::stream() } else { Ask::whole() };
                let polls = if dice.random_bool(0.3) { dice.random_range(0..8) } else { usize::MAX };
                (ask, polls, dice.random_range(0..12))
            })
            .collect();
        join_all(calls.into_iter().map(|(ask, polls, chunks)| {
            let world = &world;
            async move {
                if polls == usize::MAX {
                    world.ask(&ask).await;
                } else if let Some(Answered::Reply(mut reply)) = abandoned(world.begin(&ask), polls).await {
                    for _ in 0..chunks {
                        poll_fn(|cx| reply.poll_bytes(cx)).await;
                    }
                }
            }
        }))
        .await;
        world.assert_idle();
    }
    assert!(world.wire.total() > 9_000, "{} requests", world.wire.total());
    world
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_await_point_leaves_nothing_behind() {
    let yaml = backend("a", &["k1", "k2", "k3"]);
    let mut ended = 0;
    for polls in 0..60 {
        let world = World::new(&yaml);
        world.wire.always("k1", Answer::limited_for(1).paced(10).late(10));
        world.wire.always("k2", Answer::fails(FaultKind::Reset).late(10));
        world.wire.script("k3", [Answer::limited_for(2).late(5), Answer::streams("a b c").paced(10).late(5)]);
        match abandoned(world.ask(&Ask::stream()), polls).await {
            Some(told) => {
                assert_eq!(told.status, 200);
                ended += 1;
            }
            None => world.assert_idle(),
        }
        world.assert_idle();
    }
    assert!((1..50).contains(&ended), "the call was dropped at every point: {ended} of 60 ended");
}
