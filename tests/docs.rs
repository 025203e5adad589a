//! The documents stay true: every YAML block of `docs/` and README.md is a configuration that `headgate check` accepts, every
//! JSON block is JSON, and every link between files leads somewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use headgate::config::{Environment, check};

/// Stands for any Google credential file; it names no secret.
const FEDERATED: &str = r#"{"type":"external_account","audience":"//iam.googleapis.com/p","subject_token_type":"jwt",
    "token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"/token"}}"#;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<PathBuf> =
        fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(!all.is_empty(), "docs/ holds documents");
    all.push(root.join("README.md"));
    all
}

/// The blocks of a language, with the line on which each begins.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (fence, mut found) = (format!("```{language}"), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == fence {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            found.push((at + 2, inside.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// The references of a scheme, each up to the quote that ends it.
fn references(text: &str, scheme: &str) -> BTreeSet<String> {
    let starts = text.match_indices(scheme).map(|(at, _)| &text[at + scheme.len()..]);
    starts.filter_map(|rest| rest.split(['"', '\'', ' ']).next()).map(str::to_owned).collect()
}

/// What `headgate check` says of a block whose references resolve.
fn checked(block: &str, folder: &Path) -> Result<String, String> {
    let mut text = block.to_owned();
    for path in references(block, "file:") {
        let own = folder.join(path.replace('/', "_"));
        // Of 32 bytes, and each of its own.
        let master_key = format!("{:064x}", path.len());
        let held = match path.as_str() {
            path if path.ends_with(".json") => FEDERATED,
            path if path.contains("master-key") => &master_key,
            _ => "a secret of a file",
        };
        fs::write(&own, held).unwrap();
        text = text.replace(&format!("file:{path}"), &format!("file:{}", own.display()));
    }
    let secret = |name: String| (name.clone(), format!("a secret named {name}"));
    let environment: BTreeMap<String, String> = references(block, "env:").into_iter().map(secret).collect();
    let file = folder.join("headgate.yaml");
    fs::write(&file, text).unwrap();
    let environment: Environment = environment.into_iter().collect();
    check(&[file], &environment).map_err(|error| error.to_string())
}

#[test]
fn every_configuration_in_the_documents_is_accepted() {
    let mut seen = 0;
    for path in documents() {
        let folder = std::env::temp_dir().join(format!("headgate-docs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (line, block) in blocks(&fs::read_to_string(&path).unwrap(), "yaml") {
            let effective = checked(&block, &folder);
            let effective = effective.unwrap_or_else(|error| panic!("{}:{line}: {error}", path.display()));
            assert!(!effective.contains("a secret"), "{}:{line} shows a secret", path.display());
            seen += 1;
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(seen >= 9, "only {seen} blocks were found");
}

#[test]
fn every_policy_in_the_documents_is_json() {
    let policies =
        documents().into_iter().flat_map(|path| blocks(&fs::read_to_string(path).unwrap(), "json"));
    let policies: Vec<(usize, String)> = policies.collect();
    assert!(policies.len() >= 2);
    for (line, policy) in policies {
        let policy: serde_json::Value =
            serde_json::from_str(&policy).unwrap_or_else(|error| panic!("line {line}: {error}"));
        let text = policy["Statement"].to_string();
        assert!(policy["Version"] == "2012-10-17" && !text.contains(r#""Action":"*""#), "line {line}");
    }
}

#[test]
fn every_link_between_the_documents_leads_to_a_file() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(path.parent().unwrap().join(target).exists(), "{}: {target}", path.display());
            }
        }
    }
}

#[test]
fn every_metric_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let instruments = read("src/metrics/families.rs") + &read("src/metrics/pool.rs");
    let text = read("docs/operate.md");
    let table = text.split_once("## Metrics").unwrap().1;
    let cells =
        table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let names: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap())
        .filter(|name| *name != "headgate_")
        .collect();
    assert!(names.len() >= 20, "only {names:?}");
    for name in names {
        assert!(instruments.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn a_block_with_a_mistake_is_refused() {
    let folder = std::env::temp_dir().join(format!("headgate-docs-wrong-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let refused = checked("backends: [ { name: a, provider: anthropic, regoin: x } ]", &folder);
    assert!(refused.unwrap_err().contains("regoin"));
    fs::remove_dir_all(&folder).unwrap();
}
