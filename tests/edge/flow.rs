//! Events leave when they come: no delay by Nagle's algorithm, no gathering, no buffering.

use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::caller::{Connection, message};
use super::scripted::read_request;
use super::stand::{Running, Stand};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn event(name: &str, rest: &str) -> String {
    let event = format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn start() -> String {
    let block = r#","index":0,"content_block":{"type":"text","text":""}"#;
    event("message_start", r#","message":{"usage":{"input_tokens":1}}"#)
        + &event("content_block_start", block)
}

fn delta() -> String {
    event("content_block_delta", r#","index":0,"delta":{"type":"text_delta","text":"x"}"#)
}

/// A gateway over an upstream whose one connection is in the test's hand.
struct Hand {
    gateway: Running,
    listener: TcpListener,
}

impl Hand {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Running::start(&format!(
            "backends: [{{ name: hand, provider: anthropic, base_url: 'http://{address}', \
             keys: [{{ name: k, secret: 'value:s' }}] }}]"
        ));
        Self { gateway, listener }
    }

    /// A caller who asked, and the upstream's end of the call.
    async fn asked(&self) -> (Connection, TcpStream) {
        let mut caller = self.gateway.connect().await;
        caller.send(message("hi", true).as_bytes()).await;
        let (mut upstream, _) = self.listener.accept().await.unwrap();
        upstream.set_nodelay(true).unwrap();
        assert!(read_request(&mut upstream).await);
        (caller, upstream)
    }
}

/// What holds for the gateway must hold in one of five tries: a busy machine may be late, a gateway that waits always is.
async fn in_one_of_five(mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let mut said = Vec::new();
    for _ in 0..5 {
        match holds().await {
            Ok(()) => return,
            Err(why) => said.push(why),
        }
    }
    panic!("{said:#?}");
}

fn within(limit_ms: u64, taken: Duration, what: &str) -> Result<(), String> {
    if taken < Duration::from_millis(limit_ms) { Ok(()) } else { Err(format!("{what}: {taken:?}")) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Two small segments, the second sent when the first has arrived unacknowledged: how much later the second arrives.
/// With Nagle's algorithm it waits for the delayed acknowledgement.
async fn lag(
    sender: &mut (impl AsyncWriteExt + Unpin),
    receiver: &mut TcpStream,
    first: &str,
    second: &str,
) -> Duration {
    let mut waits = Vec::new();
    for _ in 0..6 {
        let mut longest = Duration::ZERO;
        for part in [first, second] {
            // Acknowledgements are delayed from here on: the kernel may return to quick ones by itself.
            SockRef::from(&*receiver).set_tcp_quickack(false).unwrap();
            let sent = Instant::now();
            sender.write_all(part.as_bytes()).await.unwrap();
            let mut piece = [0; 16 * 1024];
            assert!(receiver.read(&mut piece).await.unwrap() > 0);
            longest = longest.max(sent.elapsed());
        }
        waits.push(longest);
    }
    median(waits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_waits_for_an_acknowledgement() {
    // What a socket without TCP_NODELAY does, to show that this would be seen.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    plain.set_nodelay(false).unwrap();
    let (mut receiver, _) = listener.accept().await.unwrap();
    let with_nagle = lag(&mut plain, &mut receiver, "one", "two").await;

    assert!(with_nagle > Duration::from_millis(30), "the kernel delays no acknowledgement: {with_nagle:?}");

    in_one_of_five(async || {
        let hand = Hand::new().await;
        let (mut caller, mut upstream) = hand.asked().await;
        upstream.write_all(format!("{HEAD}{}{}", start(), delta()).as_bytes()).await.unwrap();
        let mut answer = caller.head().await.unwrap();
        caller.body(&mut answer, |answer| answer.count("content_block_delta") == 1).await;
        let through = lag(&mut upstream, &mut caller.stream, &delta(), &delta()).await;
        within(30, through, "an event waited")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_leaves_within_5_ms() {
    in_one_of_five(async || {
        let hand = Hand::new().await;
        let (mut caller, mut upstream) = hand.asked().await;
        let mut taken = Vec::new();
        let mut sent = Instant::now();
        upstream.write_all(format!("{HEAD}{}{}", start(), delta()).as_bytes()).await.unwrap();
        let mut answer = caller.head().await.unwrap();
        for number in 1..=40 {
            caller.body(&mut answer, |answer| answer.count("content_block_delta") == number).await;
            taken.push(sent.elapsed());
            tokio::time::sleep(Duration::from_millis(3)).await;
            sent = Instant::now();
            upstream.write_all(delta().as_bytes()).await.unwrap();
        }
        within(50, taken[0], "the first event")?;
        within(5, median(taken), "the median event")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_events_10_ms_apart_arrive_apart() {
    let stand = Stand::new("");
    in_one_of_five(async || {
        let answer = stand.gateway.ask(&message("[[sim:events=100,pace_ms=10]]", true)).await;
        assert!(answer.is_whole_stream());
        assert_eq!(answer.count("content_block_delta"), 100);
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        let apart: Vec<Duration> = answer.arrivals.windows(2).map(|two| two[1].0 - two[0].0).collect();
        let separate = apart.iter().filter(|gap| **gap > Duration::from_millis(3)).count();
        if separate < 85 {
            return Err(format!("only {separate} of {} arrived apart", apart.len()));
        }
        within(20, median(apart), "the median gap")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_request_is_one_write_and_a_large_one_does_not_wait() {
    in_one_of_five(async || {
        let hand = Hand::new().await;
        let mut caller = hand.gateway.connect().await;
        let mut small = Vec::new();
        for size in [10, 70_000, 1 << 20] {
            let sent = Instant::now();
            caller.send(message(&"x".repeat(size), true).as_bytes()).await;
            let (mut upstream, _) = hand.listener.accept().await.unwrap();
            SockRef::from(&upstream).set_tcp_quickack(false).unwrap();
            assert!(read_request(&mut upstream).await);
            if size <= 70_000 {
                small.push(sent.elapsed());
            }
            upstream.write_all(format!("{HEAD}{}{}", start(), delta()).as_bytes()).await.unwrap();
            let end = event("message_stop", "") + "0\r\n\r\n";
            upstream.write_all(end.as_bytes()).await.unwrap();
            assert!(caller.answer().await.complete);
            drop(upstream);
        }
        small.into_iter().try_for_each(|taken| within(38, taken, "a small request"))
    })
    .await;
}
