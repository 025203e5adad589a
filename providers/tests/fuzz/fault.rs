//! Any error answer is classified: no panic, waits within bounds, one clean line for the operator, nothing lost.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use headgate_providers::{Anthropic, Headers, Provider as _, WireHead, anthropic};
use serde_json::Value;

/// The longest stated wait that is believed.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// The promises, for an answer as [`read`] takes it.
pub fn check(input: &[u8]) {
    let (head, body) = read(input);
    for wall in WALLS {
        classified(&head, &body, SystemTime::UNIX_EPOCH + Duration::from_secs(wall));
    }
}

/// 2026-11-21T12:00:00Z, and the two ends of what a clock may say.
pub const WALLS: [u64; 3] = [1_795_262_400, 0, 200_000_000_000];

/// An answer written as its status, header lines (`name: value`), an empty line and the body; any bytes are taken for one.
pub fn read(input: &[u8]) -> (WireHead, Bytes) {
    let (head, body) = halves(input);
    let mut lines = head.split(|&byte| byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(429);
    let mut headers = Headers::default();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        headers.push(name, Bytes::copy_from_slice(value));
    }
    (WireHead { status, headers }, Bytes::copy_from_slice(body))
}

fn classified(head: &WireHead, body: &Bytes, wall: SystemTime) {
    let fault = Anthropic.fault(head, body, wall);
    if let Some(stated) = fault.stated {
        assert!(!stated.after.is_zero() && stated.after <= LONGEST, "{stated:?}");
    }
    assert!(fault.detail.len() < 1024, "a line, not a page: {}", fault.detail.len());
    assert!(!fault.detail.contains(char::is_control), "one clean line: {:?}", fault.detail);
    let _named = (fault.blame(), fault.kind.name());
    let answer = fault.answer.expect("there was an answer");
    assert_eq!((answer.status, &answer.headers, &answer.body), (head.status, &head.headers, body));
    let scrubbed = anthropic::scrub_rate_limit(body, 7);
    let scrubbed: Value = match serde_json::from_slice(&scrubbed) {
        Ok(value) => value,
        // A tree has limits of depth, number and surrogate that the envelope's reader has not: then the body passed.
        Err(_) if serde_json::from_slice::<Value>(body).is_err() => return,
        Err(error) => panic!("scrubbing spoilt the body: {error}"),
    };
    let said = scrubbed["error"]["message"].as_str();
    assert_eq!(said, Some("This request would exceed the rate limit. Please try again in 7 seconds."));
}

/// What stands before and after the first empty line.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, b""),
    }
}
