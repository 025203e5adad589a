//! What a park covers: a model class, a group, a key with a model, a model that is not there.

use headgate::pool::table::Scope;

use crate::support::{Answer, Ask, World, backend, backends, key_groups};

const DAY: f64 = 86_400.0;

fn haiku() -> Ask {
    Ask::of("claude-haiku-4-5")
}

#[tokio::test(start_paused = true)]
async fn a_429_for_one_model_leaves_the_others_usable() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::limited_for(60)]);
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 429);
    assert_eq!(world.ask(&haiku().now()).await.status, 200);
    assert_eq!(world.ask(&Ask::of("claude-sonnet-5").now()).await.status, 200, "another major version");
    assert_eq!(world.ask(&Ask::of("claude-sonnet-4-6").now()).await.status, 429, "the same class");
    assert_eq!(world.wire.total(), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_group_are_limited_together_and_tried_once() {
    let world = World::new(&key_groups(&[("one", &["k1", "k2", "k3"]), ("two", &["k4"])]));
    for key in ["k1", "k2", "k3"] {
        world.wire.always(key, Answer::limited_for(60));
    }
    for _ in 0..10 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    let one = ["k1", "k2", "k3"].map(|key| world.wire.count(key)).iter().sum::<usize>();
    assert_eq!((one, world.wire.count("k4")), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn a_spend_limit_rests_the_group_for_every_model_until_the_first_of_next_month() {
    let spend = "You have reached your specified API usage limits. Please contact sales.";
    for (status, error_type) in [(400, "invalid_request_error"), (429, "rate_limit_error")] {
        let world = World::new(&key_groups(&[("one", &["k1", "k2"]), ("two", &["k3"])]));
        world.wire.always("k1", Answer::error(status, error_type, spend));
        world.wire.always("k2", Answer::error(status, error_type, spend));
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        assert_eq!(world.ask(&haiku()).await.status, 200);
        assert_eq!(world.wire.order(), ["k1", "k3", "k3"]);
        // From 17 March, 12:00, to 1 April, 00:00.
        let until = world.parked("k2", Scope::Group).expect("the group is parked");
        let whole = 14.5 * DAY;
        assert!(until > whole && until <= whole + 1.0, "{until}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spend_limit_that_names_its_date_is_believed() {
    let world = World::new(&backend("a", &["k1"]));
    let spend = "You have reached your specified API usage limits. You will regain access on 2026-03-20 at 00:00 UTC.";
    world.wire.always("k1", Answer::error(400, "invalid_request_error", spend));
    world.ask(&Ask::whole()).await;
    let until = world.parked("k1", Scope::Group).unwrap();
    assert!(until > 2.5 * DAY && until <= 2.5 * DAY + 1.0, "{until}");
}

#[tokio::test(start_paused = true)]
async fn a_cap_on_quota_dates_holds() {
    let world = World::new(&(backend("a", &["k1"]) + "park: { quota_max_ms: 3600000 }\n"));
    let spend = "You have reached your specified API usage limits.";
    world.wire.always("k1", Answer::error(400, "invalid_request_error", spend));
    world.ask(&Ask::whole()).await;
    let until = world.parked("k1", Scope::Group).unwrap();
    assert!((3600.0..3601.0).contains(&until), "{until}");
}

#[tokio::test(start_paused = true)]
async fn exhausted_credit_rests_the_group_in_whatever_status_it_comes() {
    let credit = "Your credit balance is too low to access the Anthropic API.";
    for answer in [
        Answer::error(400, "invalid_request_error", credit),
        Answer::error(402, "billing_error", "Payment required"),
        Answer::error(403, "permission_error", "This organization has been disabled."),
    ] {
        let world = World::new(&key_groups(&[("one", &["k1", "k2"]), ("two", &["k3"])]));
        world.wire.always("k1", answer.clone());
        world.wire.always("k2", answer);
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        assert_eq!(world.wire.order(), ["k1", "k3"]);
        assert!(world.parked("k2", Scope::Group).is_some());
        assert_eq!(world.refused(&["k1", "k2", "k3"]), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_not_use_one_model_serves_the_others() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    let forbidden = "Your API key does not have permission to use model claude-sonnet-4-5.";
    world.wire.on("k1", move |sent| {
        let sonnet = sent.body.windows(6).any(|part| part == b"sonnet");
        if sonnet { Answer::error(403, "permission_error", forbidden) } else { Answer::ok() }
    });
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert!(world.parked("k1", Scope::KeyClass).is_some() && world.parked("k1", Scope::Key).is_none());
    world.wire.forget();
    for _ in 0..4 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        assert_eq!(world.ask(&haiku()).await.status, 200);
    }
    assert!(world.wire.count("k1") >= 2, "haiku goes there: {:?}", world.wire.order());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_do_nothing_is_parked_for_every_model() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::error(403, "permission_error", "Request not allowed"));
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    for _ in 0..4 {
        assert_eq!(world.ask(&haiku()).await.status, 200);
    }
    assert_eq!(world.wire.count("k1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_the_model_is_left_out_of_it_for_ten_minutes() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.on("k1", |sent| {
        let sonnet = sent.body.windows(6).any(|part| part == b"sonnet");
        if sonnet { Answer::no_such_model() } else { Answer::ok() }
    });
    for _ in 0..10 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
        assert_eq!(world.ask(&haiku()).await.status, 200);
    }
    let sonnets = world
        .wire
        .sent()
        .iter()
        .filter(|it| it.key == "k1" && it.body.starts_with(br#"{"model":"claude-s"#))
        .count();
    assert_eq!(sonnets, 1, "{:?}", world.wire.order());
    assert!(world.wire.count("k1") > 4, "haiku still goes there");
    world.wire.forget();
    world.at(901.0).await;
    world.ask(&Ask::whole()).await;
    world.ask(&Ask::whole()).await;
    assert_eq!(world.wire.count("k1"), 1, "asked again after the rest");
}

#[tokio::test(start_paused = true)]
async fn the_last_place_with_a_model_is_never_put_aside() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.always("k1", Answer::no_such_model());
    world.wire.always("k2", Answer::no_such_model());
    let told = world.ask(&Ask::whole()).await;
    assert_eq!((told.status, told.error().0.as_str()), (404, "not_found_error"));
    world.wire.forget();
    for _ in 0..3 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 404);
    }
    assert_eq!(world.wire.total(), 3, "the last one is asked every time");
    world.wire.heal("k1");
    world.wire.heal("k2");
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn another_404_is_the_callers_and_parks_nothing() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::error(404, "not_found_error", "File not found: file_1"));
    let told = world.ask(&Ask::whole()).await;
    assert_eq!(told.status, 404);
    assert_eq!(world.wire.total(), 1);
    for scope in [Scope::Key, Scope::KeyClass, Scope::Group, Scope::GroupClass] {
        assert_eq!(world.parked("k1", scope), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overload_rests_the_group_for_about_a_second_for_that_model() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.script("k1", [Answer::overloaded()]);
    world.ask(&Ask::whole().now()).await;
    let until = world.parked("k1", Scope::GroupClass).unwrap();
    assert!((1.0..=1.5).contains(&until), "{until}");
    assert_eq!(world.ask(&haiku().now()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_callers_fault_never_moves_a_park() {
    let world = World::new(&backend("a", &["k1"]));
    for status in [400, 413, 422] {
        world.wire.always("k1", Answer::error(status, "invalid_request_error", "messages: at least one"));
        for _ in 0..50 {
            assert_eq!(world.ask(&Ask::whole()).await.status, status);
        }
    }
    world.wire.heal("k1");
    assert_eq!(world.ask(&Ask::whole().now()).await.status, 200);
}
