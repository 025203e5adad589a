//! The core tier: a scripted endpoint, time paused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use futures_util::future::join_all;
use headgate_providers::{Credential, Secret};

use super::*;

/// What the endpoint does with one question.
#[derive(Clone)]
enum Play {
    Token(u64),
    Refuse(Again),
    Hang,
    Break,
}

struct Endpoint {
    clock: Clock,
    script: Mutex<VecDeque<Play>>,
    /// What it does when the script is over.
    after: Play,
    asked: AtomicUsize,
}

impl Fetch for Endpoint {
    fn fetch(&self, _: At) -> Fetching<'_> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, Relaxed) + 1;
            let play = self.script.lock().unwrap().pop_front().unwrap_or_else(|| self.after.clone());
            self.clock.sleep_until(self.clock.now() + Duration::from_millis(100)).await;
            match play {
                Play::Token(seconds) => Ok(Fresh {
                    credential: Credential::Bearer(Secret::new(format!("t{number}"))),
                    lines: Vec::new(),
                    lifetime: Some(Duration::from_secs(seconds)),
                }),
                Play::Refuse(again) => Err(Refusal::new(again, "no")),
                Play::Hang => std::future::pending().await,
                Play::Break => panic!("scripted"),
            }
        })
    }
}

struct Stand {
    clock: Clock,
    endpoint: Arc<Endpoint>,
    source: Arc<Source>,
    task: tokio::task::JoinHandle<()>,
}

impl Stand {
    fn new(script: &[Play], after: Play) -> Self {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let settings = checked::Credentials {
            refresh_ahead: Duration::from_secs(300),
            timeout: Duration::from_secs(15),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            revoked: Duration::from_secs(3600),
        };
        let script = Mutex::new(script.iter().cloned().collect());
        let endpoint = Arc::new(Endpoint { clock, script, after, asked: AtomicUsize::new(0) });
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let source = Source::new("k".to_owned(), clock, settings, endpoint.clone());
        let task = tokio::spawn(keep(Arc::downgrade(&source)));
        Self { clock, endpoint, source, task }
    }

    /// The token of the moment, with patience for this many seconds.
    async fn token(&self, patience: u64) -> Result<String, Fault> {
        let held = self.source.obtain(self.clock.now() + Duration::from_secs(patience)).await?;
        let Credential::Bearer(token) = &held.credential else { panic!("no bearer") };
        Ok(token.expose().to_owned())
    }

    fn asked(&self) -> usize {
        self.endpoint.asked.load(Relaxed)
    }

    async fn pass(&self, seconds: f64) {
        self.clock.sleep_until(self.clock.now() + Duration::from_secs_f64(seconds)).await;
    }

