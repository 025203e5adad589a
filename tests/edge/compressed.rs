//! Compressed request bodies: upstream gets the bytes they stand for, the bound counts those, and bombs are cheap.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::caller::{Answer, prompt};
use super::stand::Stand;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
}

/// What brotli makes of `{"model":"claude-sonnet-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`.
const BROTLI: &[u8] = &[
    0x1b, 0x55, 0x00, 0x50, 0x8c, 0xd3, 0x15, 0xf3, 0xa2, 0x84, 0x75, 0x0f, 0x22, 0x6f, 0xa9, 0x5f, 0xf6,
    0x51, 0x90, 0xb2, 0x60, 0x3f, 0x3e, 0xd8, 0x78, 0x01, 0x9b, 0x4d, 0xeb, 0xb0, 0x74, 0xf5, 0x05, 0x87,
    0x1c, 0x38, 0x05, 0x94, 0xb5, 0x05, 0xf2, 0x79, 0x40, 0x12, 0x6c, 0xc0, 0x19, 0x06, 0xcb, 0xda, 0x6a,
    0xfb, 0x83, 0x3f, 0xa8, 0x43, 0x6f, 0x33, 0xd9, 0xcb, 0xdd, 0x8e, 0x44, 0x62, 0xea, 0x2b, 0xdb, 0xb3,
    0x91, 0x02, 0x02, 0x90, 0x3f, 0x8a, 0x80, 0x4e, 0x89, 0x50, 0x0f, 0x78, 0x3a, 0xdf, 0x01,
];
const BROTLI_STANDS_FOR: &str =
    r#"{"model":"claude-sonnet-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

async fn ask(stand: &Stand, coding: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n\
         content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = stand.gateway.connect().await;
    connection.send(&[head.as_bytes(), body].concat()).await;
    connection.answer().await
}

async fn assert_nothing_is_held(stand: &Stand) {
    stand.gateway.idle().await;
    assert_eq!(stand.gateway.gateway.buffered.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coding_arrives_decoded() {
    let stand = Stand::new("");
    for size in [10, 3 << 20] {
        let body = prompt("claude-sonnet-5", &"some words ".repeat(size / 11), false);
        for (coding, packed) in [
            ("gzip", gzip(body.as_bytes())),
            ("x-gzip", gzip(body.as_bytes())),
            ("deflate", deflate(body.as_bytes())),
            ("zstd", zstd(body.as_bytes())),
        ] {
            let answer = ask(&stand, coding, &packed).await;
            assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
            let last = stand.upstream.simulator.requests().pop().unwrap();
            assert!(last.body == body.as_bytes(), "{coding} of {size}");
            assert!(last.headers.iter().all(|(name, _)| name != "content-encoding"), "{coding}");
            let length = last.headers.iter().find(|(name, _)| name == "content-length").unwrap();
            assert_eq!(length.1, body.len().to_string());
        }
    }
    let answer = ask(&stand, "br", BROTLI).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stand.upstream.simulator.requests().pop().unwrap().body, BROTLI_STANDS_FOR.as_bytes());
    assert_nothing_is_held(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_counts_decoded_bytes_and_a_bomb_is_413() {
    let stand = Stand::new("server: { max_body_bytes: 1048576 }");
    let exactly = |size: usize| {
        let frame = prompt("claude-sonnet-5", "", false).len();
        prompt("claude-sonnet-5", &"a".repeat(size - frame), false)
    };
    assert_eq!(ask(&stand, "gzip", &gzip(exactly(1 << 20).as_bytes())).await.status, 200);
    let one_more = ask(&stand, "gzip", &gzip(exactly((1 << 20) + 1).as_bytes())).await;
    one_more.assert_error(413, "request_too_large");
    let bomb = vec![b' '; 256 << 20];
    for (coding, packed) in [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb))] {
        assert!(packed.len() < 2 << 20, "{coding}: {} bytes", packed.len());
        ask(&stand, coding, &packed).await.assert_error(413, "request_too_large");
    }
    // All calls' bytes together are bounded as well.
    let stand = Stand::new("server: { max_buffered_bytes: 100000 }");
    let body = prompt("claude-sonnet-5", &"a".repeat(200_000), false);
    ask(&stand, "gzip", &gzip(body.as_bytes())).await.assert_error(503, "api_error");
    assert_nothing_is_held(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_the_callers_fault() {
    let stand = Stand::new("");
    let packed = gzip(prompt("claude-sonnet-5", "hi", false).as_bytes());
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    for (coding, body) in [
        ("gzip", &packed[..packed.len() - 4]),
        ("gzip", damaged.as_slice()),
        ("br", packed.as_slice()),
        ("zstd", packed.as_slice()),
    ] {
        let message = ask(&stand, coding, body).await.assert_error(400, "invalid_request_error");
        assert!(message.contains("content-encoding"), "{coding}: {message}");
    }
    for coding in ["compress", "gzip, gzip", "*"] {
        let message = ask(&stand, coding, &packed).await.assert_error(400, "invalid_request_error");
        assert!(message.contains("content-encoding") && message.contains("not supported"), "{message}");
    }
    assert!(stand.upstream.simulator.requests().is_empty());
    assert_nothing_is_held(&stand).await;
}
