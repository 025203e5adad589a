//! Any error answer of Bedrock is classified: no panic, waits within bounds, one clean line for the operator, an envelope of
//! the Messages API for the caller.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use headgate_providers::bedrock::{Bedrock, Surface, Tables};
use headgate_providers::{Headers, Provider as _, WireHead};
use serde_json::Value;

/// The longest stated wait that is believed.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// The promises, for an answer written as its status, header lines (`name: value`), an empty line and the body; any bytes are
/// taken for one.
pub fn check(input: &[u8]) {
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = head.split(|&byte| byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(429);
    let mut headers = Headers::default();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        headers.push(String::from_utf8_lossy(&line[..colon]).to_lowercase(), Bytes::copy_from_slice(value));
    }
    let announced = headers.has("x-amzn-errortype");
    let (head, body) = (WireHead { status, headers }, Bytes::copy_from_slice(body));
    let bedrock = Bedrock::new(Surface::Runtime, "r".to_owned(), Tables::default());
    for seconds in [1_795_262_400, 0, 200_000_000_000] {
        let fault = bedrock.fault(&head, &body, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        if let Some(stated) = fault.stated {
            assert!(!stated.after.is_zero() && stated.after <= LONGEST, "{stated:?}");
        }
        assert!(fault.detail.len() < 1500, "a line, not a page: {}", fault.detail.len());
        assert!(!fault.detail.contains(char::is_control), "one clean line: {:?}", fault.detail);
        let _named = (fault.blame(), fault.kind.name());
        let answer = fault.answer.expect("there was an answer");
        assert!(answer.is_envelope);
        // The native surface's own envelope passes as it is, in any status.
        if announced || answer.body != body {
            let told: Value = serde_json::from_slice(&answer.body).expect("an envelope is JSON");
            assert_eq!(told["type"], "error");
            assert!(told["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
            assert!((400..600).contains(&answer.status), "{}", answer.status);
        }
    }
}
