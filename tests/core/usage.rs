//! What is kept of a call, and what is counted of it: one record each, with its model, its tokens and their cost.

use std::time::Duration;

use headgate::config::checked::ModelPattern;
use headgate::settle::Outcome;
use headgate::store::{Place, Store, StoreAddress};
use headgate::usage::report::{Filter, Grouping, Step, SumsPage};
use headgate::usage::writer::Writer;
use headgate::usage::{OTHER_MODEL, UsageRecord, Waiting};

use crate::support::{Answer, Ask, World, backend, backends};

fn opened(yaml: &str) -> (World, Waiting) {
    let world = World::new(yaml);
    let waiting = world.gateway.usage.open(100).unwrap();
    (world, waiting)
}

fn only(waiting: &mut Waiting) -> UsageRecord {
    let record = waiting.try_recv().expect("a record");
    assert!(waiting.try_recv().is_err(), "one record a call");
    record
}

fn answer_with(usage: &str) -> Answer {
    let body = format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","content":[{{"type":"text","text":"hi"}}],"model":"m","stop_reason":"end_turn","usage":{usage}}}"#
    );
    Answer::json(200, &body)
}

fn metric(world: &World, line: &str) -> Option<f64> {
    let text = world.gateway.metrics.text(&world.gateway.pool, world.gateway.clock.now()).unwrap();
    let value = |found: &str| found.strip_prefix(line)?.trim().parse().ok();
    text.lines().find_map(value)
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_one_record_with_its_tokens_and_their_cost() {
    let (world, mut waiting) = opened(&backend("a", &["k1"]));
    let usage = r#"{"input_tokens":1000,"output_tokens":200,"cache_read_input_tokens":10000,
        "cache_creation_input_tokens":3000,"cache_creation":{"ephemeral_5m_input_tokens":2000,"ephemeral_1h_input_tokens":1000}}"#;
    world.wire.always("k1", answer_with(usage).late(250));
    let began = world.gateway.clock.wall();
    world.ask(&Ask::whole()).await;
    let record = only(&mut waiting);
    // $0.003 + $0.003 + $0.003 + $0.0075 + $0.006.
    assert_eq!(record.cost, Some(22_500_000));
    assert_eq!((record.usage.cache_write_5m, record.usage.cache_write_1h), (2000, 1000));
    assert_eq!((&*record.backend, &*record.key, record.attempts), ("a", "k1", 1));
    assert_eq!(record.served.as_deref(), Some("claude-sonnet-4-5"));
    assert_eq!((record.status, record.outcome, record.cause), (200, Outcome::Ok, ""));
    assert_eq!(record.at, began, "when its head arrived");
    assert_eq!((record.duration, record.queued), (Duration::from_millis(250), Duration::ZERO));
    assert_eq!(record.tenant, None);
    assert_eq!(metric(&world, "headgate_cost_usd_total{backend=\"a\"}"), Some(0.0225));
    assert_eq!(metric(&world, "headgate_overhead_seconds_count"), Some(1.0));
    assert_eq!(metric(&world, "headgate_overhead_seconds_sum"), Some(0.0), "upstream's time is not ours");
}

