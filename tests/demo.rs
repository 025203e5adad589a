//! `headgate demo` as a process: the story told in lines, end to end, with real sockets everywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

/// The number behind a name in the summary.
fn figure(text: &str, name: &str) -> u64 {
    let (_, summary) = text.split_once("\nSummary\n").expect("a summary");
    let line = summary.lines().find_map(|line| line.trim().strip_prefix(name)).expect("the figure");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The summary's attempts, provider by provider.
fn attempts_by_provider(text: &str) -> Vec<(String, u64)> {
    let (_, summary) = text.split_once("\nSummary\n").expect("a summary");
    let line = summary.lines().find_map(|line| line.trim().strip_prefix("attempts by provider"));
    let pair = |pair: &str| {
        let (name, count) = pair.trim().split_once(": ")?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    line.expect("the figure").split(',').map(|each| pair(each).expect("a provider and a number")).collect()
}

#[test]
fn no_caller_sees_an_error_while_keys_are_revoked_and_limited_and_a_whole_provider_is_down() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_headgate")).args(["demo", "--seconds", "10"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{text}\n{errors}", output.status);
    assert_eq!(errors, "", "a demo has nothing to complain about");
    assert_eq!(figure(&text, "caller-visible errors"), 0, "{text}");
    assert!(figure(&text, "requests") > 50, "{text}");
    assert!(figure(&text, "upstream 429s absorbed") > 0, "{text}");
    assert!(figure(&text, "other faults absorbed") > 0, "{text}");
    assert!(figure(&text, "failovers") > 0, "{text}");
    for part in [
        "== 6/7 Anthropic is down as a whole",
        "== 7/7 Everything is restored",
        "org-a-2 parked for",
        "key_refused",
        "rate_limited",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let providers = attempts_by_provider(&text);
    let names: Vec<_> = providers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["anthropic", "bedrock", "vertex"], "{text}");
    assert!(providers.iter().all(|(_, attempts)| *attempts > 0), "{text}");
    assert!(!text.contains('\u{1b}'), "plain lines have no escapes");
}
