//! The doors of the house stay where ARCHITECTURE.md draws them: who may name what, and what nothing may be called.
//!
//! The sources are read as text with comments and literals blanked, so prose may say what code may not.
//! Every rule holds for a tree that has not grown the room yet.
#![expect(clippy::expect_used, reason = "a test tells by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One Rust source file as a sequence of tokens: identifiers whole, `::` as one, every other character by itself.
struct Source {
    path: String,
    text: String,
    tokens: Vec<(usize, String)>,
    tests_from: usize,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let tokens = tokens(&blank(&text));
        let inline_tests = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let tests_from =
            if path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/") {
                0
            } else {
                let at = tokens.windows(10).position(|w| {
                    w.iter().zip(inline_tests).all(|((_, token), want)| token == want) && w[9].1 == "{"
                });
                at.map_or(usize::MAX, |at| tokens[at].0)
            };
        Self { path, text, tokens, tests_from }
    }

    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The lines where these tokens stand in a row.
    fn lines_of(&self, row: &[&str]) -> Vec<usize> {
        let here = |w: &[(usize, String)]| w.iter().zip(row).all(|((_, token), want)| token == want);
        self.tokens.windows(row.len()).filter(|w| here(w)).map(|w| w[0].0).collect()
    }

    /// The lines where this crate is named: as the head of a path, or by `use` and `extern crate`.
    fn lines_naming_crate(&self, name: &str) -> Vec<usize> {
        let token =
            |at: Option<usize>| at.and_then(|at| self.tokens.get(at)).map_or("", |(_, token)| token.as_str());
        (0..self.tokens.len())
            .filter(|&at| token(Some(at)) == name)
            .filter(|&at| {
                let (before, after) = (token(at.checked_sub(1)), token(Some(at + 1)));
                let own =
                    before == "::" && !matches!(token(at.checked_sub(2)), "" | "use" | "(" | "{" | "," | "=");
                (after == "::" && !own) || matches!(before, "use" | "crate")
            })
            .map(|at| self.tokens[at].0)
            .collect()
    }
}

/// Comments and the insides of string and character literals become spaces; lines stay lines.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = chars.iter().map(|&c| if c == '\n' { '\n' } else { ' ' }).collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut at = 0;
    while at < chars.len() {
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_string_end(&chars, at) {
            at = end;
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''))
        {
            at += if chars[at + 1] == '\\' { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            out[at] = chars[at];
            at += 1;
        }
    }
    out.into_iter().collect()
}

/// Where the raw string that begins at `at` ends, if one begins there.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if in_word || chars[at] != 'r' && !(matches!(chars[at], 'b' | 'c') && chars.get(at + 1) == Some(&'r')) {
        return None;
    }
    let open = at + if chars[at] == 'r' { 1 } else { 2 };
    let hashes = chars[open.min(chars.len())..].iter().take_while(|&&c| c == '#').count();
    if chars.get(open + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|h| chars.get(i + h) == Some(&'#'));
    (open + hashes + 1..chars.len()).find(|&i| closes(i)).map(|i| i + hashes + 1)
}

fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            out.push((line + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace, its path relative to the root.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut folders: Vec<PathBuf> =
        ["src", "providers", "tests", "benches", "fuzz"].iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if path.is_dir() && !matches!(name.as_str(), "target" | "node_modules" | "corpus" | "artifacts") {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let relative = path.strip_prefix(root()).expect("a path under the root");
                found.push(Source::new(relative.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    assert!(found.iter().any(|source| source.path == "src/lib.rs"), "the tree was not found");
    found
});

fn places<'a>(findings: impl IntoIterator<Item = (&'a Source, usize)>) -> Vec<String> {
    let mut places: Vec<String> =
        findings.into_iter().map(|(source, line)| format!("{}:{line}", source.path)).collect();
    places.sort();
    places.dedup();
    places
}

/// Where any of these crates is named within `inside`, `but` excepted.
fn naming(crates: &[&str], inside: &[&str], but: &[&str]) -> Vec<String> {
    let judged = SOURCES.iter().filter(|source| source.is_under(inside) && !source.is_under(but));
    places(judged.flat_map(|source| {
        crates.iter().flat_map(|name| source.lines_naming_crate(name)).map(move |line| (source, line))
    }))
}

const ACTIX: [&str; 7] =
    ["actix", "actix_http", "actix_rt", "actix_service", "actix_tls", "actix_web", "awc"];

#[test]
fn only_the_edge_names_actix_and_awc() {
    let found = naming(&ACTIX, &["src/"], &["src/http/"]);
    assert!(found.is_empty(), "actix and awc live in src/http/ alone: {found:#?}");
}

#[test]
fn providers_do_no_io_and_read_neither_clock_nor_environment() {
    let mut found = naming(&ACTIX, &["providers/src/"], &[]);
    found.extend(naming(&["tokio", "hyper", "redis", "sqlx", "headgate"], &["providers/src/"], &[]));
    let banned: [&[&str]; 8] = [
        &["Instant"],
        &["SystemTime", "::", "now"],
        &["elapsed", "("],
        &["env", "::"],
        &["std", "::", "net"],
        &["std", "::", "fs"],
        &["Timestamp", "::", "now"],
        &["Zoned", "::", "now"],
    ];
    // A moment may be handed in, never asked for. Tests may read recorded files.
    for source in SOURCES.iter().filter(|source| source.is_under(&["providers/src/"])) {
        let lines =
            banned.iter().flat_map(|row| source.lines_of(row)).filter(|&line| line < source.tests_from);
        found.extend(places(lines.map(|line| (source, line))));
    }
    assert!(found.is_empty(), "providers/ knows dialects and does no I/O: {found:#?}");
}

#[test]
fn providers_depend_on_no_runtime() {
    let manifest =
        fs::read_to_string(root().join("providers/Cargo.toml")).expect("the manifest of providers");
    let depends = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    for line in depends.take_while(|line| !line.starts_with('[')) {
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        let banned = ["tokio", "hyper", "awc", "reqwest", "redis", "sqlx", "headgate"].contains(&name);
        assert!(!banned && !name.starts_with("actix"), "providers/ must not depend on {name}");
    }
}

#[test]
fn one_file_reads_the_clock_and_the_simulator_has_one_of_its_own() {
    let reads: [&[&str]; 5] = [
        &["Instant", "::", "now"],
        &["SystemTime", "::", "now"],
        &["Timestamp", "::", "now"],
        &["Zoned", "::", "now"],
        &["elapsed", "(", ")"],
    ];
    let mut found = Vec::new();
    let mut simulator = Vec::new();
    for source in SOURCES.iter().filter(|source| source.is_under(&["src/"]) && source.path != "src/clock.rs")
    {
        let lines =
            reads.iter().flat_map(|row| source.lines_of(row)).filter(|&line| line < source.tests_from);
        let here = places(lines.map(|line| (source, line)));
        if source.is_under(&["src/simulator/"]) && !here.is_empty() {
            simulator.push(source.path.as_str());
        } else {
            found.extend(here);
        }
    }
    assert!(found.is_empty(), "time is an argument; src/clock.rs reads it: {found:#?}");
    assert!(simulator.len() <= 1, "one file of the simulator reads the clock, not {simulator:?}");
}

#[test]
fn redis_and_sql_have_one_room_each() {
    let redis = naming(&["redis"], &["src/"], &["src/ledger/redis"]);
    assert!(
        redis.is_empty(),
        "src/ledger/redis.rs alone names redis (elsewhere write self::redis): {redis:#?}"
    );
    let sql = naming(&["sqlx", "rusqlite", "libsqlite3_sys"], &["src/"], &["src/store/"]);
    assert!(sql.is_empty(), "src/store/ alone names SQL: {sql:#?}");
}

/// The arrows of ARCHITECTURE.md, "Who may import whom", as what a room must not name.
#[test]
fn imports_run_one_way() {
    let core: &[&str] = &[
        "src/admission",
        "src/alerts",
        "src/attempt",
        "src/auth",
        "src/call",
        "src/clock",
        "src/config",
        "src/credentials",
        "src/degrade",
        "src/failure",
        "src/gateway",
        "src/ledger",
        "src/metrics",
        "src/pool",
        "src/prices",
        "src/relay",
        "src/reply",
        "src/settle",
        "src/store",
        "src/telemetry",
        "src/transport",
        "src/usage",
        "src/vault",
    ];
    let plain: &[&str] = &["src/call", "src/clock", "src/config", "src/failure", "src/transport"];
    let steps: &[&str] =
        &["admission", "attempt", "gateway", "ledger", "pool", "relay", "reply", "settle", "store"];
    let rules: [(&[&str], &[&str], &str); 4] = [
        (
            core,
            &["demo", "http", "simulator"],
            "the core knows neither the edge nor the simulator nor the demo",
        ),
        (plain, steps, "plain data imports no step"),
        (
            &["src/pool", "src/admission", "src/ledger", "src/settle"],
            &["relay", "attempt"],
            "the loop uses them",
        ),
        (
            &["src/relay", "src/attempt", "src/reply", "src/pool"],
            &["store", "vault"],
            "the data plane never waits for the store",
        ),
    ];
    for (rooms, banned, why) in rules {
        let judged = SOURCES.iter().filter(|source| source.is_under(rooms));
        let found = places(judged.flat_map(|source| {
            let lines = banned.iter().flat_map(|name| source.lines_of(&["crate", "::", name]));
            lines.filter(|&line| line < source.tests_from).map(move |line| (source, line))
        }));
        assert!(found.is_empty(), "{why}: {found:#?}");
    }
}

#[test]
fn a_request_starts_no_task_and_opens_no_channel() {
    let line = [
        "src/relay",
        "src/attempt",
        "src/reply",
        "src/settle",
        "src/http/messages",
        "src/http/body",
        "src/http/client",
    ];
    let judged = SOURCES.iter().filter(|source| source.is_under(&line));
    let found = places(judged.flat_map(|source| {
        let lines = ["spawn", "spawn_local", "mpsc"].into_iter().flat_map(|name| source.lines_of(&[name]));
        lines.filter(|&line| line < source.tests_from).map(move |line| (source, line))
    }));
    assert!(found.is_empty(), "the caller's poll pulls the upstream: {found:#?}");
}

#[test]
fn only_giving_memory_back_is_unsafe() {
    let judged = SOURCES.iter().filter(|source| source.path != "src/memory.rs");
    let found = places(judged.flat_map(|source| {
        let lines = ["unsafe", "unsafe_code"].into_iter().flat_map(|name| source.lines_of(&[name]));
        let forbids = source.lines_of(&["forbid", "(", "unsafe_code"]);
        lines.filter(|line| !forbids.contains(line)).map(|line| (source, line)).collect::<Vec<_>>()
    }));
    assert!(found.is_empty(), "the allocator has no safe interface; everything else has: {found:#?}");
}

#[test]
fn no_file_is_named_for_nothing() {
    let banned = ["common", "helper", "helpers", "manager", "misc", "service", "types", "util", "utils"];
    let vague =
        |source: &&Source| source.path.trim_end_matches(".rs").split('/').any(|part| banned.contains(&part));
    let found: Vec<&str> = SOURCES.iter().filter(vague).map(|source| source.path.as_str()).collect();
    assert!(found.is_empty(), "a file is named for what it holds: {found:#?}");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let undone = |line: &str| line.split(|c: char| !c.is_alphanumeric()).any(|word| marks.contains(&word));
    let calls: [&[&str]; 4] = [&["#", "[", "ignore"], &["todo", "!"], &["unimplemented", "!"], &["dbg", "!"]];
    let found = places(SOURCES.iter().flat_map(|source| {
        let prose = source.text.lines().enumerate().filter(|(_, line)| undone(line)).map(|(at, _)| at + 1);
        let code = calls.iter().flat_map(|row| source.lines_of(row));
        prose.chain(code).map(move |line| (source, line)).collect::<Vec<_>>()
    }));
    assert!(found.is_empty(), "finish it or file it: {found:#?}");
}

#[test]
fn the_reader_sees_code_and_not_prose() {
    let text = concat!(
        "// awc::Client in a comment\n/* awc::a /* nested */ awc::b */\n",
        "let a = \"awc::Client \\\" awc::c\"; let b = r#\"awc::\"d\"#; let c = '\"'; let d: &'static str = \"\";\n",
        "use awc::Client;\nlet e = ::awc::Client::new();\nlet f = crate::ledger::awc::own();\n",
        "#[cfg(test)]\nmod tests {\n    fn late() { std::time::Instant::now(); }\n}\n",
    );
    let source = Source::new("src/relay.rs".to_owned(), text.to_owned());
    assert_eq!(source.lines_naming_crate("awc"), [4, 5]);
    assert_eq!(source.lines_of(&["Instant", "::", "now"]), [9]);
    assert_eq!(source.tests_from, 7);
}