#[tokio::test(start_paused = true)]
async fn a_mapped_model_is_priced_by_upstream_s_name() {
    let yaml = backend("a", &["k1"])
        + "routes: [ { model: house, targets: [ { backend: a, model: us.anthropic.claude-haiku-4-5-20251001-v1:0 } ] } ]";
    let (world, mut waiting) = opened(&yaml);
    world.wire.always("k1", answer_with(r#"{"input_tokens":1000,"output_tokens":100}"#));
    world.ask(&Ask::of("house")).await;
    let record = only(&mut waiting);
    assert_eq!((record.model.as_str(), record.cost), ("house", Some(1_500_000)));
    assert_eq!(record.counted_model(), "us.anthropic.claude-haiku-4-5-20251001-v1:0");
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_is_unpriced() {
    let (world, mut waiting) = opened(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::ok());
    world.ask(&Ask::of("claude-unheard-of")).await;
    assert_eq!(only(&mut waiting).cost, None);
    assert_eq!(metric(&world, "headgate_cost_usd_total{backend=\"a\"}"), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_moved_counts_where_it_was_served() {
    let (world, mut waiting) = opened(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.always("k1", Answer::broken());
    world.wire.always("k2", Answer::streams("one two").paced(100));
    world.ask(&Ask::stream()).await;
    let record = only(&mut waiting);
    assert_eq!((&*record.backend, &*record.key, record.attempts), ("b", "k2", 2));
    assert_eq!((record.outcome, record.cause), (Outcome::Ok, "server_error"));
    assert_eq!(record.first_content, Some(Duration::from_millis(400)));
    // Nine tokens in, seven out.
    assert_eq!(record.cost, Some(9 * 3000 + 7 * 15_000));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_billed_for_what_upstream_told() {
    let (world, mut waiting) = opened(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::streams("one two three").paced(100));
    drop(world.begin(&Ask::stream()).await);
    let record = only(&mut waiting);
    assert_eq!(record.outcome, Outcome::ClientClosed);
    assert_eq!((record.usage.input, record.usage.output), (9, 1));
    assert_eq!(record.cost, Some(9 * 3000 + 15_000));
    assert!(record.served.is_some() && record.named);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_served_counts_under_its_name_only_where_a_route_names_it() {
    let yaml = backend("a", &["k1"])
        + "routes: [ { model: house, targets: [ { backend: a } ] }, { model: '*', targets: [ { backend: a } ] } ]";
    let (world, mut waiting) = opened(&yaml);
    world.wire.always("k1", Answer::broken());
    for (model, counted) in [("house", "house"), ("any-text-at-all", OTHER_MODEL)] {
        world.ask(&Ask::of(model).now()).await;
        let record = only(&mut waiting);
        assert_eq!((record.model.as_str(), record.counted_model()), (model, counted));
        assert_eq!((record.outcome, record.cost), (Outcome::Failed, None));
    }
    assert!(!ModelPattern::new("*").is("*"), "a pattern names no model");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_costs_records_and_nothing_else() {
    let world = World::new(&backend("a", &["k1"]));
    let mut waiting = world.gateway.usage.open(2).unwrap();
    world.wire.always("k1", Answer::ok());
    for _ in 0..5 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert_eq!(metric(&world, "headgate_usage_dropped_total"), Some(3.0));
    assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_ok() && waiting.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_store_nothing_is_kept_and_nothing_counts_as_lost() {
    let world = World::new(&backend("a", &["k1"]));
    world.wire.always("k1", Answer::ok());
    world.ask(&Ask::whole()).await;
    assert_eq!(metric(&world, "headgate_usage_dropped_total"), Some(0.0));
    assert_eq!(metric(&world, "headgate_store_up"), None);
    world.gateway.metrics.store_up(false);
    assert_eq!(metric(&world, "headgate_store_up"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_the_queue_full_is_counted_by_its_class() {
    let world = World::new(&(backend("a", &["k1"]) + "queue: { max_waiting: 0 }"));
    world.wire.always("k1", Answer::limited_for(20));
    for _ in 0..2 {
        assert_eq!(world.ask(&Ask::whole()).await.status, 429);
    }
    let refused = "headgate_admission_rejected_total{class=\"normal\",limit=\"queue\"}";
    assert_eq!(metric(&world, refused), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn what_callers_make_up_adds_no_series() {
    let world = World::new(&backend("a", &["k1", "k2"]));
    world.wire.always("k1", Answer::ok());
    world.wire.always("k2", Answer::ok());
    let series = || {
        let text = world.gateway.metrics.text(&world.gateway.pool, world.gateway.clock.now()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let invented = async |number: usize| {
        let ask = Ask::of(&format!("claude-sonnet-4-5-{number}"));
        world.ask(&ask.with(&format!(r#""metadata":{{"user_id":"user-{number}"}},"#))).await;
    };
    invented(0).await;
    invented(1).await;
    let before = series();
    for number in 2..60 {
        invented(number).await;
    }
    assert_eq!(series(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_loses_no_record_and_no_cent() {
    const CALLS: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let address = StoreAddress {
        place: Place::File(folder.path().join("headgate.db")),
        timeout: Duration::from_secs(20),
        keep_answers: Duration::ZERO,
    };
    let store = Store::open(&address).await.unwrap();
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    let gateway = &world.gateway;
    let settings = gateway.settings().usage.clone();
    let waiting = gateway.usage.open(settings.queue).unwrap();
    let (clock, metrics) = (gateway.clock, gateway.metrics.clone());
    let writer = Writer::start(store.clone(), waiting, settings, clock, metrics).unwrap();
    for key in ["k1", "k2"] {
        world.wire.always(key, answer_with(r#"{"input_tokens":1000,"output_tokens":200}"#));
    }
    for _ in 0..CALLS {
        assert_eq!(world.ask(&Ask::whole()).await.status, 200);
    }
    assert_eq!(writer.close().await, 0);
    store.close().await;

    let store = Store::open(&address).await.unwrap();
    let now = gateway.clock.wall();
    let filter = Filter {
        from: now - Duration::from_secs(7200),
        to: now + Duration::from_secs(7200),
        tenant: None,
        key: None,
        backend: None,
        model: None,
    };
    let by = Grouping { backend: true, ..Grouping::default() };
    let page = SumsPage { filter, by, table: Step::Hour, skip: 0, limit: 10 };
    let sums = store.usage_sums(page).await.unwrap();
    assert_eq!(sums.iter().map(|sum| sum.requests).sum::<u64>(), CALLS);
    assert_eq!(sums.iter().map(|sum| sum.cost_nano_usd).sum::<u64>(), CALLS * 6_000_000);
    assert_eq!(metric(&world, "headgate_usage_dropped_total"), Some(0.0));
    assert_eq!(metric(&world, "headgate_store_up"), Some(1.0));
}
