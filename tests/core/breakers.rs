//! Circuit breakers as callers and upstreams see them, on virtual time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use headgate_providers::FaultKind;

use crate::support::{Answer, Answered, Ask, World, backend, backends};

/// Two backends with two keys each; calls prefer neither.
const PAIR: &[(&str, &[&str])] = &[("a", &["a1", "a2"]), ("b", &["b1", "b2"])];
/// The same with `a` first.
const ROUTE: &str = "routes: [{ model: '*', targets: [{ backend: a }, { backend: b }] }]\n";

fn routed() -> World {
    World::new(&(backends(PAIR) + ROUTE))
}

fn dead() -> Vec<Answer> {
    vec![
        Answer::fails(FaultKind::Connect),
        Answer::error(500, "api_error", "boom"),
        Answer::fails(FaultKind::Reset),
    ]
}

fn of(world: &World, key: &str) -> usize {
    world.wire.count(&format!("{key}1")) + world.wire.count(&format!("{key}2"))
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_is_left_alone_within_five_calls_and_no_caller_knows() {
    for death in dead() {
        let world = routed();
        world.wire.always("a1", death.clone());
        world.wire.always("a2", death);
        for call in 1..=50 {
            assert_eq!(world.ask(&Ask::whole()).await.status, 200, "call {call}");
            assert!(of(&world, "a") <= 5, "call {call} asked the dead backend once more");
        }
        assert_eq!(of(&world, "a"), 5);
        world.assert_idle();
    }
}

/// A key that fails at once is the least busy one: without this it would draw every call.
#[tokio::test(start_paused = true)]
async fn a_key_that_alone_fails_is_asked_last_and_once_a_period_until_it_is_back() {
    let world = World::new(&backends(&PAIR[..1]));
    world.wire.always("a1", Answer::error(500, "api_error", "boom"));
    let calls = async |seconds: f64, of: &str| {
        tokio::time::advance(Duration::from_secs_f64(seconds)).await;
        for call in 1..=40 {
            assert_eq!(world.ask(&Ask::whole()).await.status, 200, "{of}, call {call}");
        }
        world.wire.count("a1")
    };
    assert_eq!(calls(0.0, "the first period").await, 5);
    assert_eq!(calls(11.1, "one call finds out").await, 6);
    assert_eq!(calls(11.1, "twice as long").await, 6);
    world.wire.always("a1", Answer::ok());
    assert!(calls(11.1, "it is back").await > 20);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_finds_out_whether_it_is_back() {
    let world = routed();
    for key in ["a1", "a2"] {
        world.wire.always(key, Answer::fails(FaultKind::Connect));
    }
    for _ in 0..5 {
        world.ask(&Ask::whole()).await;
    }
    // Open 10 s, jittered by up to a tenth, then doubled.
    for (open, asked) in [(11.1, 6), (22.1, 7)] {
        world.pass(open).await;
        let told = world.crowd(20, &Ask::whole()).await;
        assert!(told.iter().all(|told| told.status == 200));
        assert_eq!(of(&world, "a"), asked, "one probe, whoever else calls");
    }
    world.wire.heal("a1");
    world.wire.heal("a2");
    world.pass(44.1).await;
    for _ in 0..10 {
        world.ask(&Ask::whole()).await;
    }
    assert_eq!(of(&world, "a"), 17, "closed by one success");
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_aborted_or_panics_frees_its_place() {
    for panics in [false, true] {
        let world = routed();
        for key in ["a1", "a2"] {
            world.wire.always(key, Answer::fails(FaultKind::Connect));
        }
        for _ in 0..5 {
            world.ask(&Ask::whole()).await;
        }
        world.pass(11.1).await;
        let hangs = |key: &str| world.wire.always(key, Answer::hangs());
        ["a1", "a2"].into_iter().for_each(hangs);
        let ask = Ask::whole();
        let mut probe = Box::pin(world.begin(&ask));
        assert!(poll_fn(|cx| Poll::Ready(probe.as_mut().poll(cx).is_pending())).await);
        assert_eq!(of(&world, "a"), 6, "the probe is under way");
        if panics {
            let held = Rc::new(RefCell::new(Some(probe)));
            let unwinds = std::panic::AssertUnwindSafe(async {
                let _held = held.borrow_mut().take();
                panic!("while a probe is held");
            });
            assert!(unwinds.catch_unwind().await.is_err());
        } else {
            drop(probe);
        }
        for key in ["a1", "a2"] {
            world.wire.heal(key);
        }
        for _ in 0..3 {
            assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        }
        assert_eq!(of(&world, "a"), 9, "the next call may probe at once");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_bad_requests_and_aborts_move_nothing() {
    let world = World::new(&backend("a", &["a1", "a2"]));
    for key in ["a1", "a2"] {
        world.wire.always(key, Answer::error(400, "invalid_request_error", "max_tokens: required"));
    }
    for _ in 0..5_000 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 400);
    }
    for key in ["a1", "a2"] {
        world.wire.always(key, Answer::hangs());
    }
    for call in 0..5_000 {
        let ask = if call % 2 == 0 { Ask::whole() } else { Ask::stream() };
        let left = tokio::time::timeout(Duration::from_millis(10), world.begin(&ask)).await;
        assert!(left.is_err(), "it was left");
    }
    for key in ["a1", "a2"] {
        world.wire.heal(key);
    }
    assert_eq!(world.wire.total(), 10_000, "one attempt each");
    for _ in 0..2 {
        assert!(matches!(world.begin(&Ask::whole()).await, Answered::Reply(_)));
    }
    assert_eq!(
        (world.wire.count("a1"), world.wire.count("a2")),
        (5_001, 5_001),
        "equal shares, nothing parked"
    );
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn an_idle_gateway_sends_nothing_upstream() {
    let world = routed();
    for key in ["a1", "a2"] {
        world.wire.always(key, Answer::fails(FaultKind::Connect));
        world.wire.always(&key.replace('a', "b"), Answer::limited_for(30));
    }
    for _ in 0..6 {
        world.ask(&Ask::whole().now()).await;
    }
    world.wire.forget();
    world.pass(600.0).await;
    assert_eq!(world.wire.total(), 0, "with breakers open and parks running out");
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_all_backends_does_not_multiply_load_and_ends_without_a_herd() {
    const CALLERS: usize = 200;
    let world = World::new(&backends(PAIR));
    let all = ["a1", "a2", "b1", "b2"];
    for key in all {
        world.wire.always(key, Answer::error(500, "api_error", "boom").late(20));
    }
    // Ten seconds of 200 callers a second.
    let mut calls = 0;
    for _ in 0..10 {
        let told = world.crowd(CALLERS, &Ask::whole().now()).await;
        calls += CALLERS;
        for told in &told {
            // Who was tried ends as upstream answered; who could not be is told that all are failing, and when to come again.
            let (error, _) = told.error();
            assert!(
                matches!((told.status, error.as_str()), (500 | 503, "api_error")),
                "{} {error}",
                told.status
            );
            assert_eq!(told.retry_after().is_some(), told.status == 503, "{told:?}");
        }
        world.pass(1.0).await;
    }
    let allowed = calls + calls / 5 + 10 * 11;
    assert!(world.wire.total() <= allowed, "{} attempts for {calls} calls", world.wire.total());
    let first = world.wire.total();
    assert!(first < 2 * CALLERS, "breakers keep calls away: {first}");

    // Back: one probe a breaker, then everything.
    for key in all {
        world.wire.always(key, Answer::ok().late(20));
    }
    world.pass(30.0).await;
    world.wire.forget();
    let ask = Ask::whole();
    let (told, most) = tokio::join!(world.crowd(CALLERS, &ask), async {
        world.pass(0.01).await;
        world.wire.total()
    });
    assert!(most <= 2, "{most} probes at the same time");
    assert!(told.iter().all(|told| told.status == 200), "all who were patient are served");
    assert_eq!(world.wire.total(), CALLERS);
    world.assert_idle();
}
