//! A client that sees every byte, and polling with a deadline.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for anything that should happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A Messages request with this prompt.
pub fn prompt(text: &str, stream: bool) -> String {
    let messages = serde_json::json!([{"role": "user", "content": text}]);
    serde_json::json!({"model": "claude-sonnet-5", "max_tokens": 100, "stream": stream, "messages": messages})
        .to_string()
}

/// What one connection brought.
#[derive(Debug, Default)]
pub struct Wire {
    pub text: String,
    pub error: Option<ErrorKind>,
}

impl Wire {
    pub fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn head(&self) -> &str {
        self.text.split("\r\n\r\n").next().unwrap_or("")
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// An open exchange.
#[derive(Debug)]
pub struct Exchange {
    socket: TcpStream,
    pub wire: Wire,
}

impl Exchange {
    /// Connects and sends.
    pub async fn begin(at: SocketAddr, request: &[u8]) -> Result<Self, std::io::Error> {
        let mut socket = TcpStream::connect(at).await?;
        socket.write_all(request).await?;
        Ok(Self { socket, wire: Wire::default() })
    }

    /// Reads until `enough`, the end, or an error.
    pub async fn read(&mut self, enough: impl Fn(&Wire) -> bool) {
        let mut buffer = vec![0; 64 * 1024];
        while !enough(&self.wire) {
            match tokio::time::timeout(DEADLINE, self.socket.read(&mut buffer)).await.expect("no bytes come")
            {
                Ok(0) => return,
                Ok(count) => self.wire.text.push_str(&String::from_utf8_lossy(&buffer[..count])),
                Err(error) => {
                    self.wire.error = Some(error.kind());
                    return;
                }
            }
        }
    }

    /// Reads to the end.
    pub async fn end(mut self) -> Wire {
        self.read(|_| false).await;
        self.wire
    }
}

/// A request that closes its connection.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// One request on a connection of its own.
pub async fn send(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Wire {
    match Exchange::begin(at, &request(method, path, headers, body)).await {
        Ok(exchange) => exchange.end().await,
        Err(error) => Wire { text: String::new(), error: Some(error.kind()) },
    }
}

/// A Messages request under way.
pub async fn ask(at: SocketAddr, text: &str, stream: bool) -> Exchange {
    let headers = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
    Exchange::begin(at, &request("POST", "/v1/messages", &headers, &prompt(text, stream))).await.unwrap()
}

/// Asks again and again until it is so.
#[allow(clippy::disallowed_methods, reason = "a test with sockets waits by the real clock")]
pub async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < DEADLINE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
