//! The loop: how often, in which order, and where it stops.

use headgate::call::Fallback;
use headgate::pool::table::Scope;
use headgate_providers::FaultKind;

use crate::support::{Answer, Ask, World, backend, backends, key_groups};

const SCOPES: [Scope; 4] = [Scope::Key, Scope::KeyClass, Scope::Group, Scope::GroupClass];

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("k{number}")).collect()
}

/// Backends `b1`, `b2`, ... with one key each, `k1`, `k2`, ...
fn one_key_each(count: usize) -> World {
    let keys = names(count);
    let named: Vec<(String, [&str; 1])> =
        keys.iter().map(|key| (key.replace('k', "b"), [key.as_str()])).collect();
    let list: Vec<(&str, &[&str])> = named.iter().map(|(name, keys)| (name.as_str(), &keys[..])).collect();
    World::new(&backends(&list))
}

#[tokio::test(start_paused = true)]
async fn failures_of_backends_are_bounded_by_max_attempts() {
    for answer in [Answer::broken(), Answer::overloaded(), Answer::fails(FaultKind::Connect)] {
        let world = one_key_each(10);
        for key in names(10) {
            world.wire.always(&key, answer.clone());
        }
        let told = world.ask(&Ask::whole()).await;
        assert!(told.status >= 500);
        assert_eq!(world.wire.total(), 6);
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_keys_are_bounded_by_max_key_attempts() {
    for (answer, status) in [(Answer::refused(), 503), (Answer::limited_for(3_000), 429)] {
        let keys = names(30);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let world = World::new(&backend("a", &keys));
        for key in &keys {
            world.wire.always(key, answer.clone());
        }
        let told = world.ask(&Ask::whole()).await;
        assert_eq!((told.status, world.wire.total()), (status, 16));
        assert_eq!(told.retry_after(), Some(0.0), "the keys that were not reached can serve at once");
    }
}

#[tokio::test(start_paused = true)]
async fn both_bounds_are_settings() {
    let bounds = "relay: { max_attempts: 2, max_key_attempts: 3 }\n";
    let keys = ["k1", "k2", "k3", "k4", "k5"];
    for (answer, attempts) in [(Answer::broken(), 2), (Answer::refused(), 3)] {
        let world = World::new(&(backend("a", &keys) + bounds));
        for key in keys {
            world.wire.always(key, answer.clone());
        }
        world.ask(&Ask::whole()).await;
        assert_eq!(world.wire.total(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_is_tried_twice_for_a_backends_failure() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::broken());
    world.wire.always("k2", Answer::broken());
    assert_eq!(world.ask(&Ask::whole()).await.status, 500);
    assert_eq!(world.wire.order(), ["k1", "k2"]);
    assert!(world.now().is_zero());
}

#[tokio::test(start_paused = true)]
async fn after_a_backends_failure_another_backend_comes_first() {
    for answer in [Answer::broken(), Answer::fails(FaultKind::Connect), Answer::fails(FaultKind::Reset)] {
        let world = World::new(&backends(&[("a", &["k1", "k2", "k3"]), ("b", &["k4"])]));
        world.wire.always("k1", answer.clone());
        world.wire.always("k4", answer);
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        assert_eq!(world.wire.order(), ["k1", "k4", "k2"], "then the first one's other keys");
        for key in ["k1", "k4"] {
            assert!(SCOPES.iter().all(|&scope| world.parked(key, scope).is_none()), "no key is to blame");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_overload_another_group_comes_first_and_then_another_backend() {
    let world = World::new(&backends(&[("a", &["k1", "k2", "k3"]), ("b", &["k4"])]));
    for key in ["k1", "k2", "k3"] {
        world.wire.always(key, Answer::overloaded());
    }
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k2", "k4"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_rate_limit_another_group_of_the_same_tier_comes_first() {
    let routes = "routes: [{ model: '*', targets: [{ backend: a }, { backend: b }] }]\n";
    let world = World::new(&(backends(&[("a", &["k1", "k2"]), ("b", &["k3"])]) + routes));
    world.wire.always("k1", Answer::limited_for(60));
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k2"]);
}

/// Backend `a` with `k1` and `k2` in the first tier, `b` with `k3` in the second.
fn two_tiers(spill_after_ms: u32) -> World {
    let routes = format!(
        "routes: [{{ model: '*', spill_after_ms: {spill_after_ms}, targets: [{{ backend: a }}, {{ backend: b }}] }}]\n"
    );
    World::new(&(backends(&[("a", &["k1", "k2"]), ("b", &["k3"])]) + &routes))
}

#[tokio::test(start_paused = true)]
async fn the_first_tier_serves_while_it_can() {
    let world = two_tiers(1_000);
    world.wire.always("k1", Answer::limited_for(600));
    for key in ["k2", "k3"] {
        world.wire.always(key, Answer::ok().late(1_000));
    }
    assert!(world.crowd(50, &Ask::whole()).await.iter().all(|told| told.status == 200));
    assert_eq!(world.wire.count("k3"), 0, "a busy tier is still a tier");
    world.wire.always("k2", Answer::broken());
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    let sent = world.wire.sent();
    let last: Vec<&str> = sent.iter().rev().take(2).map(|sent| sent.backend.as_str()).collect();
    assert_eq!(last, ["b", "a"], "a backend's failure moves on to the next");
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_short_for_a_moment_is_waited_for() {
    for (limited_ms, spill_ms, served_by) in
        [(300, 1_000, "k1"), (900, 500, "k3"), (300, 0, "k3"), (2_000, 1_000, "k3"), (2_000, 5_000, "k1")]
    {
        let world = two_tiers(spill_ms);
        for key in ["k1", "k2"] {
            world.wire.script(key, [Answer::limited().with("retry-after-ms", &limited_ms.to_string())]);
        }
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        let last = world.wire.order().pop().unwrap();
        let first_tier = last != "k3";
        assert_eq!(first_tier, served_by == "k1", "limited for {limited_ms}, spills after {spill_ms}");
        if !first_tier {
            assert!(world.now().is_zero(), "what cannot free in time is not waited for");
        }
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_whose_backend_just_failed_is_not_waited_for() {
    let world = two_tiers(1_000);
    world.wire.script("k1", [Answer::limited().with("retry-after-ms", "300"), Answer::broken()]);
    world.wire.script("k2", [Answer::broken()]);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k2", "k3"]);
    assert!(world.now().is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_tier_whose_probe_is_under_way_is_waited_for_no_longer_than_the_spill() {
    let world = two_tiers(1_000);
    for key in ["k1", "k2"] {
        world.wire.script(key, [Answer::limited_for(5), Answer::ok().late(9_000)]);
    }
    let ask = Ask { fallback: Fallback::FirstTier, ..Ask::whole() }.now();
    tokio::join!(world.ask(&ask), world.ask(&ask));
    world.at(6.0).await;
    let told = world.crowd(3, &Ask::whole()).await;
    assert!(told.iter().all(|told| told.status == 200));
    let spilled = world.wire.times("k3");
    assert_eq!(spilled.len(), 1, "two probe, one spills: {:?}", world.wire.order());
    assert!((spilled[0].as_secs_f64() - 7.0).abs() < 0.01, "{spilled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_keep_its_call_on_the_first_tier() {
    let world = two_tiers(1_000);
    for key in ["k1", "k2"] {
        world.wire.always(key, Answer::broken());
    }
    let ask = Ask { fallback: Fallback::FirstTier, ..Ask::whole() };
    assert_eq!(world.ask(&ask).await.status, 500);
    assert_eq!(world.wire.order(), ["k1", "k2"]);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_tried_again_on_a_fresh_one_with_the_same_key() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.script("k1", [Answer::fails(FaultKind::StaleConnection)]);
    let told = world.ask(&Ask::whole()).await;
    assert_eq!(told.status, 200);
    assert_eq!(told.headers.get("x-headgate-attempts"), Some("1"), "it is one attempt");
    let sent: Vec<(String, bool)> = world.wire.sent().into_iter().map(|it| (it.key, it.fresh)).collect();
    assert_eq!(sent, [("k1".to_owned(), false), ("k1".to_owned(), true)]);
    assert!(SCOPES.iter().all(|&scope| world.parked("k1", scope).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_connection_that_fails_as_well_ends_the_attempt() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    let stale = || Answer::fails(FaultKind::StaleConnection);
    world.wire.script("k1", [stale(), stale()]);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k1", "k2"]);
    assert!(SCOPES.iter().all(|&scope| world.parked("k1", scope).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_sent_elsewhere_once() {
    let world = World::new(&backend("a", &["k1", "k2", "k3"]));
    world.wire.always("k1", Answer::fails(FaultKind::UploadRefused));
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    world.wire.forget();
    for key in ["k1", "k2", "k3"] {
        world.wire.always(key, Answer::fails(FaultKind::UploadRefused));
    }
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, told.error().0.as_str()), (502, "api_error"));
    assert_eq!(world.wire.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_never_moved_is_the_callers_own_fault_and_blames_nobody() {
    let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.always("k1", Answer::error(400, "invalid_request_error", message));
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, told.error().1.as_str()), (400, message));
    assert_eq!(world.wire.total(), 1, "no other key is asked");
    assert!(SCOPES.iter().all(|&scope| world.parked("k1", scope).is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_callers_fault_is_told_at_once() {
    let world = World::new(&backends(&[("a", &["k1", "k2"]), ("b", &["k3"])]));
    world.wire.always("k1", Answer::error(400, "invalid_request_error", "max_tokens: required"));
    assert_eq!(world.ask(&Ask::whole()).await.status, 400);
    assert_eq!(world.wire.order(), ["k1"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_met_many_faults_still_finds_the_key_that_is_left() {
    let world =
        World::new(&(key_groups(&[("one", &["k1", "k2"]), ("two", &["k3"]), ("three", &["k4", "k5"])])));
    world.wire.always("k1", Answer::limited_for(600));
    world.wire.always("k3", Answer::refused());
    world.wire.always("k4", Answer::broken());
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k3", "k4", "k5"]);
    world.assert_idle();
}
