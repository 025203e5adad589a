//! `headgate demo` as a process: the story told in lines, end to end, with real sockets everywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

/// The number behind a name in the summary.
fn figure(text: &str, name: &str) -> u64 {
    let (_, summary) = text.split_once("\nSummary\n").expect("a summary");
    let line = summary.lines().find_map(|line| line.trim().strip_prefix(name)).expect("the figure");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn no_caller_sees_an_error_while_keys_are_revoked_limited_and_overloaded() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_headgate")).args(["demo", "--seconds", "8"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{text}\n{errors}", output.status);
    assert_eq!(errors, "", "a demo has nothing to complain about");
    assert_eq!(figure(&text, "caller-visible errors"), 0, "{text}");
    assert!(figure(&text, "requests") > 50, "{text}");
    assert!(figure(&text, "upstream 429s absorbed") > 0, "{text}");
    assert!(figure(&text, "other faults absorbed") > 0, "{text}");
    assert!(figure(&text, "failovers") > 0, "{text}");
    for part in ["== 6/6 Everything is restored", "org-a-2 parked for", "key_refused", "rate_limited"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "plain lines have no escapes");
}
