//! A reader who stalls holds little memory and is cut in time; one who is slow is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::caller::{Connection, message};
use super::process::Process;
use super::scripted::read_request;
use super::stand::{DEADLINE, until};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// An upstream whose streams never end, as fast as they are taken.
struct Endless {
    address: std::net::SocketAddr,
    sent: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Endless {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let (total, live) = (sent.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (total, live) = (total.clone(), live.clone());
                tokio::spawn(async move {
                    assert!(read_request(&mut stream).await);
                    live.fetch_add(1, Ordering::Relaxed);
                    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":1}}}"#;
                    let text = "x".repeat(8 << 10);
                    let delta = format!(
                        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
                    );
                    let event = |name: &str, data: &str| {
                        let event = format!("event: {name}\ndata: {data}\n\n");
                        format!("{:x}\r\n{event}\r\n", event.len())
                    };
                    let mut next = format!("{HEAD}{}", event("message_start", start));
                    while stream.write_all(next.as_bytes()).await.is_ok() {
                        total.fetch_add(next.len() as u64, Ordering::Relaxed);
                        next = event("content_block_delta", &delta);
                    }
                    live.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, sent, open }
    }

    /// Waits until nothing more is taken, and says how much was.
    async fn settled(&self) -> u64 {
        let start = Instant::now();
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(150)).await;
            if self.sent.load(Ordering::Relaxed) == before {
                return before;
            }
            assert!(start.elapsed() < DEADLINE, "there is no back-pressure");
        }
    }
}

fn process(upstream: &Endless, stall_ms: u64) -> Process {
    Process::start(&format!(
        "backends: [{{ name: endless, provider: anthropic, base_url: 'http://{}', \
         keys: [{{ name: k, secret: 'value:s' }}] }}]\ndeadlines: {{ write_stall_ms: {stall_ms} }}",
        upstream.address
    ))
}

/// A caller with a small window, who has asked and reads nothing more than the head.
async fn stalled(process: &Process) -> Connection<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut caller = Connection::over(socket.connect(process.data).await.unwrap());
    caller.send(message("hi", true).as_bytes()).await;
    caller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_readers_hold_little_and_are_cut() {
    const READERS: usize = 24;
    let upstream = Endless::start().await;
    let process = process(&upstream, 4000);
    // What the first stream of all costs once is not what each costs.
    drop(stalled(&process).await);
    until("the first has come and gone", async || {
        process.records().len() == 1 && upstream.open.load(Ordering::Relaxed) == 0
    })
    .await;
    let before = process.resident();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(stalled(&process).await);
    }
    until("all streams run", async || upstream.open.load(Ordering::Relaxed) == READERS).await;
    let taken = upstream.settled().await;
    let each = process.resident().saturating_sub(before) / READERS;
    assert!(each <= 1 << 20, "a stalled stream holds {each} bytes");
    assert!(taken > 0);

    let start = Instant::now();
    until("the stalled ones are cut", async || upstream.open.load(Ordering::Relaxed) == 0).await;
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    until("each has its record", async || process.records().len() == READERS + 1).await;
    assert!(process.records().iter().all(|record| record["outcome"] == "client_closed"), "{}", process.log());
    let metrics =
        Connection::to(process.admin).await.ask("GET /metrics HTTP/1.1\r\nhost: g\r\n\r\n").await.text();
    assert!(metrics.contains("headgate_key_in_flight{backend=\"endless\",key=\"k\"} 0"), "{metrics}");
    drop(readers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_served() {
    let upstream = Endless::start().await;
    let process = process(&upstream, 700);
    let mut reader = stalled(&process).await;
    let (start, mut read) = (Instant::now(), 0);
    let mut piece = vec![0; 64 << 10];
    while start.elapsed() < Duration::from_secs(3) {
        read += tokio::time::timeout(DEADLINE, reader.stream.read(&mut piece)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(read > 200_000, "{read}");
    assert_eq!(upstream.open.load(Ordering::Relaxed), 1, "a slow reader was cut");
    assert!(process.records().is_empty());
    // The connection is left open on purpose until here.
    reader.stream.shutdown().await.unwrap();
}
