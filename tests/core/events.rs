//! What operators watch: every park, its end, every breaker and failover, told once and in order.

use std::sync::atomic::Ordering::Relaxed;

use headgate::pool::seat::KeyState;
use headgate_providers::FaultKind;
use serde_json::{Value, json};

use crate::support::{Answer, Ask, World, backend, backends};

const PAIR: &[(&str, &[&str])] = &[("a", &["a1", "a2"]), ("b", &["b1", "b2"])];
const ROUTE: &str = "routes: [{ model: '*', targets: [{ backend: a }, { backend: b }] }]\n";

fn told(world: &World) -> Vec<(&'static str, Value)> {
    let news = world.gateway.pool.events().since(0, usize::MAX);
    let shown = |event: &std::sync::Arc<headgate::events::Event>| {
        (event.what.kind(), serde_json::to_value(&event.what).expect("JSON"))
    };
    news.events.iter().map(shown).collect()
}

#[tokio::test(start_paused = true)]
async fn a_park_is_told_with_its_length_and_its_end_by_the_probe() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::limited_for(5)]);
    world.ask(&Ask::whole().now()).await;
    world.pass(10.0).await;
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    let told = told(&world);
    assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["park", "unpark"]);
    let place = json!({ "scope": "group_class", "backend": "a", "group": "k1", "key": "k1" });
    for (_, event) in &told {
        for (name, value) in place.as_object().expect("a place") {
            assert_eq!(&event[name], value);
        }
    }
    assert_eq!(told[0].1["reason"], "rate_limited");
    let length = told[0].1["for_ms"].as_u64().expect("a length");
    assert!((5000..6000).contains(&length), "{length}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_and_the_calls_that_move_are_told() {
    let world = World::new(&(backends(PAIR) + ROUTE));
    for key in ["a1", "a2"] {
        world.wire.always(key, Answer::fails(FaultKind::Connect));
    }
    for _ in 0..5 {
        world.ask(&Ask::whole()).await;
    }
    let told = told(&world);
    let moves: Vec<&Value> =
        told.iter().filter(|(kind, _)| *kind == "failover").map(|(_, what)| what).collect();
    assert_eq!(moves.len(), 5);
    assert!(moves.iter().all(|what| what["from"] == "a" && what["to"] == "b" && what["cause"] == "connect"));
    let breakers: Vec<&Value> =
        told.iter().filter(|(kind, _)| *kind == "breaker").map(|(_, what)| what).collect();
    assert_eq!(
        breakers,
        [&json!({ "backend": "a", "model": null, "state": "open", "cause": "connect", "by": null })]
    );
}

#[tokio::test(start_paused = true)]
async fn a_draining_key_is_told_drained_when_its_last_call_ends() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    let running = world.begin(&Ask::stream()).await;
    let busy = if world.seat("k1").health.in_flight.load(Relaxed) == 1 { "k1" } else { "k2" };
    let health = world.seat(busy).health.clone();
    health.draining.store(true, Relaxed);
    assert_eq!(world.seat(busy).state(world.gateway.clock.now()).0, KeyState::Draining);
    for _ in 0..4 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert_eq!(world.wire.count(busy), 1, "nothing new goes to it");
    assert!(told(&world).is_empty());
    drop(running);
    assert_eq!(
        told(&world),
        [("key", json!({ "key": busy, "backend": "a", "state": "drained", "by": null }))]
    );
    assert_eq!(world.seat(busy).state(world.gateway.clock.now()).0, KeyState::Drained);
}
