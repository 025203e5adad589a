//! Who is asked at all: a request goes only where it can be expressed, and failover causes no 400.

use headgate::failure::FailureKind;
use headgate_providers::{FaultKind, Operation};

use crate::support::{Answer, Ask, World};

/// Anthropic with `k1`, then Bedrock with `aws`, then Vertex with `gcp`, each a tier; Bedrock takes bodies of 1,000 bytes here.
fn world() -> World {
    world_with("")
}

fn world_with(bedrock: &str) -> World {
    World::new(&format!(
        "
backends:
  - name: a
    provider: anthropic
    base_url: 'http://127.0.0.1:9'
    keys: [ {{ name: k1, secret: 'value:k1' }} ]
  - name: b
    provider: bedrock
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    {bedrock}
    keys: [ {{ name: aws, bearer_token: 'value:aws' }} ]
  - name: v
    provider: bedrock
    surface: mantle
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    keys: [ {{ name: native, bearer_token: 'value:native' }} ]
routes:
  - {{ model: '*', spill_after_ms: 0, targets: [ {{ backend: a }}, {{ backend: b }}, {{ backend: v }} ] }}
"
    ))
}

const SERVER_TOOL: &str = r#""tools":[{"type":"web_search_20260209","name":"web_search"}],"#;

#[tokio::test(start_paused = true)]
async fn what_only_anthropic_can_serve_is_never_sent_elsewhere() {
    for members in [
        SERVER_TOOL,
        r#""service_tier":"auto","#,
        r#""inference_geo":"us","#,
        r#""speed":"fast","#,
        r#""container":{"skills":[]},"#,
        r#""mcp_servers":[{"type":"url","url":"https://mcp"}],"#,
        r#""fallbacks":[{"model":"x"}],"#,
        r#""system":[{"type":"image","source":{"type":"file","file_id":"f"}}],"#,
        r#""system":[{"type":"image","source":{"type":"url","url":"https://i"}}],"#,
        r#""some_field_of_tomorrow":1,"#,
    ] {
        let world = world();
        world.wire.always("k1", Answer::broken());
        let told = world.ask(&Ask::whole().with(members).now()).await;
        assert_eq!(world.wire.order(), ["k1"], "{members}");
        assert_eq!((told.status, told.error().0.as_str()), (500, "api_error"), "{members}");
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_all_can_express_fails_over_through_all() {
    let world = world();
    world.wire.always("k1", Answer::broken());
    world.wire.always("aws", Answer::broken());
    let plain =
        r#""tools":[{"name":"t","input_schema":{}}],"thinking":{"type":"adaptive"},"service_tier":null,"#;
    let told = world
        .ask(
            &Ask::whole().with(r#""tools":[{"name":"t","input_schema":{}}],"thinking":{"type":"adaptive"},"#),
        )
        .await;
    assert_eq!((told.status, world.wire.order()), (200, vec!["k1".into(), "aws".into(), "native".into()]));
    // InvokeModel's body drops the null; the native API would get it, so it is not asked.
    world.wire.forget();
    let told = world.ask(&Ask::whole().with(plain)).await;
    assert_eq!((told.status, world.wire.order()), (500, vec!["k1".into(), "aws".into()]));
}

#[tokio::test(start_paused = true)]
async fn while_all_who_could_serve_it_are_out_the_caller_learns_that_and_not_that_it_is_wrong() {
    for (answer, status, error_type) in [
        (Answer::limited_for(50), 429, "rate_limit_error"),
        (Answer::overloaded(), 529, "overloaded_error"),
        (Answer::refused(), 503, "api_error"),
    ] {
        let world = world();
        world.wire.always("k1", answer);
        let ask = Ask::whole().with(SERVER_TOOL).now();
        world.ask(&ask).await;
        // The second finds the key parked.
        let told = world.ask(&ask).await;
        assert_eq!((told.status, told.error().0.as_str()), (status, error_type));
        assert!(told.retry_after().is_some());
        assert_eq!(world.wire.order(), ["k1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_or_disabled_backend_that_alone_could_serve_is_an_honest_503() {
    let world = world();
    world.wire.always("k1", Answer::fails(FaultKind::Connect));
    let ask = Ask::whole().with(SERVER_TOOL).now();
    for _ in 0..6 {
        world.ask(&ask).await;
    }
    let told = world.ask(&ask).await;
    assert_eq!((told.status, world.wire.total()), (503, 5), "{}", told.text());
    let world = self::world();
    world.seat("k1").health.disabled.store(true, std::sync::atomic::Ordering::Relaxed);
    let told = world.ask(&ask).await;
    assert_eq!((told.status, world.wire.total()), (503, 0), "{}", told.text());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_one_that_can_serve_it_rather_than_asking_others() {
    let world = world();
    world.wire.script("k1", [Answer::limited_for(3)]);
    let told = world.ask(&Ask::whole().with(SERVER_TOOL)).await;
    assert_eq!((told.status, world.wire.order()), (200, vec!["k1".into(), "k1".into()]));
    assert!(world.now().as_secs() >= 3);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_express_it_the_answer_names_the_field() {
    let yaml = "
backends:
  - name: b
    provider: bedrock
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    keys: [ { name: aws, bearer_token: 'value:aws' } ]
routes: [ { model: '*', targets: [ { backend: b } ] } ]
";
    for (members, betas, named) in [
        (r#""service_tier":"auto","#, "", "service_tier: "),
        (SERVER_TOOL, "", "tools.0: 'web_search_20260209' "),
        ("", "other,context-1m-2027-01-01", "anthropic-beta: 'context-1m-2027-01-01' "),
    ] {
        let world = World::new(yaml);
        let ask = Ask { betas: betas.to_owned(), ..Ask::whole().with(members) };
        let told = world.ask(&ask).await;
        let (error_type, message) = told.error();
        assert_eq!((told.status, error_type.as_str(), world.wire.total()), (400, "invalid_request_error", 0));
        assert!(message.starts_with(named), "{message}");
        assert!(told.retry_after().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_are_respected_before_sending_and_to_the_byte() {
    let limit = "capabilities: [ { max_body_bytes: 400 } ]";
    let ask = |padding| Ask { padding, ..Ask::whole() };
    for (padding, order) in [(100, ["k1", "aws"]), (400, ["k1", "native"])] {
        let world = world_with(limit);
        world.wire.always("k1", Answer::broken());
        let told = world.ask(&ask(padding)).await;
        assert_eq!((told.status, world.wire.order()), (200, order.map(str::to_owned).to_vec()));
    }
    // The largest body that goes out is exactly as large as allowed, edits included.
    let mut largest = 0;
    for padding in 200..400 {
        let world = world_with(limit);
        world.wire.always("k1", Answer::broken());
        assert_eq!(world.ask(&ask(padding)).await.status, 200);
        let sent = world.wire.sent();
        let bedrock = sent.iter().find(|sent| sent.key == "aws");
        largest = largest.max(bedrock.map_or(0, |sent| sent.body.len()));
        let attempts = if bedrock.is_some() { 2 } else { 3 };
        assert!(world.wire.total() <= attempts);
    }
    assert_eq!(largest, 400);
    // Nobody takes it: 413, as the API says it.
    let yaml = "
backends:
  - name: a
    provider: anthropic
    base_url: 'http://127.0.0.1:9'
    capabilities: [ { models: 'claude-opus-*' }, { max_body_bytes: 400 } ]
    keys: [ { name: k1, secret: 'value:k1' } ]
";
    let world = World::new(yaml);
    let told = world.ask(&ask(500)).await;
    assert_eq!((told.status, told.error().0.as_str(), world.wire.total()), (413, "request_too_large", 0));
    let opus = Ask { padding: 500, ..Ask::of("claude-opus-5") };
    assert_eq!(world.ask(&opus).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_backend_s_own_table_replaces_its_provider_s() {
    let world = world_with("capabilities: []");
    world.wire.always("k1", Answer::broken());
    let told = world.ask(&Ask::whole().with(SERVER_TOOL)).await;
    assert_eq!((told.status, world.wire.order()), (200, vec!["k1".into(), "aws".into()]));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_where_that_can_be_done() {
    let world = world_with("capabilities: [ { operations: [ messages ] } ]");
    world.wire.always("k1", Answer::broken());
    world.wire.always("native", Answer::json(200, r#"{"input_tokens":7}"#));
    let ask = Ask { operation: Operation::CountTokens, ..Ask::whole() };
    let told = world.ask(&ask).await;
    assert_eq!(
        (told.text(), world.wire.order()),
        (r#"{"input_tokens":7}"#, vec!["k1".into(), "native".into()])
    );
    // What the edge answers with an estimate.
    let yaml = "
backends:
  - name: a
    provider: anthropic
    base_url: 'http://127.0.0.1:9'
    capabilities: [ { operations: [ messages, models ] } ]
    keys: [ { name: k1, secret: 'value:k1' } ]
";
    let world = World::new(yaml);
    let told = world.ask(&ask).await;
    assert!(matches!(told.failure.map(|failure| failure.kind), Some(FailureKind::Inexpressible)));
    assert_eq!(world.wire.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_the_new_table_counts_for_a_call_that_waits() {
    let world = world_with("");
    world.wire.always("k1", Answer::limited_for(20));
    let settings = |bedrock: &str| {
        let world = world_with(bedrock);
        world.gateway.settings().clone()
    };
    let ask = Ask::whole().with(SERVER_TOOL);
    let asking = world.ask(&ask);
    let reloading = async {
        world.at(2.0).await;
        world.gateway.pool.reload(settings("capabilities: []"));
    };
    let (told, ()) = futures_util::future::join(asking, reloading).await;
    assert_eq!((told.status, world.wire.order()), (200, vec!["k1".into(), "aws".into()]));
    assert!(world.now().as_secs() < 3);
}
