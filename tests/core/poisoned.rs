//! A request that every key refuses must not empty the pool.

use crate::support::{Answer, Ask, World, backend};

const FOUR: [&str; 4] = ["k1", "k2", "k3", "k4"];

#[tokio::test(start_paused = true)]
async fn refused_by_every_key_it_parks_exactly_one() {
    for answer in [Answer::refused(), Answer::error(403, "permission_error", "Request not allowed")] {
        let world = World::new(&backend("a", &FOUR));
        for key in FOUR {
            world.wire.always(key, answer.clone());
        }
        let told = world.ask(&Ask::whole()).await;
        assert_eq!((told.status, told.error().0.as_str()), (503, "api_error"));
        assert_eq!(told.retry_after(), Some(0.0), "the other keys can serve at once");
        assert_eq!(world.wire.total(), 4, "each key once");
        assert_eq!(world.refused(&FOUR), ["k1"]);
        assert!(world.now().is_zero(), "no key is waited for only to refuse again");
    }
}

#[tokio::test(start_paused = true)]
async fn answered_by_a_third_key_it_convicts_both_that_refused() {
    let world = World::new(&backend("a", &FOUR));
    world.wire.always("k1", Answer::refused());
    world.wire.always("k2", Answer::refused());
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1", "k2", "k3"]);
    assert_eq!(world.refused(&FOUR), ["k1", "k2"]);
}

#[tokio::test(start_paused = true)]
async fn a_single_refusal_parks_at_once() {
    let world = World::new(&backend("a", &FOUR));
    world.wire.always("k1", Answer::refused());
    world.wire.always("k2", Answer::hangs());
    let waiting = Ask::whole();
    tokio::select! { _ = world.ask(&waiting) => panic!("it hangs"), () = world.at(1.0) => {} }
    assert_eq!(world.refused(&FOUR), ["k1"]);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_key_on_probation_that_refuses_second_may_be_probed_again() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.script("k2", [Answer::refused()]);
    world.ask(&Ask::whole()).await;
    world.ask(&Ask::whole()).await;
    assert_eq!(world.refused(&["k1", "k2"]), ["k2"]);
    world.at(6.0).await;
    for key in ["k1", "k2"] {
        world.wire.script(key, [Answer::refused()]);
    }
    assert_eq!(world.ask(&Ask::whole()).await.status, 503);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200, "one key is left");
    world.assert_idle();
}
