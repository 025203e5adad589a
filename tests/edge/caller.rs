//! A caller who sees every byte: requests as text, answers as they came, when each piece came, and how it ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stand::DEADLINE;

/// A message's body.
pub fn prompt(model: &str, text: &str, stream: bool) -> String {
    let messages = serde_json::json!([{"role": "user", "content": text}]);
    serde_json::json!({"model": model, "max_tokens": 1_000, "stream": stream, "messages": messages})
        .to_string()
}

/// A request.
pub fn post(target: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nhost: gateway\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A message with a prompt.
pub fn message(text: &str, stream: bool) -> String {
    post("/v1/messages", "", &prompt("claude-sonnet-5", text, stream))
}

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The framing said that it is complete.
    pub complete: bool,
    /// When each read brought a part of the body, and up to which byte of it.
    pub arrivals: Vec<(Instant, usize)>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The names of its events.
    pub fn events(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("event: ").map(str::to_owned)).collect()
    }

    /// How many of its events have this name.
    pub fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|name| *name == event).count()
    }

    /// The text of all its deltas.
    pub fn deltas(&self) -> String {
        let data = self.text();
        let data = data.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap());
        events.filter_map(|event| Some(event["delta"]["text"].as_str()?.to_owned())).collect()
    }

    /// Whether it is a good stream to its end.
    pub fn is_whole_stream(&self) -> bool {
        self.status == 200
            && self.complete
            && self.count("error") == 0
            && self.count("message_stop") == 1
            && self.count("message_start") == 1
            && self.events().last().is_some_and(|event| event == "message_stop")
    }

    /// Checks the API's envelope and that its request id is the header's.
    pub fn assert_error(&self, status: u16, error_type: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json["type"], "error", "{json}");
        assert_eq!(json["error"]["type"], error_type, "{json}");
        let id = self.header("request-id").expect("a request-id");
        assert!(!id.is_empty());
        assert_eq!(json["request_id"], id, "{json}");
        assert!(self.complete, "the answer's framing is broken: {self:?}");
        json["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// A connection of a caller.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

impl Connection {
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn ask(&mut self, request: &str) -> Answer {
        self.send(request.as_bytes()).await;
        self.answer().await
    }

    /// Reads more; false at the end or when the connection broke.
    async fn more(&mut self) -> bool {
        let mut piece = vec![0; 256 * 1024];
        let read = tokio::time::timeout(DEADLINE, self.stream.read(&mut piece)).await;
        match read.expect("the gateway is silent") {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&piece[..count]);
                true
            }
        }
    }

    /// Reads one head; `None` when the connection ended before it.
    pub async fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Some(Answer { status, headers: lines.map(pair).collect(), ..Answer::default() })
    }

    /// Reads all that comes until the connection ends.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Reads one answer as far as it comes.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await.expect("the connection ended without an answer");
        self.body(&mut answer, |_| false).await;
        answer
    }

    /// Reads the body of an answer, until `enough` or its end.
    pub async fn body(&mut self, answer: &mut Answer, enough: impl Fn(&Answer) -> bool) {
        if answer.header("transfer-encoding") == Some("chunked") {
            return self.chunks(answer, enough).await;
        }
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while answer.body.len() < length && !enough(answer) {
            if self.unread.is_empty() && !self.more().await {
                return;
            }
            let part = self.unread.len().min(length - answer.body.len());
            answer.body.extend(self.unread.drain(..part));
            answer.arrivals.push((Instant::now(), answer.body.len()));
        }
        answer.complete = answer.body.len() == length;
    }

    async fn chunks(&mut self, answer: &mut Answer, enough: impl Fn(&Answer) -> bool) {
        loop {
            while let Some((chunk, used)) = chunk(&self.unread) {
                answer.body.extend_from_slice(&self.unread[chunk.clone()]);
                self.unread.drain(..used);
                if chunk.is_empty() {
                    answer.complete = true;
                    return;
                }
                answer.arrivals.push((Instant::now(), answer.body.len()));
            }
            if enough(answer) || !self.more().await {
                return;
            }
        }
    }

    /// How the connection ends when nothing more is asked: true for an orderly close, within the time.
    pub async fn closes(&mut self, within: Duration) -> bool {
        let mut scrap = [0; 1024];
        let start = Instant::now();
        loop {
            let left = within.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, self.stream.read(&mut scrap)).await {
                Ok(Ok(0)) => return true,
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }
}

/// Where the bytes of the first chunk are, and where the next begins; `None` if it is not all there.
fn chunk(bytes: &[u8]) -> Option<(std::ops::Range<usize>, usize)> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap().trim(), 16).unwrap();
    let (start, end) = (line + 2, line + 2 + length);
    (bytes.len() >= end + 2).then_some((start..end, end + 2))
}
