//! Bytes: what upstream sent is what the caller gets, however it is cut up on the way.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Answer, Ask, World, backend, backends, error_event, recorded, split};

/// Recorded streams that are good to their end.
fn streams() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/providers/src/anthropic/testdata/streams");
    let mut streams = vec![("built".to_owned(), recorded("Grüße, 世界 and \\\"quotes\\\""))];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some((good, _)) = text.split_once("data: {\"type\":\"message_stop\"}\n\n")
            && !good.contains("event: error")
        {
            let good = format!("{good}data: {{\"type\":\"message_stop\"}}\n\n");
            streams.push((path.file_name().unwrap().to_string_lossy().into_owned(), good));
        }
    }
    assert!(streams.len() > 5, "the recorded streams were not found");
    streams
}

/// The bytes of `text` cut at these offsets.
fn cut(text: &str, mut at: Vec<usize>) -> Vec<Vec<u8>> {
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| text.as_bytes()[pair[0]..pair[1]].to_vec()).filter(|it| !it.is_empty()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_recorded_stream_passes_unchanged_in_every_split() {
    let mut dice = SmallRng::seed_from_u64(5);
    for (name, text) in streams() {
        let world = World::new(&backend("a", &["k1"]));
        let mut cuts: Vec<Vec<usize>> = vec![vec![], (1..text.len()).collect()];
        // The decoder's own tests cut every stream at every byte.
        let step = if name == "built" { 1 } else { 11 };
        cuts.extend((1..text.len()).step_by(step).map(|at| vec![at]));
        cuts.extend((0..50).map(|_| {
            let pieces = dice.random_range(1..40);
            (0..pieces).map(|_| dice.random_range(0..text.len())).collect()
        }));
        for at in cuts {
            world.wire.always("k1", Answer::stream().chunks(cut(&text, at.clone())));
            let told = world.ask(&Ask::stream()).await;
            assert!(told.body == text, "{name} cut at {at:?}:\n{}", String::from_utf8_lossy(&told.body));
        }
        world.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn no_byte_is_doubled_or_lost_across_a_failover() {
    let (opening, ..) = split("lost words");
    let failing = opening + &error_event("overloaded_error", "Overloaded");
    let mut dice = SmallRng::seed_from_u64(6);
    for (name, text) in streams() {
        for _ in 0..20 {
            let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
            let mut pieces = |text: &str| {
                let at = (0..dice.random_range(0..30)).map(|_| dice.random_range(0..text.len())).collect();
                Answer::stream().chunks(cut(text, at)).paced(dice.random_range(0..5))
            };
            world.wire.always("k1", pieces(&failing));
            world.wire.always("k2", pieces(&text));
            let told = world.ask(&Ask::stream()).await;
            assert!(told.body == text, "{name}:\n{}", String::from_utf8_lossy(&told.body));
            assert_eq!(world.wire.order(), ["k1", "k2"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_passes_unchanged_in_every_split() {
    let world = World::new(&backend("a", &["k1"]));
    let text = crate::support::whole("Grüße \\n {} []");
    for at in (0..text.len()).map(|at| vec![at]).chain([(1..text.len()).collect()]) {
        let answer = Answer::default().head(200, "application/json").chunks(cut(&text, at));
        world.wire.always("k1", answer);
        assert_eq!(world.ask(&Ask::whole()).await.body, text);
    }
}

#[tokio::test(start_paused = true)]
async fn upstream_gets_the_callers_body_byte_for_byte_at_every_attempt() {
    let world = World::new(&backends(&[("a", &["k1"]), ("b", &["k2"])]));
    world.wire.script("k1", [Answer::broken()]);
    let ask = Ask { padding: 1 << 20, ..Ask::stream() };
    assert_eq!(world.ask(&ask).await.status, 200);
    for sent in world.wire.sent() {
        assert!(sent.body == ask.body() && sent.path == "/v1/messages");
    }
    assert_eq!(world.wire.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_mapped_model_is_the_only_change_to_the_body() {
    let routes = "routes: [{ model: '*', targets: [{ backend: a }, { backend: b, model: 'eu.{model}' }] }]\n";
    let world = World::new(&(backends(&[("a", &["k1"]), ("b", &["k2"])]) + routes));
    world.wire.script("k1", [Answer::broken()]);
    let ask = Ask::whole();
    assert_eq!(world.ask(&ask).await.status, 200);
    let sent = world.wire.sent();
    assert_eq!(sent[0].body, ask.body());
    let mapped = String::from_utf8(ask.body().to_vec()).unwrap().replace("claude-", "eu.claude-");
    assert_eq!(sent[1].body, mapped);
}
