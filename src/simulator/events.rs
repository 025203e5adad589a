//! An answer as JSON and as server-sent events, fields in the API's order.

use serde_json::{Value, json};

use super::answer::{Answer, Block};
use super::weigh::tokens_of_bytes;

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, equal to the `type` of its data.
    pub name: &'static str,
    /// Its JSON.
    pub data: String,
    /// Output tokens that it stands for.
    pub tokens: u64,
}

impl Event {
    fn new(name: &'static str, fields: &str) -> Self {
        Self { name, data: format!(r#"{{"type":"{name}"{fields}}}"#), tokens: 0 }
    }

    /// A `ping`.
    pub fn ping() -> Self {
        Self::new("ping", "")
    }

    /// An `error` with a ready envelope.
    pub fn error(envelope: String) -> Self {
        Self { name: "error", data: envelope, tokens: 0 }
    }

    /// The event on the wire.
    pub fn frame(&self) -> String {
        format!("event: {}\ndata: {}\n\n", self.name, self.data)
    }
}

/// The whole message.
pub fn whole(answer: &Answer) -> String {
    let blocks: Vec<String> = answer.blocks.iter().map(|block| block_json(block, false)).collect();
    message(
        answer,
        &blocks.join(","),
        &json!(answer.stop_reason),
        &usage(answer, answer.output_tokens(), true),
    )
}

/// The message as events in their order.
pub fn stream(answer: &Answer) -> Vec<Event> {
    let mut start = answer.clone();
    (start.stop_sequence, start.stop_details) = (None, None);
    let message = message(&start, "", &Value::Null, &usage(answer, 1, true));
    let mut events = vec![Event::new("message_start", &format!(r#","message":{message}"#)), Event::ping()];
    for (index, block) in answer.blocks.iter().enumerate() {
        block_events(index, block, &mut events);
    }
    let mut delta = format!(
        r#""stop_reason":{},"stop_sequence":{}"#,
        json!(answer.stop_reason),
        json!(answer.stop_sequence)
    );
    if let Some(details) = &answer.stop_details {
        delta.push_str(&format!(r#","stop_details":{details}"#));
    }
    let usage = usage(answer, answer.output_tokens(), false);
    events.push(Event::new("message_delta", &format!(r#","delta":{{{delta}}},"usage":{usage}"#)));
    events.push(Event::new("message_stop", ""));
    events
}

fn block_events(index: usize, block: &Block, events: &mut Vec<Event>) {
    let start = block_json(block, true);
    events.push(Event::new("content_block_start", &format!(r#","index":{index},"content_block":{start}"#)));
    let mut push = |delta: String, tokens: u64| {
        let mut event = Event::new("content_block_delta", &format!(r#","index":{index},"delta":{delta}"#));
        event.tokens = tokens;
        events.push(event);
    };
    match block {
        Block::Text { pieces, citations } => {
            for citation in citations {
                push(format!(r#"{{"type":"citations_delta","citation":{citation}}}"#), 0);
            }
            for (piece, tokens) in charged(pieces) {
                push(format!(r#"{{"type":"text_delta","text":{}}}"#, json!(piece)), tokens);
            }
        }
        Block::Thinking { pieces, signature } => {
            for (piece, tokens) in charged(pieces) {
                push(format!(r#"{{"type":"thinking_delta","thinking":{}}}"#, json!(piece)), tokens);
            }
            push(format!(r#"{{"type":"signature_delta","signature":{}}}"#, json!(signature)), 0);
        }
        Block::ToolUse { pieces, .. } => {
            push(r#"{"type":"input_json_delta","partial_json":""}"#.to_owned(), 0);
            for (piece, tokens) in charged(pieces) {
                push(format!(r#"{{"type":"input_json_delta","partial_json":{}}}"#, json!(piece)), tokens);
            }
        }
        Block::Complete(_) => {}
    }
    events.push(Event::new("content_block_stop", &format!(r#","index":{index}"#)));
}

/// Pieces with the tokens each adds, so that the sum is that of the text.
fn charged(pieces: &[String]) -> impl Iterator<Item = (&String, u64)> {
    let mut bytes = 0;
    pieces.iter().map(move |piece| {
        let before = tokens_of_bytes(bytes);
        bytes += piece.len();
        (piece, tokens_of_bytes(bytes) - before)
    })
}

fn block_json(block: &Block, start: bool) -> String {
    let text = |pieces: &[String]| if start { json!("") } else { json!(pieces.concat()) };
    match block {
        Block::Text { pieces, citations } if citations.is_empty() => {
            format!(r#"{{"type":"text","text":{}}}"#, text(pieces))
        }
        Block::Text { pieces, citations } => {
            let citations = if start { json!([]) } else { json!(citations) };
            format!(r#"{{"type":"text","text":{},"citations":{citations}}}"#, text(pieces))
        }
        Block::Thinking { pieces, signature } => {
            let signature = if start { json!("") } else { json!(signature) };
            format!(r#"{{"type":"thinking","thinking":{},"signature":{signature}}}"#, text(pieces))
        }
        Block::ToolUse { kind, id, name, pieces } => {
            let input = if start || pieces.is_empty() { "{}".to_owned() } else { pieces.concat() };
            format!(r#"{{"type":"{kind}","id":{},"name":{},"input":{input}}}"#, json!(id), json!(name))
        }
        Block::Complete(value) => value.to_string(),
    }
}

fn message(answer: &Answer, blocks: &str, stop_reason: &Value, usage: &str) -> String {
    let details = match &answer.stop_details {
        Some(details) => format!(r#","stop_details":{details}"#),
        None => String::new(),
    };
    format!(
        r#"{{"model":{},"id":{},"type":"message","role":"assistant","content":[{blocks}],"stop_reason":{stop_reason},"stop_sequence":{}{details},"usage":{usage}}}"#,
        json!(answer.model),
        json!(answer.id),
        json!(answer.stop_sequence),
    )
}

fn usage(answer: &Answer, output_tokens: u64, full: bool) -> String {
    let input = &answer.input;
    let (hour, short) = (input.written_1h, input.written_5m);
    let mut usage = format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"#,
        input.input,
        hour + short,
        input.read
    );
    if full {
        usage.push_str(&format!(
            r#""cache_creation":{{"ephemeral_5m_input_tokens":{short},"ephemeral_1h_input_tokens":{hour}}},"#
        ));
    }
    usage.push_str(&format!(r#""output_tokens":{output_tokens}"#));
    let thinking = answer.thinking_tokens();
    if thinking > 0 && output_tokens > 1 {
        usage.push_str(&format!(r#","output_tokens_details":{{"thinking_tokens":{thinking}}}"#));
    }
    usage.push_str(if full { r#","service_tier":"standard"}"# } else { "}" });
    usage
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Scenario, compose};
    use super::super::config::AnswerConfig;
    use super::super::weigh::Split;
    use super::*;

    fn answer(scenario: Scenario) -> Answer {
        let request =
            json!({"model": "m", "max_tokens": 100_000, "messages": [{"role": "user", "content": "hi"}]});
        let wanted = AnswerConfig { scenario, ..AnswerConfig::default() };
        compose(&request, &wanted, "msg_1".into(), Split { input: 9, ..Split::default() })
    }

    #[test]
    fn events_come_in_the_order_of_the_api() {
        let names: Vec<&str> = stream(&answer(Scenario::Tools)).iter().map(|event| event.name).collect();
        assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
        assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    }

    #[test]
    fn every_event_is_json_whose_type_is_its_name() {
        for scenario in
            [Scenario::Tools, Scenario::Thinking, Scenario::Citations, Scenario::Refusal, Scenario::PauseTurn]
        {
            for event in stream(&answer(scenario)) {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(data["type"], event.name);
                assert_eq!(event.frame(), format!("event: {}\ndata: {}\n\n", event.name, event.data));
            }
        }
    }

    #[test]
    fn deltas_add_up_to_the_whole_message() {
        for scenario in [Scenario::Unicode, Scenario::ParallelTools, Scenario::Thinking] {
            let answer = answer(scenario);
            let message: Value = serde_json::from_str(&whole(&answer)).unwrap();
            let mut built = vec![String::new(); answer.blocks.len()];
            for event in stream(&answer).iter().filter(|event| event.name == "content_block_delta") {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                let delta = &data["delta"];
                let piece =
                    ["text", "thinking", "partial_json"].iter().find_map(|name| delta[*name].as_str());
                built[data["index"].as_u64().unwrap() as usize].push_str(piece.unwrap_or(""));
            }
            for (block, built) in message["content"].as_array().unwrap().iter().zip(built) {
                match block["type"].as_str().unwrap() {
                    "tool_use" => assert_eq!(serde_json::from_str::<Value>(&built).unwrap(), block["input"]),
                    kind => assert_eq!(built, block[kind].as_str().unwrap()),
                }
            }
            let charged: u64 = stream(&answer).iter().map(|event| event.tokens).sum();
            assert!(charged <= answer.output_tokens());
        }
    }
}
