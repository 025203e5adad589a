//! Keys whose credentials end: refused ones are refreshed once, missing ones let another key serve.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::checked;
use headgate::credentials::Credentials;
use headgate::credentials::source::{Fetch, Fetching};
use headgate::credentials::state::{Again, At, Fresh, Refusal};
use headgate::gateway::Gateway;
use headgate::pool::table::Scope;
use headgate_providers::{Credential, Secret};

use crate::support::{Answer, Ask, Wire, World, backend, settings};

/// Makes the tokens `NAME-1`, `NAME-2`, ... of a key, but for those that are to fail.
#[derive(Clone, Default)]
struct Mint(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    asked: HashMap<String, usize>,
    down: Vec<String>,
}

struct Press(Mint, String);

impl Fetch for Press {
    fn fetch(&self, _: At) -> Fetching<'_> {
        let mut book = self.0.0.lock().unwrap();
        let down = book.down.contains(&self.1);
        let asked = book.asked.entry(self.1.clone()).or_default();
        *asked += 1;
        let token = format!("{}-{asked}", self.1);
        Box::pin(async move {
            if down {
                return Err(Refusal::new(Again::Later, "down"));
            }
            let credential = Credential::ApiKey(Secret::new(token));
            Ok(Fresh { credential, lines: Vec::new(), lifetime: Some(Duration::from_secs(3600)) })
        })
    }
}

impl Mint {
    fn asked(&self, key: &str) -> usize {
        self.0.lock().unwrap().asked.get(key).copied().unwrap_or_default()
    }

    fn down(&self, keys: &[&str]) {
        self.0.lock().unwrap().down = keys.iter().map(|key| (*key).to_owned()).collect();
    }
}

fn world(keys: &[&str], mint: &Mint) -> World {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let settings = settings(&backend("a", keys));
    let mint = mint.clone();
    let fetchers = move |_: &_, credential: &checked::Credential| {
        let checked::Credential::Secret(name) = credential else { return None };
        Some(Arc::new(Press(mint.clone(), name.expose().to_owned())) as Arc<dyn Fetch>)
    };
    let handle = tokio::runtime::Handle::current();
    let credentials = Credentials::scripted(clock, settings.credentials.clone(), Box::new(fetchers), handle);
    let gateway = Gateway::with_credentials(settings, clock, Chance::seeded(7), credentials).unwrap();
    World { gateway: Arc::new(gateway), wire: Wire::new(clock) }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_within_the_attempt_and_blames_nobody() {
    let mint = Mint::default();
    let world = world(&["k1"], &mint);
    world.wire.always("k1-1", Answer::refused());
    assert_eq!(world.ask(&Ask::stream()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1-1", "k1-2"]);
    assert_eq!(world.parked("k1", Scope::Key), None);
    assert_eq!((world.ask(&Ask::whole()).await.status, mint.asked("k1")), (200, 2));
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_that_is_refused_too_parks_the_key_and_another_serves() {
    let mint = Mint::default();
    let world = world(&["k1", "k2"], &mint);
    for token in ["k1-1", "k1-2", "k1-3"] {
        world.wire.always(token, Answer::refused());
    }
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    assert_eq!(world.wire.order(), ["k1-1", "k1-2", "k2-1"]);
    assert!(world.parked("k1", Scope::Key).is_some_and(|until| until >= 5.0));
    assert_eq!(mint.asked("k1"), 2);
}

#[tokio::test(start_paused = true)]
async fn fifty_refusals_at_once_are_one_refresh() {
    let mint = Mint::default();
    let world = world(&["k1"], &mint);
    world.wire.always("k1-1", Answer::refused().late(20));
    assert!(world.crowd(50, &Ask::whole()).await.iter().all(|told| told.status == 200));
    assert_eq!((world.wire.count("k1-1"), world.wire.count("k1-2"), mint.asked("k1")), (50, 50, 2));
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_token_lets_another_serve_and_rests_until_the_next_refresh_alone() {
    let mint = Mint::default();
    mint.down(&["k1"]);
    let world = world(&["k1", "k2"], &mint);
    for _ in 0..20 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert_eq!((world.wire.count("k2-1"), mint.asked("k1")), (20, 1));
    assert!(world.parked("k1", Scope::Key).is_some_and(|until| until <= 1.0));
    mint.down(&[]);
    world.pass(1.5).await;
    for _ in 0..4 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert!(world.wire.count("k1-2") >= 1);
}

#[tokio::test(start_paused = true)]
async fn without_any_token_the_caller_is_told_of_no_credential_and_when_to_come_back() {
    let mint = Mint::default();
    mint.down(&["k1"]);
    let world = world(&["k1"], &mint);
    let told = world.ask(&Ask::whole().now()).await;
    assert_eq!((told.status, told.error().0.as_str()), (503, "api_error"));
    assert!(!told.text().contains("down") && !told.text().contains("k1"), "{}", told.text());
    assert!(told.retry_after().is_some_and(|after| after > 0.0 && after <= 1.0));
    assert_eq!(world.wire.total(), 0);
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_tokens_and_forgets_those_of_keys_that_are_gone() {
    let mint = Mint::default();
    let world = world(&["k1"], &mint);
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    world.gateway.reload(settings(&backend("a", &["k1", "k2"])));
    assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    world.pass(1.0).await;
    assert_eq!((mint.asked("k1"), mint.asked("k2")), (1, 1));
    world.gateway.reload(settings(&backend("a", &["k2"])));
    world.pass(7200.0).await;
    assert_eq!((mint.asked("k1"), mint.asked("k2")), (1, 3));
}
