//! What an upstream does with one request: troubles of keys, groups, backends and models, and the answer they make of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use headgate_providers::{FaultKind, Headers};

use super::dice::Dice;

/// Where a trouble sits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Key(String),
    Group(String, String),
    Backend(String),
    Model(String, String),
}

/// What is wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Refused,
    Forbidden,
    ForbiddenModel,
    Limited(Told),
    Spent,
    Credit,
    Unreachable,
    Resets,
    Silent,
    Failing,
    Overloaded,
    NoModel,
    ErrorsFirst,
    CutEarly,
    CutLate,
    ErrorsLate,
    Garbled,
    Slow,
    Stale,
}

/// How a rate limit tells its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Seconds,
    Millis,
    Date,
    Reset,
    Not,
}

/// What an attempt comes to, as the documentation of the API has it: whom it concerns and for how long at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    Caller,
    Key,
    KeyModel,
    /// Credit: like a refused key, but of the whole group.
    Credit,
    /// A spend limit of the group, with its remaining time.
    Spent(Duration),
    /// A rate limit of the group and class.
    Limited(Option<Duration>),
    Missing,
    Overloaded,
    Server,
    Connection,
    /// No first event, or no whole answer, in time: found out by the gateway's clock alone.
    Late,
    Nobody,
}

impl Ill {
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Key | Self::KeyModel | Self::Credit)
    }

    pub fn is_of_backend(self) -> bool {
        matches!(self, Self::Overloaded | Self::Server | Self::Connection | Self::Late)
    }

    /// Whether it rests a key or a group, so that a call may come back after the rest.
    pub fn rests(self) -> bool {
        !matches!(self, Self::Caller | Self::Server | Self::Connection | Self::Late | Self::Nobody)
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    Broken(FaultKind),
    /// Never: upstream holds the socket.
    Hangs,
}

/// What happens to a request once it is sent.
#[derive(Clone, Debug)]
pub enum Opening {
    Fails(Duration, FaultKind),
    Silent,
    Answers(Duration, Answer),
}

/// An answer to come.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub chunks: Vec<(Duration, Bytes)>,
    pub end: End,
    /// Behind this byte content has been shown (of a stream).
    pub content_at: usize,
    /// Behind this byte the answer is over: `message_stop` or an error event.
    pub over_at: usize,
}

/// A request as upstream sees it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub model: &'a str,
    pub stream: bool,
    pub attempt: usize,
    pub wall: SystemTime,
    /// How long the trouble lasts from here.
    pub left: Duration,
}

/// One request's fate: what upstream does, and what that is.
pub struct Fate {
    pub opening: Opening,
    /// Before content; `None`: it is answered.
    pub ill: Option<Ill>,
    /// After content.
    pub late_ill: Option<Ill>,
}

/// The fate of a request under `trouble`.
pub fn fate(trouble: Option<Trouble>, asked: &Asked<'_>, dice: &mut Dice) -> Fate {
    let wait = dice.millis(1, 400);
    let error = |status, kind: &str, message: &str, ill| refusal(wait, status, (kind, message), ill);
    let fails = |kind, ill| Fate { opening: Opening::Fails(wait, kind), ill: Some(ill), late_ill: None };
    match trouble {
        None => good(asked, dice, 30),
        Some(Trouble::Slow) => good(asked, dice, 900),
        Some(Trouble::Refused) => error(401, "authentication_error", "invalid x-api-key", Ill::Key),
        Some(Trouble::Forbidden) => error(403, "permission_error", "Your key lacks a permission", Ill::Key),
        Some(Trouble::ForbiddenModel) => {
            error(403, "permission_error", "The requested model is not for you", Ill::KeyModel)
        }
        Some(Trouble::Credit) => {
            error(402, "billing_error", "There is an issue with your billing.", Ill::Credit)
        }
        Some(Trouble::NoModel) => {
            error(404, "not_found_error", &format!("model: {}", asked.model), Ill::Missing)
        }
        Some(Trouble::Failing) => error(500, "api_error", "Internal server error", Ill::Server),
        Some(Trouble::Overloaded) => error(529, "overloaded_error", "Overloaded", Ill::Overloaded),
        Some(Trouble::Spent) => spent(wait, asked),
        Some(Trouble::Limited(told)) => limited(wait, asked, told),
        Some(Trouble::Unreachable) => fails(FaultKind::Connect, Ill::Connection),
        Some(Trouble::Resets) => fails(FaultKind::Reset, Ill::Connection),
        Some(Trouble::Stale) => fails(FaultKind::StaleConnection, Ill::Nobody),
        Some(Trouble::Silent) => Fate { opening: Opening::Silent, ill: Some(Ill::Late), late_ill: None },
        Some(Trouble::ErrorsFirst) if asked.stream => broken_stream(asked, dice, false, true),
        Some(Trouble::ErrorsLate) if asked.stream => broken_stream(asked, dice, true, true),
        Some(Trouble::CutLate) if asked.stream => broken_stream(asked, dice, true, false),
        Some(Trouble::CutEarly) if asked.stream => broken_stream(asked, dice, false, false),
        Some(Trouble::ErrorsFirst | Trouble::ErrorsLate | Trouble::CutLate | Trouble::CutEarly) => {
            cut_whole(asked, dice)
        }
        Some(Trouble::Garbled) => garbled(asked, wait),
    }
}

