//! Any error answer of Vertex AI is classified, and told as an envelope that names no project.

use std::time::{Duration, SystemTime};

use headgate_providers::vertex::{Tables, Vertex};
use headgate_providers::{FaultKind, Provider as _};
use serde_json::Value;

use crate::fault::{WALLS, read};

/// The project of all requests; no input of libFuzzer's spells it by accident.
const PROJECT: &str = "my-project";

/// The promises, for an answer as [`read`] takes it.
pub fn check(input: &[u8]) {
    let (head, body) = read(input);
    let vertex = Vertex::new(PROJECT.to_owned(), "global".to_owned(), Tables::default());
    for wall in WALLS {
        let fault = vertex.fault(&head, &body, SystemTime::UNIX_EPOCH + Duration::from_secs(wall));
        assert!(fault.stated.is_none_or(|stated| !stated.after.is_zero()));
        assert!(fault.detail.len() < 1024, "a line, not a page: {}", fault.detail.len());
        assert!(!fault.detail.contains(char::is_control), "one clean line: {:?}", fault.detail);
        assert!(
            fault.kind != FaultKind::Inexpressible || !fault.detail.contains(PROJECT),
            "callers are told it"
        );
        let answer = fault.answer.expect("there was an answer");
        assert!(answer.is_envelope);
        let told: Value = serde_json::from_slice(&answer.body).expect("an envelope");
        assert_eq!(told["type"], "error");
        assert!(told["error"]["type"].is_string() && told["error"]["message"].is_string());
    }
}