    fn seconds(&self) -> f64 {
        self.clock.now().since(Moment::default()).as_secs_f64()
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_calls_wait_for_one_refresh() {
    let stand = Stand::new(&[], Play::Token(3600));
    let tokens = join_all((0..50).map(|_| stand.token(30))).await;
    assert!(tokens.iter().all(|token| token.as_ref().is_ok_and(|token| token == "t1")));
    assert_eq!(stand.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_calls_never_waits_and_refreshes_once_an_hour() {
    let stand = Stand::new(&[], Play::Token(3600));
    stand.token(30).await.unwrap();
    for _ in 0..24 * 60 {
        stand.pass(60.0).await;
        let before = stand.seconds();
        stand.token(0).await.unwrap();
        assert!(stand.seconds() - before < 0.001);
    }
    assert_eq!(stand.asked(), 1 + 24 * 3600 / 3300);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_for_four_minutes_before_the_end_is_never_noticed() {
    let mut script = vec![Play::Token(3600)];
    script.extend(vec![Play::Refuse(Again::Soon); 9]);
    let stand = Stand::new(&script, Play::Token(3600));
    stand.token(30).await.unwrap();
    while stand.seconds() < 3700.0 {
        stand.pass(5.0).await;
        stand.token(0).await.unwrap();
    }
    assert_eq!(stand.token(0).await.unwrap(), "t11");
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_the_key_is_to_blame_until_the_next_attempt_and_then_serves_again() {
    let stand = Stand::new(&vec![Play::Refuse(Again::Soon); 6], Play::Token(3600));
    let fault = stand.token(30).await.unwrap_err();
    assert_eq!((fault.kind, stand.asked()), (FaultKind::KeyRefused, 3), "{fault:?}");
    let stated = fault.stated.unwrap();
    assert_eq!((stated.after, stated.source), (Duration::from_secs(1), StatedBy::Credential));
    let again = stand.token(30).await.unwrap_err();
    assert_eq!((again.kind, stand.asked()), (FaultKind::KeyRefused, 3), "it is not asked by calls");
    stand.pass(1.0).await;
    assert!(stand.token(30).await.is_err());
    stand.pass(2.0).await;
    assert_eq!(stand.token(30).await.unwrap(), "t7");
}

#[tokio::test(start_paused = true)]
async fn busy_answers_within_one_refresh_are_waited_through() {
    let stand = Stand::new(&[Play::Refuse(Again::Soon), Play::Refuse(Again::Soon)], Play::Token(3600));
    assert_eq!(stand.token(30).await.unwrap(), "t3");
    // Three questions of 0.1 s, pauses of 1 s and 2 s.
    assert!((3.3..3.4).contains(&stand.seconds()), "{}", stand.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_holds_a_call_no_longer_than_its_deadline_and_itself_no_longer_than_the_limit() {
    let stand = Stand::new(&[Play::Hang], Play::Token(3600));
    let fault = stand.token(2).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::KeyRefused);
    assert!((2.0..2.1).contains(&stand.seconds()));
    assert!(stand.token(60).await.is_err(), "the refresh gave up");
    assert!((15.0..15.1).contains(&stand.seconds()));
    stand.pass(1.0).await;
    assert_eq!(stand.token(30).await.unwrap(), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_refreshed_once_for_all_who_held_it() {
    let stand = Stand::new(&[], Play::Token(3600));
    let held = stand.source.obtain(stand.clock.now() + Duration::from_secs(9)).await.unwrap();
    let calls = join_all((0..50).map(|_| async {
        assert!(stand.source.refuse(held.generation));
        stand.token(30).await.unwrap()
    }));
    assert!(calls.await.iter().all(|token| token == "t2"));
    assert_eq!(stand.asked(), 2);
    assert!(!stand.source.refuse(2), "what is refused when fresh is not refreshed again");
    assert_eq!((stand.token(0).await.unwrap().as_str(), stand.asked()), ("t2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_credential_serves_to_its_end_and_is_then_asked_for_hourly() {
    let stand = Stand::new(&[Play::Token(3600)], Play::Refuse(Again::Never));
    stand.token(30).await.unwrap();
    stand.pass(3500.0).await;
    assert_eq!((stand.token(0).await.is_ok(), stand.asked()), (true, 2));
    stand.pass(200.0).await;
    let fault = stand.token(30).await.unwrap_err();
    assert!((3100..3300).contains(&fault.stated.unwrap().after.as_secs()), "{fault:?}");
    stand.pass(3600.0).await;
    assert_eq!(stand.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_of_nothing_are_failures_and_do_not_spin() {
    let stand = Stand::new(&[], Play::Token(0));
    assert!(stand.token(30).await.is_err());
    stand.pass(600.0).await;
    assert!(stand.asked() < 20, "{}", stand.asked());
    let stand = Stand::new(&[], Play::Token(1));
    stand.pass(60.0).await;
    assert!(stand.asked() <= 61, "{}", stand.asked());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_breaks_is_a_failed_refresh_and_no_end() {
    let stand = Stand::new(&[Play::Break], Play::Token(3600));
    assert!(stand.token(30).await.is_err());
    stand.pass(1.0).await;
    assert_eq!(stand.token(30).await.unwrap(), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_reload_asks_elsewhere_from_the_next_refresh_on_and_the_task_ends_with_its_source() {
    let stand = Stand::new(&[], Play::Token(600));
    stand.token(30).await.unwrap();
    let (script, asked) = (Mutex::default(), AtomicUsize::new(0));
    let other = Arc::new(Endpoint { clock: stand.clock, script, after: Play::Token(600), asked });
    stand.source.retarget(other.clone());
    stand.pass(400.0).await;
    assert_eq!((stand.asked(), other.asked.load(Relaxed)), (1, 1));
    let Stand { source, task, .. } = stand;
    drop(source);
    task.await.unwrap();
}