/// The caller's own fault.
pub fn bad_request(dice: &mut Dice) -> Fate {
    let said = ("invalid_request_error", "messages: at least one message is required");
    refusal(dice.millis(1, 400), 400, said, Ill::Caller)
}

fn refusal(wait: Duration, status: u16, (kind, message): (&str, &str), ill: Ill) -> Fate {
    let body = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#);
    let answer = Answer {
        status,
        headers: headers("application/json"),
        chunks: vec![(Duration::ZERO, Bytes::from(body))],
        end: End::Clean,
        content_at: usize::MAX,
        over_at: usize::MAX,
    };
    Fate { opening: Opening::Answers(wait, answer), ill: Some(ill), late_ill: None }
}

fn headers(content_type: &'static str) -> Headers {
    let mut headers = Headers::default();
    headers.push("content-type", content_type);
    headers
}

fn with_header(mut fate: Fate, name: &'static str, value: String) -> Fate {
    if let Opening::Answers(_, answer) = &mut fate.opening {
        answer.headers.push(name, value);
    }
    fate
}

/// Whole seconds until `left` is over, at least one.
fn seconds(left: Duration) -> u64 {
    left.as_secs() + 1
}

fn limited(wait: Duration, asked: &Asked<'_>, told: Told) -> Fate {
    let (whole, arrives) = (seconds(asked.left), asked.wall + wait);
    let date = arrives + Duration::from_secs(whole);
    let (header, stated) = match told {
        Told::Seconds => (Some(("retry-after", whole.to_string())), Some(Duration::from_secs(whole))),
        Told::Millis => {
            let millis = asked.left.as_millis().max(1);
            (Some(("retry-after-ms", millis.to_string())), Some(asked.left.max(Duration::from_millis(1))))
        }
        // Dates have whole seconds: up to one of them is lost.
        Told::Date => {
            let shown = httpdate::fmt_http_date(date);
            (Some(("retry-after", shown)), Some(Duration::from_secs(whole - 1)))
        }
        Told::Reset => {
            let shown = clock_face(date);
            (
                Some(("anthropic-ratelimit-requests-reset", format!("{shown}Z"))),
                Some(Duration::from_secs(whole - 1)),
            )
        }
        Told::Not => (None, None),
    };
    let said = (
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 5 requests per minute",
    );
    let fate = refusal(wait, 429, said, Ill::Limited(stated));
    match header {
        Some((name, value)) => with_header(fate, name, value),
        None => fate,
    }
}

fn spent(wait: Duration, asked: &Asked<'_>) -> Fate {
    let date = asked.wall + wait + Duration::from_secs(seconds(asked.left));
    let shown = clock_face(date);
    let message =
        format!("You have reached your specified API usage limits. You will regain access on {shown}Z.");
    let stated = Duration::from_secs(seconds(asked.left) - 1);
    refusal(wait, 400, ("invalid_request_error", &message), Ill::Spent(stated))
}

