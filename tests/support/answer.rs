//! What an upstream does with one request, step by step.

use std::time::Duration;

use bytes::Bytes;
use headgate_providers::{FaultKind, Headers, WireHead};

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing for this long.
    Pause(Duration),
    /// The head.
    Head(WireHead),
    /// Bytes of the body.
    Chunk(Bytes),
    /// The transport fails: before the head as the sending, behind it as the body.
    Fail(FaultKind),
    /// Nothing, for ever.
    Hang,
}

/// An answer: its steps, and then the end of the body.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub steps: Vec<Step>,
}

impl Answer {
    /// A whole answer with this text.
    pub fn ok() -> Self {
        Self::json(200, &whole("hello"))
    }

    /// A whole answer with this body.
    pub fn json(status: u16, body: &str) -> Self {
        Self::default().head(status, "application/json").chunk(body.to_owned())
    }

    /// A web server's page.
    pub fn page(status: u16, body: &str) -> Self {
        Self::default().head(status, "text/html").chunk(body.to_owned())
    }

    /// The API's error envelope.
    pub fn error(status: u16, error_type: &str, message: &str) -> Self {
        Self::json(status, &envelope(error_type, message))
    }

    /// 429 by rate, as the API words it: with the organization's limit in its message.
    pub fn limited() -> Self {
        let message = "This request would exceed your organization's rate limit of 50,000 input tokens per minute (org: 1ab2)";
        Self::error(429, "rate_limit_error", message)
    }

    /// 429 with `retry-after`.
    pub fn limited_for(retry_after: impl ToString) -> Self {
        Self::limited().with("retry-after", &retry_after.to_string())
    }

    /// 401.
    pub fn refused() -> Self {
        Self::error(401, "authentication_error", "invalid x-api-key")
    }

    /// 529.
    pub fn overloaded() -> Self {
        Self::error(529, "overloaded_error", "Overloaded")
    }

    /// 500.
    pub fn broken() -> Self {
        Self::error(500, "api_error", "Internal server error")
    }

    /// 404 for the model.
    pub fn no_such_model() -> Self {
        Self::error(404, "not_found_error", "model: claude-sonnet-4-5")
    }

    /// The transport fails.
    pub fn fails(kind: FaultKind) -> Self {
        Self::default().then(Step::Fail(kind))
    }

    /// Not even a head, ever.
    pub fn hangs() -> Self {
        Self::default().then(Step::Hang)
    }

    /// A stream's head; chunks follow.
    pub fn stream() -> Self {
        Self::default().head(200, "text/event-stream; charset=utf-8")
    }

    /// A complete stream that says this text, in one chunk an event.
    pub fn streams(text: &str) -> Self {
        Self::stream().chunks(recorded(text).split_inclusive("\n\n").map(str::to_owned))
    }

    /// A stream of these bytes in one chunk.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::stream().chunk(bytes)
    }

    pub fn head(self, status: u16, content_type: &'static str) -> Self {
        let mut headers = Headers::default();
        headers.push("content-type", content_type);
        headers.push("request-id", "req_upstream");
        headers.push("anthropic-organization-id", "org-secret");
        headers.push("anthropic-ratelimit-requests-limit", "50");
        self.then(Step::Head(WireHead { status, headers }))
    }

    /// One more header line.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        for step in &mut self.steps {
            if let Step::Head(head) = step {
                head.headers.push(name, value.to_owned());
            }
        }
        self
    }

    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub fn chunk(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Chunk(bytes.into()))
    }

    pub fn chunks<C: Into<Bytes>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.steps.extend(chunks.into_iter().map(|chunk| Step::Chunk(chunk.into())));
        self
    }

    pub fn pause(self, millis: u64) -> Self {
        self.then(Step::Pause(Duration::from_millis(millis)))
    }

    /// The connection breaks here.
    pub fn breaks(self, kind: FaultKind) -> Self {
        self.then(Step::Fail(kind))
    }

    pub fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// The same answer, begun only after a while.
    pub fn late(mut self, millis: u64) -> Self {
        self.steps.insert(0, Step::Pause(Duration::from_millis(millis)));
        self
    }

    /// The same answer with a pause before every chunk.
    pub fn paced(self, millis: u64) -> Self {
        let pace = |step| match step {
            Step::Chunk(_) => vec![Step::Pause(Duration::from_millis(millis)), step],
            Step::Pause(_) | Step::Head(_) | Step::Fail(_) | Step::Hang => vec![step],
        };
        Self { steps: self.steps.into_iter().flat_map(pace).collect() }
    }
}

/// A message with this text.
pub fn whole(text: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","content":[{{"type":"text","text":"{text}"}}],"model":"m","stop_reason":"end_turn","usage":{{"input_tokens":9,"output_tokens":3}}}}"#
    )
}

pub fn envelope(error_type: &str, message: &str) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{error_type}","message":"{message}"}},"request_id":"req_up"}}"#
    )
}

/// One event.
pub fn sse(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

pub fn ping() -> String {
    sse("ping", r#"{"type": "ping"}"#)
}

pub fn delta(text: &str) -> String {
    let data = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"}}"#;
    sse("content_block_delta", &data.replace("TEXT", text))
}

pub fn error_event(error_type: &str, message: &str) -> String {
    sse("error", &envelope(error_type, message))
}

/// Everything a stream sends before its content.
fn opening() -> String {
    let start = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#;
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    sse("message_start", start) + &sse("content_block_start", block) + &ping()
}

/// Everything a stream sends behind its content.
fn closing() -> String {
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;
    sse("content_block_stop", r#"{"type":"content_block_stop","index":0}"#)
        + &sse("message_delta", delta)
        + &sse("message_stop", r#"{"type":"message_stop"}"#)
}

/// A complete stream that says `text` word by word.
pub fn recorded(text: &str) -> String {
    let words: String = text.split_inclusive(' ').map(delta).collect();
    opening() + &words + &closing()
}

/// A complete stream cut up: what comes before the content, the content's events, what comes behind.
pub fn split(text: &str) -> (String, Vec<String>, String) {
    (opening(), text.split_inclusive(' ').map(delta).collect(), closing())
}

/// Streams that go wrong up to their first content, each with its name.
pub fn wrong_beginnings() -> Vec<(&'static str, String)> {
    let (opening, words, closing) = split("lost words");
    let stop = sse("message_stop", r#"{"type":"message_stop"}"#);
    let first_delta = |data: &str| opening.clone() + &sse("content_block_delta", data) + &words[0] + &closing;
    vec![
        ("only the end", stop.clone()),
        ("an end behind the opening", opening.clone() + &stop),
        ("no message_start", words.concat() + &closing),
        (
            "a message_start without its message",
            sse("message_start", r#"{"type":"message_start"}"#) + &words[0],
        ),
        ("a first delta that is no JSON", first_delta(r#"{"type":"content_block_delta","#)),
        ("a first delta that is a word", first_delta("hello")),
        ("binary rubbish for a delta", first_delta("\u{0}\u{1}\u{fffd}")),
    ]
}
