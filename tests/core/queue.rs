//! The queue: who came first goes first, and what frees up wakes as many as it serves.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use headgate::pool::table::Scope;

use crate::support::{Answer, Ask, Told, World, backend, backends};

/// Runs so many calls; how often they were polled in all.
async fn counted(world: &World, callers: usize, ask: &Ask) -> (Vec<Told>, usize) {
    let polls = Cell::new(0);
    let calls = (0..callers).map(|_| async {
        let mut call = pin!(world.ask(ask));
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            call.as_mut().poll(cx)
        })
        .await
    });
    let told = FuturesUnordered::from_iter(calls).collect().await;
    (told, polls.get())
}

/// A key that is limited for two seconds this many times, and once it was asked.
async fn limited(times: usize, yaml: &str) -> World {
    let world = World::new(&(backend("a", &["k1"]) + yaml));
    world.wire.script("k1", (0..times).map(|_| Answer::limited_for(2)));
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 429);
    world
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_its_probes_does_not_wake_all_who_wait() {
    let world = limited(6, "queue: { max_waiting: 5000 }\n").await;
    let (told, polls) = counted(&world, 5_000, &Ask::whole()).await;
    assert!(told.iter().all(|told| told.status == 200));
    assert!(polls <= 15_500, "{polls} polls: when it comes, when it may go, and hardly more");
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn who_came_first_goes_first_and_nobody_slips_in_between() {
    let world = limited(4, "").await;
    let order = RefCell::new(Vec::new());
    let call = |number: u32| {
        let (world, order) = (&world, &order);
        async move {
            world.pass(f64::from(number) * 0.1).await;
            assert_eq!(world.ask(&Ask::whole()).await.status, 200);
            order.borrow_mut().push(number);
        }
    };
    join_all((0..60).map(call)).await;
    let first: Vec<u32> = order.borrow().iter().copied().take(10).collect();
    assert_eq!(first, (0..10).collect::<Vec<u32>>());
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn calls_that_met_the_same_limit_at_once_wait_for_it_all_of_them() {
    for answer in [Answer::limited_for(2), Answer::limited()] {
        let world = World::new(&backend("a", &["k1"]));
        let mut failures = vec![answer.late(100); 20];
        world.wire.on("k1", move |_| failures.pop().unwrap_or_else(Answer::ok));
        let told = world.crowd(20, &Ask::whole()).await;
        assert!(
            told.iter().all(|told| told.status == 200),
            "{:?}",
            told.iter().map(|it| it.status).collect::<Vec<_>>()
        );
        assert_eq!(world.parked("k1", Scope::GroupClass), None);
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_as_it_is_woken_passes_its_turn_on() {
    let world = limited(1, "").await;
    let until = world.parked("k1", Scope::GroupClass).expect("parked");
    let ask = Ask::whole();
    let leaving = async {
        tokio::select! { biased; () = world.at(until) => {}, _ = world.ask(&ask) => panic!("it waits until then") }
    };
    let (told, ()) = tokio::join!(world.crowd(20, &ask), leaving);
    assert!(told.iter().all(|told| told.status == 200));
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_hasty_waiter_behind_a_patient_one_is_told_as_soon_as_its_wait_is_in_vain() {
    let world = limited(1, "").await;
    world.wire.script("k1", [Answer::limited_for(20)]);
    let hasty = async {
        world.at(0.5).await;
        world.ask(&Ask::whole().timeout("12")).await
    };
    let patient = Ask::whole();
    let (patient, hasty, _) = tokio::join!(world.ask(&patient), hasty, world.ask(&patient));
    assert_eq!((patient.status, hasty.status), (200, 429));
    assert!(hasty.ended.as_micros() < 3_000_000, "{:?}", hasty.ended);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn each_of_many_waiters_spills_to_the_next_tier_at_its_own_time() {
    let routes =
        "routes:\n  - { model: '*', spill_after_ms: 1000, targets: [ { backend: a }, { backend: b } ] }\n";
    let world = World::new(&(backends(&[("a", &["k1"]), ("b", &["k2"])]) + routes));
    world.wire.script("k1", [Answer::limited_for(1.2)]);
    let call = |number: u32| {
        let world = &world;
        async move {
            world.pass(f64::from(number) * 0.1).await;
            let begun = world.now();
            let told = world.ask(&Ask::whole()).await;
            (told.status, (world.now() - begun).as_millis())
        }
    };
    for (status, waited) in join_all((0..5).map(call)).await {
        assert!(status == 200 && waited <= 1_700, "{status} after {waited} ms");
    }
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_probe_sleeps_though_the_other_key_frees_up_too_late() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.script("k1", [Answer::limited_for(2), Answer::hangs()]);
    world.wire.always("k2", Answer::limited_for(600));
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 429);
    let (told, polls) = counted(&world, 4, &Ask::whole().timeout("20")).await;
    let waited = told.iter().filter(|told| told.status == 429 && told.ended.as_micros() / 1_000_000 == 18);
    assert_eq!((waited.count(), polls < 40), (3, true), "{polls} polls");
    world.assert_idle();
}
