//! A client that sees every byte: requests as text, answers as they came, and how the connection ended.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use headgate::simulator::{RunningSimulator, Simulator, SimulatorConfig, Stats};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DEADLINE: Duration = Duration::from_secs(10);
pub const KEY: &str = "sk-ant-api03-sim-org-a-1";

pub async fn start(config: SimulatorConfig) -> RunningSimulator {
    Simulator::start(config, ([127, 0, 0, 1], 0).into()).await.unwrap()
}

pub fn prompt(text: &str, stream: bool) -> String {
    let messages = serde_json::json!([{"role": "user", "content": text}]);
    serde_json::json!({"model": "claude-sonnet-5", "max_tokens": 1_000, "stream": stream, "messages": messages}).to_string()
}

pub fn request(method: &str, target: &str, key: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: sim\r\nx-api-key: {key}\r\nanthropic-version: 2026-10-21\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What one connection brought, and how it ended.
#[derive(Debug)]
pub struct Wire {
    pub bytes: Vec<u8>,
    pub end: Option<ErrorKind>,
}

impl Wire {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn status(&self) -> u16 {
        self.text().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next()?.to_owned();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub fn events(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("event: ").map(str::to_owned)).collect()
    }

    pub fn terminated(&self) -> bool {
        self.bytes.ends_with(b"\r\n0\r\n\r\n")
    }
}

/// Sends bytes and reads until `enough`, the end, or an error.
pub async fn exchange(simulator: &RunningSimulator, bytes: &str, enough: impl Fn(&Wire) -> bool) -> Wire {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read(&mut stream, enough).await
}

pub async fn read(stream: &mut (impl AsyncRead + Unpin), enough: impl Fn(&Wire) -> bool) -> Wire {
    let mut wire = Wire { bytes: Vec::new(), end: None };
    let mut buffer = vec![0; 64 * 1024];
    while !enough(&wire) {
        match tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.expect("the simulator is silent")
        {
            Ok(0) => break,
            Ok(count) => wire.bytes.extend_from_slice(&buffer[..count]),
            Err(error) => {
                wire.end = Some(error.kind());
                break;
            }
        }
    }
    wire
}

/// One answer on a connection of its own.
pub async fn ask(simulator: &RunningSimulator, key: &str, text: &str, stream: bool) -> Wire {
    let request = request("POST", "/v1/messages", key, &prompt(text, stream));
    let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    exchange(simulator, &closing, |_| false).await
}

#[allow(clippy::disallowed_methods, reason = "a test with sockets waits by the real clock")]
pub async fn until(simulator: &RunningSimulator, reached: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = simulator.stats();
        if reached(&stats) {
            return stats;
        }
        assert!(start.elapsed() < DEADLINE, "not reached: {stats:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
