//! What the model "says": content blocks made from the request alone, so that equal requests get equal answers.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::AnswerConfig;
use super::dice::Dice;
use super::prose;
use super::request::last_user_text;
use super::weigh::{Split, tokens_of_bytes};

/// The kinds of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Follows the request: tools when they are forced or the prompt says "tool", thinking when enabled, else text.
    #[default]
    Auto,
    /// Text.
    Text,
    /// Text in many scripts, with emoji.
    Unicode,
    /// A text and one tool call.
    Tools,
    /// A text and calls of two tools.
    ParallelTools,
    /// A tool call whose input stays empty.
    ToolWithoutInput,
    /// Thinking, then text.
    Thinking,
    /// Redacted thinking, then text.
    RedactedThinking,
    /// No content at all.
    Empty,
    /// A refusal after a little text.
    Refusal,
    /// Stopped by `max_tokens`.
    MaxTokens,
    /// Stopped by the first stop sequence.
    StopSequence,
    /// Text with citations.
    Citations,
    /// A server tool's loop that was paused.
    PauseTurn,
    /// The context window was full.
    ContextExceeded,
}

/// One block of content.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Text in the pieces it is streamed in.
    Text {
        /// The pieces.
        pieces: Vec<String>,
        /// The citations.
        citations: Vec<Value>,
    },
    /// Thinking in pieces.
    Thinking {
        /// The pieces; none when the display is omitted.
        pieces: Vec<String>,
        /// The signature.
        signature: String,
    },
    /// A tool call.
    ToolUse {
        /// `tool_use` or `server_tool_use`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The tool.
        name: String,
        /// The JSON text of its input in pieces; none for an empty input.
        pieces: Vec<String>,
    },
    /// A block that arrives complete in its start.
    Complete(Value),
}

impl Block {
    /// About how many tokens producing it took.
    pub fn tokens(&self) -> u64 {
        let bytes = match self {
            Self::Text { pieces, .. } | Self::Thinking { pieces, .. } => pieces.iter().map(String::len).sum(),
            Self::ToolUse { pieces, name, .. } => {
                pieces.iter().map(String::len).sum::<usize>() + name.len() + 24
            }
            Self::Complete(value) => value.to_string().len(),
        };
        tokens_of_bytes(bytes).max(1)
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: String,
    /// The content.
    pub blocks: Vec<Block>,
    /// Why it ended.
    pub stop_reason: &'static str,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// More about a refusal.
    pub stop_details: Option<Value>,
    /// How the prompt's tokens divide.
    pub input: Split,
}

impl Answer {
    /// Tokens produced.
    pub fn output_tokens(&self) -> u64 {
        self.blocks.iter().map(Block::tokens).sum::<u64>().max(1)
    }

