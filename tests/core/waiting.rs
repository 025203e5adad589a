//! Waiting: a call whose patience reaches the un-park waits for it and no longer; any other is told at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use headgate::pool::table::Scope;

use crate::support::{Answer, Ask, World, backend};

/// A world whose only key is limited for this many seconds, asked once.
async fn limited(seconds: u32) -> World {
    limited_with(seconds, "").await
}

async fn limited_with(seconds: u32, yaml: &str) -> World {
    let world = World::new(&(backend("a", &["k1"]) + yaml));
    world.wire.script("k1", [Answer::limited_for(seconds)]);
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 429);
    world.wire.forget();
    world
}

fn unparks(world: &World, key: &str) -> f64 {
    world.parked(key, Scope::GroupClass).expect("parked")
}

#[tokio::test(start_paused = true)]
async fn a_patient_call_succeeds_at_the_moment_of_the_un_park_without_polling() {
    let world = limited(25).await;
    let until = unparks(&world, "k1");
    let polls = Cell::new(0);
    let ask = Ask::whole();
    let mut call = pin!(world.ask(&ask));
    let told = poll_fn(|cx| {
        polls.set(polls.get() + 1);
        call.as_mut().poll(cx)
    })
    .await;
    assert_eq!(told.status, 200);
    let late = world.now().as_secs_f64() - until;
    assert!((0.0..0.005).contains(&late), "{late} s after the un-park");
    assert!(polls.get() <= 3, "{} polls", polls.get());
    assert_eq!(
        told.headers.get("x-headgate-queue-ms").unwrap(),
        ((until * 1000.0).ceil() as u64).to_string()
    );
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_key_that_frees_first() {
    let world = World::new(&backend("a", &["k1", "k2", "k3"]));
    for (key, seconds) in [("k1", 20), ("k2", 5), ("k3", 10)] {
        world.wire.script(key, [Answer::limited_for(seconds)]);
    }
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k2", "k3", "k2"]);
    assert_eq!(world.now().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_call_is_told_at_once_when_to_come_back() {
    let world = limited(60).await;
    for at in [0.0, 20.0, 29.5] {
        world.at(at).await;
        let told = world.ask(&Ask::whole()).await;
        assert_eq!((told.status, told.error().0.as_str()), (429, "rate_limit_error"));
        assert_eq!(world.now().as_secs_f64(), at, "at once");
        let retry_after = told.retry_after().unwrap();
        assert!((retry_after - (unparks(&world, "k1") - at)).abs() < 0.001, "remaining, not original");
        assert!(told.error().1.contains(&format!("{} seconds", retry_after.ceil())), "{:?}", told.error());
    }
    assert_eq!(world.wire.total(), 0);
    world.at(35.0).await;
    assert_eq!(world.ask(&Ask::whole()).await.status, 200, "now it is within 30 s");
}

#[tokio::test(start_paused = true)]
async fn the_time_told_is_that_of_the_key_that_frees_first_and_is_not_cut_here() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::limited_for(4_000));
    world.wire.always("k2", Answer::limited_for(3_600));
    let told = world.ask(&Ask::whole()).await;
    assert_eq!(told.status, 429);
    let retry_after = told.retry_after().unwrap();
    assert!((3_600.0..3_601.0).contains(&retry_after), "{retry_after}");
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_timeout_less_two_seconds_bounds_its_patience() {
    for (timeout, park, status) in [("12", 10, 429), ("13", 10, 200), ("600", 29, 200), ("600", 31, 429)] {
        let world = limited(park).await;
        let told = world.ask(&Ask::whole().timeout(timeout)).await;
        assert_eq!(told.status, status, "timeout {timeout}, parked for {park}");
        if status == 429 {
            assert!(world.now().is_zero(), "told at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_a_setting_and_zero_waits_for_nothing() {
    let world = limited_with(2, "relay: { max_wait_ms: 0 }\n").await;
    assert_eq!(world.ask(&Ask::whole()).await.status, 429);
    assert!(world.now().is_zero());
    let world = limited_with(50, "relay: { max_wait_ms: 60000 }\n").await;
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_calls() {
    let world = limited_with(10, "queue: { max_waiting: 3 }\n").await;
    let told = world.crowd(10, &Ask::whole()).await;
    let served = told.iter().filter(|told| told.status == 200).count();
    assert_eq!(served, 3);
    for refused in told.iter().filter(|told| told.status != 200) {
        assert_eq!((refused.status, refused.retry_after()), (429, Some(1.0)));
        assert_eq!(refused.began.as_micros(), 0, "refused at once");
    }
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_bytes() {
    let world = limited_with(10, "queue: { max_waiting_bytes: 5000 }\n").await;
    let told = world.crowd(5, &Ask { padding: 2_000, ..Ask::whole() }).await;
    assert_eq!(told.iter().filter(|told| told.status == 200).count(), 2);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_caller_leaves_is_gone_and_asks_nobody() {
    let world = limited(10).await;
    let ask = Ask::whole();
    tokio::select! { _ = world.ask(&ask) => panic!("it waits"), () = world.at(5.0) => {} }
    world.assert_idle();
    world.at(60.0).await;
    assert_eq!(world.wire.total(), 0);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200, "its probe is nobody's");
}

#[tokio::test(start_paused = true)]
async fn an_operators_un_park_lets_waiters_go_at_once() {
    let world = limited(25).await;
    let unpark = async {
        world.at(3.0).await;
        world.seat("k1").group.class("claude-sonnet-4").clear();
        world.gateway.pool.changed();
    };
    let ask = Ask::whole();
    let (told, ()) = tokio::join!(world.crowd(20, &ask), unpark);
    assert!(told.iter().all(|told| told.status == 200 && told.ended.as_micros() == 3_000_000));
    let world = limited(600).await;
    world.seat("k1").group.class("claude-sonnet-4").clear();
    assert_eq!(world.ask(&Ask::whole()).await.status, 200, "the next request goes");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_leaves_the_key_leaves_its_park() {
    let world = limited(20).await;
    world.gateway.reload(crate::support::settings(&backend("a", &["k1"])));
    let told = world.ask(&Ask::whole().now()).await;
    assert_eq!((told.status, world.wire.total()), (429, 0));
    world.gateway.reload(crate::support::settings(&backend("a", &["k1", "k2"])));
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 200);
    assert_eq!(world.wire.order(), ["k2"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_only_key_is_switched_off_is_told() {
    let world = limited(20).await;
    let off = async {
        world.at(3.0).await;
        world.seat("k1").health.disabled.store(true, Relaxed);
        world.gateway.pool.changed();
    };
    let ask = Ask::whole();
    let (told, ()) = tokio::join!(world.ask(&ask), off);
    assert_eq!((told.status, told.ended.as_micros()), (503, 3_000_000));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_patience_though_a_probe_is_still_under_way() {
    let world = limited(5).await;
    world.wire.always("k1", Answer::hangs());
    let told = world.crowd(4, &Ask::whole()).await;
    let mut statuses: Vec<(u16, u64)> =
        told.iter().map(|told| (told.status, told.ended.as_micros() / 1_000_000)).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [(429, 30), (429, 30), (429, 30), (504, 605)]);
    for waited in told.iter().filter(|told| told.status == 429) {
        assert_eq!(waited.retry_after(), Some(0.0), "said as 1 s");
    }
    assert_eq!(world.wire.total(), 1);
    world.assert_idle();
}
