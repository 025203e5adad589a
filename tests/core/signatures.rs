//! Thinking signatures that are refused: back to whoever takes them, at most one try without, and nobody blamed.

use crate::support::{Answer, Ask, Told, World};

/// Anthropic with `k1`, then Bedrock's native surface with `aws`.
fn world(relay: &str) -> World {
    World::new(&format!(
        "
relay: {{ {relay} }}
backends:
  - name: a
    provider: anthropic
    base_url: 'http://127.0.0.1:9'
    keys: [ {{ name: k1, secret: 'value:k1' }} ]
  - name: b
    provider: bedrock
    surface: mantle
    region: us-east-1
    base_url: 'http://127.0.0.1:9'
    keys: [ {{ name: aws, bearer_token: 'value:aws' }} ]
routes:
  - {{ model: '*', spill_after_ms: 0, targets: [ {{ backend: a }}, {{ backend: b }} ] }}
"
    ))
}

const STRIP: &str = "strip_refused_thinking: true";
const SIGNED: &str = r#"[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"s"},{"type":"text","text":"y"}]}]"#;

fn ask() -> Ask {
    Ask { messages: Some(SIGNED.to_owned()), ..Ask::whole() }
}

fn refused() -> Answer {
    Answer::error(
        400,
        "invalid_request_error",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    )
}

/// Refuses every request that holds a signature.
fn refuses(world: &World, key: &str) {
    world.wire.on(key, |sent| {
        let signed = sent.body.windows(11).any(|bytes| bytes == b"\"signature\"");
        if signed { refused() } else { Answer::ok() }
    });
}

fn order(world: &World) -> Vec<String> {
    world.wire.order()
}

fn assert_nobody_is_blamed(world: &World, told: &Told) {
    assert!(world.refused(&["k1", "aws"]).is_empty(), "{}", told.text());
    world.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_refused_signature_goes_to_another_kind_of_backend() {
    let world = world("");
    refuses(&world, "k1");
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, order(&world)), (200, vec!["k1".into(), "aws".into()]));
    assert!(told.headers.get("x-headgate-dropped").is_none());
    assert_nobody_is_blamed(&world, &told);
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_all_refuse_is_the_callers_own() {
    let world = world("");
    refuses(&world, "k1");
    refuses(&world, "aws");
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, order(&world)), (400, vec!["k1".into(), "aws".into()]));
    assert!(told.error().1.contains("signature"));
    assert_nobody_is_blamed(&world, &told);
}

#[tokio::test(start_paused = true)]
async fn where_configured_the_call_is_tried_once_without_its_thinking() {
    let world = world(STRIP);
    refuses(&world, "k1");
    refuses(&world, "aws");
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, order(&world)), (200, vec!["k1".into(), "aws".into(), "k1".into()]));
    assert_eq!(told.headers.get("x-headgate-dropped"), Some("thinking"));
    let body = String::from_utf8(world.wire.sent()[2].body.to_vec()).unwrap();
    assert!(body.contains(r#"{"role":"assistant","content":[{"type":"text","text":"y"}]}"#), "{body}");
    assert_nobody_is_blamed(&world, &told);
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_without_thinking_at_most_once() {
    let world = world(STRIP);
    world.wire.always("k1", refused());
    world.wire.always("aws", refused());
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, world.wire.total()), (400, 3));
    assert_nobody_is_blamed(&world, &told);
}

#[tokio::test(start_paused = true)]
async fn after_a_move_the_first_backend_is_waited_for_and_its_failure_told_not_the_signature() {
    // Anthropic is short for a moment: the call comes back to it.
    let world = world("");
    world.wire.script("k1", [Answer::limited_for(3)]);
    refuses(&world, "aws");
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, order(&world)), (200, vec!["k1".into(), "aws".into(), "k1".into()]));
    // Anthropic is broken: the caller did nothing wrong.
    let world = self::world("");
    world.wire.always("k1", Answer::broken());
    refuses(&world, "aws");
    let told = world.ask(&ask()).await;
    assert_eq!((told.status, order(&world)), (500, vec!["k1".into(), "aws".into()]));
    assert_nobody_is_blamed(&world, &told);
}