/// RFC 3339 without its zone. Worlds begin with a day of November 2026 and do not outlast it.
fn clock_face(date: SystemTime) -> String {
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(super::DAY);
    let seconds = date.duration_since(day).unwrap_or_default().as_secs();
    assert!(seconds < 86_400, "the day is over");
    format!("2026-11-21T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A stream up to its first delta, and what follows. Every piece bears the attempt's number.
fn stream_halves(asked: &Asked<'_>, dice: &mut Dice) -> (String, String) {
    let number = asked.attempt;
    let start = format!(
        r#"{{"type":"message_start","message":{{"id":"msg_{number}","type":"message","usage":{{"input_tokens":3,"output_tokens":1}}}}}}"#
    );
    let mut early = event("message_start", &start);
    if dice.percent(50) {
        early += &event("ping", r#"{"type": "ping"}"#);
    }
    early += &event(
        "content_block_start",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#,
    );
    let mut late = String::new();
    for part in 0..=dice.below(6) {
        let data = format!(
            r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{number}.{part}"}}}}"#
        );
        late += &event("content_block_delta", &data);
    }
    (early, late)
}

fn ending() -> String {
    event("content_block_stop", r#"{"type":"content_block_stop","index":0}"#)
        + &event(
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
        )
        + &event("message_stop", r#"{"type":"message_stop"}"#)
}

/// Cuts a body at random, with pauses of up to `pause` milliseconds.
fn chunks(body: &str, pause: u64, dice: &mut Dice) -> Vec<(Duration, Bytes)> {
    let mut rest = Bytes::copy_from_slice(body.as_bytes());
    let mut chunks = Vec::new();
    let reach = *dice.pick(&[40, 200, 4000]);
    while !rest.is_empty() {
        let piece = rest.split_to((1 + dice.below(reach)).min(rest.len()));
        let wait = if dice.percent(40) { Duration::ZERO } else { dice.millis(0, pause) };
        chunks.push((wait, piece));
    }
    chunks
}

fn good(asked: &Asked<'_>, dice: &mut Dice, pause: u64) -> Fate {
    if !asked.stream {
        let number = asked.attempt;
        let body = format!(
            r#"{{"id":"msg_{number}","type":"message","content":[],"usage":{{"input_tokens":3,"output_tokens":7}}}}"#
        );
        return answered(
            dice.millis(1, pause * 10),
            "application/json",
            chunks(&body, pause, dice),
            End::Clean,
            (usize::MAX, body.len()),
        );
    }
    let (early, late) = stream_halves(asked, dice);
    let content_at = early.len() + late.find("\n\n").unwrap_or(0) + 2;
    let mut body = early + &late + &ending();
    let over_at = body.len();
    if dice.percent(5) {
        body += ": said after the end\n\n";
    }
    let end =
        *dice.pick(&[End::Clean, End::Clean, End::Clean, End::Hangs, End::Broken(FaultKind::Truncated)]);
    answered(dice.millis(1, 400), "text/event-stream", chunks(&body, pause, dice), end, (content_at, over_at))
}

fn answered(
    wait: Duration,
    content_type: &'static str,
    chunks: Vec<(Duration, Bytes)>,
    end: End,
    (content_at, over_at): (usize, usize),
) -> Fate {
    let answer = Answer { status: 200, headers: headers(content_type), chunks, end, content_at, over_at };
    Fate { opening: Opening::Answers(wait, answer), ill: None, late_ill: None }
}

/// A stream that goes wrong before or after content: by an error event, or by its end.
fn broken_stream(asked: &Asked<'_>, dice: &mut Dice, with_content: bool, reported: bool) -> Fate {
    let (early, late) = stream_halves(asked, dice);
    let content_at = if with_content { early.len() + late.find("\n\n").unwrap_or(0) + 2 } else { usize::MAX };
    let mut body = if with_content { early + &late } else { early };
    let (ill, end) = if reported {
        let overload = dice.percent(50);
        let kind = if overload { "overloaded_error" } else { "api_error" };
        body += &event(
            "error",
            &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"trouble"}}}}"#),
        );
        (if overload { Ill::Overloaded } else { Ill::Server }, *dice.pick(&[End::Clean, End::Hangs]))
    } else {
        if dice.percent(50) {
            body += "event: content_block_delta\ndata: {\"type\":\"cont";
        }
        // A connection that breaks is blamed on connections, an answer that ends early on the model's place.
        *dice.pick(&[
            (Ill::Server, End::Clean),
            (Ill::Server, End::Broken(FaultKind::Truncated)),
            (Ill::Connection, End::Broken(FaultKind::Reset)),
            (Ill::Late, End::Hangs),
        ])
    };
    let over_at = if reported { body.len() } else { usize::MAX };
    let wait = dice.millis(1, 400);
    let cut = chunks(&body, 30, dice);
    let mut fate = answered(wait, "text/event-stream", cut, end, (content_at, over_at));
    if with_content {
        fate.late_ill = Some(ill);
    } else {
        fate.ill = Some(ill);
    }
    fate
}

fn cut_whole(asked: &Asked<'_>, dice: &mut Dice) -> Fate {
    let body = format!(r#"{{"id":"msg_{}","type":"message","content":["#, asked.attempt);
    let (ill, end) =
        *dice.pick(&[(Ill::Server, End::Clean), (Ill::Connection, End::Broken(FaultKind::Reset))]);
    let wait = dice.millis(1, 400);
    let cut = chunks(&body, 30, dice);
    let mut fate = answered(wait, "application/json", cut, end, (usize::MAX, usize::MAX));
    fate.ill = Some(ill);
    fate
}

/// A 200 that is no answer.
fn garbled(asked: &Asked<'_>, wait: Duration) -> Fate {
    let content_type = if asked.stream { "text/html" } else { "application/json" };
    let answer = Answer {
        status: 200,
        headers: headers(content_type),
        chunks: vec![(Duration::ZERO, Bytes::from_static(b"<html>}"))],
        end: End::Clean,
        content_at: usize::MAX,
        over_at: usize::MAX,
    };
    Fate { opening: Opening::Answers(wait, answer), ill: Some(Ill::Server), late_ill: None }
}
