//! An answer that comes before the end of the upload is readable by a caller who is still sending.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::caller::{Answer, Connection, message, prompt};
use super::stand::{Stand, after};
use headgate::simulator::FaultKind;

const SIZE: usize = 20 << 20;

/// How a caller goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Sends everything, then reads.
    SendsFirst,
    /// Sends in pieces with pauses, then reads.
    SendsSlowly,
    /// Reads while sending.
    ReadsMeanwhile,
}

/// Sends a large body behind `head` and reads the answer; true if the connection was closed in order afterwards.
async fn upload(mut connection: Connection, head: &str, body: &[u8], habit: Habit) -> (Answer, bool) {
    connection.send(head.as_bytes()).await;
    let pieces = body.chunks(1 << 20);
    if habit == Habit::ReadsMeanwhile {
        let (reading, mut writing) = connection.stream.into_split();
        let body = body.to_vec();
        let sender = tokio::spawn(async move {
            for piece in body.chunks(256 << 10) {
                if writing.write_all(piece).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            writing
        });
        let mut reader = Connection::over(tokio::io::join(reading, tokio::io::sink()));
        let answer = reader.answer().await;
        drop(sender.await.unwrap());
        let closed = reader.closes(Duration::from_secs(10)).await;
        return (answer, closed);
    }
    for piece in pieces {
        if connection.stream.write_all(piece).await.is_err() {
            break;
        }
        if habit == Habit::SendsSlowly {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let answer = connection.answer().await;
    let closed = connection.closes(Duration::from_secs(10)).await;
    (answer, closed)
}

fn head(headers: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\n{headers}\r\n"
    )
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 1024);
    for piece in body.chunks(100_000) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

const HABITS: [Habit; 3] = [Habit::SendsFirst, Habit::SendsSlowly, Habit::ReadsMeanwhile];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_and_a_413_reach_a_caller_still_sending_20_mb() {
    let stand =
        Stand::new("server: { max_body_bytes: 1000000 }\ntenants: [{ name: a, key: 'value:good-key' }]");
    let body = vec![b' '; SIZE];
    for habit in HABITS {
        let unknown = head(&format!("x-api-key: bad\r\ncontent-length: {SIZE}\r\n"));
        let (answer, closed) = upload(stand.gateway.connect().await, &unknown, &body, habit).await;
        answer.assert_error(401, "authentication_error");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(closed, "401, {habit:?}: no orderly close");

        let large = head(&format!("x-api-key: good-key\r\ncontent-length: {SIZE}\r\n"));
        let (answer, closed) = upload(stand.gateway.connect().await, &large, &body, habit).await;
        answer.assert_error(413, "request_too_large");
        assert!(closed, "413 by length, {habit:?}: no orderly close");

        let unframed = head("x-api-key: good-key\r\ntransfer-encoding: chunked\r\n");
        let (answer, closed) = upload(stand.gateway.connect().await, &unframed, &chunked(&body), habit).await;
        answer.assert_error(413, "request_too_large");
        assert!(closed, "413 by chunks, {habit:?}: no orderly close");
    }
    assert_eq!(stand.upstream.simulator.stats().requests, 0);
    stand.gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_reaches_a_caller_still_sending_20_mb() {
    let stand = Stand::new("relay: { max_wait_ms: 0 }");
    let knobs = headgate::simulator::Knobs { retry_after: Some(600.0), ..Default::default() };
    stand.upstream.fail(super::stand::fault(FaultKind::RateLimited, knobs));
    stand.gateway.ask(&message("park them all", false)).await.assert_error(429, "rate_limit_error");
    let body = prompt("claude-sonnet-5", &"x".repeat(SIZE), false);
    for habit in HABITS {
        let sent = head(&format!("content-length: {}\r\n", body.len()));
        let connection = stand.gateway.connect().await;
        let (answer, _) = tokio::time::timeout(Duration::from_secs(90), async {
            let mut connection = connection;
            connection.send(sent.as_bytes()).await;
            if habit == Habit::SendsSlowly {
                for piece in body.as_bytes().chunks(1 << 20) {
                    connection.send(piece).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            } else {
                connection.send(body.as_bytes()).await;
            }
            (connection.answer().await, ())
        })
        .await
        .unwrap();
        answer.assert_error(429, "rate_limit_error");
        assert_eq!(answer.header("retry-after"), Some("120"), "no caller is told to wait longer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_never_stops_sending_is_cut() {
    let yaml = "server: { max_body_bytes: 1000, early_answer_ms: 300, early_answer_bytes: 1000000000 }";
    let stand = Stand::new(yaml);
    let mut connection = stand.gateway.connect().await;
    connection.send(head("content-length: 100000000000\r\n").as_bytes()).await;
    connection.answer().await.assert_error(413, "request_too_large");
    let start = std::time::Instant::now();
    let piece = vec![b' '; 64 << 10];
    while connection.stream.write_all(&piece).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "it is read for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(200), "cut too early: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_expects_100_continue_gets_it_or_the_refusal() {
    let stand = Stand::new("server: { max_body_bytes: 1000 }\ntenants: [{ name: a, key: 'value:good-key' }]");
    let body = prompt("claude-sonnet-5", "hi", false);
    let asks = |key: &str, length: usize| {
        head(&format!("x-api-key: {key}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n"))
    };
    let mut good = stand.gateway.connect().await;
    good.send(asks("good-key", body.len()).as_bytes()).await;
    assert_eq!(good.head().await.unwrap().status, 100);
    assert_eq!(good.ask(&body).await.status, 200);
    for (request, status, error_type) in [
        (asks("bad", body.len()), 401, "authentication_error"),
        (asks("good-key", SIZE), 413, "request_too_large"),
    ] {
        let mut refused = stand.gateway.connect().await;
        refused.send(request.as_bytes()).await;
        let mut answer = refused.head().await.unwrap();
        if answer.status == 100 {
            answer = refused.head().await.unwrap();
        }
        refused.body(&mut answer, |_| false).await;
        answer.assert_error(status, error_type);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_early_413_reaches_the_caller() {
    let stand = Stand::new("");
    stand.upstream.fail(after(FaultKind::Early413, 0));
    let large =
        super::caller::post("/v1/messages", "", &prompt("claude-sonnet-5", &"x".repeat(8 << 20), false));
    let answer = stand.gateway.ask(&large).await;
    answer.assert_error(413, "request_too_large");
    assert_eq!(stand.upstream.simulator.stats().requests, 1, "a caller's fault was tried again");
    assert_eq!(stand.gateway.metric("key_state", "state=\"parked\"").await, 0.0);
}