    /// Tokens of them that were thinking.
    pub fn thinking_tokens(&self) -> u64 {
        let thinking = |block: &&Block| match block {
            Block::Thinking { .. } => true,
            Block::Complete(value) => value["type"] == "redacted_thinking",
            Block::Text { .. } | Block::ToolUse { .. } => false,
        };
        self.blocks.iter().filter(thinking).map(Block::tokens).sum()
    }
}

/// Composes the answer to a checked request.
pub fn compose(request: &Value, wanted: &AnswerConfig, id: String, input: Split) -> Answer {
    let mut writer = Writer::new(request, wanted);
    let scenario = writer.scenario();
    let (blocks, stop_reason) = writer.blocks(scenario);
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    let mut answer =
        Answer { id, model, blocks, stop_reason, stop_sequence: None, stop_details: None, input };
    match scenario {
        Scenario::StopSequence => {
            answer.stop_sequence = stop_sequences(request).first().map(|s| (*s).to_owned())
        }
        Scenario::Refusal => {
            let explanation = "This simulated request was declined.";
            answer.stop_details =
                Some(json!({"type": "refusal", "category": "general_harms", "explanation": explanation}));
        }
        Scenario::Text | Scenario::Thinking if stop_at_sequence(&mut answer, &stop_sequences(request)) => {}
        Scenario::Text | Scenario::Unicode | Scenario::Thinking
            if wanted.bytes == 0 && wanted.events == 0 =>
        {
            keep_to_max_tokens(&mut answer, request["max_tokens"].as_u64().unwrap_or(u64::MAX));
        }
        Scenario::Auto | Scenario::Text | Scenario::Unicode | Scenario::Thinking | Scenario::Tools => {}
        Scenario::ParallelTools
        | Scenario::ToolWithoutInput
        | Scenario::RedactedThinking
        | Scenario::Empty => {}
        Scenario::MaxTokens | Scenario::Citations | Scenario::PauseTurn | Scenario::ContextExceeded => {}
    }
    answer
}

/// Cuts the last text when the answer is longer than allowed; 0 allows nothing.
fn keep_to_max_tokens(answer: &mut Answer, max_tokens: u64) {
    if max_tokens == 0 {
        answer.blocks.clear();
        answer.stop_reason = "max_tokens";
        return;
    }
    while answer.output_tokens() > max_tokens {
        let Some(Block::Text { pieces, .. }) = answer.blocks.last_mut() else { return };
        answer.stop_reason = "max_tokens";
        if pieces.len() <= 1 {
            return;
        }
        pieces.pop();
    }
}

/// Cuts the last text before the first stop sequence in it; false when there is none.
fn stop_at_sequence(answer: &mut Answer, sequences: &[&str]) -> bool {
    let Some(Block::Text { pieces, .. }) = answer.blocks.last_mut() else { return false };
    let text = pieces.concat();
    let places = sequences.iter().filter_map(|sequence| Some((text.find(sequence)?, *sequence)));
    let Some((mut left, sequence)) = places.filter(|(_, sequence)| !sequence.is_empty()).min() else {
        return false;
    };
    pieces.retain_mut(|piece| {
        piece.truncate(left);
        left -= piece.len();
        !piece.is_empty()
    });
    (answer.stop_reason, answer.stop_sequence) = ("stop_sequence", Some(sequence.to_owned()));
    true
}

fn stop_sequences(request: &Value) -> Vec<&str> {
    request["stop_sequences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

struct Writer<'a> {
    request: &'a Value,
    wanted: &'a AnswerConfig,
    dice: Dice,
}

impl<'a> Writer<'a> {
    fn new(request: &'a Value, wanted: &'a AnswerConfig) -> Self {
        let mut hasher = DefaultHasher::new();
        request["model"].as_str().hash(&mut hasher);
        last_user_text(request).hash(&mut hasher);
        request["messages"].as_array().map(Vec::len).hash(&mut hasher);
        Self { request, wanted, dice: Dice::new(hasher.finish()) }
    }

    fn scenario(&self) -> Scenario {
        if self.wanted.scenario != Scenario::Auto {
            return self.wanted.scenario;
        }
        let tools = !self.tools().is_empty();
        let forced = ["any", "tool"].iter().any(|kind| self.request["tool_choice"]["type"] == **kind);
        let forbidden = self.request["tool_choice"]["type"] == "none";
        let named = last_user_text(self.request).contains("tool");
        if tools && !forbidden && (forced || named) { Scenario::Tools } else { Scenario::Text }
    }

    fn tools(&self) -> &'a [Value] {
        self.request["tools"].as_array().map_or(&[], Vec::as_slice)
    }

    fn blocks(&mut self, scenario: Scenario) -> (Vec<Block>, &'static str) {
        let kind = self.request["thinking"]["type"].as_str();
        let thinks = matches!(kind, Some("enabled" | "adaptive")) || scenario == Scenario::Thinking;
        let mut blocks = Vec::new();
        if thinks && !matches!(scenario, Scenario::Empty | Scenario::RedactedThinking) {
            blocks.push(self.thinking());
        }
        let stop_reason = match scenario {
            Scenario::Auto | Scenario::Text | Scenario::Thinking => {
                blocks.push(self.text());
                "end_turn"
            }
            Scenario::Unicode => {
                blocks.push(plain(prose::unicode()));
                "end_turn"
            }
            Scenario::Tools => {
                blocks.push(self.short("Let me look that up."));
                blocks.push(self.call(0));
                "tool_use"
            }
            Scenario::ParallelTools => {
                blocks.push(self.short("Two things at once."));
                blocks.extend([self.call(0), self.call(1)]);
                "tool_use"
            }
            Scenario::ToolWithoutInput => {
                blocks.push(self.call_without_input());
                "tool_use"
            }
            Scenario::RedactedThinking => {
                let data = self.dice.id(96);
                blocks.push(Block::Complete(json!({"type": "redacted_thinking", "data": data})));
                blocks.push(self.text());
                "end_turn"
            }
            Scenario::Empty => "end_turn",
            Scenario::Refusal => {
                blocks.push(self.short("I can't help with"));
                "refusal"
            }
            Scenario::MaxTokens | Scenario::StopSequence | Scenario::ContextExceeded => {
                blocks.push(self.text());
                stopped_by(scenario)
            }
            Scenario::Citations => {
                blocks.extend(self.cited());
                "end_turn"
            }
            Scenario::PauseTurn => {
                blocks.extend(self.search());
                "pause_turn"
            }
        };
        (blocks, stop_reason)
    }

    fn text(&mut self) -> Block {
        plain(prose::pieces(&mut self.dice, self.wanted.events, self.wanted.bytes))
    }

    fn short(&self, text: &str) -> Block {
        plain(text.split_inclusive(' ').map(str::to_owned).collect())
    }

    fn thinking(&mut self) -> Block {
        let omitted = self.request["thinking"]["display"] == "omitted";
        let pieces = if omitted { Vec::new() } else { prose::pieces(&mut self.dice, 6, 0) };
        Block::Thinking { pieces, signature: format!("Er{}==", self.dice.id(120)) }
    }

    fn call(&mut self, number: usize) -> Block {
        let tools = self.tools();
        let choice = self.request["tool_choice"]["name"].as_str();
        let chosen = choice.and_then(|name| tools.iter().find(|tool| tool["name"] == name));
        let tool = chosen.or_else(|| tools.get(number % tools.len().max(1)));
        let name = tool.and_then(|tool| tool["name"].as_str()).unwrap_or("get_weather").to_owned();
        let schema = tool.map(|tool| tool["input_schema"].clone()).unwrap_or_else(prose::sample_schema);
        let input = prose::value_for(&schema, "", 0);
        let pieces = prose::split_json(&prose::ascii_json(&input));
        Block::ToolUse { kind: "tool_use", id: format!("toolu_01{}", self.dice.id(22)), name, pieces }
    }

    fn call_without_input(&mut self) -> Block {
        let name =
            self.tools().first().and_then(|tool| tool["name"].as_str()).unwrap_or("get_time").to_owned();
        let id = format!("toolu_01{}", self.dice.id(22));
        Block::ToolUse { kind: "tool_use", id, name, pieces: Vec::new() }
    }

    fn cited(&mut self) -> [Block; 2] {
        let cited = "The grass is green.";
        let citation = json!({
            "type": "char_location", "cited_text": cited, "document_index": 0,
            "document_title": "Facts", "start_char_index": 0, "end_char_index": cited.len(), "file_id": null,
        });
        let quote =
            Block::Text { pieces: vec!["the grass ".into(), "is green".into()], citations: vec![citation] };
        [self.short("According to the document, "), quote]
    }

    fn search(&mut self) -> [Block; 2] {
        let id = format!("srvtoolu_01{}", self.dice.id(22));
        let pieces = prose::split_json(r#"{"query": "weather in Z\u00fcrich"}"#);
        let result = json!({
            "type": "web_search_tool_result", "tool_use_id": id,
            "content": [{
                "type": "web_search_result", "title": "Weather", "url": "https://weather.example/",
                "encrypted_content": self.dice.id(64), "page_age": null,
            }],
        });
        let call = Block::ToolUse { kind: "server_tool_use", id, name: "web_search".into(), pieces };
        [call, Block::Complete(result)]
    }
}

/// Why a text was broken off.
fn stopped_by(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::MaxTokens => "max_tokens",
        Scenario::StopSequence => "stop_sequence",
        Scenario::ContextExceeded => "model_context_window_exceeded",
        Scenario::Auto | Scenario::Text | Scenario::Unicode | Scenario::Tools | Scenario::ParallelTools => {
            "end_turn"
        }
        Scenario::ToolWithoutInput | Scenario::Thinking | Scenario::RedactedThinking | Scenario::Empty => {
            "end_turn"
        }
        Scenario::Refusal | Scenario::Citations | Scenario::PauseTurn => "end_turn",
    }
}

fn plain(pieces: Vec<String>) -> Block {
    Block::Text { pieces, citations: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose_for(request: &Value, scenario: Scenario) -> Answer {
        let wanted = AnswerConfig { scenario, ..AnswerConfig::default() };
        compose(request, &wanted, "msg_1".into(), Split::default())
    }

    fn ask(prompt: &str) -> Value {
        json!({"model": "m", "max_tokens": 1_000, "messages": [{"role": "user", "content": prompt}]})
    }

    #[test]
    fn equal_requests_get_equal_answers() {
        assert_eq!(compose_for(&ask("a"), Scenario::Auto), compose_for(&ask("a"), Scenario::Auto));
        assert_ne!(
            compose_for(&ask("a"), Scenario::Auto).blocks,
            compose_for(&ask("b"), Scenario::Auto).blocks
        );
    }

    #[test]
    fn forced_tools_are_called_with_input_that_fits_the_schema() {
        let mut request = ask("hi");
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
        request["tools"] = json!([{"name": "forecast", "input_schema": schema}]);
        request["tool_choice"] = json!({"type": "any"});
        let answer = compose_for(&request, Scenario::Auto);
        let Some(Block::ToolUse { name, pieces, .. }) = answer.blocks.last() else {
            panic!("no call: {answer:?}")
        };
        let input: Value = serde_json::from_str(&pieces.concat()).unwrap();
        assert_eq!((name.as_str(), input["days"].as_i64()), ("forecast", Some(3)));
        assert_eq!(answer.stop_reason, "tool_use");
    }

    #[test]
    fn max_tokens_cuts_the_text() {
        let mut request = ask("hi");
        request["max_tokens"] = json!(10);
        let answer = compose_for(&request, Scenario::Auto);
        assert_eq!(answer.stop_reason, "max_tokens");
        assert!(answer.output_tokens() <= 10, "{}", answer.output_tokens());
        request["max_tokens"] = json!(0);
        assert!(compose_for(&request, Scenario::Auto).blocks.is_empty());
    }

    #[test]
    fn a_stop_sequence_in_the_text_ends_it() {
        let mut request = ask("hi");
        let Block::Text { pieces, .. } = &compose_for(&request, Scenario::Auto).blocks[0] else {
            panic!("no text")
        };
        let text = pieces.concat();
        request["stop_sequences"] = json!(["not in there", &text[30..36]]);
        let answer = compose_for(&request, Scenario::Auto);
        let Block::Text { pieces, .. } = &answer.blocks[0] else { panic!("no text") };
        assert!(pieces.concat().len() <= 30 && text.starts_with(&pieces.concat()));
        assert_eq!(
            (answer.stop_reason, answer.stop_sequence.as_deref()),
            ("stop_sequence", Some(&text[30..36]))
        );
    }

    #[test]
    fn an_empty_answer_ends_its_turn() {
        let answer = compose_for(&ask("hi"), Scenario::Empty);
        assert!(answer.blocks.is_empty() && answer.stop_reason == "end_turn");
    }
}
